//! Which programs run and which processes are blocked: one pass over procfs.
//!
//! Of each process only `stat` is read. That file never waits for the process:
//! `cmdline`, `maps` and `environ` take the lock of its address space, which a
//! process blocked in a driver may hold for good.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::read;

use crate::ReadError;
use crate::blocked::{Blocked, Waits};
use crate::stat::Stat;

/// Bytes of a `stat` file that are read: 52 numbers of up to 20 digits and a name
/// of up to 64 characters (kernel workers) fit.
const STAT_BYTES: usize = 1280;

/// Bytes of names that one `getdents64` call brings.
const NAMES_BYTES: usize = 16 << 10;

/// Most processes looked at in one pass: the largest `pid_max` of Linux is 4 Mi,
/// but a machine with this many processes has other worries.
const PROCESSES_MAX: u32 = 100_000;

/// Most threads looked at of a process whose first thread has ended.
const THREADS_MAX: u32 = 1024;

/// Longest cgroup path that is looked at; the kernel's limit is one page.
const CGROUP_BYTES: usize = 4096;

/// Programs that are looked for by the name the kernel keeps, which ends after
/// 15 bytes (`TASK_COMM_LEN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `nvidia-persistenced` keeps GPUs initialised while nobody uses them.
    Persistenced,
    /// `nv-fabricmanager` sets up NVSwitches.
    FabricManager,
    /// `systemd-timesyncd`.
    Timesyncd,
    /// `chronyd`.
    Chronyd,
    /// `ntpd`, of NTP, NTPsec or OpenNTPD.
    Ntpd,
    /// `ptp4l` of linuxptp.
    Ptp4l,
    /// `phc2sys` of linuxptp.
    Phc2sys,
}

/// Every [`Program`] with its name, in the order of the enum.
const PROGRAMS: [(Program, &[u8]); 7] = [
    (Program::Persistenced, b"nvidia-persiste"),
    (Program::FabricManager, b"nv-fabricmanage"),
    (Program::Timesyncd, b"systemd-timesyn"),
    (Program::Chronyd, b"chronyd"),
    (Program::Ntpd, b"ntpd"),
    (Program::Ptp4l, b"ptp4l"),
    (Program::Phc2sys, b"phc2sys"),
];

/// Whether a program runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServiceState {
    /// It does.
    Running {
        /// The systemd unit it runs in; none where it runs outside one, such as in
        /// a container.
        unit: Option<String>,
    },
    /// It does not.
    Absent,
    /// Processes of others are hidden (`hidepid`), or procfs cannot be read.
    #[default]
    Unknown,
}

/// What the newest pass found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Services {
    states: [ServiceState; PROGRAMS.len()],
}

impl Services {
    /// Whether `program` runs.
    pub fn state(&self, program: Program) -> &ServiceState {
        &self.states[program as usize]
    }

    /// Whether `program` runs, for certain.
    pub fn runs(&self, program: Program) -> bool {
        matches!(self.state(program), ServiceState::Running { .. })
    }
}

/// Goes over the processes and remembers between two passes which of them were
/// blocked. It allocates nothing in a pass that finds nothing new.
#[derive(Debug)]
pub struct ProcessWatch {
    proc_root: PathBuf,
    names: Vec<u8>,
    threads: Vec<u8>,
    services: Services,
    waits: Waits,
    processes: u32,
}

