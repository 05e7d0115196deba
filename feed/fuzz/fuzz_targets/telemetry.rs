//! Any bytes as a telemetry batch: what decodes comes back the same from the encoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::TelemetryBatch;

fuzz_target!(|bytes: &[u8]| {
    let Ok(batch) = postcard::from_bytes::<TelemetryBatch>(bytes) else { return };
    let again = postcard::to_allocvec(&batch).expect("serializes");
    assert_eq!(postcard::from_bytes::<TelemetryBatch>(&again).expect("own bytes"), batch);
});
