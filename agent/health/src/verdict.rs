//! The verdict: whether work should be placed on a GPU, and on the node.

use rackmark_model::{NoData, Verdict};

use crate::advice::{Effect, Severity};
use crate::clock::Now;
use crate::condition::{Condition, Conditions};
use crate::occupancy::{self, Maintenance};
use crate::state::{Gpu, Judged, NOT_YET, State, StateNow};
use crate::transition::Transition;
use crate::view::{GpuView, Gpus, NodeView, Standing};

/// Ends maintenance and leases whose time is over.
pub(crate) fn expire(state: &mut State, now: Now, out: &mut Vec<Transition>) {
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
        let ended = |until: Option<u64>| until.is_some_and(|until| until <= now.unix_ms);
        if gpu.occupancy.lease.as_ref().is_some_and(|lease| ended(lease.until_unix_ms))
            && let Some(lease) = gpu.occupancy.lease.take()
        {
            out.push(Transition::LeaseEnded { slot, lease: lease.id });
        }
    }
}

/// Judges every GPU and the node.
pub(crate) fn judge(state: &mut State, node: &NodeView<'_>, gpus: &dyn Gpus, out: &mut Vec<Transition>) {
    let maintained = state.maintenance.is_some();
    for (at, gpu) in state.gpus.iter_mut().enumerate().take(gpus.count()) {
        let view = gpus.gpu(at);
        let nothing = Judged { verdict: Verdict::Unknown, reason: String::new() };
        let mut judged = std::mem::replace(&mut gpu.verdict, nothing);
        let (verdict, why) = of_gpu(gpu, &state.conditions, &view, maintained);
        let slot = view.slot;
        say(&mut judged, verdict, &why, Some(slot), out);
        gpu.verdict = judged;
        let occupancy = &gpu.occupancy;
        let stated = occupancy::state(&view, occupancy, maintained, node.lease_source, verdict);
        let before = std::mem::replace(&mut gpu.state, StateNow(stated)).0;
        if before.state != stated.state {
            let reason = gpu.verdict.reason.clone();
            let (from, to) = (before.state, stated.state);
            out.push(Transition::State { slot, from, to, cause: stated.cause, reason });
        }
    }
    let (verdict, why) = of_node(state, node, gpus.count());
    let why = why.text();
    if state.verdict.verdict != verdict || state.verdict.reason != why {
        let from = std::mem::replace(&mut state.verdict, Judged { verdict, reason: why.clone() }).verdict;
        if from != verdict {
            out.push(Transition::Verdict { slot: None, from, to: verdict, reason: why });
        }
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

impl Why<'_> {
    fn text(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Words(words) => (*words).to_owned(),
            Self::Condition(condition) => line(condition),
            Self::Standing(Standing::Absent(why)) => format!("no readings: {why}"),
            Self::Standing(Standing::Unresponsive(function)) => format!("no readings: {function} hangs"),
            Self::Standing(Standing::Slow | Standing::Answering) => "no readings yet".to_owned(),
            Self::Maintenance => "in maintenance".to_owned(),
            Self::Drained(reason) => format!("drained: {reason}"),
            Self::Gpus { verdict, count, first, why } => {
                let colon = if why.is_empty() { "" } else { ": " };
                let others = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
                let are = if *count > 1 { "are" } else { "is" };
                format!("GPU {first}{others} {are} {}{colon}{why}", verdict.name())
            }
        }
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::Nothing => text.is_empty(),
            Self::Words(words) => *words == text,
            other => other.text() == text,
        }
    }
}

/// The condition in one line: what it is, its figures.
pub fn line(condition: &Condition) -> String {
    let name = match condition.code {
        crate::Code::Xid => format!("XID {}: {}", condition.key, condition.title()),
        crate::Code::SxId => format!("SXid {}: {}", condition.key, condition.title()),
        _ => condition.title().to_owned(),
    };
    let said = condition.detail.trim_end_matches('.').eq_ignore_ascii_case(condition.title());
    if said || condition.detail.is_empty() { name } else { format!("{name} ({})", condition.detail) }
}

fn say(judged: &mut Judged, verdict: Verdict, why: &Why<'_>, slot: Option<u8>, out: &mut Vec<Transition>) {
    if judged.verdict == verdict && why.is(&judged.reason) {
        return;
    }
    let reason = why.text();
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
    if let Some(worst) = worst.filter(|one| one.effect == Effect::Drain) {
        return (Verdict::Draining, Why::Condition(worst));
    }
    if maintained || gpu.occupancy.maintenance.is_some() {
        return (Verdict::Draining, Why::Maintenance);
    }
    if let Some(drained) = &gpu.occupancy.drained {
        return (Verdict::Draining, Why::Drained(&drained.reason));
    }
    match worst {
        Some(worst) if worst.severity >= Severity::Warning => (Verdict::Schedulable, Why::Condition(worst)),
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
        let all = count == gpus && verdict != Verdict::Draining;
        let of_all = if all { verdict } else { Verdict::Draining };
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