impl ProcessWatch {
    /// Reads below `proc_root`, which is `/proc` on a real machine.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            names: Vec::with_capacity(NAMES_BYTES),
            threads: Vec::new(),
            services: Services::default(),
            waits: Waits::new(proc_root),
            processes: 0,
        }
    }

    /// Goes over all processes once; `now` is any time that goes on while the
    /// machine runs, such as its uptime.
    ///
    /// # Errors
    /// [`ReadError::Io`] where processes cannot be listed; what was known is then
    /// forgotten.
    pub fn pass(&mut self, now: Duration) -> Result<(), ReadError> {
        self.services = Services::default();
        self.processes = 0;
        self.waits.begin(now);
        let done = self.walk();
        self.waits.end();
        done.map_err(|source| ReadError::Io { path: self.proc_root.clone(), source })
    }

    fn walk(&mut self) -> std::io::Result<()> {
        let root = File::open(&self.proc_root)?;
        let mut found: [Option<Option<String>>; PROGRAMS.len()] = Default::default();
        let mut buffer = [0; STAT_BYTES];
        let mut init_seen = false;
        self.names.clear();
        let mut entries = RawDir::new(&root, self.names.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Some(pid) = number(entry.file_name().to_bytes()) else { continue };
            self.processes += 1;
            if self.processes > PROCESSES_MAX {
                break;
            }
            let Some(stat) = open_stat(&root, &Name::stat(pid), &mut buffer) else { continue };
            init_seen |= pid == 1;
            for ((_, name), slot) in PROGRAMS.iter().zip(&mut found) {
                // A defunct one does nothing any more.
                if stat.name == *name && slot.is_none() && stat.state != b'Z' {
                    *slot = service_unit(&root, pid);
                }
            }
            match stat.state {
                b'D' => self.waits.saw(pid, pid, &stat),
                // Killed, but a thread of it has not ended.
                b'Z' if stat.threads().is_some_and(|threads| threads > 1) => {
                    threads(&root, pid, &mut self.threads, &mut self.waits);
                }
                _ => {}
            }
        }
        if init_seen {
            for (state, found) in self.services.states.iter_mut().zip(found) {
                *state = found.map_or(ServiceState::Absent, |unit| ServiceState::Running { unit });
            }
        }
        Ok(())
    }

    /// Which programs ran in the newest pass.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Processes that the newest pass found.
    pub fn processes(&self) -> u32 {
        self.processes
    }

    /// Processes that had been blocked for longer than `longest` at the newest
    /// pass and were blocked in every pass since.
    pub fn blocked(&mut self, longest: Duration) -> Blocked {
        self.waits.longer_than(longest)
    }
}

/// A path below procfs without an allocation: `123/stat` or `123/task/456/stat`.
struct Name {
    bytes: [u8; 40],
    length: usize,
}

impl Name {
    fn new(parts: &[&[u8]]) -> Self {
        let mut name = Self { bytes: [0; 40], length: 0 };
        for part in parts {
            name.bytes[name.length..][..part.len()].copy_from_slice(part);
            name.length += part.len();
        }
        name
    }

    fn stat(pid: u32) -> Self {
        Self::new(&[Digits::of(pid).as_bytes(), b"/stat"])
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A number in decimal without an allocation.
struct Digits {
    bytes: [u8; 10],
    begin: usize,
}

impl Digits {
    fn of(mut number: u32) -> Self {
        let mut digits = Self { bytes: [b'0'; 10], begin: 10 };
        while digits.begin == 10 || number > 0 {
            digits.begin -= 1;
            digits.bytes[digits.begin] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        digits
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }
}

fn number(name: &[u8]) -> Option<u32> {
    std::str::from_utf8(name).ok().filter(|name| !name.starts_with('+'))?.parse().ok()
}

/// What one read of a file brings. Nothing here waits: procfs has no file that
/// would, and what stands in for it may be a pipe.
fn read_once<'a>(root: &File, name: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(root, name, flags, Mode::empty()).ok()?;
    let length = read(&file, &mut *buffer).ok()?;
    Some(&buffer[..length])
}

fn open_stat<'a>(root: &File, name: &Name, buffer: &'a mut [u8]) -> Option<Stat<'a>> {
    Stat::parse(read_once(root, name.as_bytes(), buffer)?)
}

