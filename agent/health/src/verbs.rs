//! What people and lease sources may change: acknowledgements, maintenance, drains, leases.

use crate::burn_in::{self, Mode, Outcome};
use crate::cards;
use crate::clock::Now;
use crate::condition::Acknowledged;
use crate::occupancy::{Drained, Lease, Maintenance, Refusal, check_until, check_words, may_lease};
use crate::state::{Gpu, State};
use crate::transition::{ClearedBy, Transition};

/// A change that somebody asks for. `slot` is a GPU, or none for the whole node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb<'a> {
    /// A condition is known: one that lasts until then is over, another one is marked.
    Acknowledge {
        /// Which GPU.
        slot: Option<u8>,
        /// Code, alone or with its key (`xid`, `xid_79`, `gpu_lost`); `all` for everything.
        condition: &'a str,
    },
    /// Planned work begins.
    MaintenanceStart {
        /// Which GPU.
        slot: Option<u8>,
        /// When it ends by itself, milliseconds since 1970.
        until_unix_ms: u64,
        /// Why, as told to buyers.
        reason: &'a str,
    },
    /// Planned work ends.
    MaintenanceEnd {
        /// Which GPU.
        slot: Option<u8>,
    },
    /// Nothing new is placed.
    Drain {
        /// Which GPU.
        slot: Option<u8>,
        /// Why.
        reason: &'a str,
    },
    /// New work may be placed again.
    Undrain {
        /// Which GPU.
        slot: Option<u8>,
    },
    /// A lease begins, or a reservation does.
    LeaseStart {
        /// Which GPU.
        slot: u8,
        /// Name of the lease.
        id: &'a str,
        /// Promised only.
        reserved: bool,
        /// When it ends at the latest, milliseconds since 1970.
        until_unix_ms: Option<u64>,
    },
    /// A lease ends, on all its GPUs.
    LeaseEnd {
        /// Name of the lease.
        id: &'a str,
    },
    /// The card in a slot is going to be swapped, or was.
    Swap {
        /// Which GPU.
        slot: u8,
        /// The ticket.
        ticket: &'a str,
        /// Until when the word counts, milliseconds since 1970.
        until_unix_ms: u64,
        /// Who or what tested the card that is there now.
        tested_by: Option<&'a str>,
    },
    /// The agent begins to work on a GPU.
    BurnInStart {
        /// Which GPU.
        slot: u8,
        /// How thorough.
        mode: Mode,
    },
    /// The agent's work on a GPU is over.
    BurnInEnd {
        /// Which GPU.
        slot: u8,
        /// What it came to; none where it did not begin.
        result: Option<BurnInResult<'a>>,
    },
    /// A process that worked on a GPU cannot be ended, or is gone after all.
    WorkerStuck {
        /// Which GPU.
        slot: u8,
        /// The process; none where it is gone.
        pid: Option<u32>,
    },
}

/// What a burn-in came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BurnInResult<'a> {
    /// How thorough it was.
    pub mode: Mode,
    /// In one word.
    pub outcome: Outcome,
    /// The gravest reason; empty for a pass without one.
    pub reason: &'a str,
    /// From the first stage to the last, in milliseconds.
    pub took_ms: u64,
    /// Memory that was held and tested, in bytes.
    pub memory_bytes: u64,
}

