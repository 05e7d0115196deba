//! The kernel log, record by record, and the XIDs the NVIDIA driver writes there.
//!
//! The format is that of `Documentation/ABI/testing/dev-kmsg` in the kernel.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rackmark_model::PciAddress;
use rustix::fs::OFlags;

use crate::ReadError;

/// Where Linux shows its log.
pub const KERNEL_LOG: &str = "/dev/kmsg";

/// Longest record in bytes. No kernel makes a longer one: `CONSOLE_EXT_LOG_MAX`
/// in its `kernel/printk` was 8192, its successor `PRINTK_MESSAGE_MAX` is 2048.
pub const RECORD_BYTES_MAX: usize = 8192;

/// Most attempts for one record. Only a source that is not a kernel log, or one
/// that is overwritten faster than it is read, needs more than a few.
const ATTEMPTS_MAX: u32 = 1000;

/// An open kernel log. Reading starts with the oldest record that is left and
/// takes nothing away from other readers.
#[derive(Debug)]
pub struct KernelLog<S = File> {
    source: S,
    path: PathBuf,
    overruns: u64,
    unreadable: u64,
}

impl KernelLog {
    /// Opens the log at `path`, on a real machine [`KERNEL_LOG`], to be read
    /// without waiting.
    ///
    /// # Errors
    /// [`ReadError::Io`] where it cannot be opened. With the sysctl
    /// `kernel.dmesg_restrict` on, that takes `CAP_SYSLOG`; it is asked for here
    /// and not again while reading.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let source = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Self { source, path: path.to_owned(), overruns: 0, unreadable: 0 })
    }
}

impl<S: Read> KernelLog<S> {
    /// The next record; `None` where there is none now. More may follow later.
    ///
    /// What is no record is left out and counted, see [`Self::unreadable`].
    ///
    /// # Errors
    /// [`ReadError::Io`] where the kernel refuses, [`ReadError::Missing`] where
    /// the source goes on without a record.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end of a kernel log")]
    pub fn next(&mut self) -> Result<Option<Record>, ReadError> {
        let mut buffer = [0; RECORD_BYTES_MAX];
        for _ in 0..ATTEMPTS_MAX {
            // The kernel gives exactly one record to each read.
            match self.source.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => match Record::parse(&buffer[..length]) {
                    Some(record) => return Ok(Some(record)),
                    None => self.unreadable += 1,
                },
                Err(source) => match source.kind() {
                    // EAGAIN
                    ErrorKind::WouldBlock => return Ok(None),
                    ErrorKind::Interrupted => {}
                    // EPIPE: the kernel has moved this reader to its oldest record.
                    ErrorKind::BrokenPipe => self.overruns += 1,
                    // EINVAL: longer than the buffer; the kernel has gone past it.
                    ErrorKind::InvalidInput => self.unreadable += 1,
                    _ => return Err(self.failed(source)),
                },
            }
        }
        Err(ReadError::Missing { path: self.path.clone(), what: "kernel log record" })
    }

    /// How often records were overwritten before they were read. How many were
    /// lost shows in the gap of [`Record::seq`].
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// How many records were left out: not of the format, or longer than
    /// [`RECORD_BYTES_MAX`].
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), source }
    }
}

/// One record of the kernel log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Syslog severity, 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// Syslog facility; 0 is the kernel. What a program writes into the log
    /// never has 0: the kernel turns that into 1.
    pub facility: u8,
    /// Counts records from 0 at boot.
    pub seq: u64,
    /// When it was written, on the kernel's log clock: near to
    /// `CLOCK_MONOTONIC`, in microseconds.
    pub monotonic_us: u64,
    /// What was logged, escapes undone. Bytes that are not UTF-8 are replaced.
    /// As anything may be in a log, it can hold control characters.
    pub text: String,
}

impl Record {
    /// Reads `prefix,seq,usec,flags[,more];text`, the text up to the end of the
    /// first line. The flags, fields after them, and the lines of `key=value`
    /// after the text are passed over.
    ///
    /// `None` where the bytes are not of that form, a number is out of its
    /// range, or there are more than [`RECORD_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RECORD_BYTES_MAX {
            return None;
        }
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let (head, text) = line.split_at(line.iter().position(|byte| *byte == b';')?);
        let mut fields = std::str::from_utf8(head).ok()?.split(',');
        let prefix = decimal(fields.next()?)?;
        let seq = decimal(fields.next()?)?;
        let monotonic_us = decimal(fields.next()?)?;
        let _flags = fields.next()?;
        Some(Self {
            priority: u8::try_from(prefix & 7).ok()?,
            facility: u8::try_from(prefix >> 3).ok()?,
            seq,
            monotonic_us,
            text: unescape(&text[1..]),
        })
    }
}

/// The kernel writes digits only, `str::parse` also takes a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)?.parse().ok()
}

