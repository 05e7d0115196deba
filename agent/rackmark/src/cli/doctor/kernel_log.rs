//! The kernel log: can it be read, and what does the NVIDIA driver say there?

use std::collections::BTreeMap;
use std::path::Path;

use rackmark_hardware::kmsg::{KernelLog, KernelReport, nvidia_report};

use super::{Finding, fine, odd};
use crate::exit::chain;

/// Most records looked at. The kernel has room for one in 32 bytes of its log
/// buffer (`PRB_AVGBITS`), so all of a buffer of 4 MiB.
const RECORDS_MAX: u64 = 200_000;

/// Most different codes that are named.
const CODES_SHOWN: usize = 8;

pub(super) fn check(path: &Path) -> Finding {
    let check = "kernel log";
    let mut log = match KernelLog::open(path) {
        Ok(log) => log,
        Err(error) => return odd(check, chain(&error), "run doctor as root to include the kernel log"),
    };
    let (mut records, mut overwritten, mut newest) = (0, 0, None);
    let mut xids: BTreeMap<u32, u64> = BTreeMap::new();
    while records < RECORDS_MAX {
        match log.next() {
            Ok(Some(record)) => {
                if records == 0 {
                    overwritten = record.seq;
                }
                records += 1;
                if let Some(KernelReport::Xid(xid)) = nvidia_report(&record) {
                    *xids.entry(xid.code).or_default() += 1;
                    newest = Some(xid);
                }
            }
            Ok(None) => break,
            Err(error) => return odd(check, chain(&error), "read it with dmesg and look for XIDs of NVIDIA"),
        }
    }
    let mut gap = String::new();
    if overwritten > 0 {
        gap = format!("; {overwritten} older records are gone");
    }
    if records == RECORDS_MAX {
        gap.push_str("; newer records are not looked at");
    }
    let Some(newest) = newest else {
        return fine(check, format!("{records} records, no NVIDIA XID{gap}"));
    };
    let gpu = newest.pci.map(|address| format!(" on {address}")).unwrap_or_default();
    let total: u64 = xids.values().sum();
    let codes: Vec<_> =
        xids.iter().take(CODES_SHOWN).map(|(code, count)| format!("{count} of {code}")).collect();
    let more = if xids.len() > CODES_SHOWN { ", …" } else { "" };
    odd(
        check,
        format!(
            "{total} NVIDIA XIDs since boot ({}{more}), newest: XID {}{gpu}{gap}",
            codes.join(", "),
            newest.code
        ),
        "look the code up in NVIDIA's XID catalogue; rackmark sample shows how the GPU is now",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::{Outcome, put};

    #[test]
    fn xids_are_counted_by_code_and_a_log_out_of_reach_is_odd() {
        let root = tempfile::tempdir().expect("folder");
        let path = root.path().join("kmsg");
        let missing = check(&path);
        assert!(missing.outcome == Outcome::Odd && missing.hint.contains("root"), "{missing:?}");
        // One record for each read, and a regular file is one read.
        put(root.path(), "kmsg", "6,0,100,-;usb 1-1: new device\n");
        let quiet = check(&path);
        assert_eq!((quiet.outcome, quiet.found.as_str()), (Outcome::Fine, "1 records, no NVIDIA XID"));
        put(
            root.path(),
            "kmsg",
            "3,17,100,-;NVRM: Xid (PCI:0000:83:00): 79, pid=0, GPU has fallen off the bus.\n",
        );
        let found = check(&path);
        assert_eq!(found.outcome, Outcome::Odd);
        assert!(
            found.found.starts_with("1 NVIDIA XIDs since boot (1 of 79), newest: XID 79 on"),
            "{found:?}"
        );
        assert!(found.found.ends_with("17 older records are gone"), "{found:?}");
        std::fs::write(&path, [0xFF; 9000]).expect("hostile");
        assert_eq!(check(&path).outcome, Outcome::Fine, "no record is no XID");
    }
}
