//! One step: from what is remembered and what is seen to what changed.

use crate::cards;
use crate::catalogue::Code;
use crate::clock::{Now, SECOND_MS};
use crate::condition::{Advised, Finding, cut};
use crate::incident::{Incident, Told, XidReport};
use crate::rules::{Around, judge_gpu, judge_node};
use crate::state::{Gpu, Recovery, State};
use crate::transition::{ClearedBy, Transition};
use crate::verdict;
use crate::view::{GpuView, Gpus, NodeView};
use crate::xid::{self, Lasts};

/// A wall clock that moves this much more than time does was set.
const CLOCK_STEP_MS: i64 = 1000;

/// After a gap of more than this, the time is credited to no state.
const LOOK_GAP_MAX_MS: u64 = 600 * SECOND_MS;

/// The driver's word counts against a table's when it was read this long after the XID.
const RECOVERY_SETTLES_MS: u64 = 10 * SECOND_MS;

/// Distinct switches and codes counted.
const SXIDS_MAX: usize = 64;

/// What a step is about.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// The daemon began; conditions that a reboot clears go where the boot id is another one.
    Begin {
        /// `/proc/sys/kernel/random/boot_id`.
        boot_id: &'a str,
    },
    /// Readings are judged: after every sample, and from time to time without one.
    Look {
        /// The node.
        node: &'a NodeView<'a>,
        /// Its GPUs.
        gpus: &'a dyn Gpus,
    },
    /// A witness reported an XID. A look should follow.
    Xid(&'a XidReport),
    /// The driver says what it wants of a GPU (text of XID 154). A look should follow.
    Recovery {
        /// Which GPU.
        slot: u8,
        /// What it wants.
        action: Recovery,
    },
    /// An NVSwitch reported an error.
    SxId {
        /// Address as printed.
        pci_text: &'a str,
        /// Code.
        code: u32,
        /// As it said itself.
        fatal: Option<bool>,
        /// Its words.
        text: &'a str,
    },
    /// Kernel log records were overwritten unread.
    KernelLogLost {
        /// How many.
        records: u64,
    },
    /// The driver was loaded anew: counters begin at 0, as after a reset of every GPU.
    DriverLoaded,
}

/// Takes one step. What changed is added to `out`; nothing is added, and nothing is allocated, where nothing did.
pub fn step(state: &mut State, input: Input<'_>, now: Now, out: &mut Vec<Transition>) {
    let before = out.len();
    // What is found in the log is dated when it was written; a look, at the present, follows.
    let dated =
        matches!(input, Input::Begin { .. } | Input::Xid(_) | Input::SxId { .. } | Input::Recovery { .. });
    if !dated {
        watch_clock(state, now, out);
    }
    match input {
        Input::Begin { boot_id } => begin(state, boot_id, now, out),
        Input::Look { node, gpus } => look(state, node, gpus, now, out),
        Input::Xid(report) => {
            take_xid(state, report, now, out);
            state.revision += 1;
        }
        Input::Recovery { slot, action } => {
            if let Some(gpu) = state.gpus.get_mut(usize::from(slot)) {
                gpu.memory.told_recovery = Some((action, now.unix_ms));
            }
        }
        Input::SxId { pci_text, code, fatal, text } => {
            take_sxid(state, pci_text, code, fatal, text, now, out);
            state.revision += 1;
        }
        Input::KernelLogLost { records } => {
            let detail = || format!("{records} records");
            latch_entry(state, Code::KernelLogLost, detail, now);
            out.push(Transition::KernelLogLost { records });
        }
        Input::DriverLoaded => {
            for (slot, gpu) in state.gpus.iter_mut().enumerate() {
                was_reset(slot as u8, gpu, out);
            }
        }
    }
    let mut changed = out.len() > before;
    changed |= state.conditions.take_changed();
    for gpu in &mut state.gpus {
        changed |= gpu.conditions.take_changed();
    }
    state.revision += u64::from(changed);
}

