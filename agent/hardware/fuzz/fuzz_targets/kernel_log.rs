#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_hardware::kmsg::{KernelReport, Record, nvidia_report};

// The limits that readers of a report rely on.
fuzz_target!(|bytes: &[u8]| {
    let records = bytes.split(|byte| *byte == b'\n').filter_map(Record::parse).chain(Record::parse(bytes));
    for record in records {
        let words = match nvidia_report(&record) {
            None => continue,
            Some(KernelReport::Xid(line)) => {
                assert!(line.caused_by.is_none() || line.code == 45);
                assert!(line.recovery_action.is_none() || line.code == 154);
                assert!(line.gpu_instance_id.is_none() || record.text.contains(" GPU-I:"));
                [line.pci_text, line.process.unwrap_or_default(), line.text]
            }
            Some(KernelReport::SxId(line)) => [line.pci_text, String::new(), line.text],
        };
        assert_eq!(record.facility, 0);
        for (word, longest) in words.iter().zip([32, 100, 400]) {
            assert!(word.len() <= longest && !word.contains(char::is_control), "{word:?}");
        }
    }
});
