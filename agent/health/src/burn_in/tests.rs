use rackmark_model::gpu_work::{
    BurnInTest, CudaFailure, Figure, FigureKind, FigurePart, Format, GpuDevice, GpuReport, Loaded,
    Miscompare, Place, Progress, SkipReason, StageEnded,
};
use rackmark_model::readings::{Fast, Inventory, Slow};
use rackmark_model::{Bitmask, Count, Lanes, Megahertz, Milliwatts, NoData, Percent};

use super::*;

mod runs;
mod samples;
mod speed;

const UUID: &str = "GPU-1";
const MEMORY: u64 = 140_000_000_000;

/// What may go wrong with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NoDevice,
    OtherGpu,
    NoModule,
    NotHeld,
    HeldLittle,
    FewBytesTested,
    FullBefore,
    SelfTestMissed,
    SelfTestAbsent,
    Miscompared,
    CountedOnly,
    NoWork,
    NoLaunch,
    HalfTheTime,
    IdleHalf,
    StageLeftOut(SkipReason),
    StageSilent,
    NotDone,
    Ending,
    Failed(u32),
}

const FAULTS: [Fault; 25] = [
    Fault::NoDevice,
    Fault::OtherGpu,
    Fault::NoModule,
    Fault::NotHeld,
    Fault::HeldLittle,
    Fault::FewBytesTested,
    Fault::FullBefore,
    Fault::SelfTestMissed,
    Fault::SelfTestAbsent,
    Fault::Miscompared,
    Fault::CountedOnly,
    Fault::NoWork,
    Fault::NoLaunch,
    Fault::HalfTheTime,
    Fault::IdleHalf,
    Fault::StageLeftOut(SkipReason::Architecture),
    Fault::StageLeftOut(SkipReason::Memory),
    Fault::StageLeftOut(SkipReason::NoModule),
    Fault::StageLeftOut(SkipReason::NoPeer),
    Fault::StageSilent,
    Fault::NotDone,
    Fault::Ending,
    Fault::Failed(2),
    Fault::Failed(214),
    Fault::Failed(222),
];

fn device() -> GpuDevice {
    GpuDevice {
        name: "NVIDIA H200".into(),
        uuid: UUID.into(),
        compute_capability: (9, 0),
        multiprocessors: 132,
        memory_bytes: MEMORY,
        memory_free_bytes: MEMORY,
        l2_bytes: 50 << 20,
        cuda_version: 13_000,
    }
}

fn figure(test: BurnInTest) -> Figure {
    let (kind, median) = match test {
        BurnInTest::GemmHopper(Format::Bf16) => (FigureKind::GigaOperationsPerSecond, 780_000),
        BurnInTest::GemmHopper(_) => (FigureKind::GigaOperationsPerSecond, 1_520_000),
        BurnInTest::GemmPortable(_) => (FigureKind::GigaOperationsPerSecond, 900_000),
        _ => (FigureKind::MegabytesPerSecond, 4_500_000),
    };
    Figure { part: FigurePart::Whole, kind, median, p5: median, drift_permille: None }
}

