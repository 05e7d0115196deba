//! Whether something keeps the wall clock right.
//!
//! The kernel's own answer (`adjtimex`) takes a call that has no safe form, so
//! the sources are asked for instead.

use std::path::Path;

use crate::services::{Program, ServiceState, Services};

/// What keeps the clock right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSource {
    /// `systemd-timesyncd`, which says itself that it has reached a server.
    Timesyncd,
    /// `chronyd`.
    Chrony,
    /// `ntpd`.
    Ntpd,
    /// `ptp4l` or `phc2sys`.
    Ptp,
}

/// Whether the wall clock is kept right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockState {
    /// By this source. Only `Timesyncd` vouches that it has been set; of the
    /// others it is known that they run.
    Synchronised(ClockSource),
    /// Nothing is there that would.
    NotSynchronised,
    /// Other processes are hidden, and no file tells.
    #[default]
    Unknown,
}

/// Judges by files below `run_root` (`/run`) and by the newest pass over processes.
pub fn clock(run_root: &Path, services: &Services) -> ClockState {
    use ClockState::{NotSynchronised, Synchronised, Unknown};
    let sources = [
        (Program::Chronyd, ClockSource::Chrony),
        (Program::Ntpd, ClockSource::Ntpd),
        (Program::Phc2sys, ClockSource::Ptp),
        (Program::Ptp4l, ClockSource::Ptp),
    ];
    if let Some((_, source)) = sources.iter().find(|(program, _)| services.runs(*program)) {
        return Synchronised(*source);
    }
    // The file stays when the service is stopped.
    let reached = run_root.join("systemd/timesync/synchronized").exists();
    match services.state(Program::Timesyncd) {
        ServiceState::Running { .. } if reached => Synchronised(ClockSource::Timesyncd),
        ServiceState::Running { .. } | ServiceState::Absent => NotSynchronised,
        ServiceState::Unknown if reached => Synchronised(ClockSource::Timesyncd),
        ServiceState::Unknown => {
            // Where Debian and Red Hat have their daemons write them.
            let files = [
                ("chrony/chronyd.pid", ClockSource::Chrony),
                ("chronyd.pid", ClockSource::Chrony),
                ("ntpd.pid", ClockSource::Ntpd),
            ];
            let found = files.iter().find(|(file, _)| run_root.join(file).exists());
            found.map_or(Unknown, |(_, source)| Synchronised(*source))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::services::ProcessWatch;

    /// The state of a machine with these programs and these files below `/run`.
    fn state(programs: &[&str], files: &[&str]) -> ClockState {
        let root = tempfile::tempdir().expect("folder");
        for (at, name) in programs.iter().enumerate() {
            let folder = root.path().join(format!("proc/{}", at + 1));
            fs::create_dir_all(&folder).expect("folder");
            fs::write(folder.join("stat"), format!("{} ({name}) S 1 1", at + 1)).expect("stat");
        }
        for file in files {
            let path = root.path().join("run").join(file);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, "").expect("file");
        }
        let mut watch = ProcessWatch::new(&root.path().join("proc"));
        let _ = watch.pass(Duration::ZERO);
        clock(&root.path().join("run"), watch.services())
    }

    #[test]
    fn a_daemon_counts_while_it_runs_and_timesyncd_once_it_has_reached_a_server() {
        use ClockState::{NotSynchronised, Synchronised, Unknown};
        let file = "systemd/timesync/synchronized";
        for (programs, files, expected) in [
            (&["systemd"][..], &[][..], NotSynchronised),
            (&["systemd", "chronyd"], &[], Synchronised(ClockSource::Chrony)),
            (&["systemd", "ntpd"], &[], Synchronised(ClockSource::Ntpd)),
            (&["systemd", "ptp4l", "phc2sys"], &[], Synchronised(ClockSource::Ptp)),
            (&["systemd", "systemd-timesyn"], &[], NotSynchronised),
            (&["systemd", "systemd-timesyn"], &[file], Synchronised(ClockSource::Timesyncd)),
            // Left behind by a service that was stopped.
            (&["systemd"], &[file, "ntpd.pid"], NotSynchronised),
            // Other processes are hidden.
            (&[], &[], Unknown),
            (&[], &[file], Synchronised(ClockSource::Timesyncd)),
            (&[], &["chrony/chronyd.pid"], Synchronised(ClockSource::Chrony)),
            (&[], &["ntpd.pid"], Synchronised(ClockSource::Ntpd)),
        ] {
            assert_eq!(state(programs, files), expected, "{programs:?} {files:?}");
        }
    }
}
