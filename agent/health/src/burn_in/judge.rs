use std::collections::BTreeMap;

use rackmark_model::gpu_work::{BurnInTest, CudaFailure, Figure, FigureKind, FigurePart, Format, SkipReason};
use serde::{Deserialize, Serialize};

use super::floors::{self, Class};
use super::names::{figure_name, test_name};
use super::reason::{Reason, ReasonCode};
use super::seen::Seen;
use super::worked::{Ended, Ending, SelfTest, StageState, Worked};

/// Share of a stage's time that must have been work, in thousandths.
const WORK_PERMILLE: u64 = 500;
/// Share of the intended memory that must have been tested, in thousandths.
const MEMORY_PERMILLE: u64 = 900;
/// Memory that the process takes beside what it holds for tests, in bytes: all but tiny GPUs have a tenth that is larger.
const RESERVE_BYTES: u64 = 64 << 20;
/// Hardware may hold the clocks down, and the power brake may, for this share of the time, in thousandths.
const HARDWARE_PERMILLE: u64 = 10;
/// The driver may hold the clocks down for heat for this share, in thousandths, before somebody should look.
const HEAT_PERMILLE: u64 = 50;
/// Samples may be missing for this share of the time, in thousandths (ours).
const UNSEEN_PERMILLE: u64 = 100;
/// A low clock that nothing holds down is a locked one from this share of the time under load on, in thousandths (ours).
const LOCKED_PERMILLE: u64 = 800;
/// A stage may become slower by so much from its first minute to its last, in thousandths (ours).
const DRIFT_PERMILLE: u16 = 970;
/// Stages with fewer reports of progress than this are too short to tell by them how much of the time was work.
const WINDOWS_MIN: u32 = 4;
/// CUDA's codes that say uncorrectable ECC error, uncorrectable NVLink error and contained error; then, from our own
/// fixed kernels, illegal address, misaligned address and launch failure.
const FAULTS: [u32; 6] = [214, 220, 226, 700, 716, 719];
/// Not initialised, the library's stub, device unavailable, no device, system not ready, library and driver differ.
const NO_CUDA: [u32; 6] = [3, 34, 46, 100, 802, 803];
/// Invalid image, PTX that the driver does not know, no JIT compiler, no binary for this GPU, not found.
const NO_MODULE: [u32; 7] = [200, 209, 218, 221, 222, 301, 500];

/// The result of a burn-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was planned ran, and nothing was wrong.
    Pass,
    /// Nothing can be said.
    Inconclusive,
    /// The GPU is faulty.
    Fail,
}

impl Outcome {
    /// All outcomes, best first.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Inconclusive, Self::Fail];

    /// The name used in JSON, metrics and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        }
    }
}

/// A figure with what was made of it. Of several rounds it is the slowest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedFigure {
    /// Of which test.
    pub test: BurnInTest,
    /// What was measured.
    pub figure: Figure,
    /// Mean SM clock meanwhile, in MHz.
    pub clock_mhz: Option<u64>,
    /// Operations per SM and clock over the most there can be, in thousandths.
    pub per_clock_permille: Option<u64>,
    /// What a good card of this model reaches, in the figure's unit.
    pub expected: Option<u64>,
}

impl JudgedFigure {
    /// The name in JSON, metrics and tables.
    pub fn name(&self) -> String {
        figure_name(self.test, self.figure.part)
    }
}

/// What a burn-in says about a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// In one word.
    pub outcome: Outcome,
    /// Why, the gravest first.
    pub reasons: Vec<Reason>,
    /// How fast it was.
    pub figures: Vec<JudgedFigure>,
}

impl Judgement {
    /// Adds reasons; the outcome is the worst that any of all reasons allows.
    pub fn add(&mut self, reasons: Vec<Reason>) {
        self.reasons.extend(reasons);
        self.reasons.sort_by_key(|reason| std::cmp::Reverse(reason.code.weight()));
        self.outcome = outcome(&self.reasons);
    }
}

/// `fail` beats `inconclusive` beats `pass`.
fn outcome(reasons: &[Reason]) -> Outcome {
    reasons.iter().map(|reason| reason.code.weight().outcome()).max().unwrap_or(Outcome::Pass)
}

/// The bench on which one burn-in is judged.
struct Bench<'a> {
    worked: &'a Worked,
    seen: &'a Seen,
    reasons: Vec<Reason>,
}

