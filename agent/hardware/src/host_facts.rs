//! What the host is like around its GPUs, gathered so seldom that it costs nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blocked::Blocked;
use crate::clocks::{ClockState, clock};
use crate::disk::DiskSpace;
use crate::host::uptime;
use crate::pci::nvswitches;
use crate::services::{ProcessWatch, Program, ServiceState};

/// Time between two passes over the processes. A pass reads one file of each,
/// which is some milliseconds on a machine with a thousand.
pub const PASS_EVERY: Duration = Duration::from_secs(60);

/// A process is stuck when it is blocked for longer than this: the patience of
/// the kernel's own hung-task watch (`kernel.hung_task_timeout_secs`).
pub const STUCK_AFTER: Duration = Duration::from_secs(120);

/// Where a machine is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/run`.
    pub run: PathBuf,
    /// The agent's state directory.
    pub state: PathBuf,
}

/// What the host is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Time since boot; absent where procfs does not tell, and then there are no
    /// facts about processes either.
    pub uptime: Option<Duration>,
    /// Whether the NVIDIA persistence daemon runs.
    pub persistenced: ServiceState,
    /// Whether NVIDIA's fabric manager runs. It has to where
    /// [`Self::nvswitches`] is above 0.
    pub fabric_manager: ServiceState,
    /// NVSwitches on the PCI bus; absent where there is no bus to look at.
    pub nvswitches: Option<u32>,
    /// Whether the wall clock is kept right.
    pub clock: ClockState,
    /// Room for the agent's own files; absent where its folder is out of reach.
    pub state_disk: Option<DiskSpace>,
    /// Processes that hang in the kernel, for longer than [`STUCK_AFTER`].
    pub blocked: Blocked,
    /// Processes on this machine.
    pub processes: u32,
    /// The uptime when processes were looked at; absent before the first time.
    pub processes_seen_at: Option<Duration>,
}

/// Reads [`HostFacts`] again and again.
#[derive(Debug)]
pub struct HostReader {
    roots: Roots,
    watch: ProcessWatch,
    passed: Option<Duration>,
    nvswitches: Option<Option<u32>>,
}

impl HostReader {
    /// Reads nothing yet.
    pub fn new(roots: Roots) -> Self {
        let watch = ProcessWatch::new(&roots.proc);
        Self { roots, watch, passed: None, nvswitches: None }
    }

    /// The facts now. Those about processes are at most [`PASS_EVERY`] old, and
    /// NVSwitches are counted the first time only.
    pub fn read(&mut self) -> HostFacts {
        let now = uptime(&self.roots.proc).ok();
        self.pass_if_due(now);
        let known = self.passed.is_some();
        let services = self.watch.services();
        let state = |program| if known { services.state(program).clone() } else { ServiceState::Unknown };
        HostFacts {
            uptime: now,
            persistenced: state(Program::Persistenced),
            fabric_manager: state(Program::FabricManager),
            nvswitches: *self.nvswitches.get_or_insert_with(|| nvswitches(&self.roots.sysfs).ok()),
            clock: clock(&self.roots.run, services),
            state_disk: disk(&self.roots.state),
            processes: self.watch.processes(),
            processes_seen_at: self.passed,
            blocked: self.watch.blocked(STUCK_AFTER),
        }
    }

    fn pass_if_due(&mut self, now: Option<Duration>) {
        let Some(now) = now else {
            self.passed = None;
            return;
        };
        // A time before the last pass is another boot under the same root.
        let due = self.passed.is_none_or(|passed| now < passed || now - passed >= PASS_EVERY);
        if due {
            self.passed = self.watch.pass(now).is_ok().then_some(now);
        }
    }
}

