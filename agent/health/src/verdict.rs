//! The verdict: whether work should be placed on a GPU, and on the node.

use std::fmt;

use rackmark_model::{NoData, Verdict};

use crate::advice::{Effect, Severity};
use crate::clock::Now;
use crate::condition::{Condition, Conditions};
use crate::occupancy::{self, Maintenance, Stated};
use crate::state::{Gpu, Judged, NOT_YET, State, StateNow};
use crate::transition::Transition;
use crate::view::{GpuView, Gpus, NodeView, Standing};

/// Ends maintenance and leases whose time is over.
pub(crate) fn expire(state: &mut State, now: Now, out: &mut Vec<Transition>) {
    if !state.trusts_clock(now) {
        return;
    }
    let over =
        |work: &Option<Maintenance>| work.as_ref().is_some_and(|work| work.until_unix_ms <= now.unix_ms);
    if over(&state.maintenance) {
        state.maintenance = None;
        out.push(Transition::MaintenanceEnded { slot: None });
    }
    for (slot, gpu) in state.gpus.iter_mut().enumerate() {
        let slot = slot as u8;
        if over(&gpu.occupancy.maintenance) {
            gpu.occupancy.maintenance = None;
            out.push(Transition::MaintenanceEnded { slot: Some(slot) });
        }
        gpu.declared.take_if(|declared| declared.until_unix_ms <= now.unix_ms);
        let ended = |until: Option<u64>| until.is_some_and(|until| until <= now.unix_ms);
        if gpu.occupancy.lease.as_ref().is_some_and(|lease| ended(lease.until_unix_ms))
            && let Some(lease) = gpu.occupancy.lease.take()
        {
            out.push(Transition::LeaseEnded { slot, lease: lease.id });
        }
    }
}

/// In the place of a verdict while it is made anew; costs no allocation.
const NOTHING: Judged = Judged { verdict: Verdict::Unknown, reason: String::new() };

/// Judges every GPU and the node.
pub(crate) fn judge(state: &mut State, node: &NodeView<'_>, gpus: &dyn Gpus, out: &mut Vec<Transition>) {
    let maintained = state.maintenance.is_some();
    for (at, gpu) in state.gpus.iter_mut().enumerate().take(gpus.count()) {
        let view = gpus.gpu(at);
        let mut judged = std::mem::replace(&mut gpu.verdict, NOTHING);
        let (verdict, why) = of_gpu(gpu, &state.conditions, &view, maintained);
        let slot = view.slot;
        say(&mut judged, verdict, &why, Some(slot), out);
        gpu.verdict = judged;
        let occupancy = &gpu.occupancy;
        let stated = occupancy::state(&view, occupancy, maintained, node.lease_source, verdict);
        state_it(gpu, slot, stated, out);
    }
    // A GPU of earlier that nobody shows us any more.
    for (at, gpu) in state.gpus.iter_mut().enumerate().skip(gpus.count()) {
        let slot = at as u8;
        say(&mut gpu.verdict, Verdict::Unknown, &Why::Words(NOT_YET), Some(slot), out);
        state_it(gpu, slot, StateNow::default().0, out);
    }
    let mut judged = std::mem::replace(&mut state.verdict, NOTHING);
    let (verdict, why) = of_node(state, node, gpus.count());
    say(&mut judged, verdict, &why, None, out);
    state.verdict = judged;
}

fn state_it(gpu: &mut Gpu, slot: u8, stated: Stated, out: &mut Vec<Transition>) {
    let before = std::mem::replace(&mut gpu.state, StateNow(stated)).0;
    if before.state != stated.state {
        let reason = gpu.verdict.reason.clone();
        let (from, to) = (before.state, stated.state);
        out.push(Transition::State { slot, from, to, cause: stated.cause, reason });
    }
}

