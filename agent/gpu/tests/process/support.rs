//! A machine of simulated GPUs, and the program as the daemon would spawn it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rackmark_model::gpu_work::{BurnInOrder, BurnInTest, GpuOrder, GpuReport, Miscompare, Stage, StageEnded};
use rackmark_model::ipc::{self, LENGTH_BYTES};

/// How long anything may take here that ends by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with simulated GPUs.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new(profile: &str, gpus: &str) -> Self {
        let machine = Self { dir: tempfile::tempdir().expect("folder") };
        machine.tool("nvml-sim", &["prepare", "--profile", profile, "--gpus", gpus, "--dir", machine.text()]);
        machine.tool("cuda-sim", &["prepare", "--memory-mib", "80", "--dir", machine.text()]);
        machine
    }

    /// One H200.
    pub(crate) fn one() -> Self {
        Self::new("h200", "1")
    }

    /// One H200 with a fault.
    pub(crate) fn with(fault: &str) -> Self {
        let machine = Self::one();
        machine.fault(fault);
        machine
    }

    pub(crate) fn fault(&self, fault: &str) {
        let mut words = vec!["do", "--dir", self.text()];
        words.extend(fault.split(' '));
        self.tool("cuda-sim", &words);
    }

    /// These faults and no others.
    pub(crate) fn only(&self, faults: &[String]) {
        let lines: Vec<String> =
            faults.iter().enumerate().map(|(number, fault)| format!("{} {fault}\n", number + 1)).collect();
        std::fs::write(self.path().join("cuda.faults"), lines.concat()).expect("written");
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn text(&self) -> &str {
        self.dir.path().to_str().expect("text")
    }

    fn tool(&self, name: &str, words: &[&str]) -> Output {
        let tool = beside(name);
        let output = Command::new(tool).args(words).output().expect("the tool runs");
        assert!(output.status.success(), "{name} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The program with an order of these stages on GPU `position`.
    pub(crate) fn worker(&self, position: usize, stages: &[(BurnInTest, u32)]) -> Worker {
        let mut worker = Worker::spawn(self.path());
        worker.order(position, stages);
        worker
    }

    /// What one test of 300 ms comes to.
    pub(crate) fn run(&self, test: BurnInTest) -> Ended {
        self.worker(0, &[(test, 300)]).reports()
    }
}

/// A program of the workspace beside the tested one.
fn beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_rackmark-gpu")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo build --workspace --bins --lib`",
        path.display()
    );
    path
}

pub(crate) fn uuid(position: usize) -> String {
    format!("GPU-51515151-0000-0000-0000-{:012x}", position + 1)
}

/// The program.
pub(crate) struct Worker {
    child: Child,
    stream: UnixStream,
}

/// What was reported until the stream ended, and how the process did.
pub(crate) struct Ended {
    pub(crate) reports: Vec<GpuReport>,
    pub(crate) status: ExitStatus,
    pub(crate) complaints: String,
}

impl Worker {
    /// Spawns it with the driver that is in this folder.
    pub(crate) fn spawn(folder: &Path) -> Self {
        let (stream, theirs) = UnixStream::pair().expect("socket pair");
        let child = Command::new(env!("CARGO_BIN_EXE_rackmark-gpu"))
            .env("LD_LIBRARY_PATH", folder)
            .env("RACKMARK_SIM_DIR", folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self { child, stream }
    }

    pub(crate) fn order(&mut self, position: usize, stages: &[(BurnInTest, u32)]) {
        let stages =
            stages.iter().map(|(test, duration_ms)| Stage { test: *test, duration_ms: *duration_ms });
        let order = GpuOrder::BurnIn(BurnInOrder {
            gpu_uuid: uuid(position),
            seed: 0x5eed,
            // Little: what is compiled for debugging is slow.
            memory_permille: 150,
            numa_node: None,
            stages: stages.collect(),
        });
        let mut frame = Vec::new();
        ipc::encode(&order, &mut frame).expect("fits");
        self.stream.write_all(&frame).expect("it reads");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it reads");
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// The next report; none at the end of the stream.
    pub(crate) fn next(&mut self, within: Duration) -> Option<GpuReport> {
        self.stream.set_read_timeout(Some(within)).expect("timeout");
        let mut prefix = [0; LENGTH_BYTES];
        match self.stream.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("no report within {within:?}: {error}"),
        }
        let mut body = vec![0; ipc::body_length(prefix).expect("length")];
        self.stream.read_exact(&mut body).expect("body");
        Some(ipc::decode(&body).expect("a report"))
    }

    /// Reads on until a report is this one.
    pub(crate) fn until(&mut self, is: impl Fn(&GpuReport) -> bool) -> GpuReport {
        let end = Instant::now() + PATIENCE;
        loop {
            let report =
                self.next(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
            let report = report.expect("the stream goes on");
            if is(&report) {
                return report;
            }
        }
    }

    /// Ends the stream; how long the process took to end.
    pub(crate) fn hang_up(mut self) -> (ExitStatus, Duration) {
        let before = Instant::now();
        self.stream.shutdown(std::net::Shutdown::Both).expect("shut down");
        let status = self.wait();
        (status, before.elapsed())
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            if Instant::now() >= end {
                let _ = self.child.kill();
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything it reports.
    pub(crate) fn reports(mut self) -> Ended {
        let mut reports = Vec::new();
        while let Some(report) = self.next(PATIENCE) {
            reports.push(report);
        }
        let status = self.wait();
        let mut complaints = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut complaints).expect("text");
        Ended { reports, status, complaints }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub(crate) fn done(&self) -> bool {
        self.reports.last() == Some(&GpuReport::Done) && self.status.code() == Some(0)
    }

    pub(crate) fn miscompares(&self) -> Vec<Miscompare> {
        let of = |report: &GpuReport| match report {
            GpuReport::Miscompare(miscompare) => Some(*miscompare),
            _ => None,
        };
        self.reports.iter().filter_map(of).collect()
    }

    pub(crate) fn stages(&self) -> Vec<StageEnded> {
        let of = |report: &GpuReport| match report {
            GpuReport::StageEnded(ended) => Some(ended.clone()),
            _ => None,
        };
        self.reports.iter().filter_map(of).collect()
    }

    pub(crate) fn caught(&self) -> Vec<bool> {
        let of = |report: &GpuReport| match report {
            GpuReport::SelfTest { caught, .. } => Some(*caught),
            _ => None,
        };
        self.reports.iter().filter_map(of).collect()
    }

    /// The code that the work failed with.
    pub(crate) fn failed(&self) -> Option<(Option<u32>, &str)> {
        match self.reports.last() {
            Some(GpuReport::Failed(failure)) => Some((failure.code, &failure.name)),
            _ => None,
        }
    }
}
