//! The frames between the daemon and the process that runs hooks of the site. One order, then a report for each hook
//! as it ends, then [`HookReport::Done`].

use serde::{Deserialize, Serialize};

/// Something that a site may run hooks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HookEvent {
    /// The server is another one than at the look before, or other findings stand.
    InventoryChanged,
    /// The verdict on a GPU or on the node is another one.
    VerdictChanged,
    /// A burn-in is about to begin.
    BeforeBurnIn,
    /// A burn-in ended.
    AfterBurnIn,
    /// Somebody drained GPUs.
    Quarantine,
    /// Somebody ended a drain.
    Unquarantine,
    /// A lease or a reservation began.
    LeaseStart,
    /// A lease ended.
    LeaseEnd,
    /// Planned work began or ended.
    Maintenance,
}

impl HookEvent {
    /// Every event.
    pub const ALL: [Self; 9] = [
        Self::InventoryChanged,
        Self::VerdictChanged,
        Self::BeforeBurnIn,
        Self::AfterBurnIn,
        Self::Quarantine,
        Self::Unquarantine,
        Self::LeaseStart,
        Self::LeaseEnd,
        Self::Maintenance,
    ];

    /// Its name: the folder of its hooks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InventoryChanged => "inventory-changed",
            Self::VerdictChanged => "verdict-changed",
            Self::BeforeBurnIn => "before-burn-in",
            Self::AfterBurnIn => "after-burn-in",
            Self::Quarantine => "quarantine",
            Self::Unquarantine => "unquarantine",
            Self::LeaseStart => "lease-start",
            Self::LeaseEnd => "lease-end",
            Self::Maintenance => "maintenance",
        }
    }

    /// The event of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }

    /// A hook that does not end well says no: burn-in does not begin, the GPUs of a lease are drained.
    pub const fn may_veto(self) -> bool {
        matches!(self, Self::BeforeBurnIn | Self::LeaseStart | Self::LeaseEnd)
    }
}

/// Largest document on a hook's standard input, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;

/// Most hooks of one event; the ones after them are left out.
pub const HOOKS_MAX: usize = 32;

/// Longest name of a hook, in bytes.
pub const HOOK_NAME_BYTES_MAX: usize = 64;

/// How long a hook may take at least and at most, in milliseconds.
pub const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 100..=3_600_000;

/// From SIGTERM to SIGKILL, in milliseconds.
pub const GRACE_MS: u32 = 2000;

/// Daemon to the hooks' process. Exactly one, first on the stream; the end of the stream ends the run. Where the hooks
/// are stands on the command line of that process, never in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookOrder {
    /// For which event.
    pub event: HookEvent,
    /// What is to be done.
    pub task: HookTask,
}

/// What is to be done with the hooks of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookTask {
    /// Say what would run, and what is refused.
    List,
    /// Run them.
    Run {
        /// What each of them reads: JSON on one line, at most [`DOCUMENT_BYTES_MAX`].
        document: Vec<u8>,
        /// How long each of them may take, within [`TIMEOUT_MS`].
        timeout_ms: u32,
        /// Only these; all where absent.
        only: Option<Vec<String>>,
    },
}

/// The hooks' process to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookReport {
    /// A hook that would run ([`HookTask::List`] only).
    Would {
        /// Its file name.
        name: String,
    },
    /// A file that is not run.
    Skipped {
        /// Its file name, as far as it can be shown.
        name: String,
        /// Why.
        reason: Skip,
    },
    /// A hook ran, or could not be started.
    Ran(Box<HookRun>),
    /// Nothing of the event is run.
    Refused {
        /// Which folder is not as it has to be.
        folder: String,
        /// Why.
        reason: Skip,
    },
    /// Nothing follows.
    Done,
}