fn begin(state: &mut State, boot_id: &str, now: Now, out: &mut Vec<Transition>) {
    state.began_boot_ms = Some(now.boot_ms);
    state.clock_offset_ms = Some(now.offset_ms());
    state.conditions.wake(now);
    for gpu in &mut state.gpus {
        gpu.conditions.wake(now);
    }
    // A boot id that could not be read says nothing.
    if boot_id.is_empty() || state.boot_id == boot_id {
        return;
    }
    let first = state.boot_id.is_empty();
    boot_id.clone_into(&mut state.boot_id);
    state.kernel_log_seq = None;
    state.revision += 1;
    if first {
        return;
    }
    let clears = |lasts: Option<Lasts>| lasts.is_some_and(|lasts| lasts != Lasts::UntilAcknowledged);
    state.conditions.clear(None, ClearedBy::Reboot, |one| clears(one.lasts), out);
    for (slot, gpu) in state.gpus.iter_mut().enumerate() {
        gpu.conditions.clear(Some(slot as u8), ClearedBy::Reboot, |one| clears(one.lasts), out);
    }
    // A card that left was without power, too.
    for shelved in &mut state.shelf {
        shelved.conditions.retain(|one| !clears(one.lasts));
    }
    state.shelf.retain(|shelved| !shelved.conditions.is_empty());
}

/// Ends what a reset clears.
fn was_reset(slot: u8, gpu: &mut Gpu, out: &mut Vec<Transition>) {
    let clears = |lasts: Option<Lasts>| matches!(lasts, Some(Lasts::UntilGpuReset | Lasts::Minutes(_)));
    gpu.conditions.clear(Some(slot), ClearedBy::GpuReset, |one| clears(one.lasts), out);
    gpu.memory.told_recovery = None;
    gpu.memory.recovery = None;
}

fn look(state: &mut State, node: &NodeView<'_>, gpus: &dyn Gpus, now: Now, out: &mut Vec<Transition>) {
    let elapsed_ms = state.looked_boot_ms.map_or(0, |last| now.since(last));
    state.looked_boot_ms = Some(now.boot_ms);
    while state.gpus.len() < gpus.count() {
        state.gpus.push(Gpu::default());
        state.revision += 1;
    }
    cards::seat(state, gpus, now, out);
    let sample_is_new = state.judged_sample_boot_ms != node.sampled_boot_ms;
    state.judged_sample_boot_ms = node.sampled_boot_ms;
    let mut around = Around::default();
    for at in 0..gpus.count() {
        let view = gpus.gpu(at);
        let slot = view.slot;
        around.add(&view);
        let gpu = &mut state.gpus[at];
        count_time(gpu, elapsed_ms);
        watch_reset(gpu, &view, out);
        let before = (gpu.links_seen, gpu.retired.last().copied());
        let implausible = judge_gpu(&view, gpu, node, now, out);
        state.revision += u64::from((gpu.links_seen, gpu.retired.last().copied()) != before);
        if sample_is_new {
            state.implausible_total += u64::from(implausible);
        }
        recovery(gpu, &view, now, out);
        gpu.incidents.close(now, |incident| {
            out.push(Transition::IncidentEnded { slot: Some(slot), incident: Box::new(incident) });
        });
    }
    judge_node(node, around, state.began_boot_ms, &mut state.conditions, now, out);
    state.incidents.close(now, |incident| {
        out.push(Transition::IncidentEnded { slot: None, incident: Box::new(incident) });
    });
    if !node.ignored.is_empty() {
        let ignored = |one: &crate::Condition| node.ignored.contains(&one.code);
        state.conditions.clear(None, ClearedBy::Expired, ignored, out);
        for (slot, gpu) in state.gpus.iter_mut().enumerate() {
            gpu.conditions.clear(Some(slot as u8), ClearedBy::Expired, ignored, out);
        }
    }
    state.conditions.settle(None, None, now, out);
    for (slot, gpu) in state.gpus.iter_mut().enumerate() {
        gpu.conditions.settle(Some(slot as u8), Some(&state.conditions), now, out);
    }
    verdict::expire(state, now, out);
    verdict::judge(state, node, gpus, out);
}

fn watch_clock(state: &mut State, now: Now, out: &mut Vec<Transition>) {
    let offset_ms = now.offset_ms();
    let Some(before_ms) = state.clock_offset_ms.replace(offset_ms) else { return };
    let by_ms = offset_ms.saturating_sub(before_ms);
    // Also where it went forward: it may have gone further in between, and been set back by less.
    if by_ms != 0 {
        state.conditions.clock_set_back(now);
        for gpu in &mut state.gpus {
            gpu.conditions.clock_set_back(now);
            if let Some((_, told)) = &mut gpu.memory.told_recovery {
                *told = now.unix_ms.min(*told);
            }
        }
    }
    if by_ms.saturating_abs() > CLOCK_STEP_MS {
        latch_entry(state, Code::ClockStepped, || format!("by {:.1} s", by_ms as f64 / 1000.0), now);
        out.push(Transition::ClockStepped { by_ms });
        state.stepped_boot_ms = Some(now.boot_ms);
    }
}

