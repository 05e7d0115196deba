use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::io::Write as _;
use std::os::fd::AsRawFd;

use proptest::prelude::*;
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

fn record(text: &str) -> Record {
    Record { priority: 4, facility: 0, seq: 7, monotonic_us: 9, text: text.to_owned() }
}

/// The record as the kernel writes it: `msg_add_ext_text` escapes every byte
/// but printable ASCII, and the backslash.
fn written(record: &Record, more: &str, dictionary: &str) -> Vec<u8> {
    let Record { priority, facility, seq, monotonic_us, text } = record;
    let prefix = u32::from(*facility) << 3 | u32::from(*priority);
    let mut line = format!("{prefix},{seq},{monotonic_us},-{more};");
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'\\' {
            line.push(char::from(byte));
        } else {
            write!(line, "\\x{byte:02x}").expect("to a string");
        }
    }
    format!("{line}\n{dictionary}").into_bytes()
}

proptest! {
    #[test]
    fn what_the_kernel_writes_is_read_back(
        priority in 0..=7_u8,
        facility: u8,
        seq: u64,
        monotonic_us: u64,
        text in any::<String>(),
        more in "(,caller=[TC][0-9]{1,6})?",
        dictionary in "( (SUBSYSTEM|DEVICE)=[ -~]{0,20}\n){0,2}",
    ) {
        let record = Record { priority, facility, seq, monotonic_us, text };
        prop_assert_eq!(Record::parse(&written(&record, &more, &dictionary)), Some(record));
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::parse(&bytes);
    }

    // Inputs near to the form reach further into the parsers than any bytes do.
    #[test]
    fn no_record_causes_a_panic(
        head in "[0-9]{1,21},[0-9]{1,21},[0-9]{1,21},[-c+]",
        text in "(NVRM: Xid \\()?(PCI:)?[0-9a-f:. ]{0,14}(\\): )?[-+0-9]{0,12}[,;\\\\xé0-9\n]{0,12}",
    ) {
        if let Some(record) = Record::parse(format!("{head};{text}").as_bytes()) {
            let _ = nvidia_report(&record);
        }
    }
}