impl Bench<'_> {
    fn say(&mut self, code: ReasonCode, detail: impl Into<String>) {
        let reason = Reason { code, detail: detail.into() };
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

/// Judges one burn-in of the GPU with this UUID.
pub fn judge(gpu_uuid: &str, worked: &Worked, seen: &Seen) -> Judgement {
    let mut bench = Bench { worked, seen, reasons: Vec::new() };
    ending(&mut bench);
    device(&mut bench, gpu_uuid);
    stages(&mut bench);
    memory(&mut bench);
    results(&mut bench);
    counters(&mut bench);
    clocks(&mut bench);
    watching(&mut bench);
    let figures = figures(&mut bench);
    let mut judgement = Judgement { outcome: Outcome::Pass, reasons: Vec::new(), figures };
    judgement.add(bench.reasons);
    judgement
}

fn ending(bench: &mut Bench<'_>) {
    match &bench.worked.ending {
        Ending::Complete if bench.worked.is_complete() => {}
        Ending::Running | Ending::Complete => bench.say(ReasonCode::Broken, ""),
        Ending::Preempted(by) => bench.say(ReasonCode::Preempted, by.clone()),
        Ending::Hung => bench.say(ReasonCode::Hung, ""),
        Ending::Wedged => bench.say(ReasonCode::Wedged, ""),
        Ending::Broken(how) => bench.say(ReasonCode::Broken, how.clone()),
        Ending::Nonsense(what) => bench.say(ReasonCode::Nonsense, what.clone()),
        Ending::Unavailable(why) => bench.say(ReasonCode::CudaUnavailable, why.clone()),
        Ending::Failed(failure) => failed(bench, failure),
    }
}

fn failed(bench: &mut Bench<'_>, failure: &CudaFailure) {
    let code = match failure.code {
        Some(code) if FAULTS.contains(&code) => ReasonCode::CudaError,
        Some(code) if NO_MODULE.contains(&code) => ReasonCode::ModuleNotLoaded,
        Some(code) if NO_CUDA.contains(&code) => ReasonCode::CudaUnavailable,
        None => ReasonCode::CudaUnavailable,
        Some(_) => ReasonCode::WorkFailed,
    };
    let number = failure.code.map_or_else(String::new, |code| format!(" ({code})"));
    bench.say(code, format!("{}: {}{number}", failure.operation, failure.name));
}

fn device(bench: &mut Bench<'_>, gpu_uuid: &str) {
    match &bench.worked.device {
        Some(device) if device.uuid != gpu_uuid => {
            let found = device.uuid.clone();
            bench.say(ReasonCode::WrongGpu, format!("{found} in place of {gpu_uuid}"));
        }
        Some(_) => {}
        None => bench.say(ReasonCode::NoWork, "the GPU was not opened"),
    }
    if bench.worked.modules.is_empty() {
        bench.say(ReasonCode::ModuleNotLoaded, "none was loaded");
    }
    for module in bench.worked.modules.iter().filter(|module| module.from_ptx) {
        bench.say(ReasonCode::FromPtx, module.module.clone());
    }
}

/// Whether a GPU of this compute capability is right to leave a test out for its architecture.
fn is_right_to_skip(test: BurnInTest, (major, minor): (u8, u8)) -> bool {
    match test {
        // wgmma exists on sm_90a alone.
        BurnInTest::GemmHopper(_) => (major, minor) != (9, 0),
        // FP8 of mma.sync came with sm_89, and is not FP8 on sm_90 and sm_100.
        BurnInTest::GemmPortable(Format::Fp8E4m3) => !matches!((major, minor), (8, 9) | (12, _)),
        _ => false,
    }
}

fn stages(bench: &mut Bench<'_>) {
    let capability = bench.worked.device.as_ref().map(|device| device.compute_capability);
    let mut ended = 0_usize;
    let worked = bench.worked;
    for (stage, state) in worked.plan.stages.iter().zip(&worked.stages) {
        let name = test_name(stage.test);
        match state {
            StageState::Waiting => bench.say(ReasonCode::StageMissing, name),
            StageState::Began { .. } => bench.say(ReasonCode::StageMissing, format!("{name} did not end")),
            StageState::Skipped(SkipReason::Architecture)
                if capability.is_some_and(|capability| is_right_to_skip(stage.test, capability)) =>
            {
                bench.say(ReasonCode::NotApplicable, name);
            }
            StageState::Skipped(SkipReason::NoPeer) if stage.test == BurnInTest::PeerLink => {
                bench.say(ReasonCode::NotApplicable, format!("{name}: no other GPU can be reached"));
            }
            StageState::Skipped(SkipReason::Memory) => {
                bench.say(ReasonCode::LittleMemory, format!("{name} was left out"));
            }
            StageState::Skipped(SkipReason::NoModule) => bench.say(ReasonCode::ModuleNotLoaded, name),
            StageState::Skipped(_) => bench.say(ReasonCode::StageMissing, format!("{name} was left out")),
            StageState::Ended(end) => {
                ended += 1;
                stage_ended(bench, stage.duration_ms, &name, end);
            }
        }
    }
    if ended == 0 {
        bench.say(ReasonCode::NoWork, "no stage ended");
    }
    if let Some(test) = worked.missed_self_test {
        bench.say(ReasonCode::SelfTestMissed, test_name(test));
    }
}

fn stage_ended(bench: &mut Bench<'_>, planned_ms: u32, name: &str, end: &Ended) {
    let report = &end.report;
    if report.work == 0 || report.launches == 0 {
        bench.say(ReasonCode::NoWork, name);
    }
    let too_short = u64::from(report.elapsed_ms) * 1_000 < u64::from(planned_ms) * WORK_PERMILLE;
    let working = u64::from(end.windows.saturating_sub(end.windows_idle));
    let too_idle = end.windows >= WINDOWS_MIN && working * 1_000 < u64::from(end.windows) * WORK_PERMILLE;
    if too_short {
        bench.say(ReasonCode::LittleWork, format!("{name} ran for {} of {planned_ms} ms", report.elapsed_ms));
    } else if too_idle {
        bench.say(ReasonCode::LittleWork, format!("{name} worked in {working} of {} reports", end.windows));
    }
    match end.self_test {
        SelfTest::Caught => {}
        SelfTest::Missed => bench.say(ReasonCode::SelfTestMissed, name),
        SelfTest::Absent => bench.say(ReasonCode::SelfTestAbsent, name),
    }
    if report.miscompares > 0 {
        bench.say(ReasonCode::Miscompare, format!("{} in {name}", report.miscompares));
    }
}

fn memory(bench: &mut Bench<'_>) {
    let worked = bench.worked;
    let Some((held, intended)) = worked.held else {
        bench.say(ReasonCode::LittleMemory, "none was held");
        return;
    };
    // A GPU that is full already offers little, and nine tenths of little is not nine tenths of the GPU.
    let planned = worked.device.as_ref().map_or(0, |device| {
        let permille = worked.plan.memory_permille(device.memory_bytes);
        let share = u128::from(device.memory_bytes) * u128::from(permille) / 1_000;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        share.min(device.memory_bytes.saturating_sub(RESERVE_BYTES))
    });
    let intended = if worked.plan.mode.takes_all_memory() { intended.max(planned) } else { intended };
    let enough = |bytes: u64, of: u64| {
        bytes > 0 && u128::from(bytes) * 1_000 >= u128::from(of) * u128::from(MEMORY_PERMILLE)
    };
    if !enough(held, intended) {
        bench.say(ReasonCode::LittleMemory, format!("{held} of {intended} bytes were held"));
    }
    for (stage, state) in worked.plan.stages.iter().zip(&worked.stages) {
        if let (BurnInTest::MemoryPattern, StageState::Ended(end)) = (stage.test, state)
            && !enough(end.report.memory_bytes, held)
        {
            let bytes = end.report.memory_bytes;
            bench.say(ReasonCode::LittleMemory, format!("{bytes} of {held} bytes were tested"));
        }
    }
}

fn results(bench: &mut Bench<'_>) {
    let worked = bench.worked;
    if worked.miscompares_total > 0 {
        bench.say(ReasonCode::Miscompare, format!("{} in all", worked.miscompares_total));
    } else if !worked.miscompares.is_empty() {
        bench.say(ReasonCode::Miscompare, "");
    }
}

fn counters(bench: &mut Bench<'_>) {
    let seen = bench.seen;
    for code in &seen.xids {
        bench.say(ReasonCode::Xid, format!("XID {code}"));
    }
    for code in &seen.sxids {
        bench.say(ReasonCode::Sxid, format!("SXid {code}"));
    }
    if seen.uncorrected.by > 0 {
        bench.say(ReasonCode::EccUncorrected, seen.uncorrected.by.to_string());
    }
    if seen.corrected.by > 0 {
        bench.say(ReasonCode::EccCorrected, seen.corrected.by.to_string());
    }
    if seen.remapped.by > 0 {
        bench.say(ReasonCode::RowsRemapped, seen.remapped.by.to_string());
    }
    if seen.remap_pending == Some(true) {
        bench.say(ReasonCode::RowRemapPending, "");
    }
    if seen.remap_failed == Some(true) {
        bench.say(ReasonCode::RowRemapFailed, "");
    }
    // A minute's allowance holds for shorter runs as well.
    let minutes = seen.over_ms.div_ceil(crate::clock::MINUTE_MS).max(1);
    if let Some((generation, lanes)) = seen.link_best {
        let allowed = crate::rules::replays_allowed(generation, lanes).map(|a_minute| a_minute * minutes);
        if allowed.is_some_and(|allowed| seen.replays.by > allowed) {
            bench.say(ReasonCode::PcieReplays, format!("{} in {minutes} min", seen.replays.by));
        }
    }
    if let (Some((generation, lanes)), Some(best)) = (seen.link_worst, seen.link_best)
        && (generation < best.0 || lanes < best.1)
    {
        let words = format!(
            "generation {generation} with {lanes} lanes under load, could be generation {} with {}",
            best.0, best.1
        );
        bench.say(ReasonCode::PcieLinkDegraded, words);
    }
}

/// Thousandths as a share for people.
fn percent(permille: u64) -> String {
    format!("{}.{} % of the time", permille / 10, permille % 10)
}

fn clocks(bench: &mut Bench<'_>) {
    let seen = bench.seen;
    if seen.hardware_permille() > HARDWARE_PERMILLE {
        bench.say(ReasonCode::ThrottledByHardware, percent(seen.hardware_permille()));
    }
    if seen.power_brake_permille() > HARDWARE_PERMILLE {
        bench.say(ReasonCode::PowerBrake, percent(seen.power_brake_permille()));
    }
    if seen.heat_permille() > HEAT_PERMILLE {
        bench.say(ReasonCode::ThrottledByHeat, percent(seen.heat_permille()));
    }
    if seen.power_cap_permille() > 0 {
        bench.say(ReasonCode::PowerCapped, percent(seen.power_cap_permille()));
    }
    if let Some((limit, default)) = seen.power_limit_low {
        bench.say(ReasonCode::PowerLimitLow, format!("{} of {} W", limit / 1_000, default / 1_000));
    }
    if seen.load_ms > 0 && seen.low_unheld_ms * 1_000 >= seen.load_ms * LOCKED_PERMILLE {
        bench.say(ReasonCode::ClocksLocked, "");
    }
}

/// Whether there were eyes on it.
fn watching(bench: &mut Bench<'_>) {
    let seen = bench.seen;
    if seen.samples < 2 {
        bench.say(ReasonCode::Unseen, "there are no samples of it");
    } else if seen.unseen_ms * 1_000 > seen.over_ms * UNSEEN_PERMILLE {
        bench.say(ReasonCode::Unseen, format!("no samples for {} ms", seen.unseen_ms));
    }
    if seen.foreign_processes > 0 {
        bench.say(ReasonCode::ForeignProcess, format!("{} at once", seen.foreign_processes));
    }
    if seen.processes_read == 0 {
        bench.say(ReasonCode::Unseen, "processes could not be counted");
    }
    if !seen.uncorrected.is_known() {
        bench.say(ReasonCode::Unseen, "ECC errors could not be compared");
    } else if seen.uncorrected.reads == 0 {
        bench.say(ReasonCode::NotSupported, "ECC errors");
    }
    if !seen.slow_after_end {
        bench.say(ReasonCode::Unseen, "row remapping was not read after the end");
    }
}

/// The slower of two figures of the same part of the same test.
fn slower(one: &JudgedFigure, other: &JudgedFigure) -> bool {
    match one.figure.kind {
        FigureKind::NanosecondsPerRead => one.figure.median > other.figure.median,
        FigureKind::GigaOperationsPerSecond | FigureKind::MegabytesPerSecond => {
            one.figure.median < other.figure.median
        }
    }
}

fn figures(bench: &mut Bench<'_>) -> Vec<JudgedFigure> {
    let worked = bench.worked;
    let mut slowest: BTreeMap<(BurnInTest, FigurePart), JudgedFigure> = BTreeMap::new();
    let device = worked.device.as_ref().filter(|_| !worked.simulated);
    let class = device.and_then(|device| Class::of(&device.name));
    for (at, (stage, state)) in worked.plan.stages.iter().zip(&worked.stages).enumerate() {
        let StageState::Ended(end) = state else { continue };
        for figure in &end.report.figures {
            let clock_mhz = bench.seen.clock_mhz(at);
            let judged = JudgedFigure {
                test: stage.test,
                figure: *figure,
                clock_mhz,
                per_clock_permille: per_clock(worked, stage.test, figure, clock_mhz).map(|(share, _)| share),
                expected: absolute(class, stage.test, figure).map(|row| row.expected.value()),
            };
            let key = (stage.test, figure.part);
            if slowest.get(&key).is_none_or(|known| slower(&judged, known)) {
                slowest.insert(key, judged);
            }
        }
    }
    if worked.simulated {
        bench.say(ReasonCode::Simulated, "");
        return slowest.into_values().collect();
    }
    for judged in slowest.values() {
        figure(bench, class, judged);
    }
    if class.is_none() && !slowest.is_empty() {
        let name = worked.device.as_ref().map_or_else(String::new, |device| device.name.clone());
        bench.say(ReasonCode::NoReference, name);
    }
    slowest.into_values().collect()
}

fn absolute(class: Option<Class>, test: BurnInTest, figure: &Figure) -> Option<&'static floors::Absolute> {
    let row = floors::ABSOLUTE
        .iter()
        .find(|row| Some(row.class) == class && row.test == test && row.part == figure.part)?;
    (row.expected.kind() == figure.kind).then_some(row)
}