/// Why a file or a folder is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Skip {
    /// Its name has other characters than `A-Z a-z 0-9 - _`, as editors' copies and packages' leftovers do.
    Name,
    /// It is neither a regular file nor, where that is needed, a folder: a symbolic link, for example.
    Kind,
    /// It belongs to neither root nor the user that the hooks run as.
    Owner,
    /// Its group or everybody may write to it.
    Writable,
    /// It may not be executed.
    NotExecutable,
    /// There are more hooks than [`HOOKS_MAX`].
    TooMany,
    /// It cannot be looked at.
    Unreadable,
}

impl Skip {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Owner => "owner",
            Self::Writable => "writable",
            Self::NotExecutable => "not_executable",
            Self::TooMany => "too_many",
            Self::Unreadable => "unreadable",
        }
    }

    /// The same for people, after the name of a file or folder.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Name => "has a name with other characters than A-Z a-z 0-9 - _",
            Self::Kind => "is a symbolic link or otherwise not what belongs there",
            Self::Owner => "belongs to neither root nor the user of the hooks",
            Self::Writable => "may be written by its group or by everybody",
            Self::NotExecutable => "may not be executed",
            Self::TooMany => "comes after the most hooks that an event may have",
            Self::Unreadable => "cannot be looked at",
        }
    }
}

/// How one hook went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    /// Its file name.
    pub name: String,
    /// How it ended.
    pub end: HookEnd,
    /// From start to end, in milliseconds.
    pub took_ms: u32,
    /// What it said.
    pub output: HookOutput,
    /// What it wrote to standard error, as text, for the log.
    pub stderr: String,
    /// It wrote more to standard output than is read.
    pub stdout_cut: bool,
    /// It wrote more to standard error than is kept.
    pub stderr_cut: bool,
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookEnd {
    /// By itself, with this exit code.
    Exited(u8),
    /// By this signal, which was not ours.
    Killed(u8),
    /// By this signal of ours, after its time was over.
    TimedOut(u8),
    /// It could not be started, for this reason.
    NotStarted(String),
}

/// What a hook said on standard output, taken apart. All of it is bounded and free of control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookOutput {
    /// For people; may be empty.
    pub message: String,
    /// Facts by name.
    pub facts: Vec<(String, String)>,
    /// What is wrong with the output.
    pub fault: Option<OutputFault>,
}

/// What is wrong with an output. It does not make the hook a failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutputFault {
    /// It is not JSON.
    NotJson,
    /// It is JSON, but not an object.
    NotAnObject,
    /// `message` is not a text.
    Message,
    /// `facts` is not an object of texts, numbers and truth values, or has more than is kept.
    Facts,
    /// It is longer than is read.
    TooLong,
}

impl OutputFault {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::Message => "message",
            Self::Facts => "facts",
            Self::TooLong => "too_long",
        }
    }
}

/// What the end of a hook means to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookResult {
    /// 0: it did what it is for.
    Done,
    /// Any code that is not in this table: it did not, and trying again is of no use.
    Failed,
    /// 75 (`EX_TEMPFAIL`): not now.
    Later,
    /// 77 (`EX_NOPERM`): it lacks rights.
    NotPermitted,
    /// 78 (`EX_CONFIG`): the site has not configured it, or wrongly.
    NotConfigured,
    /// It took too long.
    TimedOut,
    /// A signal ended it.
    Killed,
    /// It could not be started.
    NotStarted,
}

impl HookResult {
    /// Every result.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::Later,
        Self::NotPermitted,
        Self::NotConfigured,
        Self::TimedOut,
        Self::Killed,
        Self::NotStarted,
    ];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Later => "later",
            Self::NotPermitted => "not_permitted",
            Self::NotConfigured => "not_configured",
            Self::TimedOut => "timed_out",
            Self::Killed => "killed",
            Self::NotStarted => "not_started",
        }
    }
}

/// What shells give for a file that cannot be executed; stands on the feed for [`HookEnd::NotStarted`].
const CANNOT_EXECUTE: i32 = 126;

