//! No driver, no GPU, or no sensible order: the sampler says so and stays.

use std::path::Path;
use std::time::Duration;

use crate::support::{Sampler, all_absent, order};
use rackmark_model::NoData;
use rackmark_model::Presence;
use rackmark_model::ipc::SamplerReport;

const SOON: Duration = Duration::from_secs(3);
const NO_LIBRARY: &str = "/nonexistent/libnvidia-ml.so.1";

#[test]
fn a_missing_library_is_reported_once_and_samples_go_on() {
    let root = tempfile::tempdir().expect("folder");
    let device = root.path().join("bus/pci/devices/0000:1b:00.0");
    std::fs::create_dir_all(&device).expect("folder");
    std::fs::write(device.join("vendor"), "0x10de\n").expect("vendor");
    std::fs::write(device.join("class"), "0x030200\n").expect("class");
    std::os::unix::fs::symlink("../../../bus/pci/drivers/nvidia", device.join("driver")).expect("driver");
    let mut sampler = Sampler::spawn(Path::new(NO_LIBRARY), root.path(), &[]);
    sampler.order(&order(100));
    let pid = sampler.pid();
    assert_eq!(sampler.next(SOON), Some(SamplerReport::Hello { pid }));
    let mut causes = Vec::new();
    let mut samples = Vec::new();
    while samples.len() < 10 {
        match sampler.next(SOON).expect("goes on") {
            SamplerReport::NoDriver { cause } => causes.push(cause),
            SamplerReport::Sample(sample) => samples.push(sample),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(causes.len(), 1);
    assert!(causes[0].starts_with("cannot use /nonexistent/libnvidia-ml.so.1: "), "{causes:?}");
    for (sample, seq) in samples.iter().zip(0..) {
        assert_eq!(sample.seq, seq);
        assert_eq!(sample.gpus[0].presence, Presence::Absent(NoData::DriverGone));
        assert!(all_absent(&sample.gpus[0], NoData::DriverGone));
    }
    let beats: Vec<u64> =
        samples.windows(2).map(|pair| pair[1].taken_boot_ms - pair[0].taken_boot_ms).collect();
    assert!(beats[1..].iter().all(|beat| (60..=140).contains(beat)), "{beats:?}");
}

#[test]
fn the_end_of_the_stream_is_the_end() {
    let root = tempfile::tempdir().expect("folder");
    let mut sampler = Sampler::spawn(Path::new(NO_LIBRARY), root.path(), &[]);
    sampler.order(&order(1000));
    sampler.sample(SOON, |_| true);
    let (status, took) = sampler.hang_up();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_millis(200), "{took:?}");
    // Before any order, too.
    let (status, _) = Sampler::spawn(Path::new(NO_LIBRARY), root.path(), &[]).hang_up();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_is_not_an_order_ends_it_with_64_and_one_line() {
    let mut foreign = Vec::new();
    rackmark_model::ipc::encode(&order(1000), &mut foreign).expect("encode");
    let mut trailing = foreign.clone();
    trailing.push(0);
    foreign[4] = 99;
    let absurd = u32::MAX.to_le_bytes().to_vec();
    let mut impatient = Vec::new();
    rackmark_model::ipc::encode(&order(1), &mut impatient).expect("encode");
    let root = tempfile::tempdir().expect("folder");
    for (bytes, why) in [
        (foreign, "version 99"),
        (absurd, "length 4294967295"),
        (b"{\"period_ms\":1000}".to_vec(), "length"),
        (impatient, "period of 1 ms"),
        (trailing, "after its content"),
    ] {
        let mut sampler = Sampler::spawn(Path::new(NO_LIBRARY), root.path(), &[]);
        sampler.send(&bytes);
        let status = sampler.wait(SOON);
        let complaint = sampler.complaint();
        assert_eq!(status.code(), Some(64), "{complaint}");
        let about: Vec<&str> = complaint.lines().filter(|line| line.contains(why)).collect();
        assert_eq!(about.len(), 1, "{complaint:?}");
    }
}
