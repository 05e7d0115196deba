//! Recordings that are made up, and what is said of them.

use proptest::prelude::*;
use rackmark_health::trace::{About, TraceItem, What, Writer, XidSeen, XidSource};
use rackmark_model::NoData;
use rackmark_model::readings::{Fast, Inventory, Slow};

use super::*;

const RECORDED_UNIX_MS: u64 = 1_796_119_200_000;

/// A recording of two GPUs, one sample a second.
struct Made {
    writer: Writer,
    text: String,
}

impl Made {
    fn begin() -> Self {
        let gpu = |number: u8| {
            let mut inventory = Inventory::absent(NoData::NotSupported);
            inventory.serial = Ok(format!("S{number}"));
            inventory
        };
        let about = About {
            recorded_unix_ms: RECORDED_UNIX_MS,
            period_ms: 1000,
            driver_version: "590.1".to_owned(),
            gpus: vec![gpu(0), gpu(1)],
        };
        let mut text = String::new();
        let writer = Writer::begin(&about, false, &mut text);
        let mut made = Self { writer, text };
        for gpu in 0..2 {
            made.item(0, What::Presence { gpu, absent: None, function: String::new() });
            made.slow(0, gpu, false);
        }
        made
    }

    fn item(&mut self, t_ms: u64, what: What) {
        self.writer.item(&TraceItem { t_ms, what }, &mut self.text);
    }

    fn samples(&mut self, from_s: u64, to_s: u64) {
        for second in from_s..to_s {
            for gpu in 0..2 {
                let fast = Box::new(Fast::absent(NoData::NotSupported));
                self.item(second * 1000, What::Fast { gpu, fast });
            }
        }
    }

    fn slow(&mut self, t_ms: u64, gpu: u8, remap_failed: bool) {
        let mut slow = Slow::absent(NoData::NotSupported);
        slow.remapped_rows_failed = Ok(remap_failed);
        self.item(t_ms, What::Slow { gpu, slow: Box::new(slow), nvlinks: Vec::new(), processes: 0 });
    }

    fn told(&self) -> Json {
        explain(self.text.as_bytes()).expect("a good recording")
    }
}

fn xid(gpu: u8, code: u32) -> What {
    What::Xid(XidSeen {
        gpu: Some(gpu),
        pci: None,
        code,
        source: XidSource::Driver,
        text: String::new(),
        gpu_instance_id: None,
        compute_instance_id: None,
    })
}

/// What was said of a kind: after how many milliseconds, of which GPU, in which words.
fn said(told: &Json, kind: &str) -> Vec<(u64, Option<u64>, String)> {
    let all = told["said"].as_array().expect("list").iter().filter(|said| said["kind"] == kind);
    all.map(|said| {
        let text = said["text"].as_str().expect("text").to_owned();
        (said["t_ms"].as_u64().expect("time"), said["slot"].as_u64(), text)
    })
    .collect()
}