/// A run of `plan` with one fault at stage `victim`, or none.
fn run(plan: &Plan, fault: Option<Fault>, victim: usize) -> Worked {
    let mut worked = Worked::new(plan.clone());
    let is = |what: Fault| fault == Some(what);
    loop {
        let order = worked.begin_order();
        if order.is_empty() {
            return worked;
        }
        let victim = victim % order.len();
        let mut say = |report: GpuReport| worked.take(&report).expect("a report that can be");
        say(GpuReport::Hello { pid: 7 });
        let mut device = device();
        if is(Fault::OtherGpu) {
            device.uuid = "GPU-2".into();
        }
        if !is(Fault::NoDevice) {
            say(GpuReport::Device(device));
        }
        if !is(Fault::NoModule) {
            say(GpuReport::Loaded(Loaded {
                module: "memory".into(),
                from_ptx: false,
                took_us: 1,
                sha256: [1; 32],
            }));
        }
        let whole = MEMORY * u64::from(plan.memory_permille(MEMORY)) / 1_000;
        let bytes = if is(Fault::HeldLittle) { whole * 89 / 100 } else { whole };
        if is(Fault::FullBefore) {
            say(GpuReport::Held { bytes: whole / 2, intended_bytes: whole / 2 });
        } else if !is(Fault::NotHeld) {
            say(GpuReport::Held { bytes, intended_bytes: whole });
        }
        for (at, stage) in plan.stages[order.clone()].iter().enumerate() {
            let hit = at == victim;
            if !(hit && is(Fault::SelfTestAbsent)) {
                let caught = !(hit && is(Fault::SelfTestMissed));
                say(GpuReport::SelfTest { test: stage.test, caught });
            }
        }
        for (at, stage) in (0_u16..).zip(&plan.stages[order.clone()]) {
            let hit = usize::from(at) == victim;
            match fault {
                Some(Fault::StageLeftOut(reason)) if hit => {
                    say(GpuReport::StageSkipped { stage: at, reason });
                    continue;
                }
                Some(Fault::Failed(code)) if hit => {
                    let failure =
                        CudaFailure { operation: "wait".into(), code: Some(code), name: "X".into() };
                    say(GpuReport::Failed(failure));
                    return worked;
                }
                Some(Fault::StageSilent) if hit => {
                    say(GpuReport::StageBegan { stage: at });
                    return worked;
                }
                _ => {}
            }
            say(GpuReport::StageBegan { stage: at });
            let wrong = hit && (is(Fault::Miscompared) || is(Fault::CountedOnly));
            if hit && is(Fault::Miscompared) {
                let place = Place::Memory { offset: 8 };
                say(GpuReport::Miscompare(Miscompare {
                    stage: at,
                    pass: 0,
                    sm: None,
                    place,
                    rose: 1,
                    fell: 0,
                }));
            }
            let figure = figure(stage.test);
            for window in 0..8 {
                let rate = if hit && is(Fault::IdleHalf) && window > 2 { 0 } else { figure.median };
                say(GpuReport::Progress(Progress {
                    stage: at,
                    elapsed_ms: window * 250,
                    launches: 3,
                    kind: figure.kind,
                    rate,
                    miscompares: 0,
                }));
            }
            let few = hit && is(Fault::FewBytesTested) && stage.test == BurnInTest::MemoryPattern;
            say(GpuReport::StageEnded(StageEnded {
                stage: at,
                elapsed_ms: stage.duration_ms * (if hit && is(Fault::HalfTheTime) { 49 } else { 100 }) / 100,
                launches: if hit && is(Fault::NoLaunch) { 0 } else { 9 },
                work: if hit && is(Fault::NoWork) { 0 } else { 9 },
                miscompares: u64::from(wrong),
                memory_bytes: if few { bytes / 2 } else { bytes },
                figures: vec![figure],
            }));
        }
        if is(Fault::NotDone) {
            return worked;
        }
        say(GpuReport::Done);
        if is(Fault::Ending) {
            worked.ending = Ending::Preempted("lease 4".into());
            return worked;
        }
    }
}

fn fast() -> Fast {
    let mut fast = Fast::absent(NoData::NotSupported);
    fast.utilization_gpu = Ok(Percent(100));
    fast.clock_sm = Ok(Megahertz(1_900));
    fast.clock_event_reasons = Ok(Bitmask(0x4));
    fast.processes_compute = Ok(Count(1));
    fast.power_limit = Ok(Milliwatts(700_000));
    fast.power_draw = Ok(Milliwatts(690_000));
    fast.ecc_uncorrected_volatile_total = Ok(Count(3));
    fast.ecc_corrected_volatile_total = Ok(Count(3));
    fast.pcie_link_generation = Ok(Count(5));
    fast.pcie_link_width = Ok(Lanes(16));
    fast.pcie_replays_total = Ok(Count(0));
    fast
}

fn inventory() -> Inventory {
    let mut inventory = Inventory::absent(NoData::NotSupported);
    inventory.power_limit_default = Ok(Milliwatts(700_000));
    inventory.clock_sm_max = Ok(Megahertz(1_980));
    inventory.pcie_generation_max = Ok(Count(5));
    inventory.pcie_width_max = Ok(Lanes(16));
    inventory
}

fn slow() -> Slow {
    let mut slow = Slow::absent(NoData::NotSupported);
    slow.remapped_rows_pending = Ok(false);
    slow.remapped_rows_failed = Ok(false);
    slow.remapped_rows_corrected = Ok(Count(0));
    slow.remapped_rows_uncorrected = Ok(Count(0));
    slow
}

/// A minute of samples; `change` changes the readings at each second.
fn watch(mut change: impl FnMut(u64, &mut Fast, &mut Inventory, &mut Slow)) -> Seen {
    let mut seen = Seen::default();
    for second in 0..=60 {
        let (mut fast, mut inventory, mut slow) = (fast(), inventory(), slow());
        change(second, &mut fast, &mut inventory, &mut slow);
        seen.take(&Sampled {
            boot_ms: second * 1_000,
            fast: &fast,
            slow: Some(&slow),
            inventory: Some(&inventory),
            stage: Some(0),
            own_processes: 1,
        });
    }
    seen.slow_after_end = true;
    seen
}

fn well() -> Seen {
    watch(|_, _, _, _| {})
}

fn quick() -> Plan {
    Plan::of(Mode::Quick, 0)
}

fn codes(judgement: &Judgement) -> Vec<ReasonCode> {
    judgement.reasons.iter().map(|reason| reason.code).collect()
}
