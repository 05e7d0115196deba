//! What is known of this node's GPUs: the newest readings, and names that
//! survive the GPU.
//!
//! A GPU keeps its slot, UUID, serial and index when it stops answering and
//! when the daemon restarts; nothing is renumbered.

use std::collections::BTreeSet;

use rackmark_health::{Input, Now, Transition};
use rackmark_model::ipc::{GPUS_MAX, SamplerReport};
use rackmark_model::readings::{Fast, Inventory};
use rackmark_model::{
    DriverInfo, GpuInventory, GpuSample, GpuSlow, GpuState, InCall, MigInstance, NoData, PciAddress,
    Presence, Sample, Verdict,
};
use serde::{Deserialize, Serialize};

use super::trends::Trends;
use crate::judging::Surroundings;

/// A call that is out for longer makes its GPU *unresponsive*; no reading takes
/// a tenth of that, and 10 s is promised.
pub const UNRESPONSIVE_AFTER_MS: u64 = 5_000;

/// The same for opening a GPU: without persistence mode the driver starts each
/// one anew, one after the other, at some seconds each.
pub const OPENING_AFTER_MS: u64 = 60_000;

/// Names of a GPU that outlive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Position on this node, given once.
    pub slot: u8,
    /// PCI address, as NVML writes it.
    pub address: String,
    /// NVML UUID, once it was read.
    pub uuid: Option<String>,
    /// Serial number, once it was read.
    pub serial: Option<String>,
    /// NVML index, once it was read.
    pub index: Option<u64>,
    /// Product name, once it was read.
    pub name: Option<String>,
}

impl Identity {
    /// One line that names the GPU in every way a person may look for it.
    pub fn describe(&self) -> String {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        format!(
            "GPU {} (index {}, {}, serial {}, {})",
            self.slot,
            self.index.map_or_else(|| "unknown".to_owned(), |index| index.to_string()),
            or_unknown(&self.uuid),
            or_unknown(&self.serial),
            self.address
        )
    }
}

/// How a GPU stands towards its sampler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its readings are current.
    Answering,
    /// A call has not come back yet, but not for long.
    Slow,
    /// A call has been out for [`UNRESPONSIVE_AFTER_MS`] or more.
    Unresponsive {
        /// The NVML function; empty where the whole sampler fell silent.
        function: String,
    },
    /// Not sampled, for this reason.
    Absent(NoData),
}

/// One GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// Its names.
    pub identity: Identity,
    /// Where it sits.
    pub address: PciAddress,
    /// How it stands.
    pub standing: Standing,
    /// Newest fast readings.
    pub fast: Fast,
    /// The call it hangs in.
    pub in_call: Option<InCall>,
    /// What it is, once it was read.
    pub inventory: Option<Inventory>,
    /// MIG instances.
    pub mig: Vec<MigInstance>,
    /// Newest slow readings.
    pub slow: Option<GpuSlow>,
    /// Name of the slot in the chassis, where the firmware names slots.
    pub physical_slot: Option<String>,
    /// Slot names were looked up for it.
    pub slot_named: bool,
    /// The state it is in, by the state table.
    pub state: GpuState,
    /// Whether work should be placed here.
    pub verdict: Verdict,
    /// The last quarter of an hour.
    pub trends: Trends,
}

impl Gpu {
    fn new(identity: Identity, address: PciAddress) -> Self {
        Self {
            identity,
            address,
            standing: Standing::Absent(NoData::NotSampled),
            fast: Fast::absent(NoData::NotSampled),
            in_call: None,
            inventory: None,
            mig: Vec::new(),
            slow: None,
            physical_slot: None,
            slot_named: false,
            state: GpuState::Unknown,
            verdict: Verdict::Unknown,
            trends: Trends::default(),
        }
    }

    /// Why there are no readings, if there are none.
    pub fn absence(&self) -> Option<NoData> {
        match &self.standing {
            Standing::Answering => None,
            Standing::Slow | Standing::Unresponsive { .. } => Some(NoData::Timeout),
            Standing::Absent(why) => Some(*why),
        }
    }
}

