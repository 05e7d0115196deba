//! From the roster to the verdict: what the pure judge is shown, and where its
//! answers go.

mod announcer;
mod history;
mod host;
mod keep;
mod kernel;
mod leases;

use rackmark_health::{
    Code, GpuView, Gpus, Host, Input, Instance, NodeView, Now, Recovery, Witness, XidReport,
};
use rackmark_health::{Standing as Stands, Transition, carry_out, step, take_lease_file};
use rackmark_model::{GpuEvent, GpuEventKind, NoData};

pub use announcer::Announcer;
pub use history::{History, read as read_history};
pub use host::watch as watch_host;
pub use keep::Keeper;
pub use kernel::listen;
pub use leases::watch as watch_leases;

use crate::config::{Config, LeaseSource};
use crate::sampling::roster::{Change, Gpu, Roster, Standing};
use crate::utc::Utc;

/// `nvmlEventTypeGpuRecoveryAction` (NVML 13): the driver's recovery action changed, the data is the new one.
const RECOVERY_ACTION_EVENT: u64 = 0x8000;

/// `nvmlDeviceGpuRecoveryAction_t` by number.
const RECOVERY_ACTIONS: [Recovery; 5] =
    [Recovery::None, Recovery::Reset, Recovery::Reboot, Recovery::DrainP2p, Recovery::DrainAndReset];

/// What is known of the node around its GPUs.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Time between samples, in milliseconds.
    pub period_ms: u64,
    /// Sampling is paused as a whole.
    pub paused: bool,
    /// GPUs this node is declared to have.
    pub expected_gpus: Option<u32>,
    /// Something tells the agent of leases.
    pub lease_source: bool,
    /// Grace after a boot, in milliseconds.
    pub boot_grace_ms: u64,
    /// Conditions that the operator does not want raised.
    pub ignored: Vec<Code>,
    /// The host, once it was looked at.
    pub host: Option<Host>,
    /// Why the kernel log cannot be read; `None` before it was tried, empty while it can be.
    pub kernel_log_trouble: Option<String>,
    /// Records of the kernel log that were read, lost and unreadable since the daemon started.
    pub kernel_log: KernelLogCounts,
    /// Trouble of the spool; empty while there is none.
    pub spool_trouble: String,
    /// Lines of the lease file that could not be used.
    pub lease_file_refused: usize,
}

impl Surroundings {
    /// Takes over what the configuration says.
    pub fn set(&mut self, config: &Config) {
        self.period_ms = config.period.as_millis() as u64;
        self.expected_gpus = config.expected_gpus;
        self.lease_source = config.leases != LeaseSource::None;
        self.boot_grace_ms = config.boot_grace.as_millis() as u64;
        self.ignored.clone_from(&config.ignored);
    }
}

/// Records of the kernel log since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelLogCounts {
    /// Read.
    pub records: u64,
    /// Overwritten before they were read.
    pub lost: u64,
    /// Not of the format.
    pub unreadable: u64,
}

/// The GPUs of a roster, as the judge sees them.
struct Seen<'a>(&'a [Gpu]);

impl Gpus for Seen<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn gpu(&self, at: usize) -> GpuView<'_> {
        let gpu = &self.0[at];
        GpuView {
            slot: gpu.identity.slot,
            serial: gpu.identity.serial.as_deref(),
            uuid: gpu.identity.uuid.as_deref(),
            standing: match &gpu.standing {
                Standing::Answering => Stands::Answering,
                Standing::Slow => Stands::Slow,
                Standing::Unresponsive { function } => Stands::Unresponsive(function),
                Standing::Absent(why) => Stands::Absent(*why),
            },
            fast: &gpu.fast,
            slow: gpu.slow.as_ref().map(|slow| (&slow.slow, slow.taken_unix_ms)),
            nvlinks: gpu.slow.as_ref().map_or(&[], |slow| &slow.nvlinks),
            inventory: gpu.inventory.as_ref(),
        }
    }
}

impl Roster {
    /// Judges what is known now; what changed is added to `changes`.
    pub fn judge(&mut self, now: Now, changes: &mut Vec<Change>) {
        let around = &self.around;
        let all_paused =
            !self.gpus.is_empty() && self.gpus.iter().all(|gpu| gpu.absence() == Some(NoData::Paused));
        let node = NodeView {
            driver_up: match (&self.driver, &self.driver_cause) {
                (Some(_), _) => Some(true),
                (None, Some(_)) => Some(false),
                (None, None) => None,
            },
            driver_cause: self.driver_cause.as_deref().unwrap_or(""),
            sampled_boot_ms: self.taken.map(|taken| taken.boot_ms),
            period_ms: around.period_ms,
            samples: self.sampler.samples_total,
            paused: around.paused || all_paused,
            expected_gpus: around.expected_gpus,
            lease_source: around.lease_source,
            host: around.host.as_ref(),
            kernel_log_trouble: around.kernel_log_trouble.as_deref(),
            spool_trouble: &around.spool_trouble,
            boot_grace_ms: around.boot_grace_ms,
            ignored: &around.ignored,
        };
        let mut transitions = Vec::new();
        let input = Input::Look { node: &node, gpus: &Seen(&self.gpus) };
        step(&mut self.health, input, now, &mut transitions);
        for (gpu, judged) in self.gpus.iter_mut().zip(&self.health.gpus) {
            gpu.state = judged.state.0.state;
            gpu.verdict = judged.verdict.verdict;
        }
        changes.extend(transitions.into_iter().map(Change::Health));
    }