/// Why a verdict is as it is; turned into text only where it changed.
enum Why<'a> {
    Nothing,
    Words(&'a str),
    Condition(&'a Condition),
    Standing(Standing<'a>),
    Maintenance,
    Drained(&'a str),
    Gpus { verdict: Verdict, count: usize, first: usize, why: &'a str },
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Words(words) => f.write_str(words),
            Self::Condition(condition) => write_line(condition, f),
            Self::Standing(Standing::Absent(why)) => write!(f, "no readings: {why}"),
            Self::Standing(Standing::Unresponsive(function)) => write!(f, "no readings: {function} hangs"),
            Self::Standing(Standing::Slow | Standing::Answering) => f.write_str("no readings yet"),
            Self::Maintenance => f.write_str("in maintenance"),
            Self::Drained(reason) => write!(f, "drained: {reason}"),
            Self::Gpus { verdict, count, first, why } => {
                write!(f, "GPU {first}")?;
                if *count > 1 {
                    write!(f, " and {} more", count - 1)?;
                }
                let are = if *count > 1 { "are" } else { "is" };
                let colon = if why.is_empty() { "" } else { ": " };
                write!(f, " {are} {}{colon}{why}", verdict.name())
            }
        }
    }
}

impl Why<'_> {
    /// Whether its words are these. A condition stands for days: they are compared as they are written.
    fn is(&self, text: &str) -> bool {
        struct Rest<'a>(&'a str);
        impl fmt::Write for Rest<'_> {
            fn write_str(&mut self, words: &str) -> fmt::Result {
                self.0 = self.0.strip_prefix(words).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        let mut rest = Rest(text);
        fmt::write(&mut rest, format_args!("{self}")).is_ok() && rest.0.is_empty()
    }
}

/// The condition in one line: what it is, its figures.
pub fn line(condition: &Condition) -> String {
    Why::Condition(condition).to_string()
}

fn write_line(condition: &Condition, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match condition.code {
        crate::Code::Xid => write!(f, "XID {}: {}", condition.key, condition.title())?,
        crate::Code::SxId => write!(f, "SXid {}: {}", condition.key, condition.title())?,
        _ => f.write_str(condition.title())?,
    }
    let said = condition.detail.trim_end_matches('.').eq_ignore_ascii_case(condition.title());
    if said || condition.detail.is_empty() { Ok(()) } else { write!(f, " ({})", condition.detail) }
}

fn say(judged: &mut Judged, verdict: Verdict, why: &Why<'_>, slot: Option<u8>, out: &mut Vec<Transition>) {
    if judged.verdict == verdict && why.is(&judged.reason) {
        return;
    }
    let reason = why.to_string();
    let from = std::mem::replace(judged, Judged { verdict, reason: reason.clone() }).verdict;
    if from != verdict {
        out.push(Transition::Verdict { slot, from, to: verdict, reason });
    }
}

/// The worst of those that count: by effect, then severity, then age.
fn worst<const N: usize>(lists: [&Conditions; N]) -> Option<&Condition> {
    let counting = lists.into_iter().flat_map(Conditions::all).filter(|one| one.counts());
    counting
        .max_by_key(|one| (one.effect, !one.is_hidden(), one.severity, std::cmp::Reverse(one.since_unix_ms)))
}

fn of_gpu<'a>(
    gpu: &'a Gpu,
    node: &'a Conditions,
    view: &GpuView<'a>,
    maintained: bool,
) -> (Verdict, Why<'a>) {
    let worst =
        if gpu.conditions.is_empty() && node.is_empty() { None } else { worst([&gpu.conditions, node]) };
    if let Some(worst) = worst.filter(|one| one.effect == Effect::Unusable) {
        return (Verdict::Unusable, Why::Condition(worst));
    }
    match view.standing {
        Standing::Answering => {}
        // A sleeping GPU is judged by what was known of it.
        Standing::Absent(NoData::Suspended) if gpu.memory.complete => {}
        // One late answer changes nothing that was known.
        Standing::Slow if gpu.memory.complete => {}
        standing => return (Verdict::Unknown, Why::Standing(standing)),
    }
    if !gpu.memory.complete {
        return (Verdict::Unknown, Why::Words(NOT_YET));
    }
    if gpu.memory.settling {
        return (Verdict::Unknown, Why::Words("still settling after the boot"));
    }
    if let Some(worst) = worst.filter(|one| one.effect == Effect::Unknown) {
        return (Verdict::Unknown, Why::Condition(worst));
    }
    if let Some(worst) = worst.filter(|one| one.effect == Effect::Drain) {
        return (Verdict::Draining, Why::Condition(worst));
    }
    if maintained || gpu.occupancy.maintenance.is_some() {
        return (Verdict::Draining, Why::Maintenance);
    }
    if let Some(drained) = &gpu.occupancy.drained {
        return (Verdict::Draining, Why::Drained(&drained.reason));
    }
    // What stands against the node and holds nothing back is not this GPU's.
    match self::worst([&gpu.conditions]) {
        Some(own) if own.severity >= Severity::Warning => (Verdict::Schedulable, Why::Condition(own)),
        _ => (Verdict::Schedulable, Why::Nothing),
    }
}

fn of_node<'a>(state: &'a State, node: &NodeView<'a>, gpus: usize) -> (Verdict, Why<'a>) {
    let worst = worst([&state.conditions]);
    if let Some(worst) = worst.filter(|one| one.effect == Effect::Unusable) {
        return (Verdict::Unusable, Why::Condition(worst));
    }
    if node.driver_up != Some(true) {
        let why = worst.filter(|one| one.severity == Severity::Critical);
        return (Verdict::Unknown, why.map_or(Why::Words("the driver does not answer"), Why::Condition));
    }
    if gpus == 0 {
        return (Verdict::Unknown, Why::Words("no GPU is known"));
    }
    for verdict in [Verdict::Unusable, Verdict::Unknown, Verdict::Draining] {
        let judged =
            || state.gpus.iter().take(gpus).enumerate().filter(|(_, gpu)| gpu.verdict.verdict == verdict);
        let Some((first, gpu)) = judged().next() else { continue };
        let count = judged().count();
        let of_all = if count == gpus { verdict } else { Verdict::Draining };
        return (of_all, Why::Gpus { verdict, count, first, why: &gpu.verdict.reason });
    }
    match worst {
        Some(worst) if worst.severity == Severity::Critical || worst.effect == Effect::Drain => {
            (Verdict::Draining, Why::Condition(worst))
        }
        Some(worst) if worst.severity == Severity::Warning => (Verdict::Schedulable, Why::Condition(worst)),
        _ => (Verdict::Schedulable, Why::Nothing),
    }
}