/// Hands the blocked threads of a process to `waits`.
fn threads(root: &File, pid: u32, names: &mut Vec<u8>, waits: &mut Waits) {
    let digits = Digits::of(pid);
    let name = Name::new(&[digits.as_bytes(), b"/task"]);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let Ok(folder) = openat(root, name.as_bytes(), flags, Mode::empty()) else { return };
    let mut buffer = [0; STAT_BYTES];
    names.clear();
    names.reserve(NAMES_BYTES);
    let mut entries = RawDir::new(&folder, names.spare_capacity_mut());
    let mut seen = 0;
    while let Some(Ok(entry)) = entries.next() {
        let Some(thread) = number(entry.file_name().to_bytes()) else { continue };
        seen += 1;
        if seen > THREADS_MAX {
            break;
        }
        let thread_digits = Digits::of(thread);
        let name = Name::new(&[digits.as_bytes(), b"/task/", thread_digits.as_bytes(), b"/stat"]);
        if let Some(stat) = open_stat(root, &name, &mut buffer).filter(|stat| stat.state == b'D') {
            waits.saw(pid, thread, &stat);
        }
    }
}

/// The unit of a process by its cgroup: `None` where a user started it, as a name
/// alone proves nothing; `Some(None)` where it is in no unit.
fn service_unit(root: &File, pid: u32) -> Option<Option<String>> {
    let mut buffer = [0; CGROUP_BYTES];
    let name = Name::new(&[Digits::of(pid).as_bytes(), b"/cgroup"]);
    let Some(text) = read_once(root, name.as_bytes(), &mut buffer) else { return Some(None) };
    let text = String::from_utf8_lossy(text);
    let mut unit = None;
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        for part in path.split('/') {
            if part == "user.slice" {
                return None;
            }
            if part.ends_with(".service") {
                unit = Some(part.to_owned());
            }
        }
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn write(path: &Path, content: impl AsRef<[u8]>) {
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, content).expect("file");
    }

    fn process(root: &Path, pid: u32, name: &str, cgroup: &str) {
        write(
            &root.join(format!("{pid}/stat")),
            format!("{pid} ({name}) S 1 7 7 0 -1 4 5 0 0 0 25 5 0 0 20 0 1 0 99 2 3"),
        );
        write(&root.join(format!("{pid}/cgroup")), cgroup);
    }

    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("folder");
        process(root.path(), 1, "systemd", "0::/init.scope\n");
        root
    }

    fn states(root: &Path) -> Services {
        let mut watch = ProcessWatch::new(root);
        watch.pass(Duration::ZERO).expect("pass");
        watch.services().clone()
    }

    #[test]
    fn a_service_is_known_by_its_cut_name_and_told_with_its_unit() {
        let root = machine();
        process(root.path(), 900, "nvidia-persiste", "0::/system.slice/nvidia-persistenced.service\n");
        // cgroup v1 has one line for each hierarchy.
        let v1 = "12:pids:/system.slice/chrony.service\n1:name=systemd:/system.slice/chrony.service\n0::/\n";
        process(root.path(), 901, "chronyd", v1);
        process(root.path(), 902, "nv-fabricmanage", "0::/kubepods.slice/pod1/cri-0123.scope\n");
        let services = states(root.path());
        let unit = Some("nvidia-persistenced.service".to_owned());
        assert_eq!(*services.state(Program::Persistenced), ServiceState::Running { unit });
        let unit = Some("chrony.service".to_owned());
        assert_eq!(*services.state(Program::Chronyd), ServiceState::Running { unit });
        assert_eq!(*services.state(Program::FabricManager), ServiceState::Running { unit: None });
        assert_eq!(*services.state(Program::Ptp4l), ServiceState::Absent);
    }

    #[test]
    fn neither_a_users_process_nor_a_defunct_one_is_a_service() {
        let root = machine();
        process(root.path(), 900, "nvidia-persiste", "0::/user.slice/user-1000.slice/session-4.scope\n");
        write(&root.path().join("901/stat"), "901 (ntpd) Z 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 9 0 0");
        let services = states(root.path());
        assert_eq!(*services.state(Program::Persistenced), ServiceState::Absent);
        assert_eq!(*services.state(Program::Ntpd), ServiceState::Absent);
        process(root.path(), 902, "nvidia-persiste", "0::/system.slice/nvidia-persistenced.service\n");
        assert!(states(root.path()).runs(Program::Persistenced), "the real one is found beside it");
    }

    #[test]
    fn where_others_are_hidden_nothing_is_said_to_be_absent() {
        let root = tempfile::tempdir().expect("folder");
        process(root.path(), 900, "rackmark", "0::/system.slice/rackmark.service\n");
        assert_eq!(*states(root.path()).state(Program::Persistenced), ServiceState::Unknown);
        let mut watch = ProcessWatch::new(&root.path().join("nowhere"));
        assert!(watch.pass(Duration::ZERO).is_err());
        assert_eq!(*watch.services().state(Program::Chronyd), ServiceState::Unknown);
    }

    #[test]
    fn hostile_content_is_passed_over() {
        let root = machine();
        write(&root.path().join("20/stat"), vec![0xFF; 3 << 20]);
        write(&root.path().join("21/stat"), b"21 (\xff\xfe) D");
        write(&root.path().join("22/stat"), b"");
        fs::create_dir_all(root.path().join("23/stat")).expect("folder");
        fs::create_dir_all(root.path().join("24")).expect("folder");
        write(&root.path().join("25"), "a file");
        write(&root.path().join("99999999999999/stat"), "1 (chronyd) S");
        write(&root.path().join("+7/stat"), "7 (chronyd) S");
        write(&root.path().join("26/stat"), "26 (chronyd) S 1");
        write(&root.path().join("26/cgroup"), vec![b':'; 1 << 20]);
        let fifo = root.path().join("27/stat");
        fs::create_dir_all(root.path().join("27")).expect("folder");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            fifo.as_os_str().as_bytes(),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .expect("pipe");
        let mut watch = ProcessWatch::new(root.path());
        watch.pass(Duration::ZERO).expect("pass");
        assert_eq!(*watch.services().state(Program::Chronyd), ServiceState::Running { unit: None });
        watch.pass(Duration::from_secs(500)).expect("pass");
        assert_eq!(watch.blocked(Duration::from_secs(1)).stuck, 0, "no start time, so no process to watch");
    }

    #[test]
    fn a_killed_process_whose_thread_is_blocked_is_found() {
        let root = machine();
        write(&root.path().join("50/stat"), "50 (train) Z 1 1 1 0 -1 4 0 0 0 0 9 9 0 0 20 0 2 0 70 0 0");
        write(
            &root.path().join("50/task/50/stat"),
            "50 (train) Z 1 1 1 0 -1 4 0 0 0 0 9 9 0 0 20 0 2 0 70 0",
        );
        write(
            &root.path().join("50/task/53/stat"),
            "53 (loader) D 1 1 1 0 -1 4 0 0 0 0 4 4 0 0 20 0 2 0 71 0",
        );
        let mut watch = ProcessWatch::new(root.path());
        watch.pass(Duration::from_secs(10)).expect("pass");
        watch.pass(Duration::from_secs(140)).expect("pass");
        let blocked = watch.blocked(Duration::from_secs(120));
        assert_eq!((blocked.waiting, blocked.stuck), (1, 1));
        assert_eq!((blocked.shown[0].pid, blocked.shown[0].name.as_str()), (50, "loader"));
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_standard_library(number: u32) {
            let digits = Digits::of(number);
            let expected = number.to_string();
            prop_assert_eq!(digits.as_bytes(), expected.as_bytes());
            let name = Name::new(&[digits.as_bytes(), b"/task/", digits.as_bytes(), b"/stat"]);
            let expected = format!("{number}/task/{number}/stat");
            prop_assert_eq!(name.as_bytes(), expected.as_bytes());
        }
    }
}