impl HookEnd {
    /// The one table of exit codes (`sysexits.h` where it has a word for it).
    pub const fn result(&self) -> HookResult {
        match self {
            Self::Exited(0) => HookResult::Done,
            Self::Exited(75) => HookResult::Later,
            Self::Exited(77) => HookResult::NotPermitted,
            Self::Exited(78) => HookResult::NotConfigured,
            Self::Exited(_) => HookResult::Failed,
            Self::Killed(_) => HookResult::Killed,
            Self::TimedOut(_) => HookResult::TimedOut,
            Self::NotStarted(_) => HookResult::NotStarted,
        }
    }

    /// As one number: the exit code, or the signal that ended it, negative.
    pub fn code(&self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(*code),
            Self::Killed(signal) | Self::TimedOut(signal) => -i32::from(*signal),
            Self::NotStarted(_) => CANNOT_EXECUTE,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipc::{self, FRAME_BYTES_MAX, LENGTH_BYTES};

    #[test]
    fn the_largest_order_and_reports_survive_the_frame() {
        let mut frame = Vec::new();
        let only = Some(vec!["x".repeat(HOOK_NAME_BYTES_MAX); HOOKS_MAX]);
        let task = HookTask::Run { document: vec![b' '; DOCUMENT_BYTES_MAX], timeout_ms: 30_000, only };
        let orders = [
            HookOrder { event: HookEvent::LeaseStart, task },
            HookOrder { event: HookEvent::Maintenance, task: HookTask::List },
        ];
        for order in orders {
            ipc::encode(&order, &mut frame).expect("frame");
            assert!(frame.len() < FRAME_BYTES_MAX / 2);
            assert_eq!(ipc::decode::<HookOrder>(&frame[LENGTH_BYTES..]), Ok(order));
        }
        let run = HookRun {
            name: "50-slurm".to_owned(),
            end: HookEnd::TimedOut(15),
            took_ms: 30_000,
            output: HookOutput {
                message: "drained".to_owned(),
                facts: vec![("nodes".to_owned(), "1".to_owned())],
                fault: Some(OutputFault::Facts),
            },
            stderr: "scontrol: slow".to_owned(),
            stdout_cut: false,
            stderr_cut: true,
        };
        let reports = [
            HookReport::Would { name: "10-light".to_owned() },
            HookReport::Skipped { name: "20-page.sh".to_owned(), reason: Skip::Name },
            HookReport::Ran(Box::new(run)),
            HookReport::Refused { folder: "/etc/rackmark/hooks.d".to_owned(), reason: Skip::Writable },
            HookReport::Done,
        ];
        for report in reports {
            ipc::encode(&report, &mut frame).expect("frame");
            assert_eq!(ipc::decode::<HookReport>(&frame[LENGTH_BYTES..]), Ok(report));
        }
    }

    #[test]
    fn names_are_found_again_and_differ() {
        for event in HookEvent::ALL {
            assert_eq!(HookEvent::by_name(event.name()), Some(event));
        }
        assert_eq!(HookEvent::by_name("lease"), None);
        assert_eq!(HookEvent::ALL.iter().filter(|event| event.may_veto()).count(), 3);
    }

    #[test]
    fn the_table_of_exit_codes() {
        let table = [
            (HookEnd::Exited(0), "done", 0),
            (HookEnd::Exited(1), "failed", 1),
            (HookEnd::Exited(64), "failed", 64),
            (HookEnd::Exited(75), "later", 75),
            (HookEnd::Exited(76), "failed", 76),
            (HookEnd::Exited(77), "not_permitted", 77),
            (HookEnd::Exited(78), "not_configured", 78),
            (HookEnd::Exited(255), "failed", 255),
            (HookEnd::Killed(11), "killed", -11),
            (HookEnd::TimedOut(9), "timed_out", -9),
            (HookEnd::NotStarted("no interpreter".to_owned()), "not_started", 126),
        ];
        for (end, result, code) in table {
            assert_eq!((end.result().name(), end.code()), (result, code), "{end:?}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = ipc::decode::<HookOrder>(&bytes);
            let _ = ipc::decode::<HookReport>(&bytes);
        }
    }
}
