//! Any deliveries to a consumer: it neither panics nor outgrows its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::Consumer;
use rackmark_feed::consumer::Settings;

const TOPICS: [&str; 5] = [
    "rackmark/v1/berlin-1/r07-u12/session",
    "rackmark/v1/berlin-1/r07-u12/status",
    "rackmark/v1/berlin-1/r07-u12/event",
    "rackmark/v1/berlin-1/r07-u12/telemetry",
    "rackmark/v1/berlin-1/r07-u12/reply/settlement",
];

fuzz_target!(|deliveries: Vec<(u8, u64, Vec<u8>)>| {
    let settings = Settings { max_nodes: 4, held_per_node: 4, held_bytes: 4096, ..Settings::default() };
    let mut consumer = Consumer::new(settings);
    for (topic, received, payload) in &deliveries {
        let _ = consumer.accept(TOPICS[usize::from(*topic) % TOPICS.len()], payload, *received);
    }
    assert!(consumer.held() <= 16 && consumer.nodes().count() <= 4);
});