#[test]
fn escapes_are_undone_and_anything_else_stays() {
    let cases: [(&str, &str); 9] = [
        (r"plain; with, marks", "plain; with, marks"),
        (r"C:\x5cx41", r"C:\x41"),
        (r"tab\x09 line\x0aline", "tab\t line\nline"),
        (r"gr\xc3\xb6\xC3\x9fe", "größe"),
        (r"\xff", "\u{fffd}"),
        (r"\x4", r"\x4"),
        (r"\xg0 \y41 \", r"\xg0 \y41 \"),
        (r"\\x41", r"\A"),
        ("", ""),
    ];
    for (written, text) in cases {
        let parsed = Record::parse(format!("4,7,9,-;{written}\n DEVICE=+pci:0000:1b:00.0\n").as_bytes());
        assert_eq!(parsed, Some(record(text)), "{written}");
    }
}

#[test]
fn a_record_is_its_format_within_its_limits() {
    let parsed = Record::parse(b"2047,18446744073709551615,5,c,caller=T1,new;t").expect("largest numbers");
    assert_eq!((parsed.priority, parsed.facility, parsed.seq), (7, 255, u64::MAX));
    for wrong in [
        "",
        ";",
        "4,7,9,-",
        "4,7,9;no flags",
        "4,7,94,8,10,-;two in one",
        "4,7;t",
        ",7,9,-;t",
        "2048,7,9,-;t",
        "-4,7,9,-;t",
        "4,+7,9,-;t",
        "4, 7,9,-;t",
        "4,7,18446744073709551616,-;t",
        "4,7,9,-\n;t",
        "<4>dmesg form",
    ] {
        assert_eq!(Record::parse(wrong.as_bytes()), None, "{wrong}");
    }
    let mut longest = b"4,7,9,-;".to_vec();
    longest.resize(RECORD_BYTES_MAX, b'x');
    assert!(Record::parse(&longest).is_some());
    longest.push(b'x');
    assert_eq!(Record::parse(&longest), None);
}

/// An XID with an address, nothing else said.
fn plain(address: &str, code: u32, text: &str) -> XidLine {
    XidLine {
        pci: Some(format!("{address}.0").parse().expect("address")),
        pci_text: format!("PCI:{address}"),
        code,
        gpu_instance_id: None,
        compute_instance_id: None,
        pid: None,
        process: None,
        text: text.to_owned(),
        caused_by: None,
        recovery_action: None,
        injected: false,
    }
}

fn xid_of(text: &str) -> Option<XidLine> {
    match nvidia_report(&record(text)) {
        Some(KernelReport::Xid(line)) => Some(line),
        _ => None,
    }
}

#[test]
fn xid_lines_are_told_from_all_others() {
    let a = "0000:1b:00";
    let bare = |pci_text: &str, text: &str| XidLine {
        pci: None,
        pci_text: pci_text.to_owned(),
        ..plain(a, 62, text)
    };
    let by = |pid, process: Option<&str>, line| XidLine { pid, process: process.map(str::to_owned), ..line };
    let cases = [
        (
            "NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.",
            plain(a, 79, "GPU has fallen off the bus."),
        ),
        (
            "NVRM: Xid (PCI:0000:1b:00): 79, pid=71, name=python3, GPU is gone, or so",
            by(Some(71), Some("python3"), plain(a, 79, "GPU is gone, or so")),
        ),
        (
            "NVRM: Xid (PCI:0000:1b:00): 79, pid='<unknown>', name=<unknown>, x",
            by(None, None, plain(a, 79, "x")),
        ),
        ("NVRM: Xid (PCI:0000:1b:00): 43, pid=5, name=, x", by(Some(5), None, plain(a, 43, "x"))),
        (
            "NVRM: Xid (PCI:0000:1b:00): 43, pid=5, Ch 00000010",
            by(Some(5), None, plain(a, 43, "Ch 00000010")),
        ),
        ("NVRM: Xid (PCI:0000:1b:00): 43, pid=5, name=a b,", by(Some(5), Some("a b"), plain(a, 43, ""))),
        (
            "NVRM: Xid (PCI:0000:1b:00 GPU-I:02): 13, pid=7, name=a): 9,b, x",
            XidLine { gpu_instance_id: Some(2), ..by(Some(7), Some("a): 9,b"), plain(a, 13, "x")) },
        ),
        (
            "NVRM: Xid (PCI:0000:1b:00 GPU-I:12 GPU-CI:00): 31, pid=7, name=p, x",
            XidLine {
                gpu_instance_id: Some(12),
                compute_instance_id: Some(0),
                ..by(Some(7), Some("p"), plain(a, 31, "x"))
            },
        ),
        (
            "NVRM: Xid (PCI:10000:c1:1f): 45, pid=7, name=p, Ch 00000008 caused by previous Xid 13",
            XidLine {
                caused_by: Some(13),
                ..by(Some(7), Some("p"), plain("10000:c1:1f", 45, "Ch 00000008 caused by previous Xid 13"))
            },
        ),
        (
            "NVRM: Xid (PCI:0000:1b:00): 13, caused by previous Xid 45",
            plain(a, 13, "caused by previous Xid 45"),
        ),
        (
            "NVRM: Xid (PCI:0000:1b:00): 145, RLW_REMAP Nonfatal XC0 i1 Link 02 (0x00000004)",
            XidLine { injected: true, ..plain(a, 145, "RLW_REMAP Nonfatal XC0 i1 Link 02 (0x00000004)") },
        ),
        (
            "NVRM: Xid (PCI:0000:1b:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 09 (0x025525c6)",
            plain(a, 149, "NETIR_LINK_EVT  Fatal   XC0 i0 Link 09 (0x025525c6)"),
        ),
        ("NVRM: Xid (PCI:0000:1b:00): 13, a b c i1", plain(a, 13, "a b c i1")),
        ("NVRM: Xid (PCI:0000:1b:00): 62", plain(a, 62, "")),
        ("NVRM: Xid (PCI:0000:zz:00): 62, x", bare("PCI:0000:zz:00", "x")),
        ("NVRM: Xid (PCI:0000:1b:+0): 62, x", bare("PCI:0000:1b:+0", "x")),
        ("NVRM: Xid (0000:1b:00): 62, x", XidLine { pci_text: a.to_owned(), ..plain(a, 62, "x") }),
        ("NVRM: Xid (): 62, x", bare("", "x")),
        ("NVRM: Xid (PCI:0000:1b:00): 62, a\tb\u{7f}", plain(a, 62, "a\u{fffd}b\u{fffd}")),
    ];
    for (text, expected) in &cases {
        assert_eq!(xid_of(text).as_ref(), Some(expected), "{text}");
    }
    for wrong in [
        "NVRM: Xid (PCI:0000:1b:00): , x",
        "NVRM: Xid (PCI:0000:1b:00): -1, x",
        "NVRM: Xid (PCI:0000:1b:00): 79x, x",
        "NVRM: Xid (PCI:0000:1b:00): 4294967296, x",
        "NVRM: Xid (PCI:0000:1b:00) 79, x",
        "NVRM: GPU at PCI:0000:1b:00: GPU-5a1b",
        "a program says NVRM: Xid (PCI:0000:1b:00): 79, x",
        "",
    ] {
        assert_eq!(nvidia_report(&record(wrong)), None, "{wrong}");
    }
    let forged = Record { facility: 1, ..record(cases[0].0) };
    assert_eq!(nvidia_report(&forged), None, "written by a program");
}

#[test]
fn the_recovery_action_is_the_new_one() {
    let told = |new: &str| {
        let line = format!(
            "NVRM: Xid (PCI:0000:1b:00): 154, GPU recovery action changed from 0x3 (Drain P2P) to {new}"
        );
        xid_of(&line).expect("a report").recovery_action
    };
    for (new, action) in [
        ("0x0 (None)", Some(RecoveryAction::None)),
        ("0x1 (GPU Reset Required)", Some(RecoveryAction::GpuReset)),
        ("0x2 (Node Reboot Required)", Some(RecoveryAction::NodeReboot)),
        ("0x3 (Drain P2P)", Some(RecoveryAction::DrainP2p)),
        ("0x4 (Drain and Reset)", Some(RecoveryAction::DrainAndReset)),
        ("0x5 (Recover IMEX Domain)", Some(RecoveryAction::RecoverImexDomain)),
        ("0x1 (Reset of the GPU)", Some(RecoveryAction::GpuReset)),
        ("0x9 (Node Reboot Required)", Some(RecoveryAction::NodeReboot)),
        ("0x9 (Unknown)", None),
        ("0x1", None),
        ("", None),
    ] {
        assert_eq!(told(new), action, "{new}");
    }
    let other = xid_of("NVRM: Xid (PCI:0000:1b:00): 62, changed from 0x0 (None) to 0x1 (GPU Reset Required)");
    assert_eq!(other.expect("a report").recovery_action, None, "only XID 154 says so");
}

#[test]
fn sxid_lines_are_understood_and_their_raw_data_left_out() {
    let line = |code, fatal, link, text: &str| SxidLine {
        pci_text: "PCI:0000:05:00.0".to_owned(),
        pci: Some("0000:05:00.0".parse().expect("address")),
        switch: Some(3),
        code,
        fatal,
        link,
        text: text.to_owned(),
    };
    let head = "nvidia-nvswitch3: SXid (PCI:0000:05:00.0): ";
    let private = "Non-fatal, Link 32 egress non-posted PRIV error (First)";
    for (report, expected) in [
        (format!("12028, {private}"), line(12028, Some(false), Some(32), private)),
        ("23001, Fatal, Link 07 x".to_owned(), line(23001, Some(true), Some(7), "Fatal, Link 07 x")),
        ("11001, Fatal, ingress".to_owned(), line(11001, Some(true), None, "Fatal, ingress")),
        ("20001, Correctable, Link 1".to_owned(), line(20001, Some(false), Some(1), "Correctable, Link 1")),
        ("00301, Module 3 failed".to_owned(), line(301, None, None, "Module 3 failed")),
        ("00301".to_owned(), line(301, None, None, "")),
    ] {
        let told = nvidia_report(&record(&format!("{head}{report}")));
        assert_eq!(told, Some(KernelReport::SxId(expected)), "{report}");
    }
    for (text, what) in [
        ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): garbled, Fatal", "no code"),
        ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Severity 0 Engine instance 32", "raw data"),
        ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Data {0x00000001, 0x00000000}", "raw data"),
        ("nvidia-nvswitch3: open (major=511)", "another message"),
        ("nvidia-x: by SXid: SXid (PCI:0000:05:00.0): 12028, Fatal", "another's message"),
    ] {
        assert_eq!(nvidia_report(&record(text)), None, "{what}");
    }
    let odd = nvidia_report(&record("nvidia-other: SXid (PCI:05:00): 9, Fatal, Link x"));
    let Some(KernelReport::SxId(odd)) = odd else { panic!("{odd:?}") };
    assert_eq!((odd.switch, odd.pci, odd.link, odd.pci_text.as_str()), (None, None, None, "PCI:05:00"));
    let forged = Record { facility: 3, ..record(&format!("{head}12028, {private}")) };
    assert_eq!(nvidia_report(&forged), None, "written by a program");
}

