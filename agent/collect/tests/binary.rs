//! The shipped binary, spoken to as the daemon speaks to it.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rackmark_model::ipc::{self, CollectOrder, CollectReport, LENGTH_BYTES};
use rustix::fs::{Mode, mkfifoat};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

/// A started collector and the near end of its stream.
struct Collector {
    stream: UnixStream,
    child: Child,
}

/// Everything a collector sent.
struct Answer {
    reports: Vec<CollectReport>,
    descriptors: Vec<OwnedFd>,
    status: ExitStatus,
    complaint: String,
}

impl Collector {
    fn start(arguments: &[&str]) -> Self {
        let (stream, theirs) = UnixStream::pair().expect("pair");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        let child = Command::new(env!("CARGO_BIN_EXE_rackmark-collect"))
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start");
        Self { stream, child }
    }

    /// Sends `bytes` and takes all that comes back.
    fn answer(mut self, bytes: &[u8], close: bool) -> Answer {
        self.stream.write_all(bytes).expect("order");
        if close {
            self.stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
        }
        let (mut received, mut descriptors) = (Vec::new(), Vec::new());
        loop {
            let mut buffer = vec![0; 1 << 16];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let message = recvmsg(&self.stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
            let message = message.expect("receive");
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    descriptors.extend(rights);
                }
            }
            if message.bytes == 0 {
                break;
            }
            received.extend_from_slice(&buffer[..message.bytes]);
        }
        let mut complaint = String::new();
        let mut errors = self.child.stderr.take().expect("piped");
        errors.read_to_string(&mut complaint).expect("standard error");
        let status = self.child.wait().expect("end");
        Answer { reports: decoded(&received), descriptors, status, complaint }
    }

    fn ordered(self, kernel_log: bool, tables: bool) -> Answer {
        let mut frame = Vec::new();
        ipc::encode(&CollectOrder { kernel_log, tables }, &mut frame).expect("frame");
        self.answer(&frame, false)
    }
}

fn decoded(mut bytes: &[u8]) -> Vec<CollectReport> {
    let mut reports = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
        let length = ipc::body_length(*prefix).expect("length");
        reports.push(ipc::decode(&rest[..length]).expect("report"));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "{bytes:?} after the last frame");
    reports
}