/// The file system of the state directory, or of the nearest folder above it that
/// is there: the agent makes it at its first start.
fn disk(state: &Path) -> Option<DiskSpace> {
    state.ancestors().find(|folder| folder.exists()).and_then(|folder| DiskSpace::of(folder).ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().expect("folder"));
            machine.process(1, "systemd", 'S', 0);
            machine
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, content).expect("file");
        }

        fn process(&self, pid: u32, name: &str, state: char, ticks: u64) {
            let stat =
                format!("{pid} ({name}) {state} 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {pid}00 1\n");
            self.write(&format!("proc/{pid}/stat"), &stat);
        }

        fn device(&self, address: &str, vendor: &str, class: &str) {
            self.write(&format!("sys/bus/pci/devices/{address}/vendor"), vendor);
            self.write(&format!("sys/bus/pci/devices/{address}/class"), class);
        }

        fn at(&self, seconds: u64) {
            self.write("proc/uptime", &format!("{seconds}.25 9.00\n"));
        }

        fn reader(&self) -> HostReader {
            let root = |name: &str| self.0.path().join(name);
            HostReader::new(Roots {
                sysfs: root("sys"),
                proc: root("proc"),
                run: root("run"),
                state: root("state/of/agent"),
            })
        }
    }

    #[test]
    fn an_nvswitch_machine_in_order_is_described() {
        let machine = Machine::new();
        machine.at(1000);
        machine.process(700, "nvidia-persiste", 'S', 0);
        machine.process(701, "nv-fabricmanage", 'S', 0);
        machine.process(702, "chronyd", 'S', 0);
        machine.device("0000:1b:00.0", "0x10de\n", "0x030200\n");
        for bus in ["05", "06", "07", "08"] {
            machine.device(&format!("0000:{bus}:00.0"), "0x10de\n", "0x068000\n");
        }
        let facts = machine.reader().read();
        assert_eq!(facts.uptime, Some(Duration::from_millis(1_000_250)));
        assert_eq!(facts.persistenced, ServiceState::Running { unit: None });
        assert_eq!(facts.fabric_manager, ServiceState::Running { unit: None });
        assert_eq!(facts.nvswitches, Some(4));
        assert_eq!(facts.clock, ClockState::Synchronised(crate::clocks::ClockSource::Chrony));
        assert!(facts.state_disk.is_some_and(|disk| disk.free.0 > 0), "of the nearest folder that is there");
        assert_eq!((facts.processes, facts.blocked), (4, Blocked::default()));
    }

    #[test]
    fn processes_are_looked_at_once_a_minute() {
        let machine = Machine::new();
        machine.at(1000);
        let mut reader = machine.reader();
        assert_eq!(reader.read().persistenced, ServiceState::Absent);
        machine.process(700, "nvidia-persiste", 'S', 0);
        machine.at(1059);
        let facts = reader.read();
        assert_eq!(
            (facts.persistenced, facts.processes_seen_at.map(|at| at.as_secs())),
            (ServiceState::Absent, Some(1000))
        );
        machine.at(1060);
        assert_eq!(reader.read().persistenced, ServiceState::Running { unit: None });
    }

    #[test]
    fn a_process_that_hangs_in_the_driver_is_told_after_two_minutes() {
        let machine = Machine::new();
        machine.process(800, "python3", 'D', 7);
        machine.write("proc/800/wchan", "uvm_gpu_retain");
        let mut reader = machine.reader();
        let mut stuck = Vec::new();
        for minute in 0..5 {
            machine.at(1000 + 60 * minute);
            stuck.push(reader.read().blocked.stuck);
        }
        assert_eq!(stuck, [0, 0, 0, 1, 1]);
        machine.at(1300);
        let blocked = reader.read().blocked;
        let shown = &blocked.shown[0];
        assert_eq!((shown.pid, shown.name.as_str(), shown.gpu), (800, "python3", Some(true)));
        assert_eq!(shown.waits.as_secs(), 300);
    }

    #[test]
    fn an_empty_machine_is_unknown_and_not_healthy() {
        let root = tempfile::tempdir().expect("folder");
        let nowhere = root.path().join("none");
        let roots =
            Roots { sysfs: nowhere.clone(), proc: nowhere.clone(), run: nowhere.clone(), state: nowhere };
        let facts = HostReader::new(roots).read();
        assert_eq!((facts.uptime, facts.nvswitches, facts.processes_seen_at), (None, None, None));
        assert_eq!(
            (facts.persistenced, facts.fabric_manager),
            (ServiceState::Unknown, ServiceState::Unknown)
        );
        assert_eq!(facts.clock, ClockState::Unknown);
    }
}