#[test]
fn an_xid_makes_its_gpu_unusable_at_its_time_and_stands_to_the_end() {
    let mut made = Made::begin();
    made.samples(0, 5);
    made.item(5000, xid(1, 79));
    made.samples(5, 10);
    let told = made.told();
    let raised = said(&told, "condition_raised");
    assert!(matches!(&raised[..], [(5000, Some(1), text)] if text.starts_with("XID 79")), "{raised:?}");
    let verdicts = said(&told, "verdict");
    let begun = |slot| (0, slot, "schedulable after unknown".to_owned());
    assert_eq!(verdicts[..3], [begun(Some(0)), begun(Some(1)), begun(None)]);
    assert!(
        matches!(&verdicts[3], (5000, Some(1), text) if text.starts_with("unusable after schedulable: XID 79"))
    );
    assert!(
        matches!(&verdicts[4], (5000, None, text) if text.starts_with("draining after schedulable: GPU 1 is unusable"))
    );
    assert_eq!(verdicts.len(), 5, "{verdicts:?}");
    assert_eq!(told["gpus"][0]["verdict"], "schedulable");
    assert_eq!(told["gpus"][1]["verdict"], "unusable");
    assert_eq!(told["gpus"][1]["conditions"][0]["id"], "xid_79");
    assert_eq!(told["gpus"][1]["conditions"][0]["since_unix_ms"], RECORDED_UNIX_MS + 5000);
    let page = page(&told, false);
    for part in [
        "2026-12-01 10:00:05Z  5.0 s     1  XID 79",
        "at the end, node is draining: GPU 1 is unusable: XID 79",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn what_the_readings_say_begins_and_ends_with_them() {
    let mut made = Made::begin();
    made.samples(0, 3);
    made.slow(3000, 0, true);
    made.samples(3, 6);
    made.slow(6000, 0, false);
    made.samples(6, 8);
    let told = made.told();
    let raised = said(&told, "condition_raised");
    assert!(
        matches!(&raised[..], [(3000, Some(0), text)] if text.contains("remapping failed")),
        "{raised:?}"
    );
    let cleared = said(&told, "condition_cleared");
    assert!(matches!(&cleared[..], [(6000, Some(0), text)] if text.contains("recovered")), "{cleared:?}");
    assert_eq!(told["gpus"][0]["verdict"], "schedulable");
    assert_eq!(told["node"]["verdict"], "schedulable");
}

#[test]
fn a_gpu_that_hangs_or_is_lost_and_a_driver_that_goes_are_told() {
    let mut made = Made::begin();
    made.samples(0, 2);
    let function = "nvmlDeviceGetTemperature".to_owned();
    made.item(2000, What::Presence { gpu: 0, absent: Some(NoData::Timeout), function });
    made.item(2000, What::Presence { gpu: 1, absent: Some(NoData::GpuLost), function: String::new() });
    made.samples(2, 4);
    made.item(4000, What::DriverGone { cause: "driver not loaded".to_owned() });
    made.samples(4, 6);
    let told = made.told();
    let raised: Vec<_> =
        said(&told, "condition_raised").into_iter().map(|(t_ms, slot, _)| (t_ms, slot)).collect();
    assert_eq!(raised, [(2000, Some(0)), (2000, Some(1)), (4000, None)]);
    assert_eq!(told["node"]["verdict"], "unknown");
    assert!(told["node"]["reason"].as_str().is_some_and(|reason| reason.contains("driver not loaded")));
}

#[test]
fn a_recording_of_version_1_is_judged_by_its_fast_readings() {
    let mut made = Made::begin();
    made.samples(0, 3);
    let version_1: String = made.text.replacen("trace 2", "trace 1", 1);
    let version_1: Vec<&str> = version_1.lines().filter(|line| !line.starts_with('@')).collect();
    let told = explain(version_1.join("\n").as_bytes()).expect("a good recording");
    assert_eq!(told["gpus"][0]["verdict"], "schedulable");
}

#[test]
fn a_recording_without_a_row_judges_nothing() {
    let about = About {
        recorded_unix_ms: 0,
        period_ms: 1000,
        driver_version: String::new(),
        gpus: vec![Inventory::absent(NoData::NotSupported)],
    };
    let mut text = String::new();
    Writer::begin(&about, true, &mut text);
    let told = explain(text.as_bytes()).expect("a good recording");
    assert_eq!(told["node"]["verdict"], "unknown");
    assert!(page(&told, false).contains("nothing to say"));
}

#[test]
fn a_bad_line_is_named() {
    let mut made = Made::begin();
    made.samples(0, 3);
    let cut = &made.text[..made.text.len() - 8];
    let error = explain(cut.as_bytes()).expect_err("a row that ends early");
    let line = cut.lines().count();
    assert!(error.to_string().contains(&format!("line {line} ")), "{error}");
    let folder = tempfile::tempdir().expect("folder");
    let log = folder.path().join("log");
    std::fs::write(&log, cut).expect("write");
    let failure = run(&Options { log, json: false }).expect_err("a row that ends early");
    assert_eq!(failure.code, Code::Usage);
}

proptest! {
    #[test]
    fn any_bytes_are_judged_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..4000) {
        let mut made = Made::begin();
        made.samples(0, 2);
        made.item(1500, xid(0, 48));
        let mut whole = made.text.into_bytes();
        let _ = explain(&bytes);
        whole.truncate(cut.max(whole.len() / 2));
        whole.extend(&bytes);
        if let Ok(told) = explain(&whole) {
            let _ = page(&told, true);
        }
    }
}