/// A line as the driver prints it, with what is in it.
fn driver_line(
    (domain, bus, device): (u32, u8, u8),
    instances: (Option<u32>, Option<u32>),
    code: u32,
    process: Option<&(u32, String)>,
    (text, cause): (&str, Option<u32>),
) -> (String, XidLine) {
    let mut line = format!("NVRM: Xid (PCI:{domain:04x}:{bus:02x}:{device:02x}");
    let (gpu, compute) = instances;
    if let Some(gpu) = gpu {
        write!(line, " GPU-I:{gpu:02}").expect("to a string");
        if let Some(compute) = compute {
            write!(line, " GPU-CI:{compute:02}").expect("to a string");
        }
    }
    write!(line, "): {code}, ").expect("to a string");
    if let Some((pid, name)) = process {
        write!(line, "pid={pid}, name={name}, ").expect("to a string");
    }
    let cause = cause.filter(|_| code == 45);
    let text =
        cause.map_or_else(|| text.to_owned(), |cause| format!("{text} caused by previous Xid {cause}"));
    line.push_str(&text);
    let address = format!("{domain:04x}:{bus:02x}:{device:02x}");
    let expected = XidLine {
        gpu_instance_id: gpu,
        compute_instance_id: gpu.and(compute),
        pid: process.map(|(pid, _)| *pid),
        process: process.map(|(_, name)| name.clone()),
        caused_by: cause,
        ..plain(&address, code, text.trim())
    };
    (line, expected)
}