/// Carries out what `by` asks for. A look should follow, for verdict and state.
///
/// # Errors
/// [`Refusal`] where it is not possible; nothing is changed then.
pub fn carry_out(
    state: &mut State,
    verb: &Verb<'_>,
    by: &str,
    now: Now,
    out: &mut Vec<Transition>,
) -> Result<(), Refusal> {
    match *verb {
        Verb::Acknowledge { slot, condition } => acknowledge(state, slot, condition, by, now, out)?,
        Verb::MaintenanceStart { slot, until_unix_ms, reason } => {
            check_words(reason)?;
            check_until(until_unix_ms, now)?;
            let work = Maintenance {
                until_unix_ms,
                reason: reason.to_owned(),
                by: by.to_owned(),
                since_unix_ms: now.unix_ms,
            };
            match slot {
                None => state.maintenance = Some(work),
                Some(slot) => gpu(state, slot)?.occupancy.maintenance = Some(work),
            }
            out.push(Transition::MaintenanceStarted { slot, until_unix_ms, reason: reason.to_owned() });
        }
        Verb::MaintenanceEnd { slot } => {
            let ended = match slot {
                None => state.maintenance.take(),
                Some(slot) => gpu(state, slot)?.occupancy.maintenance.take(),
            };
            ended.ok_or(Refusal::Nothing("there is no maintenance"))?;
            out.push(Transition::MaintenanceEnded { slot });
        }
        Verb::Drain { slot, reason } => {
            check_words(reason)?;
            let drained =
                Drained { reason: reason.to_owned(), by: by.to_owned(), since_unix_ms: now.unix_ms };
            for gpu in which(state, slot)? {
                gpu.occupancy.drained = Some(drained.clone());
            }
        }
        Verb::Undrain { slot } => {
            let mut any = false;
            for gpu in which(state, slot)? {
                any |= gpu.occupancy.drained.take().is_some();
            }
            if !any {
                return Err(Refusal::Nothing("nothing is drained"));
            }
        }
        Verb::LeaseStart { slot, id, reserved, until_unix_ms } => {
            check_words(id)?;
            if let Some(until_unix_ms) = until_unix_ms {
                check_until(until_unix_ms, now)?;
            }
            let gpu = gpu(state, slot)?;
            may_lease(gpu.state.0.state)?;
            begin_lease(gpu, slot, id, reserved, until_unix_ms, false, now, out)?;
        }
        Verb::LeaseEnd { id } => {
            let mut any = false;
            for (slot, gpu) in state.gpus.iter_mut().enumerate() {
                if gpu.occupancy.lease.as_ref().is_some_and(|lease| lease.id == id) {
                    gpu.occupancy.lease = None;
                    out.push(Transition::LeaseEnded { slot: slot as u8, lease: id.to_owned() });
                    any = true;
                }
            }
            if !any {
                return Err(Refusal::NoLease(id.to_owned()));
            }
        }
        Verb::Swap { slot, ticket, until_unix_ms, tested_by } => {
            cards::declare(state, slot, (ticket, until_unix_ms), tested_by, by, now, out)?;
        }
        Verb::BurnInStart { slot, mode } => burn_in::occupy(gpu(state, slot)?, mode, by, now)?,
        Verb::BurnInEnd { slot, result } => burn_in::release(gpu(state, slot)?, slot, result, now, out)?,
        Verb::WorkerStuck { slot, pid } => burn_in::stuck(gpu(state, slot)?, slot, pid, now, out),
    }
    state.revision += 1;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one place for both sources of leases")]
fn begin_lease(
    gpu: &mut Gpu,
    slot: u8,
    id: &str,
    reserved: bool,
    until_unix_ms: Option<u64>,
    from_file: bool,
    now: Now,
    out: &mut Vec<Transition>,
) -> Result<(), Refusal> {
    let mut since_unix_ms = now.unix_ms;
    if let Some(lease) = &gpu.occupancy.lease {
        if lease.id != id {
            return Err(Refusal::Leased(lease.id.clone()));
        }
        since_unix_ms = lease.since_unix_ms;
    }
    let lease = Lease { id: id.to_owned(), reserved, since_unix_ms, until_unix_ms, from_file };
    if gpu.occupancy.lease.as_ref() != Some(&lease) {
        gpu.occupancy.lease = Some(lease);
        out.push(Transition::LeaseStarted { slot, lease: id.to_owned(), until_unix_ms });
    }
    Ok(())
}

/// One line of the lease file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLease {
    /// Which GPU.
    pub slot: u8,
    /// Name of the lease.
    pub id: String,
    /// When it ends at the latest, milliseconds since 1970.
    pub until_unix_ms: Option<u64>,
}

/// Makes the leases that came from the file be those of `leases`; how many could not begin.
pub fn take_lease_file(
    state: &mut State,
    leases: &[FileLease],
    now: Now,
    out: &mut Vec<Transition>,
) -> usize {
    let before = out.len();
    let trusted = state.trusts_clock(now);
    let over = |lease: &FileLease| trusted && lease.until_unix_ms.is_some_and(|until| until <= now.unix_ms);
    for (slot, gpu) in state.gpus.iter_mut().enumerate() {
        let slot = slot as u8;
        let stays =
            |lease: &Lease| leases.iter().any(|new| new.slot == slot && new.id == lease.id && !over(new));
        if gpu.occupancy.lease.as_ref().is_some_and(|lease| lease.from_file && !stays(lease))
            && let Some(lease) = gpu.occupancy.lease.take()
        {
            out.push(Transition::LeaseEnded { slot, lease: lease.id });
        }
    }
    let mut refused = 0;
    for lease in leases {
        let begun = gpu(state, lease.slot).and_then(|gpu| {
            check_words(&lease.id)?;
            if over(lease) {
                return Err(Refusal::Time);
            }
            begin_lease(gpu, lease.slot, &lease.id, false, lease.until_unix_ms, true, now, out)
        });
        refused += usize::from(begun.is_err());
    }
    state.revision += u64::from(out.len() > before);
    refused
}

fn gpu(state: &mut State, slot: u8) -> Result<&mut Gpu, Refusal> {
    state.gpus.get_mut(usize::from(slot)).ok_or(Refusal::Nothing("there is no such GPU"))
}

fn which(state: &mut State, slot: Option<u8>) -> Result<&mut [Gpu], Refusal> {
    match slot {
        None => Ok(&mut state.gpus),
        Some(slot) => gpu(state, slot).map(std::slice::from_mut),
    }
}

fn acknowledge(
    state: &mut State,
    slot: Option<u8>,
    condition: &str,
    by: &str,
    now: Now,
    out: &mut Vec<Transition>,
) -> Result<(), Refusal> {
    let wanted = |one: &crate::Condition| {
        one.is_visible() && (condition == "all" || condition == one.code.name() || condition == one.id())
    };
    let mut known = Vec::new();
    {
        let conditions = match slot {
            None => &mut state.conditions,
            Some(slot) => &mut gpu(state, slot)?.conditions,
        };
        known.extend(conditions.all().iter().filter(|one| wanted(one)).map(|one| (one.code, one.key)));
        if known.is_empty() {
            return Err(Refusal::Nothing("no condition of that name stands there"));
        }
        let note = Acknowledged { by: by.to_owned(), at_unix_ms: now.unix_ms };
        conditions.note(wanted, &note);
        // What the readings say stands until they say otherwise.
        let clears = |one: &crate::Condition| wanted(one) && one.lasts.is_some();
        for (code, key) in &known {
            let (code, key) = (code.name().to_owned(), *key);
            out.push(Transition::Acknowledged { slot, code, key, by: by.to_owned() });
        }
        conditions.clear(slot, ClearedBy::Acknowledged, clears, out);
    }
    Ok(())
}
