//! What a burn-in does to the one state table and to the conditions of its GPU.

use rackmark_model::GpuState;

use super::{Mode, Outcome};
use crate::cards;
use crate::catalogue::Code;
use crate::clock::Now;
use crate::condition::{Advised, Finding};
use crate::occupancy::{BurnInUse, Refusal};
use crate::state::Gpu;
use crate::transition::{ClearedBy, Transition};
use crate::verbs::BurnInResult;
use crate::xid::Lasts;

fn is_failed(condition: &crate::Condition) -> bool {
    condition.code == Code::BurnInFailed
}

/// Gives the GPU to the agent's own work.
///
/// # Errors
/// A customer has it or was promised it, or its state says that work would mean nothing.
pub(crate) fn occupy(gpu: &mut Gpu, mode: Mode, by: &str, now: Now) -> Result<(), Refusal> {
    if let Some(lease) = &gpu.occupancy.lease {
        return Err(Refusal::Leased(lease.id.clone()));
    }
    let state = gpu.state.0.state;
    let stands = |one: fn(&crate::Condition) -> bool| gpu.conditions.all().iter().any(one);
    let may = match state {
        // Whatever else stands: it may hold memory.
        _ if stands(is_stuck) => return Err(Refusal::State(GpuState::Faulted)),
        // Whoever drained it or works on it wants to know how it is.
        GpuState::Free | GpuState::Draining | GpuState::Maintenance => true,
        // A card that nobody tested, and one that failed the test before, are tested to find out.
        GpuState::Unknown => stands(cards::is_untested),
        GpuState::Faulted => stands(is_failed),
        _ => false,
    };
    if !may {
        return Err(Refusal::State(state));
    }
    gpu.occupancy.burn_in = Some(BurnInUse { mode, by: by.to_owned(), since_unix_ms: now.unix_ms });
    Ok(())
}

fn is_stuck(condition: &crate::Condition) -> bool {
    condition.code == Code::WorkerStuck
}

/// A process that worked on the GPU cannot be ended; none where it is gone.
pub(crate) fn stuck(gpu: &mut Gpu, slot: u8, pid: Option<u32>, now: Now, out: &mut Vec<Transition>) {
    let finding = Finding::wrong_if(pid.is_some());
    let detail = || pid.map(|pid| format!("process {pid}")).unwrap_or_default();
    gpu.conditions.level(Some(slot), (Code::WorkerStuck, 0), finding, detail, now, out);
}

/// Takes the GPU back, and what was found.
///
/// # Errors
/// The agent does not work on it.
pub(crate) fn release(
    gpu: &mut Gpu,
    slot: u8,
    result: Option<BurnInResult<'_>>,
    now: Now,
    out: &mut Vec<Transition>,
) -> Result<(), Refusal> {
    gpu.occupancy.burn_in.take().ok_or(Refusal::Nothing("no burn-in runs"))?;
    let Some(BurnInResult { mode, outcome, reason, took_ms, memory_bytes }) = result else { return Ok(()) };
    let ended = reason.to_owned();
    out.push(Transition::BurnInEnded { slot, mode, outcome, reason: ended, took_ms, memory_bytes });
    match outcome {
        Outcome::Fail => {
            let entry = Code::BurnInFailed.entry();
            let (severity, action, effect) = (entry.severity, entry.action, entry.effect);
            let advised = Advised { severity, action, effect, lasts: Lasts::UntilAcknowledged };
            let words = || format!("{}: {reason}", mode.name());
            gpu.conditions.latch((Code::BurnInFailed, 0, None), advised, words, now);
        }
        Outcome::Pass if mode.vouches() => {
            gpu.conditions.clear(Some(slot), ClearedBy::Recovered, is_failed, out);
            if gpu.conditions.all().iter().any(cards::is_untested) {
                cards::tested(gpu, slot, format!("burn-in {}", mode.name()), now, out);
            }
        }
        // Two seconds vouch for nothing, and what is not known changes nothing.
        Outcome::Pass | Outcome::Inconclusive => {}
    }
    Ok(())
}