proptest! {
    // Every code in every form at each run: 172 codes, three devices, with and without a process.
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn what_the_driver_writes_is_read_back(
        device in (0..=0xffff_u32, any::<u8>(), 0..32_u8),
        gpu in 0..14_u32,
        compute in 0..8_u32,
        pid: u32,
        name in "[!-+.-~][ -~]{0,14}",
        text in "([A-Za-z(][ -~]{0,60})?",
        cause in proptest::option::of(1..173_u32),
        priority in 0..8_u8,
    ) {
        prop_assume!(!name.contains(", ") && name != "<unknown>" && !text.starts_with("pid="));
        prop_assume!(!text.contains("caused by previous Xid "));
        let process = (pid, name);
        for code in 1..=172 {
            for instances in [(None, None), (Some(gpu), None), (Some(gpu), Some(compute))] {
                for process in [None, Some(&process)] {
                    let (line, mut expected) = driver_line(device, instances, code, process, (&text, cause));
                    let record = Record { priority, ..record(&line) };
                    let parsed = Record::parse(&written(&record, "", "")).expect("a record");
                    prop_assert_eq!(&parsed, &record);
                    let told = nvidia_report(&parsed);
                    // Only chance words make these; they have tests of their own.
                    if let Some(KernelReport::Xid(told)) = &told {
                        expected.recovery_action = told.recovery_action;
                        expected.injected = told.injected;
                    }
                    prop_assert_eq!(told, Some(KernelReport::Xid(expected)), "{}", line);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn reports_stay_within_their_limits(text in "\\PC{0,700}", control in any::<String>(), which in 0..4_usize) {
        let heads = [
            "NVRM: Xid (PCI:0000:1b:00): 79, ",
            "NVRM: Xid (PCI:0000:1b:00): 79, pid=1, name=",
            "NVRM: Xid (",
            "nvidia-nvswitch0: SXid (PCI:0000:1b:00.0): 1, ",
        ];
        let tail = if which == 2 { "): 1, " } else { "" };
        let Some(report) = nvidia_report(&record(&format!("{}{control}{text}{tail}", heads[which]))) else {
            return Ok(());
        };
        let words = match report {
            KernelReport::Xid(line) => [line.pci_text, line.process.unwrap_or_default(), line.text],
            KernelReport::SxId(line) => [line.pci_text, String::new(), line.text],
        };
        for (word, longest) in words.iter().zip([32, 100, 400]) {
            prop_assert!(word.len() <= longest && !word.contains(char::is_control), "{:?}", word);
        }
    }

    // However a FIFO cuts or joins what was written, the same records come out.
    #[test]
    fn the_cuts_of_a_stream_do_not_matter(
        texts in proptest::collection::vec("[ -~]{0,40}", 1..40),
        cuts in proptest::collection::vec(1..400_usize, 1..60),
        dictionary in "( (SUBSYSTEM|DEVICE)=[ -~]{0,20}\n){0,2}",
    ) {
        let records: Vec<Record> =
            texts.iter().zip(5_u64..).map(|(text, seq)| Record { seq, ..record(text) }).collect();
        let stream: Vec<u8> = records.iter().flat_map(|record| written(record, "", &dictionary)).collect();
        let (mut steps, mut rest, mut cuts) = (Vec::new(), stream.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*cuts.next().expect("a cut")).min(rest.len()));
            steps.push(Ok(now.to_vec()));
            if now.len() % 3 == 0 {
                steps.push(Err(rustix::io::Errno::AGAIN));
            }
            rest = later;
        }
        let mut log = scripted(steps);
        let mut read = Vec::new();
        while !log.source.0.is_empty() || read.len() < records.len() {
            let Some(record) = log.next().expect("readable") else { continue };
            read.push(record);
        }
        prop_assert_eq!(read, records);
        prop_assert_eq!((log.lost(), log.unreadable(), log.overruns()), (0, 0, 0));
    }

    #[test]
    fn any_stream_is_read_to_its_end(
        reads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..40),
    ) {
        let mut log = scripted(reads.into_iter().map(Ok));
        let mut turns = 0;
        while !log.source.0.is_empty() {
            let _ = log.next().expect("readable");
            turns += 1;
            prop_assert!(turns < 4000);
        }
    }
}

/// Hands out one step for each read, then EAGAIN.
struct Script(VecDeque<Result<Vec<u8>, rustix::io::Errno>>);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.pop_front().unwrap_or(Err(rustix::io::Errno::AGAIN))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

fn scripted(steps: impl IntoIterator<Item = Result<Vec<u8>, rustix::io::Errno>>) -> KernelLog<Script> {
    KernelLog::new(Script(steps.into_iter().collect()), Path::new(KERNEL_LOG))
}

#[test]
fn reading_goes_on_past_overruns_and_what_is_no_record() {
    use rustix::io::Errno;
    let mut log = scripted([
        Ok(b"6,1,1,-;one\n".to_vec()),
        Err(Errno::PIPE),
        Err(Errno::INTR),
        Ok(b"6,40,2,-;two\n".to_vec()),
        Err(Errno::AGAIN),
        Err(Errno::INVAL),
        Ok(b"not a record".to_vec()),
        Err(Errno::PIPE),
        Ok(b"6,90,3,-;three\n".to_vec()),
        Err(Errno::IO),
        Ok(b"6,91,4,-;four\n".to_vec()),
    ]);
    let mut seq =
        || log.next().map(|record| record.map(|record| record.seq)).map_err(|error| error.to_string());
    assert_eq!(seq(), Ok(Some(1)));
    assert_eq!(seq(), Ok(Some(40)));
    assert_eq!(seq(), Ok(None));
    assert_eq!(seq(), Ok(Some(90)));
    assert_eq!(seq(), Err("cannot read /dev/kmsg".to_owned()));
    assert_eq!(seq(), Ok(Some(91)));
    assert_eq!(seq(), Ok(None));
    assert_eq!((log.overruns(), log.unreadable()), (2, 2));
    // 38 before the second record; before the third 49, of which two are the unreadable ones.
    assert_eq!(log.lost(), 38 + 47);
}

#[test]
fn records_that_are_missing_after_an_earlier_reading_are_lost() {
    let lines = || [Ok(b"6,10,1,-;a\n6,11,1,-;b\n6,3,1,-;older\n6,13,1,-;c\n".to_vec())];
    let read = |log: &mut KernelLog<Script>| {
        while log.next().expect("readable").is_some() {}
        (log.lost(), log.ended())
    };
    assert_eq!(read(&mut scripted(lines())), (1, false), "what was gone before is not lost");
    let mut again = scripted(lines());
    again.read_before(7);
    assert_eq!(read(&mut again), (3, false));
    let mut overlap = scripted(lines());
    overlap.read_before(12);
    assert_eq!(read(&mut overlap), (0, false));
}

#[test]
fn long_and_cut_off_lines_are_left_out_once_each() {
    let good = |seq: u64| format!("6,{seq},1,-;x\n").into_bytes();
    let mut log = scripted([
        Ok(vec![b'x'; 8000]),
        Ok(vec![b'x'; 8000]),
        Ok(vec![b'x'; 8000]),
        Ok(b"x\n\n DEVICE=a\n DEVICE=b\n".to_vec()),
        Ok(good(1)),
        Ok([vec![b'y'; RECORD_BYTES_MAX], b"\n".to_vec()].concat()[..8000].to_vec()),
        Ok(b"y\n".to_vec()),
        Ok(good(2)),
        Ok(b"6,3,1,-;cut o".to_vec()),
        Ok(Vec::new()),
        Ok(good(4)),
    ]);
    assert_eq!(log.next().expect("first").map(|record| record.seq), Some(1));
    assert_eq!(log.unreadable(), 2, "the overlong line and the empty one");
    assert_eq!(log.next().expect("second").map(|record| record.seq), Some(2));
    assert_eq!(log.unreadable(), 3);
    assert_eq!(log.next().expect("the end"), None);
    assert!(log.ended());
    assert_eq!(log.unreadable(), 4);
    assert_eq!(log.next().expect("after the end").map(|record| record.seq), Some(4));
    assert!(!log.ended());
    assert_eq!(log.lost(), 0, "every gap is a line that was left out");
}

#[test]
fn a_source_without_records_does_not_hold_the_reader() {
    let error = KernelLog::open(Path::new("/dev/zero")).expect("open").next().expect_err("zeroes");
    assert_eq!(error.to_string(), "/dev/zero has no kernel log record");
    let error = KernelLog::open(Path::new("/dev/no-such-log")).expect_err("nothing there");
    assert_eq!(error.to_string(), "cannot read /dev/no-such-log");
}

#[test]
fn an_open_log_is_read_without_waiting() {
    // In packet mode a pipe keeps records apart as the kernel log does.
    let (reader, writer) = pipe_with(PipeFlags::DIRECT | PipeFlags::CLOEXEC).expect("pipe");
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut log = KernelLog::open(Path::new(&path)).expect("open");
    assert_eq!(log.next().expect("empty"), None);
    let mut writer = File::from(writer);
    for text in ["one", "two"] {
        writer.write_all(&written(&record(text), "", "")).expect("write");
    }
    assert_eq!(log.next().expect("first"), Some(record("one")));
    assert_eq!(log.next().expect("second"), Some(record("two")));
    assert_eq!(log.next().expect("empty again"), None);
    assert!(!log.ended());
    drop(writer);
    assert_eq!(log.next().expect("no writer"), None);
    assert!(log.ended());
}