/// The share of what its SMs could do at that clock, in thousandths, with the floor of it.
fn per_clock(
    worked: &Worked,
    test: BurnInTest,
    figure: &Figure,
    clock_mhz: Option<u64>,
) -> Option<(u64, &'static floors::PerClock)> {
    let device = worked.device.as_ref()?;
    let row = floors::PER_CLOCK.iter().find(|row| {
        row.capability == device.compute_capability && row.test == test && row.part == figure.part
    })?;
    if figure.kind != FigureKind::GigaOperationsPerSecond {
        return None;
    }
    // 10^9 operations over SMs · 10^6 cycles · operations, in thousandths.
    let most = u128::from(device.multiprocessors) * u128::from(clock_mhz?) * u128::from(row.peak);
    let permille = (u128::from(figure.median) * 1_000_000).checked_div(most)?;
    Some((u64::try_from(permille).unwrap_or(u64::MAX), row))
}

fn figure(bench: &mut Bench<'_>, class: Option<Class>, judged: &JudgedFigure) {
    let (name, median) = (judged.name(), judged.figure.median);
    if let Some(row) = absolute(class, judged.test, &judged.figure) {
        let unit = super::names::kind_unit(judged.figure.kind).replace('_', " ");
        let fails = row.fail_below.filter(|floor| median < floor.value());
        if let Some(floor) = fails {
            bench.say(ReasonCode::TooSlow, format!("{name} {median} of at least {} {unit}", floor.value()));
        } else if median < row.warn_below.value() {
            let expected = row.expected.value();
            bench.say(ReasonCode::Slow, format!("{name} {median}, {expected} {unit} are expected"));
        }
    }
    if let Some((share, row)) = per_clock(bench.worked, judged.test, &judged.figure, judged.clock_mhz) {
        if row.fail_below_permille.is_some_and(|floor| share < floor) {
            bench.say(ReasonCode::TooSlowPerClock, format!("{name} {share} permille of its peak"));
        } else if share < row.warn_below_permille {
            bench.say(ReasonCode::SlowPerClock, format!("{name} {share} permille of its peak"));
        }
    }
    let one_way = matches!(judged.figure.part, FigurePart::ToDevice | FigurePart::ToHost);
    if let (BurnInTest::HostLink, true, Some((generation, lanes))) =
        (judged.test, one_way, bench.seen.link_best)
        && floors::link_warn_below(generation, lanes).is_some_and(|floor| median < floor)
    {
        let words =
            format!("{name} {median} megabytes per second by generation {generation} with {lanes} lanes");
        bench.say(ReasonCode::Slow, words);
    }
    if let Some(drift) = judged.figure.drift_permille.filter(|drift| *drift < DRIFT_PERMILLE) {
        bench.say(ReasonCode::Drift, format!("{name} to {drift} permille"));
    }
}