/// Something that changed, for the log and the event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The driver answers.
    DriverBack {
        /// Its version.
        version: String,
    },
    /// The driver cannot be used.
    DriverGone {
        /// What was tried.
        cause: String,
    },
    /// A GPU was seen for the first time.
    Appeared {
        /// Which.
        slot: u8,
    },
    /// A GPU answers.
    Answering {
        /// Which.
        slot: u8,
        /// It had been found not to before.
        again: bool,
    },
    /// A GPU hangs.
    Unresponsive {
        /// Which.
        slot: u8,
        /// In which NVML function.
        function: String,
        /// For how long.
        for_ms: u64,
    },
    /// A GPU is not sampled.
    Absent {
        /// Which.
        slot: u8,
        /// Why.
        why: NoData,
    },
    /// What a GPU is, or how it is set up, changed.
    Inventory {
        /// Which.
        slot: u8,
    },
    /// Slow readings of a GPU arrived.
    Slow {
        /// Which.
        slot: u8,
    },
    /// The judgement changed, or what it is made from.
    Health(Transition),
}

/// When the newest sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Tick number of the sampler process.
    pub seq: u64,
    /// `CLOCK_BOOTTIME`.
    pub boot_ms: u64,
    /// Wall clock.
    pub unix_ms: u64,
    /// From the tick until the last answer.
    pub took_us: u64,
}

/// How the sampler process fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SamplerHealth {
    /// Its pid while it runs.
    pub pid: Option<u32>,
    /// Samplers started since the daemon started.
    pub starts_total: u64,
    /// Times it was left behind because it hung.
    pub walked_away_total: u64,
    /// Times it was ended for a malformed frame.
    pub malformed_total: u64,
    /// Samples received.
    pub samples_total: u64,
    /// Processes that outlived SIGKILL.
    pub stuck: BTreeSet<u32>,
}

/// Everything known of this node's GPUs.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    /// GPUs by slot.
    pub gpus: Vec<Gpu>,
    /// The driver, while it answers.
    pub driver: Option<DriverInfo>,
    /// Why the driver does not answer, while it does not.
    pub driver_cause: Option<String>,
    /// Version of the driver that answered last.
    pub driver_version: Option<String>,
    /// The newest sample.
    pub taken: Option<Taken>,
    /// The sampler process.
    pub sampler: SamplerHealth,
    /// Moves on whenever something other than fast readings changed.
    pub settled: u64,
    /// What stands against GPUs and node, and the verdicts.
    pub health: rackmark_health::State,
    /// What is known of the node around its GPUs.
    pub around: Surroundings,
    /// Reports about GPUs that no sample named yet: slots are given in the
    /// order of a sample, which is that of the PCI addresses.
    early: Vec<SamplerReport>,
}

impl Roster {
    /// Starts with the GPUs of an earlier run; slots stay as they were.
    pub fn remembering(mut identities: Vec<Identity>) -> Self {
        identities.sort_by_key(|identity| identity.slot);
        identities.dedup_by_key(|identity| identity.slot);
        let mut roster = Self::default();
        for identity in identities.into_iter().take(GPUS_MAX) {
            if let Ok(address) = identity.address.parse()
                && usize::from(identity.slot) == roster.gpus.len()
            {
                roster.gpus.push(Gpu::new(identity, address));
            }
        }
        roster
    }

    /// The names to remember for the next run.
    pub fn identities(&self) -> Vec<Identity> {
        self.gpus.iter().map(|gpu| gpu.identity.clone()).collect()
    }

