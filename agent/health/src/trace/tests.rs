//! What was written is read again, what nobody wrote is refused by line, and anonymous is anonymous.

use std::error::Error as _;

use proptest::prelude::*;
use rackmark_model::readings::SetError;
use rackmark_model::{Reading, Value};

use super::*;

fn read(text: &str) -> (About, Vec<TraceItem>) {
    let reader = Reader::open(text.as_bytes()).expect("head");
    (reader.about().clone(), reader.map(|item| item.expect("item")).collect())
}

fn written(about: &About, items: &[TraceItem], anonymous: bool) -> String {
    let mut out = String::new();
    let mut writer = Writer::begin(about, anonymous, &mut out);
    for item in items {
        writer.item(item, &mut out);
    }
    out
}

/// The first mistake in `lines`, which come after a head of version 2 with one GPU and two columns.
fn mistake(lines: &str) -> String {
    let text = format!(
        "rackmark-trace 2\n{}\nt_ms,gpu,energy_total_millijoules,temperature_gpu_celsius\n{lines}",
        r#"{"recorded_unix_ms":1,"period_ms":1000,"driver_version":"1","gpus":[{}]}"#
    );
    let error = Reader::open(text.as_bytes()).expect("head").find_map(Result::err).expect("a mistake");
    error.to_string()
}

