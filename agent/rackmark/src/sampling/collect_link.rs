//! One stream to one collector, which opens what only root may open and hands
//! the open descriptor over, or what stands in tables of the firmware.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rackmark_hardware::ReadError;
use rackmark_hardware::kmsg::KernelLog;
use rackmark_model::ipc::{self, CollectOrder, CollectReport, FrameError, LENGTH_BYTES, Table};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use thiserror::Error;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::link::beside_this_binary;
use crate::config::{CollectLaunch, Config};

/// How long a collector may take for everything. It opens one file, or reads three.
const DEADLINE: Duration = Duration::from_secs(5);

/// Something of a collector that cannot be had.
#[derive(Debug, Error)]
pub enum CollectError {
    /// The program could not be started.
    #[error("cannot start collector {}", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing listens on the socket.
    #[error("cannot reach collector socket {}", socket.display())]
    Connect {
        /// Which socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The order could not be handed over.
    #[error("cannot hand the order to the collector")]
    Order(#[source] io::Error),
    /// The collector closed the stream too early.
    #[error("the collector ended without {0}")]
    Ended(&'static str),
    /// Reading failed.
    #[error("cannot read from the collector")]
    Read(#[source] io::Error),
    /// It sent something that is not a report.
    #[error("the collector sent a malformed frame")]
    Malformed(#[source] FrameError),
    /// It said that the log is open, and did not hand over exactly one descriptor.
    #[error("the collector handed over {0} descriptors instead of one")]
    Descriptors(usize),
    /// It could not open the log either.
    #[error("the collector {0}")]
    Refused(String),
    /// It took too long.
    #[error("the collector did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// What it handed over cannot be read without waiting.
    #[error("the collector handed over no kernel log")]
    Log(#[source] ReadError),
}

/// What a collector read, each table as it stands in its file, or why it cannot be had.
#[derive(Debug)]
pub struct FirmwareTables {
    /// The SMBIOS entry point.
    pub entry_point: Table,
    /// The SMBIOS table.
    pub smbios: Table,
    /// The boot event log.
    pub boot_event_log: Table,
}

/// An open kernel log, by a collector started or reached for it.
///
/// # Errors
/// Any [`CollectError`].
pub async fn kernel_log(config: &Config) -> Result<KernelLog, CollectError> {
    log_by_deadline(config, DEADLINE).await
}

async fn log_by_deadline(config: &Config, deadline: Duration) -> Result<KernelLog, CollectError> {
    let order = CollectOrder { kernel_log: true, tables: false };
    let answer = within(deadline, ask(config, order, "a kernel log")).await?;
    let CollectReport::KernelLog { path, error } = answer.report else {
        return Err(CollectError::Ended("a kernel log"));
    };
    if let Some(cause) = error {
        return Err(CollectError::Refused(cause));
    }
    let [log] = <[OwnedFd; 1]>::try_from(answer.descriptors)
        .map_err(|descriptors| CollectError::Descriptors(descriptors.len()))?;
    KernelLog::from_fd(log, Path::new(&path)).map_err(CollectError::Log)
}

/// The tables of the firmware, likewise.
///
/// # Errors
/// Any [`CollectError`].
pub async fn tables(config: &Config) -> Result<FirmwareTables, CollectError> {
    let order = CollectOrder { kernel_log: false, tables: true };
    match within(DEADLINE, ask(config, order, "tables")).await?.report {
        CollectReport::Tables { dmi_entry_point, dmi, boot_event_log } => {
            Ok(FirmwareTables { entry_point: dmi_entry_point, smbios: dmi, boot_event_log })
        }
        CollectReport::KernelLog { .. } | CollectReport::Done => Err(CollectError::Ended("tables")),
    }
}

async fn within(
    deadline: Duration,
    asked: impl Future<Output = Result<Answer, CollectError>>,
) -> Result<Answer, CollectError> {
    // A collector that was started here and is late is killed as its handle drops.
    tokio::time::timeout(deadline, asked).await.unwrap_or(Err(CollectError::Late(deadline)))
}

/// A report, and the descriptors that came with it.
struct Answer {
    report: CollectReport,
    descriptors: Vec<OwnedFd>,
}

async fn ask(config: &Config, order: CollectOrder, what: &'static str) -> Result<Answer, CollectError> {
    let (mut stream, child) = match &config.collect {
        CollectLaunch::Socket(socket) => {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|source| CollectError::Connect { socket: socket.clone(), source })?;
            (stream, None)
        }
        CollectLaunch::Program(program) => {
            let program = beside_this_binary(program);
            let started = start(&program, config);
            let (stream, child) = started.map_err(|source| CollectError::Start { program, source })?;
            (stream, Some(child))
        }
    };
    let mut frame = Vec::new();
    ipc::encode(&order, &mut frame).map_err(CollectError::Malformed)?;
    stream.write_all(&frame).await.map_err(CollectError::Order)?;
    let mut received = Received::default();
    let report = received.report(&stream, what).await?;
    drop(stream);
    if let Some(mut child) = child {
        let _ = child.wait().await;
    }
    Ok(Answer { report, descriptors: received.descriptors })
}

fn start(program: &Path, config: &Config) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(program)
        .arg("--kernel-log")
        .arg(&config.kernel_log)
        .arg("--sysfs-root")
        .arg(&config.sysfs_root)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok((UnixStream::from_std(ours)?, child))
}

/// What has come in from a collector.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Received {
    /// The next report. Descriptors that came with it are kept aside.
    async fn report(
        &mut self,
        stream: &UnixStream,
        what: &'static str,
    ) -> Result<CollectReport, CollectError> {
        loop {
            if let Some((prefix, rest)) = self.bytes.split_first_chunk::<LENGTH_BYTES>() {
                let length = ipc::body_length(*prefix).map_err(CollectError::Malformed)?;
                if let Some(body) = rest.get(..length) {
                    let report = ipc::decode(body).map_err(CollectError::Malformed)?;
                    self.bytes.drain(..LENGTH_BYTES + length);
                    return Ok(report);
                }
            }
            match stream.async_io(Interest::READABLE, || self.receive(stream)).await {
                Ok(0) => return Err(CollectError::Ended(what)),
                Ok(_) => {}
                Err(source) => return Err(CollectError::Read(source)),
            }
        }
    }

    fn receive(&mut self, stream: &UnixStream) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        // The kernel closes what there is no room for.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(&buffer[..message.bytes]);
        Ok(message.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read, Write};
    use std::os::fd::BorrowedFd;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    /// The daemon's answer from a collector that does `act` with the stream once the order came.
    async fn collected(
        act: impl FnOnce(&StdUnixStream) + Send + 'static,
        deadline: Duration,
    ) -> Result<KernelLog, CollectError> {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("collect.sock");
        let listener = UnixListener::bind(&socket).expect("socket");
        let collector = thread::Builder::new().name("collector".to_owned()).spawn(move || {
            let (mut stream, _) = listener.accept().expect("the daemon");
            let mut order = [0; LENGTH_BYTES + 3];
            stream.read_exact(&mut order).expect("an order");
            let order: CollectOrder = ipc::decode(&order[LENGTH_BYTES..]).expect("an order");
            assert_eq!(order, CollectOrder { kernel_log: true, tables: false });
            act(&stream);
        });
        let collector = collector.expect("thread");
        let text = format!("[collect]\nsocket = {socket:?}\n");
        let config = Config::parse(&text, Path::new("test.toml")).expect("configuration");
        let answer = log_by_deadline(&config, deadline).await;
        collector.join().expect("collector");
        answer
    }

    fn frame(error: Option<&str>) -> Vec<u8> {
        let report =
            CollectReport::KernelLog { path: "/a/log".to_owned(), error: error.map(ToOwned::to_owned) };
        let mut frame = Vec::new();
        ipc::encode(&report, &mut frame).expect("frame");
        frame
    }

    fn send(stream: &StdUnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).expect("send");
        assert_eq!(sent, bytes.len());
    }

    #[tokio::test]
    async fn an_open_log_is_received_even_in_pieces() {
        let (reader, mut writer) = io::pipe().expect("pipe");
        writer.write_all(b"6,5,1,-;hello\n").expect("write");
        let act = move |stream: &StdUnixStream| {
            let frame = frame(None);
            send(stream, &frame[..1], &[reader.as_fd()]);
            for byte in &frame[1..] {
                send(stream, &[*byte], &[]);
            }
        };
        let mut log = collected(act, DEADLINE).await.expect("a log");
        assert_eq!(log.next().expect("readable").map(|record| record.text).as_deref(), Some("hello"));
        assert_eq!(log.next().expect("does not wait"), None);
        drop(writer);
        assert_eq!(log.next().expect("the end"), None);
        assert!(log.ended());
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_said() {
        type Act = Box<dyn FnOnce(&StdUnixStream) + Send>;
        let refused = frame(Some("cannot open /dev/kmsg: Operation not permitted"));
        let cases: [(&str, Act); 5] = [
            (
                "the collector cannot open /dev/kmsg: Operation not permitted",
                Box::new(move |stream| send(stream, &refused, &[])),
            ),
            (
                "the collector handed over 0 descriptors instead of one",
                Box::new(|stream| send(stream, &frame(None), &[])),
            ),
            (
                "the collector handed over 2 descriptors instead of one",
                Box::new(|stream| send(stream, &frame(None), &[stream.as_fd(), stream.as_fd()])),
            ),
            (
                "the collector sent a malformed frame",
                Box::new(|stream| send(stream, b"\x02\x00\x00\x00\x01\x09", &[])),
            ),
            (
                "the collector ended without a kernel log",
                Box::new(|stream| send(stream, &frame(None)[..5], &[])),
            ),
        ];
        for (message, act) in cases {
            let error = collected(act, DEADLINE).await.expect_err(message);
            assert_eq!(error.to_string(), message);
        }
    }

    #[tokio::test]
    async fn a_silent_collector_is_given_up() {
        let (over, wait) = std::sync::mpsc::channel::<()>();
        let deadline = Duration::from_millis(100);
        // The other side stays until the daemon has gone, or this test would see an end of the stream.
        let act = move |stream: &StdUnixStream| {
            let mut stream = stream.try_clone().expect("clone");
            let _ = stream.read(&mut [0; 8]);
            drop(over);
        };
        let error = collected(act, deadline).await.expect_err("silence");
        assert!(matches!(error, CollectError::Late(late) if late == deadline), "{error}");
        assert!(wait.recv().is_err(), "the stream was closed");
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_is_named() {
        for (table, message) in [
            ("program = \"/no/such/collector\"", "cannot start collector /no/such/collector"),
            ("socket = \"/no/such.sock\"", "cannot reach collector socket /no/such.sock"),
        ] {
            let config = Config::parse(&format!("[collect]\n{table}\n"), Path::new("test.toml"));
            let error = kernel_log(&config.expect("configuration")).await.expect_err("nothing there");
            assert_eq!(error.to_string(), message);
        }
    }
}