/// Puts up a condition of the node that ends by itself.
fn latch_entry(state: &mut State, code: Code, detail: impl FnOnce() -> String, now: Now) {
    let entry = code.entry();
    let crate::catalogue::Ends::QuietFor(quiet_ms) = entry.ends else { return };
    let minutes = u16::try_from(quiet_ms / crate::clock::MINUTE_MS).unwrap_or(u16::MAX);
    let advised = Advised {
        severity: entry.severity,
        action: entry.action,
        effect: entry.effect,
        lasts: Lasts::Minutes(minutes),
    };
    state.conditions.latch((code, 0, None), advised, detail, now);
}

/// Credits the time since the last look to the state that held.
fn count_time(gpu: &mut Gpu, elapsed_ms: u64) {
    let looked = std::mem::replace(&mut gpu.memory.looked, true);
    if !looked || elapsed_ms == 0 || elapsed_ms > LOOK_GAP_MAX_MS {
        return;
    }
    let stated = gpu.state.0;
    gpu.state_ms[stated.state as usize] += elapsed_ms;
    let class = crate::occupancy::Availability::of(stated.state, stated.cause);
    gpu.availability_ms[class as usize] += elapsed_ms;
}

/// A counter that begins anew with every reset tells of one, or of a driver that was loaded anew. Not every GPU
/// counts its energy.
fn watch_reset(gpu: &mut Gpu, view: &GpuView<'_>, out: &mut Vec<Transition>) {
    let energy = view.fast.energy_total.ok().map(|energy| energy.0);
    let held_back = view.fast.sw_power_cap_time.ok().map(|time| time.0);
    let mut anew = false;
    for (known, new) in gpu.memory.since_reset.iter_mut().zip([energy, held_back]) {
        let Some(new) = new else { continue };
        anew |= known.replace(new).is_some_and(|before| new < before / 2);
    }
    if anew {
        was_reset(view.slot, gpu, out);
    }
}

/// The driver's own recovery action wins over any table.
fn recovery(gpu: &mut Gpu, view: &GpuView<'_>, now: Now, out: &mut Vec<Transition>) {
    if let Some((slow, taken)) = view.slow
        && gpu.memory.recovery.as_ref().is_none_or(|(_, known)| *known != taken)
        && let Some(action) = slow.recovery_action.as_deref().ok().and_then(Recovery::by_name)
    {
        let before = gpu.memory.recovery.replace((action, taken));
        // What XID 154 told holds until a reading that was taken well after it.
        let settled = |at: u64| taken > at.saturating_add(RECOVERY_SETTLES_MS);
        let told = gpu.memory.told_recovery.take_if(|(_, told)| settled(*told));
        let asked = |said: Option<(Recovery, u64)>| said.is_some_and(|(action, _)| action != Recovery::None);
        let holds = gpu.memory.told_recovery.is_some();
        if action == Recovery::None && !holds && (asked(before) || asked(told)) {
            was_reset(view.slot, gpu, out);
            gpu.memory.recovery = Some((action, taken));
        }
    }
    let told = gpu.memory.told_recovery;
    let wanted = told.map(|(action, _)| action).or(gpu.memory.recovery.map(|(action, _)| action));
    let finding = match wanted {
        None => Finding::NoData,
        Some(action) => Finding::wrong_if(action != Recovery::None),
    };
    let words = || wanted.map_or("", Recovery::words).to_owned();
    let slot = Some(view.slot);
    gpu.conditions.level(slot, (Code::RecoveryAction, 0), finding, words, now, out);
    let Some(wanted) = wanted else { return };
    if gpu.conditions.is_empty() {
        return;
    }
    let advised = wanted.advised();
    gpu.conditions.readvise(|one| one.code == Code::RecoveryAction, advised);
    let read_at = told.map(|(_, at)| at).or(gpu.memory.recovery.map(|(_, taken)| taken)).unwrap_or(0);
    let weighty = |lasts: Option<Lasts>| matches!(lasts, Some(Lasts::UntilGpuReset | Lasts::UntilReboot));
    gpu.conditions.readvise(
        |one| {
            one.code == Code::Xid
                && weighty(one.lasts)
                && (wanted != Recovery::None
                    || read_at > one.last_unix_ms.saturating_add(RECOVERY_SETTLES_MS))
        },
        advised,
    );
}

