//! Reads the machine the test runs on, as it is.

use std::path::Path;
use std::time::Duration;

use rackmark_hardware::host::{boot_id, host_info, hostname, uptime};
use rackmark_hardware::pci::PciScanner;
use rackmark_hardware::process::ProcessUsage;

#[test]
fn the_real_proc_and_sys_are_understood() {
    let (proc, sys) = (Path::new("/proc"), Path::new("/sys"));
    assert_eq!(boot_id(proc).expect("boot id").len(), 36);
    assert!(!hostname(proc).expect("hostname").is_empty());
    assert!(uptime(proc).expect("uptime") > Duration::ZERO);
    let host = host_info(proc, sys).expect("host");
    assert!(host.cpu_logical >= 1 && host.numa_nodes >= 1);
    assert!(host.memory_total.0 > 64 << 20, "{host:?}");
    let usage = ProcessUsage::read(proc, "self").expect("usage");
    assert!(usage.private.0 > 0 && usage.resident >= usage.private, "{usage:?}");
    // A machine may have no PCI bus at all; where it has one, listing twice agrees.
    let mut scanner = PciScanner::new(sys);
    if let Ok(first) = scanner.scan() {
        assert_eq!(scanner.scan().expect("second scan"), first);
    }
}
