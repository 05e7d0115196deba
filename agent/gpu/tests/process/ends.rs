//! How it ends: at the end of the stream, by a signal, without a driver, on an order that is none.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rackmark_model::gpu_work::{BurnInTest, Format, GpuReport};
use rustix::process::{Pid, Signal, kill_process};

use super::support::{Machine, Worker};

/// Three launches of 30 ms and what ending takes, with room for a machine that is busy with other tests.
const SOON: Duration = Duration::from_millis(900);

fn running(test: BurnInTest) -> (Machine, Worker) {
    let machine = Machine::one();
    let mut worker = machine.worker(0, &[(test, 600_000)]);
    worker.until(|report| matches!(report, GpuReport::Progress(_)));
    (machine, worker)
}

#[test]
fn the_end_of_the_stream_ends_it_within_its_queue() {
    for test in [BurnInTest::MemoryPattern, BurnInTest::GemmPortable(Format::Bf16), BurnInTest::Gather] {
        let (_machine, worker) = running(test);
        let (status, took) = worker.hang_up();
        assert_eq!(status.code(), Some(0), "{test:?}");
        println!("{test:?}: {took:?}");
        assert!(took < SOON, "{test:?} took {took:?}");
    }
}

#[test]
fn a_gpu_that_hangs_does_not_keep_it_alive() {
    let (machine, mut worker) = running(BurnInTest::MemoryRead);
    machine.fault("hang 0");
    // Its signs of life stop.
    while worker_speaks(&mut worker) {}
    let (status, took) = worker.hang_up();
    assert_eq!(status.code(), Some(0));
    println!("{took:?}");
    assert!(took < SOON, "{took:?}");
}

/// Whether a report comes within a second and a half.
fn worker_speaks(worker: &mut Worker) -> bool {
    let quiet =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.next(Duration::from_millis(1_500))));
    quiet.is_ok()
}

#[test]
fn a_signal_ends_it_at_once() {
    let (_machine, mut worker) = running(BurnInTest::MemoryPattern);
    let pid = Pid::from_raw(worker.pid()).expect("a process");
    kill_process(pid, Signal::TERM).expect("signalled");
    assert_eq!(worker.wait().signal(), Some(15));
}

#[test]
fn without_a_driver_it_says_so_and_ends_with_69() {
    let empty = tempfile::tempdir().expect("folder");
    let mut worker = Worker::spawn(empty.path());
    worker.order(0, &[(BurnInTest::MemoryPattern, 100)]);
    let ended = worker.reports();
    assert_eq!(ended.status.code(), Some(69));
    assert_eq!(ended.failed(), Some((None, "it is not there")));
    assert!(ended.complaints.contains("hint: "), "{}", ended.complaints);
    assert!(!ended.complaints.contains("panicked"), "{}", ended.complaints);
}

#[test]
fn without_a_gpu_it_names_the_drivers_code() {
    let ended = Machine::with("init 100").run(BurnInTest::MemoryPattern);
    assert_eq!(ended.failed(), Some((Some(100), "CUDA_ERROR_NO_DEVICE")));
    assert_eq!(ended.status.code(), Some(70));
}

#[test]
fn what_is_no_order_is_refused() {
    let machine = Machine::one();
    for bytes in [&[3, 0, 0, 0, 1, 255, 255][..], &[0, 0, 0, 0], &[255, 255, 255, 255, 1]] {
        let mut worker = Worker::spawn(machine.path());
        worker.send(bytes);
        let ended = worker.reports();
        assert_eq!((ended.status.code(), ended.reports.len()), (Some(64), 0), "{bytes:?}");
    }
    let (status, _) = Worker::spawn(machine.path()).hang_up();
    assert_eq!(status.code(), Some(64));
}