    /// Hands one input to the judge; a look should follow.
    pub fn tell(&mut self, input: Input<'_>, now: Now, changes: &mut Vec<Change>) {
        let mut transitions = Vec::new();
        step(&mut self.health, input, now, &mut transitions);
        changes.extend(transitions.into_iter().map(Change::Health));
    }

    /// Takes an event of the driver's library.
    pub fn driver_event(&mut self, event: &GpuEvent, now: Now, changes: &mut Vec<Change>) {
        let slot = self.position(event.address).map(|at| self.gpus[at].identity.slot);
        match (event.kind, slot) {
            (GpuEventKind::Xid { code }, slot) => {
                let report = XidReport {
                    slot,
                    address: Some(event.address),
                    address_text: event.address.to_string(),
                    code,
                    witness: Witness::Driver,
                    instance: event.gpu_instance_id.map(|gpu_instance| Instance {
                        gpu_instance,
                        compute_instance: event.compute_instance_id,
                    }),
                    pid: None,
                    process: None,
                    text: String::new(),
                    caused_by: None,
                    seen_unix_ms: event.seen_unix_ms,
                };
                self.tell(Input::Xid(&report), now, changes);
            }
            (GpuEventKind::Other { event_type: RECOVERY_ACTION_EVENT, data }, Some(slot)) => {
                let action = usize::try_from(data).ok().and_then(|at| RECOVERY_ACTIONS.get(at));
                if let Some(action) = action {
                    self.tell(Input::Recovery { slot, action: *action }, now, changes);
                }
            }
            (GpuEventKind::Other { .. }, _) => {}
        }
    }

    /// Carries out what a person or a lease source asks for, and judges again.
    ///
    /// # Errors
    /// Where it is not possible.
    pub fn carry_out(
        &mut self,
        verb: &rackmark_health::Verb<'_>,
        by: &str,
        now: Now,
        changes: &mut Vec<Change>,
    ) -> Result<(), rackmark_health::Refusal> {
        let mut transitions = Vec::new();
        let done = carry_out(&mut self.health, verb, by, now, &mut transitions);
        changes.extend(transitions.into_iter().map(Change::Health));
        if done.is_ok() {
            self.judge(now, changes);
        }
        done
    }

    /// Makes the leases of the file be those of `leases`, and judges again.
    pub fn take_leases(
        &mut self,
        leases: &[rackmark_health::FileLease],
        unusable: usize,
        now: Now,
        changes: &mut Vec<Change>,
    ) {
        let mut transitions = Vec::new();
        let refused = take_lease_file(&mut self.health, leases, now, &mut transitions);
        self.around.lease_file_refused = refused + unusable;
        changes.extend(transitions.into_iter().map(Change::Health));
        self.judge(now, changes);
    }

    /// Why the verdict on a GPU is as it is, in one line; empty where there is nothing to say.
    pub fn reason(&self, slot: u8) -> &str {
        self.health.gpus.get(usize::from(slot)).map_or("", |gpu| &gpu.verdict.reason)
    }

    /// Maintenance that holds a GPU: its own, or that of the node.
    pub fn maintenance(&self, slot: u8) -> Option<&rackmark_health::Maintenance> {
        let own = self.health.gpus.get(usize::from(slot)).and_then(|gpu| gpu.occupancy.maintenance.as_ref());
        own.or(self.health.maintenance.as_ref())
    }
}

/// Something to be named in the history and the log: `GPU 3`, or the node.
pub fn whom(slot: Option<u8>, roster: &Roster) -> String {
    match slot {
        None => "the node".to_owned(),
        Some(slot) => roster.gpu(slot).map_or_else(|| format!("GPU {slot}"), |gpu| gpu.identity.describe()),
    }
}

