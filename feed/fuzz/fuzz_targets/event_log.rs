//! Any bytes as a measured-boot event log: read or refused, and every bank that it has can be replayed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::verify::event_log::{EventLog, PCRS};
use rackmark_feed::verify::tpm;

fuzz_target!(|bytes: &[u8]| {
    let Ok(log) = EventLog::parse(bytes) else { return };
    for bank in [tpm::ALG_SHA1, tpm::ALG_SHA256, tpm::ALG_SHA384, tpm::ALG_SHA512] {
        assert!(log.replay(bank).is_none_or(|values| values.len() == PCRS));
    }
    log.secure_boot();
    log.after_separator();
});
