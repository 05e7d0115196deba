//! XIDs from two witnesses, merged: one incident per cause.
//!
//! The driver tells of an XID twice, through its library's events and in the
//! kernel log, in either order and some milliseconds apart; a fault may repeat it
//! thousands of times. All of that is one incident, until nothing of it has come
//! for [`QUIET_MS`].

use std::collections::BTreeMap;

use rackmark_model::PciAddress;
use serde::{Deserialize, Serialize};

use crate::clock::{Now, SECOND_MS};
use crate::condition::{Instance, cut};

/// An incident ends when nothing of it came for this long (ours).
pub const QUIET_MS: u64 = 60 * SECOND_MS;

/// An XID 45 tells that channels were torn down after an earlier fault; within this time it belongs to it (ours).
const AFTERMATH_MS: u64 = 10 * SECOND_MS;

/// XID 45: preemptive cleanup, due to previous errors (NVIDIA's catalogue).
pub const CLEANUP: u32 = 45;

/// Most incidents open at once for one GPU; NVIDIA's catalogue has 172 codes.
const OPEN_MAX: usize = 192;

/// Distinct XID codes counted per GPU.
const CODES_MAX: usize = 256;

/// Who saw an XID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The driver library's events.
    Driver,
    /// The kernel log.
    KernelLog,
}

/// One report of one witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XidReport {
    /// Slot of the GPU; none where no GPU of this node has that address.
    pub slot: Option<u8>,
    /// Address of the GPU, if it could be read.
    pub address: Option<PciAddress>,
    /// The address as the kernel printed it.
    pub address_text: String,
    /// The code.
    pub code: u32,
    /// Who saw it.
    pub witness: Witness,
    /// MIG instance.
    pub instance: Option<Instance>,
    /// Process that it names.
    pub pid: Option<u32>,
    /// Name of that process.
    pub process: Option<String>,
    /// The kernel's words.
    pub text: String,
    /// The earlier XID that it says it follows from.
    pub caused_by: Option<u32>,
    /// When it was seen, milliseconds since 1970.
    pub seen_unix_ms: u64,
}

/// All repeats of one XID on one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The code.
    pub code: u32,
    /// Address as printed, where it is of no GPU of this node.
    pub address_text: String,
    /// MIG instance.
    pub instance: Option<Instance>,
    /// First process that it named.
    pub pid: Option<u32>,
    /// Name of that process.
    pub process: Option<String>,
    /// The kernel's first words.
    pub text: String,
    /// The earlier XID that it follows from.
    pub caused_by: Option<u32>,
    /// First seen, milliseconds since 1970.
    pub first_unix_ms: u64,
    /// Last seen, milliseconds since 1970.
    pub last_unix_ms: u64,
    /// How often the driver's library told of it.
    pub by_driver: u64,
    /// How often the kernel log did.
    pub by_kernel_log: u64,
    /// XIDs that follow from it, as the driver's library and as the kernel log told.
    pub consequences: [u64; 2],
    /// Who saw it first.
    pub first_witness: Witness,
    /// Address, where it could be read.
    #[serde(skip)]
    address: Option<PciAddress>,
    /// The instance that its condition is named after.
    #[serde(skip)]
    pub(crate) stands_as: Option<Instance>,
    #[serde(skip)]
    last_boot_ms: u64,
}

impl Incident {
    /// How often it happened: each witness sees each occurrence at most once.
    pub fn occurrences(&self) -> u64 {
        self.by_driver.max(self.by_kernel_log)
    }

    /// A report of the same XID may be of this incident: nothing that both know differs.
    fn fits(&self, report: &XidReport) -> bool {
        let same_address = report.slot.is_some()
            || match (self.address, report.address) {
                (Some(known), Some(new)) => known == new,
                _ => self.address_text == report.address_text,
            };
        let same_instance = match (self.instance, report.instance) {
            (Some(known), Some(new)) => {
                let compute = known.compute_instance.zip(new.compute_instance);
                known.gpu_instance == new.gpu_instance && compute.is_none_or(|(known, new)| known == new)
            }
            _ => true,
        };
        self.code == report.code && same_address && same_instance
    }

    /// How often this witness told of it less than the other one.
    fn behind(&self, witness: Witness) -> u64 {
        match witness {
            Witness::Driver => self.by_kernel_log.saturating_sub(self.by_driver),
            Witness::KernelLog => self.by_driver.saturating_sub(self.by_kernel_log),
        }
    }

    fn count(&mut self, witness: Witness) {
        match witness {
            Witness::Driver => self.by_driver += 1,
            Witness::KernelLog => self.by_kernel_log += 1,
        }
    }
}

/// What a report was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The first of a new incident, at this position.
    New(usize),
    /// One more of a known incident, at this position; `words` where it brought the first words.
    Known {
        /// Which.
        at: usize,
        /// It brought the kernel's words, the process, or the instance.
        words: bool,
    },
    /// A consequence of another incident.
    Consequence,
    /// Counted, and no more: too many are open.
    Counted,
}