/// One sentence that tells of a transition, without naming the GPU.
pub fn words(transition: &Transition) -> String {
    match transition {
        Transition::Raised { condition, .. } if condition.action == rackmark_health::Action::None => {
            rackmark_health::line(condition)
        }
        Transition::Raised { condition, .. } => {
            format!("{}; {}", rackmark_health::line(condition), condition.action.words())
        }
        Transition::Cleared { condition, by, .. } => {
            format!("over: {} ({})", rackmark_health::line(condition), by.name())
        }
        Transition::Incident { incident, .. } => {
            let from = if incident.address_text.is_empty() {
                String::new()
            } else {
                format!(" on {}", incident.address_text)
            };
            let text = if incident.text.is_empty() { String::new() } else { format!(": {}", incident.text) };
            format!("XID {}{from}{text}", incident.code)
        }
        Transition::IncidentEnded { incident, .. } => {
            format!("XID {} is quiet after {} times", incident.code, incident.occurrences())
        }
        Transition::SxId { pci_text, code, text, .. } => format!("SXid {code} on {pci_text}: {text}"),
        Transition::Verdict { from, to, reason, .. } if reason.is_empty() => {
            format!("{} after {}", to.name(), from.name())
        }
        Transition::Verdict { from, to, reason, .. } => {
            format!("{} after {}: {reason}", to.name(), from.name())
        }
        Transition::State { from, to, cause, .. } => format!("{to} after {from}, by {}", cause.name()),
        Transition::ClockStepped { by_ms } => {
            format!("wall clock was set by {:.1} s", *by_ms as f64 / 1000.0)
        }
        Transition::KernelLogLost { records } => format!("{records} kernel log records were lost"),
        Transition::CardChanged { from, to, ticket, .. } => {
            let word = match ticket {
                Some(ticket) => format!("ticket {ticket}"),
                None => "nobody declared it".to_owned(),
            };
            format!("card {} in the place of card {}; {word}", to.name(), from.name())
        }
        Transition::CardMoved { from_slot, .. } => format!("the card was in slot {from_slot} before"),
        Transition::SwapDeclared { ticket, by, until_unix_ms, .. } => {
            format!("swap declared by {by}, ticket {ticket}, until {}", Utc(*until_unix_ms))
        }
        Transition::BurnInEnded { mode, outcome, reason, .. } => {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("burn-in {} ended: {}{why}", mode.name(), outcome.name())
        }
        Transition::MaintenanceStarted { reason, .. } => format!("maintenance begins: {reason}"),
        Transition::MaintenanceEnded { .. } => "maintenance ended".to_owned(),
        Transition::LeaseStarted { lease, .. } => format!("lease {lease} begins"),
        Transition::LeaseEnded { lease, .. } => format!("lease {lease} ended"),
        Transition::Acknowledged { code, key, by, .. } => {
            let id = Code::by_name(code).map_or_else(|| code.clone(), |code| code.id(*key));
            format!("{id} is acknowledged by {by}")
        }
    }
}

/// The GPU that a transition is about; none for the node.
pub fn slot_of(transition: &Transition) -> Option<u8> {
    match transition {
        Transition::Raised { slot, .. }
        | Transition::Cleared { slot, .. }
        | Transition::Incident { slot, .. }
        | Transition::IncidentEnded { slot, .. }
        | Transition::Verdict { slot, .. }
        | Transition::MaintenanceStarted { slot, .. }
        | Transition::MaintenanceEnded { slot }
        | Transition::Acknowledged { slot, .. } => *slot,
        Transition::State { slot, .. }
        | Transition::CardChanged { slot, .. }
        | Transition::CardMoved { slot, .. }
        | Transition::SwapDeclared { slot, .. }
        | Transition::BurnInEnded { slot, .. }
        | Transition::LeaseStarted { slot, .. }
        | Transition::LeaseEnded { slot, .. } => Some(*slot),
        Transition::SxId { .. } | Transition::ClockStepped { .. } | Transition::KernelLogLost { .. } => None,
    }
}

/// The name of its kind, in the history and in JSON.
pub const fn kind_of(transition: &Transition) -> &'static str {
    match transition {
        Transition::Raised { .. } => "condition_raised",
        Transition::Cleared { .. } => "condition_cleared",
        Transition::Incident { .. } => "xid",
        Transition::IncidentEnded { .. } => "incident_ended",
        Transition::SxId { .. } => "sxid",
        Transition::Verdict { .. } => "verdict",
        Transition::State { .. } => "state",
        Transition::ClockStepped { .. } => "clock_stepped",
        Transition::KernelLogLost { .. } => "kernel_log_lost",
        Transition::CardChanged { .. } => "card_replaced",
        Transition::CardMoved { .. } => "card_moved",
        Transition::SwapDeclared { .. } => "swap_declared",
        Transition::BurnInEnded { .. } => "burn_in_ended",
        Transition::MaintenanceStarted { .. } => "maintenance_started",
        Transition::MaintenanceEnded { .. } => "maintenance_ended",
        Transition::LeaseStarted { .. } => "lease_started",
        Transition::LeaseEnded { .. } => "lease_ended",
        Transition::Acknowledged { .. } => "acknowledged",
    }
}
