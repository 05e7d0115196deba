//! Reads the machine the test runs on, as it is.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use rackmark_hardware::ReadError;
use rackmark_hardware::host::{boot_id, host_info, hostname, uptime};
use rackmark_hardware::kmsg::{KERNEL_LOG, KernelLog};
use rackmark_hardware::pci::PciScanner;
use rackmark_hardware::process::ProcessUsage;
use rackmark_hardware::services::ProcessWatch;

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

#[test]
fn a_pass_over_the_real_processes_is_cheap() {
    let mut watch = ProcessWatch::new(Path::new("/proc"));
    watch.pass(Duration::ZERO).expect("pass");
    let cpu_time = || ProcessUsage::read(Path::new("/proc"), "self").expect("usage").cpu_time;
    let (passes, began, cpu) = (50, Instant::now(), cpu_time());
    for second in 0..passes {
        watch.pass(Duration::from_secs(second)).expect("pass");
    }
    let took = (cpu_time() - cpu).as_micros() as u64 / passes;
    let each = took / u64::from(watch.processes());
    println!("{} processes, {took} us of CPU each pass, {each} us each process", watch.processes());
    println!("{:?} for {passes} passes", began.elapsed());
    // Some ten times what a debug build takes.
    assert!(watch.processes() >= 1 && each < 200, "{each} us for each process");
}

#[test]
fn the_real_kernel_log_is_understood() {
    let mut log = match KernelLog::open(Path::new(KERNEL_LOG)) {
        Ok(log) => log,
        Err(ReadError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            println!("skipped: no right to read the kernel log");
            return;
        }
        Err(error) => panic!("{error}: {error:?}"),
    };
    // Bounded, as the machine may log while this reads.
    let mut sequence = Vec::new();
    while let Some(record) = log.next().expect("record") {
        assert!(record.priority <= 7, "{record:?}");
        sequence.push(record.seq);
        if sequence.len() == 200_000 {
            break;
        }
    }
    println!("{} records, {} overruns", sequence.len(), log.overruns());
    assert!(!sequence.is_empty());
    assert!(sequence.is_sorted_by(|one, next| one < next), "{sequence:?}");
    assert_eq!(log.unreadable(), 0);
}