    /// The library is a simulation.
    pub fn simulated(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.simulated)
    }

    /// The GPU in a slot.
    pub fn gpu(&self, slot: u8) -> Option<&Gpu> {
        self.gpus.get(usize::from(slot))
    }

    /// The GPU that answers to a slot, index, UUID, serial number or PCI address.
    pub fn find(&self, text: &str) -> Option<&Gpu> {
        let address = text.parse::<PciAddress>().ok();
        self.gpus.iter().find(|gpu| {
            Some(gpu.address) == address
                || gpu.identity.uuid.as_deref() == Some(text)
                || gpu.identity.serial.as_deref() == Some(text)
                || gpu.identity.slot.to_string() == text
        })
    }

    /// Takes one report of the sampler and judges; returns what changed by it.
    pub fn take(&mut self, report: &SamplerReport, now: Now) -> Vec<Change> {
        let mut changes = self.take_report(report, now);
        if !matches!(report, SamplerReport::Hello { .. } | SamplerReport::Slow(_)) {
            self.judge(now, &mut changes);
        }
        self.settled += u64::from(!changes.is_empty());
        changes
    }

    fn take_report(&mut self, report: &SamplerReport, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        match report {
            SamplerReport::Hello { pid } => self.sampler.pid = Some(*pid),
            SamplerReport::Driver(info) => {
                let version = info.driver_version.clone().unwrap_or_else(|why| why.to_string());
                self.driver = Some(info.clone());
                self.driver_cause = None;
                // The same version after a pause may be the same module, never unloaded: counters tell then.
                let before = self.driver_version.replace(version.clone());
                if before.is_some_and(|before| before != version) {
                    self.tell(Input::DriverLoaded, now, &mut changes);
                }
                changes.push(Change::DriverBack { version });
            }
            SamplerReport::NoDriver { cause } => {
                if self.driver.take().is_some() || self.driver_cause.as_ref() != Some(cause) {
                    changes.push(Change::DriverGone { cause: cause.clone() });
                }
                self.driver_cause = Some(cause.clone());
            }
            SamplerReport::Inventory(inventory) => match self.position(inventory.address) {
                Some(at) => take_inventory(&mut self.gpus[at], inventory, &mut changes),
                None => self.keep_for_later(report),
            },
            SamplerReport::Slow(slow) => match self.position(slow.address) {
                Some(at) => {
                    self.gpus[at].slow = Some((**slow).clone());
                    changes.push(Change::Slow { slot: self.gpus[at].identity.slot });
                }
                None => self.keep_for_later(report),
            },
            SamplerReport::Sample(sample) => {
                self.take_sample(sample, &mut changes);
                for report in std::mem::take(&mut self.early) {
                    changes.extend(self.take_report(&report, now));
                }
            }
            SamplerReport::Event(event) => self.driver_event(event, now, &mut changes),
            // A sampler that samples was not asked for it.
            SamplerReport::Signed { .. } => {}
        }
        changes
    }

    /// No report came for too long: every GPU that was answering is unresponsive.
    pub fn fell_silent(&mut self, for_ms: u64, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        for gpu in &mut self.gpus {
            if matches!(gpu.standing, Standing::Answering | Standing::Slow) {
                gpu.fast = Fast::absent(NoData::Timeout);
                gpu.standing = Standing::Unresponsive { function: String::new() };
                changes.push(Change::Unresponsive {
                    slot: gpu.identity.slot,
                    function: String::new(),
                    for_ms,
                });
            }
        }
        self.judge(now, &mut changes);
        self.settled += 1;
        changes
    }

    /// Sampling stopped on purpose or for want of a sampler.
    pub fn not_sampled(&mut self, why: NoData, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        for gpu in &mut self.gpus {
            gpu.fast = Fast::absent(why);
            gpu.in_call = None;
            if gpu.standing != Standing::Absent(why) {
                gpu.standing = Standing::Absent(why);
                changes.push(Change::Absent { slot: gpu.identity.slot, why });
            }
        }
        self.judge(now, &mut changes);
        self.settled += 1;
        changes
    }

    pub(crate) fn position(&self, address: PciAddress) -> Option<usize> {
        self.gpus.iter().position(|gpu| gpu.address == address)
    }

    /// Two reports for each GPU at most; what is more is not from our sampler.
    fn keep_for_later(&mut self, report: &SamplerReport) {
        if self.early.len() < 2 * GPUS_MAX {
            self.early.push(report.clone());
        }
    }

    fn slot_of(&mut self, address: PciAddress, changes: &mut Vec<Change>) -> Option<usize> {
        if let Some(at) = self.position(address) {
            return Some(at);
        }
        let slot = u8::try_from(self.gpus.len()).ok().filter(|slot| usize::from(*slot) < GPUS_MAX)?;
        let identity = Identity {
            slot,
            address: address.to_string(),
            uuid: None,
            serial: None,
            index: None,
            name: None,
        };
        self.gpus.push(Gpu::new(identity, address));
        changes.push(Change::Appeared { slot });
        Some(usize::from(slot))
    }

    fn take_sample(&mut self, sample: &Sample, changes: &mut Vec<Change>) {
        self.sampler.samples_total += 1;
        self.taken = Some(Taken {
            seq: sample.seq,
            boot_ms: sample.taken_boot_ms,
            unix_ms: sample.taken_unix_ms,
            took_us: sample.took_us,
        });
        for new in &sample.gpus {
            if let Some(at) = self.slot_of(new.address, changes) {
                let gpu = &mut self.gpus[at];
                take_gpu(gpu, new, changes);
                let memory_total = gpu.inventory.as_ref().and_then(|inventory| inventory.memory_total.ok());
                gpu.trends.take(sample.taken_boot_ms, &gpu.fast, memory_total);
            }
        }
    }
}