fn fifo() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kmsg");
    mkfifoat(rustix::fs::CWD, &path, Mode::from_raw_mode(0o600)).expect("fifo");
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn a_fifo_arrives_open_and_never_ends() {
    let (_folder, path) = fifo();
    let answer = Collector::start(&["--kernel-log", &path]).ordered(true, false);
    assert!(answer.status.success(), "{}", answer.complaint);
    assert_eq!(
        answer.reports,
        [CollectReport::KernelLog { path: path.clone(), error: None }, CollectReport::Done]
    );
    let [log] = <[OwnedFd; 1]>::try_from(answer.descriptors).expect("one descriptor");
    let flags = rustix::io::fcntl_getfd(&log).expect("flags");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let mut log = File::from(log);
    let mut buffer = [0; 64];
    for text in ["6,1,1,-;one\n", "6,2,2,-;two\n"] {
        // Every writer leaves again, and the log goes on.
        File::options().write(true).open(&path).expect("writer").write_all(text.as_bytes()).expect("write");
        let length = log.read(&mut buffer).expect("record");
        assert_eq!(&buffer[..length], text.as_bytes());
        let nothing = log.read(&mut buffer).expect_err("nothing more now");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_device_is_opened_for_reading_only() {
    let answer = Collector::start(&["--kernel-log", "/dev/zero"]).ordered(true, false);
    let [log] = <[OwnedFd; 1]>::try_from(answer.descriptors).expect("one descriptor");
    let flags = rustix::fs::fcntl_getfl(log.as_fd()).expect("flags");
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    assert_eq!(flags & rustix::fs::OFlags::RWMODE, rustix::fs::OFlags::RDONLY);
}

#[test]
fn the_real_kernel_log_arrives_where_it_may_be_read() {
    let answer = Collector::start(&[]).ordered(true, false);
    assert!(answer.status.success(), "{}", answer.complaint);
    match &answer.reports[0] {
        CollectReport::KernelLog { error: None, path } => {
            assert_eq!(path, "/dev/kmsg");
            assert_eq!(answer.descriptors.len(), 1);
        }
        other => {
            println!("skipped: {other:?}");
            assert!(answer.descriptors.is_empty());
        }
    }
}

#[test]
fn what_cannot_be_opened_is_said_and_nothing_is_handed_over() {
    let folder = tempfile::tempdir().expect("folder");
    let missing = folder.path().join("none").display().to_string();
    let regular = folder.path().join("file").display().to_string();
    fs::write(&regular, "6,1,1,-;one\n").expect("file");
    for (path, problem) in [
        (&missing, format!("cannot open {missing}: No such file")),
        (&regular, format!("{regular} is neither a character device nor a FIFO")),
    ] {
        let answer = Collector::start(&["--kernel-log", path]).ordered(true, false);
        assert!(answer.status.success() && answer.descriptors.is_empty(), "{}", answer.complaint);
        let [CollectReport::KernelLog { path: named, error: Some(error) }, CollectReport::Done] =
            answer.reports.as_slice()
        else {
            panic!("{:?}", answer.reports)
        };
        assert_eq!(named, path);
        assert!(error.starts_with(&problem), "{error}");
    }
}

#[test]
fn tables_come_as_they_are_or_with_the_reason() {
    let sysfs = tempfile::tempdir().expect("folder");
    let tables = sysfs.path().join("firmware/dmi/tables");
    fs::create_dir_all(&tables).expect("folders");
    fs::write(tables.join("smbios_entry_point"), b"_SM3_").expect("entry point");
    fs::write(tables.join("DMI"), vec![9; 100_000]).expect("table");
    let root = sysfs.path().display().to_string();
    let answer = Collector::start(&["--sysfs-root", &root]).ordered(false, true);
    assert!(answer.status.success() && answer.descriptors.is_empty(), "{}", answer.complaint);
    let [CollectReport::Tables { dmi_entry_point, dmi, boot_event_log }, CollectReport::Done] =
        answer.reports.as_slice()
    else {
        panic!("{:?}", answer.reports)
    };
    assert_eq!(dmi_entry_point.as_deref(), Ok(b"_SM3_".as_slice()));
    assert_eq!(dmi.as_ref().map(Vec::len), Ok(100_000));
    let missing = Path::new(&root).join("kernel/security/tpm0/binary_bios_measurements");
    let cause = boot_event_log.as_ref().expect_err("no log");
    assert!(cause.starts_with(&format!("cannot read {}: ", missing.display())), "{cause}");
    fs::write(tables.join("DMI"), vec![9; ipc::DMI_BYTES_MAX + 1]).expect("table");
    let answer = Collector::start(&["--sysfs-root", &root]).ordered(false, true);
    let CollectReport::Tables { dmi: Err(cause), .. } = &answer.reports[0] else {
        panic!("{:?}", answer.reports)
    };
    assert!(cause.contains("has more than 131072 bytes"), "{cause}");
}

#[test]
fn nothing_is_done_without_a_proper_order() {
    let (_folder, path) = fifo();
    let start = || Collector::start(&["--kernel-log", &path]);
    let nothing = start().answer(&[], true);
    assert!(nothing.status.success() && nothing.complaint.is_empty(), "{}", nothing.complaint);
    let mut foreign = Vec::new();
    ipc::encode(&CollectOrder { kernel_log: true, tables: true }, &mut foreign).expect("frame");
    foreign[LENGTH_BYTES] += 1;
    for (order, complaint) in [
        (b"\x03\x00\x00".as_slice(), "the order is not a valid frame"),
        (b"\x03\x00\x00\x00\x01\x07\x07", "the order is not a valid frame"),
        (b"\x00\x01\x00\x00", "the order has 256 bytes"),
        (b"\xff\xff\xff\xff", "the order is not a valid frame"),
        (&foreign, "the order is not a valid frame: frame version 2 is not 1"),
    ] {
        let answer = start().answer(order, true);
        assert_eq!(answer.status.code(), Some(64));
        assert!(answer.reports.is_empty() && answer.descriptors.is_empty());
        assert!(answer.complaint.contains(complaint), "{}", answer.complaint);
    }
    let empty = start().ordered(false, false);
    assert_eq!((empty.reports, empty.descriptors.len()), (vec![CollectReport::Done], 0));
}

#[test]
fn no_descriptor_stays_behind() {
    let (_folder, path) = fifo();
    let open = || fs::read_dir("/proc/self/fd").expect("descriptors").count();
    let before = open();
    for _ in 0..20 {
        let answer = Collector::start(&["--kernel-log", &path]).ordered(true, true);
        assert_eq!(answer.descriptors.len(), 1);
        drop(answer);
    }
    // Other tests of this process run in processes of their own under nextest only.
    let after = open();
    assert!(after < before + 10, "{before} descriptors before, {after} after");
    // Nor does the collector itself keep the log open for anybody: with the descriptor gone nobody reads.
    let writer = rustix::fs::open(
        path.as_str(),
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
        Mode::empty(),
    );
    assert_eq!(writer.err(), Some(rustix::io::Errno::NXIO));
}