/// How often a code was seen on a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Occurrences, both witnesses merged.
    pub errors: u64,
    /// Incidents.
    pub incidents: u64,
}

/// The incidents of one GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    #[serde(skip)]
    open: Vec<Incident>,
    /// Counts by code since this node was installed.
    pub counts: BTreeMap<u32, Count>,
    /// The newest code, and when it was last seen (milliseconds since 1970).
    pub newest: Option<(u32, u64)>,
}

impl Incidents {
    /// Incidents that may still grow.
    pub fn open(&self) -> &[Incident] {
        &self.open
    }

    /// The incident at a position that [`Self::take`] told.
    pub(crate) fn at(&mut self, at: usize) -> &mut Incident {
        &mut self.open[at]
    }

    pub(crate) fn take(&mut self, report: &XidReport, now: Now) -> Told {
        self.newest = Some((report.code, report.seen_unix_ms));
        // Where it says itself what it follows from, that is where it belongs.
        if report.caused_by.is_some()
            && let Some(more) = self.belongs_to_another(report, now)
        {
            self.tally(report.code, more, 0);
            return Told::Consequence;
        }
        // One that names its instance goes there; one without goes where this witness is behind the other.
        let fitting = self.open.iter().enumerate().filter(|(_, known)| known.fits(report));
        let best = fitting.max_by_key(|(at, known)| {
            (known.instance == report.instance, known.behind(report.witness) > 0, std::cmp::Reverse(*at))
        });
        if let Some((at, _)) = best {
            return self.again(at, report, now);
        }
        if let Some(more) = self.belongs_to_another(report, now) {
            self.tally(report.code, more, 0);
            return Told::Consequence;
        }
        if self.open.len() >= OPEN_MAX {
            self.tally(report.code, 1, 0);
            return Told::Counted;
        }
        let mut incident = Incident {
            code: report.code,
            address_text: if report.slot.is_none() { cut(&report.address_text) } else { String::new() },
            instance: report.instance,
            pid: report.pid,
            process: report.process.as_deref().map(cut),
            text: cut(&report.text),
            caused_by: report.caused_by,
            first_unix_ms: report.seen_unix_ms,
            last_unix_ms: report.seen_unix_ms,
            by_driver: 0,
            by_kernel_log: 0,
            consequences: [0; 2],
            first_witness: report.witness,
            address: report.address,
            stands_as: report.instance,
            last_boot_ms: now.boot_ms,
        };
        incident.count(report.witness);
        self.open.push(incident);
        self.tally(report.code, 1, 1);
        Told::New(self.open.len() - 1)
    }

    fn again(&mut self, at: usize, report: &XidReport, now: Now) -> Told {
        let known = &mut self.open[at];
        let before = known.occurrences();
        known.count(report.witness);
        known.last_unix_ms = known.last_unix_ms.max(report.seen_unix_ms);
        known.last_boot_ms = known.last_boot_ms.max(now.boot_ms);
        let mut words = false;
        if known.text.is_empty() && !report.text.is_empty() {
            known.text = cut(&report.text);
            words = true;
        }
        if known.pid.is_none() && report.pid.is_some() {
            known.pid = report.pid;
            known.process = report.process.as_deref().map(cut);
            words = true;
        }
        let finer = |one: Option<Instance>| one.map(|one| one.compute_instance.is_some());
        if finer(report.instance) > finer(known.instance) {
            known.instance = report.instance;
            words = true;
        }
        known.caused_by = known.caused_by.or(report.caused_by);
        let more = known.occurrences() - before;
        self.tally(report.code, more, 0);
        Told::Known { at, words }
    }

    /// An XID that says, or is known, to follow from another one that is open: by how much it adds to those.
    fn belongs_to_another(&mut self, report: &XidReport, now: Now) -> Option<u64> {
        let cause = match (report.caused_by, report.code) {
            (Some(cause), _) => self.open.iter_mut().rev().find(|known| known.code == cause),
            (None, CLEANUP) => self
                .open
                .iter_mut()
                .rev()
                .find(|known| known.code != CLEANUP && now.since(known.last_boot_ms) <= AFTERMATH_MS),
            _ => None,
        };
        let counts = &mut cause?.consequences;
        let before = counts[0].max(counts[1]);
        counts[match report.witness {
            Witness::Driver => 0,
            Witness::KernelLog => 1,
        }] += 1;
        Some(counts[0].max(counts[1]) - before)
    }

    fn tally(&mut self, code: u32, errors: u64, incidents: u64) {
        if self.counts.len() < CODES_MAX || self.counts.contains_key(&code) {
            let count = self.counts.entry(code).or_default();
            count.errors += errors;
            count.incidents += incidents;
        }
    }

    /// Hands out what has been quiet for long enough.
    pub(crate) fn close(&mut self, now: Now, mut ended: impl FnMut(Incident)) {
        let mut at = 0;
        while at < self.open.len() {
            if now.since(self.open[at].last_boot_ms) >= QUIET_MS {
                ended(self.open.remove(at));
            } else {
                at += 1;
            }
        }
    }
}
