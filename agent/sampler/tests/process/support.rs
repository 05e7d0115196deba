//! The shipped binary at the end of a socketpair, and the simulated library
//! under it.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rackmark_model::ipc::{self, LENGTH_BYTES, SamplePlan, SamplerOrder, SamplerReport};
use rackmark_model::{GpuSample, NoData, PciAddress, Sample};

/// The sampler as the daemon would spawn it.
pub(crate) struct Sampler {
    child: Child,
    stream: UnixStream,
    pub(crate) spawned: Instant,
}

pub(crate) fn order(period_ms: u32) -> SamplerOrder {
    SamplerOrder::Sample(plan(period_ms))
}

pub(crate) fn plan(period_ms: u32) -> SamplePlan {
    SamplePlan { period_ms, slow_every_ticks: 60, pcie_throughput: false, leave_alone: Vec::new() }
}

impl Sampler {
    /// Spawns the binary without an order.
    pub(crate) fn spawn(library: &Path, sysfs_root: &Path, environment: &[(&str, &OsStr)]) -> Self {
        let (stream, theirs) = UnixStream::pair().expect("socketpair");
        let spawned = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_rackmark-sampler"))
            .arg("--nvml-library")
            .arg(library)
            .arg("--sysfs-root")
            .arg(sysfs_root)
            .envs(environment.iter().copied())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        Self { child, stream, spawned }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    pub(crate) fn order(&mut self, order: &SamplerOrder) {
        let mut frame = Vec::new();
        ipc::encode(order, &mut frame).expect("encode");
        self.send(&frame);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next report, or `None` at the end of the stream.
    pub(crate) fn next(&mut self, within: Duration) -> Option<SamplerReport> {
        self.stream.set_read_timeout(Some(within)).expect("timeout");
        let mut prefix = [0; LENGTH_BYTES];
        match self.stream.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("no report within {within:?}: {error}"),
        }
        let mut body = vec![0; ipc::body_length(prefix).expect("length")];
        self.stream.read_exact(&mut body).expect("body");
        Some(ipc::decode(&body).expect("report"))
    }

    /// Reads on until `pick` takes a report.
    pub(crate) fn find<T>(
        &mut self,
        within: Duration,
        mut pick: impl FnMut(SamplerReport) -> Option<T>,
    ) -> T {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing fitting within {within:?}");
            if let Some(found) = pick(self.next(left).expect("the stream goes on")) {
                return found;
            }
        }
    }

    /// Reads on until a sample fits.
    pub(crate) fn sample(&mut self, within: Duration, fits: impl Fn(&Sample) -> bool) -> Sample {
        self.find(within, |report| match report {
            SamplerReport::Sample(sample) if fits(&sample) => Some(sample),
            _ => None,
        })
    }

    /// Reads on until the GPU at `position` of a sample fits, and returns the sample.
    pub(crate) fn gpu(
        &mut self,
        within: Duration,
        position: usize,
        fits: impl Fn(&GpuSample) -> bool,
    ) -> Sample {
        self.sample(within, |sample| sample.gpus.get(position).is_some_and(&fits))
    }

    /// Ends the stream, as a pause does, and returns how and when the process ended.
    pub(crate) fn hang_up(mut self) -> (ExitStatus, Duration) {
        let before = Instant::now();
        self.stream.shutdown(std::net::Shutdown::Both).expect("shutdown");
        let status = self.wait(Duration::from_secs(5));
        (status, before.elapsed())
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < end, "still running after {within:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it said on standard error, once it has ended.
    pub(crate) fn complaint(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // The child may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One simulated machine.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn prepare(profile: &str) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let this = Self { dir };
        this.nvml_sim(&["prepare", "--profile", profile, "--dir", this.path_text()]);
        this
    }

    /// The same, with GPUs that sign.
    pub(crate) fn prepare_signing(profile: &str) -> Self {
        let machine = Self::prepare(profile);
        machine.nvml_sim(&["prepare", "--profile", profile, "--attestation", "--dir", machine.path_text()]);
        machine
    }

    /// One command of the simulator's language.
    pub(crate) fn act(&self, command: &str) {
        let words = command.split(' ');
        let arguments: Vec<&str> = ["do", "--dir", self.path_text()].into_iter().chain(words).collect();
        self.nvml_sim(&arguments);
    }

    pub(crate) fn sysfs(&self) -> PathBuf {
        self.dir.path().join("sysfs")
    }

    /// Folder of the GPU at `position`, by address.
    pub(crate) fn device(&self, position: usize) -> PathBuf {
        let mut folders: Vec<PathBuf> = fs::read_dir(self.sysfs().join("bus/pci/devices"))
            .expect("devices")
            .map(|entry| entry.expect("entry").path())
            .filter(|path| {
                fs::read_to_string(path.join("class")).is_ok_and(|class| class.starts_with("0x03"))
            })
            .collect();
        folders.sort();
        folders.swap_remove(position)
    }

    pub(crate) fn address(&self, position: usize) -> PciAddress {
        let device = self.device(position);
        device.file_name().expect("name").to_str().expect("text").parse().expect("address")
    }

    /// Writes a sysfs attribute of the GPU at `position`.
    pub(crate) fn write(&self, position: usize, name: &str, content: &str) {
        fs::write(self.device(position).join(name), format!("{content}\n")).expect("attribute");
    }

    /// Binds the GPU at `position` to `driver`, or to none.
    pub(crate) fn bind(&self, position: usize, driver: Option<&str>) {
        let link = self.device(position).join("driver");
        // It may be bound to nothing.
        let _ = fs::remove_file(&link);
        if let Some(driver) = driver {
            std::os::unix::fs::symlink(format!("../../../bus/pci/drivers/{driver}"), link).expect("link");
        }
    }

    /// The sampler on this machine, with an order.
    pub(crate) fn sampler(&self, order: &SamplerOrder) -> Sampler {
        self.sampler_at(&self.sysfs(), order)
    }

    /// The same with another sysfs.
    pub(crate) fn sampler_at(&self, sysfs_root: &Path, order: &SamplerOrder) -> Sampler {
        let library = self.dir.path().join("libnvidia-ml.so.1");
        let environment = [("RACKMARK_SIM_DIR", self.dir.path().as_os_str())];
        let mut sampler = Sampler::spawn(&library, sysfs_root, &environment);
        sampler.order(order);
        sampler
    }

    fn path_text(&self) -> &str {
        self.dir.path().to_str().expect("text")
    }

    fn nvml_sim(&self, arguments: &[&str]) {
        let output = Command::new(nvml_sim()).args(arguments).output().expect("nvml-sim runs");
        assert!(
            output.status.success(),
            "nvml-sim {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The simulator's tool: `$RACKMARK_NVML_SIM`, or beside the tested binary.
fn nvml_sim() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_rackmark-sampler")).with_file_name("nvml-sim");
    let path = std::env::var_os("RACKMARK_NVML_SIM").map_or(beside, PathBuf::from);
    assert!(path.exists(), "{} is missing: build it with `cargo build -p rackmark-sim-nvml`", path.display());
    path
}

/// Whether every reading of a GPU is absent for this reason.
pub(crate) fn all_absent(gpu: &GpuSample, why: NoData) -> bool {
    let mut all = true;
    gpu.fast.each(|_, reading| all &= reading == Err(why));
    all
}