#[test]
fn a_recording_of_version_1_is_read() {
    let (about, items) = read(concat!(
        "rackmark-trace 1\n",
        r#"{"recorded_unix_ms":7,"period_ms":500,"driver_version":"570.1","gpus":[{"name":"H200","memory_total_bytes":{"no_data":"error:7"},"from_the_future":[1]}]}"#,
        "\nt_ms,gpu,energy_total_millijoules,from_the_future,temperature_gpu_celsius\r\n",
        "0,0,500,x,-3\n",
        "\n",
        "1000,0,,,!gpu_lost\n",
        "2000,0,!error:999,,"
    ));
    assert_eq!((about.recorded_unix_ms, about.period_ms, about.driver_version.as_str()), (7, 500, "570.1"));
    assert_eq!(about.gpus[0].name.as_deref(), Ok("H200"));
    assert_eq!(about.gpus[0].memory_total, Err(NoData::Error(7)));
    assert_eq!(about.gpus[0].uuid, Err(NoData::NotSampled));
    let rows: Vec<_> = items
        .iter()
        .map(|item| match &item.what {
            What::Fast { gpu: 0, fast } => (
                item.t_ms,
                fast.energy_total.map(|energy| energy.0),
                fast.temperature_gpu.map(|celsius| celsius.0),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        rows,
        [
            (0, Ok(500), Ok(-3)),
            (1000, Ok(500), Err(NoData::GpuLost)),
            (2000, Err(NoData::Error(999)), Err(NoData::GpuLost)),
        ]
    );
}

#[test]
fn each_kind_of_line_has_the_form_that_is_promised() {
    let about = About {
        recorded_unix_ms: 1,
        period_ms: 1000,
        driver_version: "570.1".to_owned(),
        gpus: vec![Inventory::absent(NoData::NotSampled); 2],
    };
    let address: PciAddress = "0000:83:00.0".parse().expect("address");
    let at = |t_ms, what| TraceItem { t_ms, what };
    let items = [
        at(5, What::Presence { gpu: 1, absent: Some(NoData::GpuLost), function: String::new() }),
        at(
            6,
            What::Xid(XidSeen {
                gpu: Some(0),
                pci: Some(address),
                code: 79,
                source: XidSource::KernelLog,
                text: "GPU has fallen\noff the bus".to_owned(),
                gpu_instance_id: Some(2),
                compute_instance_id: None,
            }),
        ),
        at(4, What::Presence { gpu: 1, absent: None, function: "nvmlDeviceGetHandle".to_owned() }),
        at(9, What::DriverGone { cause: "not loaded".to_owned() }),
        at(9, What::DriverBack { version: "570.2".to_owned() }),
        at(10, What::Presence { gpu: 2, absent: None, function: String::new() }),
    ];
    let text = written(&about, &items, false);
    let lines: Vec<&str> = text.lines().skip(3).collect();
    assert_eq!(
        lines,
        [
            r#"@5 {"presence":{"function":"","gpu":1,"why":"gpu_lost"}}"#,
            r#"@6 {"xid":{"ci":null,"code":79,"gi":2,"gpu":0,"pci":"00000000:83:00.0","source":"kernel_log","text":"GPU has fallen\noff the bus"}}"#,
            // Arrived late: time does not go back.
            r#"@6 {"presence":{"function":"nvmlDeviceGetHandle","gpu":1,"why":"answering"}}"#,
            r#"@9 {"driver_gone":{"cause":"not loaded"}}"#,
            r#"@9 {"driver_back":{"version":"570.2"}}"#,
        ]
    );
    assert_eq!(read(&text).1.len(), 5);
}

#[test]
fn mistakes_name_their_line_and_end_the_reading() {
    for (lines, problem) in [
        ("0,1,,", "line 4 of the recording names GPU 1, which line 2 lacks"),
        ("0,0,1,2\n0,0,1", "line 5 of the recording has too few cells"),
        ("0,0,1,2,3", "line 4 of the recording has too many cells"),
        ("0,0,1.5,2", "line 4 of the recording has `1.5` as a cell"),
        ("0,0,!nothing,2", "line 4 of the recording has `!nothing` as a cell"),
        (
            "0,0,1,9999999999",
            "line 4 of the recording has a value that does not fit: temperature_gpu cannot have this value",
        ),
        ("9,0,1,2\n8,0,1,2", "line 5 of the recording goes back in time"),
        (
            "@9 {\"later\":0}
8,0,1,2",
            "line 5 of the recording goes back in time",
        ),
        ("@x {}", "line 4 of the recording has `x` as its time"),
        ("@1", "line 4 of the recording has no content after its time"),
        ("@1 {}", "line 4 of the recording has not exactly one kind of content"),
        ("@1 {\"slow\":", "line 4 of the recording is not JSON"),
        (r#"@1 {"slow":{"gpu":1}}"#, "line 4 of the recording names GPU 1, which line 2 lacks"),
        (
            r#"@1 {"slow":{"gpu":0,"nvlinks":[{}],"processes":0}}"#,
            "line 4 of the recording has no valid `link` in its NVLink",
        ),
        (
            r#"@1 {"presence":{"gpu":0,"why":"bored","function":""}}"#,
            "line 4 of the recording has no valid `why` in its presence",
        ),
        (
            r#"@1 {"xid":{"code":-1,"source":"driver","text":""}}"#,
            "line 4 of the recording has no valid `code` in its xid",
        ),
    ] {
        assert_eq!(mistake(lines), problem, "{lines}");
    }
}

#[test]
fn a_head_that_does_not_fit_is_refused() {
    let about = r#"{"recorded_unix_ms":1,"period_ms":1,"driver_version":"","gpus":[]}"#;
    let many = format!(
        r#"{{"recorded_unix_ms":1,"period_ms":1,"driver_version":"","gpus":[{}]}}"#,
        vec!["{}"; 65].join(",")
    );
    for (text, problem) in [
        (String::new(), "line 1 of the recording is missing"),
        (
            "rackmark-trace 3".to_owned(),
            "line 1 of the recording is not `rackmark-trace 1` or `rackmark-trace 2`",
        ),
        ("rackmark-trace 2\n".to_owned(), "line 2 of the recording is missing"),
        ("rackmark-trace 2\n[]".to_owned(), "line 2 of the recording has no valid `period_ms` in its head"),
        (format!("rackmark-trace 2\n{many}"), "line 2 of the recording has more than 64 GPUs"),
        (format!("rackmark-trace 2\n{about}"), "line 3 of the recording is missing"),
        (
            format!("rackmark-trace 2\n{about}\nt_ms,gpu,fan_speed_percent,fan_speed_percent"),
            "line 3 of the recording names the column fan_speed_percent twice",
        ),
    ] {
        assert_eq!(Reader::open(text.as_bytes()).expect_err("a mistake").to_string(), problem, "{text}");
    }
    let error = Reader::open(b"rackmark-trace 1\n{").expect_err("not JSON");
    assert!(error.source().is_some());
    assert!(matches!(Reader::open(b"rackmark-trace 1\n\xff"), Err(TraceError::Line { line: 2, .. })));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_kept() {
    assert!(matches!(Reader::open(&vec![b'\n'; BYTES_MAX + 1]), Err(TraceError::TooLarge)));
    let long = format!("rackmark-trace 1\n{}", " ".repeat(LINE_BYTES_MAX + 1));
    let error = Reader::open(long.as_bytes()).expect_err("too long").to_string();
    assert_eq!(error, format!("line 2 of the recording is longer than {LINE_BYTES_MAX} bytes"));
    assert_eq!(
        mistake(&"\n".repeat(LINES_MAX + 1)),
        format!("line {} of the recording is beyond the limit of {LINES_MAX} lines", LINES_MAX + 4)
    );
}

#[test]
fn version_1_has_no_lines_with_an_at_sign_and_unknown_kinds_are_skipped() {
    let head = r#"{"recorded_unix_ms":1,"period_ms":1,"driver_version":"","gpus":[]}"#;
    let body = |version| format!("rackmark-trace {version}\n{head}\nt_ms,gpu,x\n@1 {{\"later\":[]}}\n");
    assert_eq!(read(&body(2)).1, []);
    let old = body(1);
    let error =
        Reader::open(old.as_bytes()).expect("head").next().expect("a mistake").expect_err("a mistake");
    assert_eq!(error.to_string(), "line 4 of the recording begins with `@`, which version 1 does not have");
}

/// A reading of whatever kind its place takes.
fn set(
    mut set: impl FnMut(Reading<Value<'_>>) -> Result<(), SetError>,
    (number, text, why): &(u64, String, Option<NoData>),
) {
    if let Some(why) = why {
        set(Err(*why)).expect("a reason fits everywhere");
        return;
    }
    let tries = [
        Value::Signed(-((number % 1000) as i64)),
        Value::Unsigned(*number),
        Value::Unsigned(number % 4_000_000_000),
        Value::Text(text),
        Value::Flag(number % 2 == 0),
    ];
    assert!(tries.into_iter().any(|value| set(Ok(value)).is_ok()));
}

fn why() -> impl Strategy<Value = NoData> {
    prop_oneof![
        Just(NoData::NotSupported),
        Just(NoData::Timeout),
        Just(NoData::GpuLost),
        Just(NoData::NotSampled),
        any::<i32>().prop_map(NoData::Error),
    ]
}

fn values(count: usize) -> impl Strategy<Value = Vec<(u64, String, Option<NoData>)>> {
    let value = (any::<u64>(), ".{0,8}", prop_oneof![3 => Just(None), 1 => why().prop_map(Some)]);
    prop::collection::vec(value, count)
}

macro_rules! readings {
    ($($name:ident: $of:ident;)*) => {$(
        fn $name() -> impl Strategy<Value = Box<$of>> {
            values($of::DESCRIPTORS.len()).prop_map(|values| {
                let mut readings = $of::absent(NoData::NotSampled);
                for (position, value) in values.iter().enumerate() {
                    set(|reading| readings.set(position, reading), value);
                }
                Box::new(readings)
            })
        }
    )*};
}

readings! {
    any_fast: Fast;
    any_slow: Slow;
    any_inventory: Inventory;
}

fn any_link() -> impl Strategy<Value = NvLink> {
    let number = || prop::result::maybe_err(any::<u64>(), why());
    (
        (
            any::<u8>(),
            prop::result::maybe_err(any::<bool>(), why()),
            prop::result::maybe_err(any::<u32>(), why()),
        ),
        prop::result::maybe_err("[a-z]{0,6}", why()),
        prop::array::uniform6(number()),
    )
        .prop_map(|((link, active, version), remote_type, figures)| NvLink {
            link,
            active,
            version,
            remote_type,
            crc_flit_errors: figures[0],
            crc_data_errors: figures[1],
            replay_errors: figures[2],
            recovery_errors: figures[3],
            transmit_bytes_total: figures[4],
            receive_bytes_total: figures[5],
        })
}

fn any_xid() -> impl Strategy<Value = XidSeen> {
    (
        prop::option::of(0u8..2),
        prop::option::of((any::<u32>(), any::<u8>(), 0u8..32, 0u8..8)),
        any::<u32>(),
        any::<bool>(),
        "(?s).{0,40}",
        any::<(Option<u32>, Option<u32>)>(),
    )
        .prop_map(|(gpu, pci, code, kernel, text, (gpu_instance_id, compute_instance_id))| XidSeen {
            gpu,
            pci: pci.map(|(domain, bus, device, function)| PciAddress { domain, bus, device, function }),
            code,
            source: if kernel { XidSource::KernelLog } else { XidSource::Driver },
            text,
            gpu_instance_id,
            compute_instance_id,
        })
}

fn any_what() -> impl Strategy<Value = What> {
    let gpu = 0u8..2;
    prop_oneof![
        (gpu.clone(), any_fast()).prop_map(|(gpu, fast)| What::Fast { gpu, fast }),
        (gpu.clone(), any_slow(), prop::collection::vec(any_link(), 0..4), any::<u32>())
            .prop_map(|(gpu, slow, nvlinks, processes)| What::Slow { gpu, slow, nvlinks, processes }),
        (gpu.clone(), any_inventory()).prop_map(|(gpu, inventory)| What::Inventory { gpu, inventory }),
        any_xid().prop_map(What::Xid),
        (gpu, prop::option::of(why()), "(?s).{0,20}").prop_map(|(gpu, absent, function)| What::Presence {
            gpu,
            absent,
            function
        }),
        "(?s).{0,40}".prop_map(|cause| What::DriverGone { cause }),
        "(?s).{0,20}".prop_map(|version| What::DriverBack { version }),
    ]
}

fn any_trace() -> impl Strategy<Value = (About, Vec<TraceItem>)> {
    let about = (any::<u64>(), 1..=PERIOD_MS_MAX, "(?s).{0,20}", any_inventory(), any_inventory()).prop_map(
        |(recorded_unix_ms, period_ms, driver_version, first, second)| About {
            recorded_unix_ms,
            period_ms,
            driver_version,
            gpus: vec![*first, *second],
        },
    );
    let items = prop::collection::vec((0u64..5000, any_what()), 0..12).prop_map(|steps| {
        let mut t_ms = 0;
        steps
            .into_iter()
            .map(|(step, what)| {
                t_ms += step;
                TraceItem { t_ms, what }
            })
            .collect()
    });
    (about, items)
}

const SECRET: &str = "Zq7secretZq7";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read_again((about, items) in any_trace()) {
        let text = written(&about, &items, false);
        let (again, read) = read(&text);
        prop_assert_eq!(again, about);
        prop_assert_eq!(read, items);
    }

    #[test]
    fn an_anonymous_recording_names_no_machine_and_is_read_all_the_same((mut about, mut items) in any_trace()) {
        let hide = |inventory: &mut Inventory| {
            for name in NAMES {
                let position = Inventory::position(name).expect(name);
                let secret = inventory.set(position, Ok(Value::Text(SECRET)));
                secret.or_else(|_| inventory.set(position, Ok(Value::Unsigned(77_777_777)))).expect(name);
            }
        };
        about.gpus.iter_mut().for_each(hide);
        for item in &mut items {
            match &mut item.what {
                What::Inventory { inventory, .. } => hide(inventory),
                What::Xid(seen) => {
                    seen.text = SECRET.to_owned();
                    seen.pci = "0000:e7:1d.6".parse().ok();
                }
                What::DriverGone { cause } => *cause = SECRET.to_owned(),
                _ => {}
            }
        }
        let text = written(&about, &items, true);
        for line in text.lines().filter(|line| !line.starts_with(|first: char| first.is_ascii_digit())) {
            prop_assert!(!line.contains(SECRET) && !line.contains("e7:1d.6"), "{}", line);
        }
        let names = |json: &str| NAMES.iter().any(|name| json.contains(&format!("\"{name}\":")));
        prop_assert!(!names(&text));
        prop_assert_eq!(read(&text).1.len(), items.len());
    }

    #[test]
    fn the_reader_is_total(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Reader::open(&bytes).map(Iterator::count);
    }

    #[test]
    fn a_damaged_recording_gives_items_or_one_error((about, items) in any_trace(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = written(&about, &items, false).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(reader) = Reader::open(&bytes) {
            let read: Vec<_> = reader.collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