/// Undoes `\xNN`, which stands for a backslash and for every byte that is not
/// printable ASCII. Any other backslash stays.
fn unescape(mut text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let escaped = match rest {
            [b'x', high, low, ..] if *first == b'\\' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(high << 4 | low);
            text = &rest[3..];
        } else {
            bytes.push(*first);
            text = rest;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// An XID: an error the NVIDIA driver has reported to the kernel log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XidLine {
    /// The GPU. The driver leaves the function out; it is 0 on every GPU.
    pub pci: Option<PciAddress>,
    /// The code of NVIDIA's XID catalogue.
    pub code: u32,
}

/// The XID that `record` reports, if it is one.
///
/// The driver (`kernel_rc.c` of NVIDIA's open-gpu-kernel-modules) writes
/// `NVRM: Xid (PCI:0000:1b:00): 79, ...` and adds the MIG instance within the
/// parentheses: ` GPU-I:02`, or ` GPU-I:02 GPU-CI:00`. A GPU in another form
/// leaves [`XidLine::pci`] empty rather than the XID unseen. What a program has
/// written into the log is not the driver's word and none.
pub fn nvidia_xid(record: &Record) -> Option<XidLine> {
    if record.facility != 0 {
        return None;
    }
    let (gpu, report) = record.text.strip_prefix("NVRM: Xid (")?.split_once("): ")?;
    let (code, _) = report.split_once(',').unwrap_or((report, ""));
    let code = u32::try_from(decimal(code)?).ok()?;
    let address = gpu.split(' ').next().and_then(|device| device.strip_prefix("PCI:"));
    let pci = address.and_then(|address| format!("{address}.0").parse().ok());
    Some(XidLine { pci, code })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fmt::Write as _;
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
                let _ = nvidia_xid(&record);
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
        let parsed =
            Record::parse(b"2047,18446744073709551615,5,c,caller=T1,new;t").expect("largest numbers");
        assert_eq!((parsed.priority, parsed.facility, parsed.seq), (7, 255, u64::MAX));
        for wrong in [
            "",
            ";",
            "4,7,9,-",
            "4,7,9;no flags",
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

    #[test]
    fn xid_lines_are_told_from_all_others() {
        let at = |address: &str, code| Some(XidLine { pci: Some(address.parse().expect("address")), code });
        let bare = |code| Some(XidLine { pci: None, code });
        let cases = [
            ("NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.", at("0000:1b:00.0", 79)),
            ("NVRM: Xid (PCI:0000:1b:00): 79, pid=71, name=python3, GPU is gone", at("0000:1b:00.0", 79)),
            ("NVRM: Xid (PCI:0000:1b:00): 79, pid='<unknown>', name=<unknown>, x", at("0000:1b:00.0", 79)),
            ("NVRM: Xid (PCI:0000:1b:00 GPU-I:02): 13, pid=7, name=a): 9, b, x", at("0000:1b:00.0", 13)),
            ("NVRM: Xid (PCI:0000:1b:00 GPU-I:02 GPU-CI:00): 31, pid=7, x", at("0000:1b:00.0", 31)),
            (
                "NVRM: Xid (PCI:10000:c1:1f): 45, pid=7, Ch 00000008 caused by previous Xid 13",
                at("10000:c1:1f.0", 45),
            ),
            ("NVRM: Xid (PCI:0000:1B:00): 154, ", at("0000:1b:00.0", 154)),
            ("NVRM: Xid (PCI:0000:1b:00): 62", at("0000:1b:00.0", 62)),
            ("NVRM: Xid (PCI:0000:zz:00): 62, x", bare(62)),
            ("NVRM: Xid (0000:1b:00): 62, x", bare(62)),
            ("NVRM: Xid (): 62, x", bare(62)),
            ("NVRM: Xid (PCI:0000:1b:00): , x", None),
            ("NVRM: Xid (PCI:0000:1b:00): -1, x", None),
            ("NVRM: Xid (PCI:0000:1b:00): 79x, x", None),
            ("NVRM: Xid (PCI:0000:1b:00): 4294967296, x", None),
            ("NVRM: Xid (PCI:0000:1b:00) 79, x", None),
            ("NVRM: GPU at PCI:0000:1b:00: GPU-5a1b", None),
            ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal", None),
            ("a program says NVRM: Xid (PCI:0000:1b:00): 79, x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nvidia_xid(&record(text)), expected, "{text}");
        }
        let forged = Record { facility: 1, ..record(cases[0].0) };
        assert_eq!(nvidia_xid(&forged), None, "written by a program");
    }

    /// Hands out one step for each read, then EAGAIN.
    struct Script(VecDeque<Result<&'static [u8], rustix::io::Errno>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.pop_front().unwrap_or(Err(rustix::io::Errno::AGAIN))?;
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    fn scripted(
        steps: impl IntoIterator<Item = Result<&'static [u8], rustix::io::Errno>>,
    ) -> KernelLog<Script> {
        let source = Script(steps.into_iter().collect());
        KernelLog { source, path: KERNEL_LOG.into(), overruns: 0, unreadable: 0 }
    }

    #[test]
    fn reading_goes_on_past_overruns_and_what_is_no_record() {
        use rustix::io::Errno;
        let mut log = scripted([
            Ok(b"6,1,1,-;one\n".as_slice()),
            Err(Errno::PIPE),
            Err(Errno::INTR),
            Ok(b"6,40,2,-;two\n"),
            Err(Errno::AGAIN),
            Err(Errno::INVAL),
            Ok(b"not a record"),
            Err(Errno::PIPE),
            Ok(b"6,90,3,-;three\n"),
            Err(Errno::IO),
            Ok(b"6,91,4,-;four\n"),
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
        drop(writer);
        assert_eq!(log.next().expect("no writer"), None);
    }
}