fn take_inventory(gpu: &mut Gpu, new: &GpuInventory, changes: &mut Vec<Change>) {
    if gpu.inventory.as_ref() == Some(&new.inventory) && gpu.mig == new.mig {
        return;
    }
    let keep = |old: &mut Option<String>, new: &Result<String, NoData>| {
        if let Ok(text) = new {
            *old = Some(text.clone());
        }
    };
    // Nothing that the card before was called is said of another one.
    if let (Some(before), Ok(uuid)) = (&gpu.identity.uuid, &new.inventory.uuid)
        && before != uuid
    {
        gpu.identity.serial = None;
        gpu.identity.name = None;
    }
    keep(&mut gpu.identity.uuid, &new.inventory.uuid);
    keep(&mut gpu.identity.serial, &new.inventory.serial);
    keep(&mut gpu.identity.name, &new.inventory.name);
    if let Ok(index) = new.inventory.index {
        gpu.identity.index = Some(index.0);
    }
    gpu.inventory = Some(new.inventory.clone());
    gpu.mig.clone_from(&new.mig);
    changes.push(Change::Inventory { slot: gpu.identity.slot });
}

fn out_for(call: &InCall, longest_ms: u64) -> Standing {
    if call.for_ms >= longest_ms {
        Standing::Unresponsive { function: call.function.clone() }
    } else {
        Standing::Slow
    }
}

fn take_gpu(gpu: &mut Gpu, new: &GpuSample, changes: &mut Vec<Change>) {
    let slot = gpu.identity.slot;
    let standing = match (new.presence, &new.in_call) {
        (Presence::Absent(NoData::Timeout), Some(call)) => out_for(call, OPENING_AFTER_MS),
        // A sampler that was told to leave a hanging GPU alone reports it as
        // timed out; it stays named by the call it hung in.
        (Presence::Absent(NoData::Timeout), None) => match &gpu.standing {
            Standing::Unresponsive { function } => Standing::Unresponsive { function: function.clone() },
            _ => Standing::Unresponsive { function: String::new() },
        },
        (Presence::Absent(why), _) => Standing::Absent(why),
        (Presence::Open, Some(call)) => out_for(call, UNRESPONSIVE_AFTER_MS),
        (Presence::Open, None) => Standing::Answering,
    };
    if standing != gpu.standing {
        match &standing {
            Standing::Answering if gpu.standing != Standing::Slow => {
                let again = gpu.standing != Standing::Absent(NoData::NotSampled);
                changes.push(Change::Answering { slot, again });
            }
            Standing::Unresponsive { function } => changes.push(Change::Unresponsive {
                slot,
                function: function.clone(),
                for_ms: new.in_call.as_ref().map_or(0, |call| call.for_ms),
            }),
            Standing::Absent(why) => changes.push(Change::Absent { slot, why: *why }),
            Standing::Answering | Standing::Slow => {}
        }
        gpu.standing = standing;
    }
    gpu.fast.clone_from(&new.fast);
    gpu.in_call.clone_from(&new.in_call);
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