impl Recovery {
    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Reset => "reset the GPU",
            Self::Reboot => "reboot the node",
            Self::DrainP2p => "end peer-to-peer work",
            Self::DrainAndReset => "let the work end, then reset the GPU",
            Self::RecoverImexDomain => "recover the IMEX domain",
        }
    }

    /// What it means for verdict and people.
    const fn advised(self) -> Advised {
        use crate::advice::{Action, Effect, Severity};
        let (severity, action, effect, lasts) = match self {
            Self::None => (Severity::Warning, Action::None, Effect::None, Lasts::Minutes(60)),
            Self::Reset => (Severity::Critical, Action::ResetGpu, Effect::Unusable, Lasts::UntilGpuReset),
            Self::Reboot => (Severity::Critical, Action::RebootNode, Effect::Unusable, Lasts::UntilReboot),
            Self::DrainP2p | Self::RecoverImexDomain => {
                (Severity::Warning, Action::Drain, Effect::Drain, Lasts::UntilGpuReset)
            }
            Self::DrainAndReset => (Severity::Warning, Action::ResetGpu, Effect::Drain, Lasts::UntilGpuReset),
        };
        Advised { severity, action, effect, lasts }
    }
}

fn take_xid(state: &mut State, report: &XidReport, now: Now, out: &mut Vec<Transition>) {
    let slot = report.slot.filter(|slot| usize::from(*slot) < state.gpus.len());
    let (incidents, conditions) = match slot {
        Some(slot) => {
            let gpu = &mut state.gpus[usize::from(slot)];
            (&mut gpu.incidents, &mut gpu.conditions)
        }
        None => (&mut state.incidents, &mut state.conditions),
    };
    let (at, new, words) = match incidents.take(report, now) {
        Told::New(at) => (at, true, false),
        Told::Known { at, words } => (at, false, words),
        Told::Consequence | Told::Counted => return,
    };
    let incident = incidents.at(at);
    let advice = xid::advice(report.code);
    let advised = Advised {
        severity: advice.severity,
        action: advice.action,
        effect: advice.effect,
        lasts: advice.lasts,
    };
    // A line of a GPU that is not ours says nothing about the ones that are.
    let advised = if slot.is_none() { Advised { effect: crate::Effect::None, ..advised } } else { advised };
    if words {
        let (known, instance) = (incident.stands_as, incident.instance);
        incident.stands_as = conditions.tell(report.code, known, instance, &words_of(incident));
    }
    let what = (Code::Xid, report.code, incident.stands_as);
    conditions.latch(what, advised, || words_of(incident), now);
    if new {
        out.push(Transition::Incident { slot, incident: Box::new(incident.clone()) });
    }
}

/// The words that a person sees with an XID.
fn words_of(incident: &Incident) -> String {
    let mut words = String::new();
    if !incident.address_text.is_empty() {
        words.push_str(&format!("on {}: ", incident.address_text));
    }
    if let Some(instance) = incident.instance {
        words.push_str(&format!("GPU instance {}", instance.gpu_instance));
        if let Some(compute) = instance.compute_instance {
            words.push_str(&format!(", compute instance {compute}"));
        }
        words.push_str(": ");
    }
    words.push_str(&incident.text);
    if let Some(pid) = incident.pid {
        let name = incident.process.as_deref().unwrap_or("unknown");
        words.push_str(&format!(" (process {pid}, {name})"));
    }
    // Without words of the kernel, what names the instance ends here.
    cut(words.trim().trim_end_matches(':'))
}

fn take_sxid(
    state: &mut State,
    pci_text: &str,
    code: u32,
    fatal: Option<bool>,
    text: &str,
    now: Now,
    out: &mut Vec<Transition>,
) {
    let advice = xid::sxid_advice(code, fatal);
    let advised = Advised {
        severity: advice.severity,
        action: advice.action,
        effect: advice.effect,
        lasts: advice.lasts,
    };
    let standing = |one: &crate::Condition| one.code == Code::SxId && one.key == code;
    let known = state.conditions.all().iter().any(standing);
    state.conditions.latch((Code::SxId, code, None), advised, || format!("{pci_text}: {text}"), now);
    let (pci_text, text) = (cut(pci_text), cut(text));
    let mut first = false;
    if state.sxids.len() < SXIDS_MAX || state.sxids.contains_key(&pci_text) {
        let counts = state.sxids.entry(pci_text.clone()).or_default();
        if counts.len() < SXIDS_MAX || counts.contains_key(&code) {
            let count = counts.entry(code).or_default();
            *count += 1;
            first = *count == 1;
        }
    }
    // Another switch with the same trouble is told, too.
    if !known || first {
        out.push(Transition::SxId { pci_text, code, fatal, text });
    }
}
