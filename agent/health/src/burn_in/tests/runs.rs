//! Faults of the process, one at a time and at random.

use proptest::prelude::*;
use rackmark_model::gpu_work::{
    BurnInTest, FigureKind, Format, GpuReport, Loaded, Progress, SkipReason, StageEnded,
};
use rackmark_model::{Bitmask, Count, Megahertz};

use super::*;

#[test]
fn a_healthy_gpu_passes_in_every_mode() {
    for mode in MODES {
        let judgement = judge(UUID, &run(&Plan::of(mode, 3), None, 0), &well());
        assert_eq!(judgement.outcome, Outcome::Pass, "{}: {:?}", mode.name(), judgement.reasons);
        let warned = judgement.reasons.iter().any(|reason| reason.code.weight() >= Weight::Warns);
        assert!(!warned, "{}: {:?}", mode.name(), judgement.reasons);
    }
}

#[test]
fn no_fault_of_a_process_ends_in_pass_wherever_it_strikes() {
    for fault in FAULTS {
        for victim in 0..quick().stages.len() {
            let test = quick().stages[victim].test;
            // Leaving out what this GPU cannot do is no fault.
            let right = match fault {
                Fault::FewBytesTested => test != BurnInTest::MemoryPattern,
                Fault::StageLeftOut(SkipReason::NoPeer) => test == BurnInTest::PeerLink,
                _ => false,
            };
            let judgement = judge(UUID, &run(&quick(), Some(fault), victim), &well());
            assert_eq!(
                judgement.outcome == Outcome::Pass,
                right,
                "{fault:?} at {victim}: {:?}",
                judgement.reasons
            );
        }
    }
}

#[test]
fn the_reason_says_what_it_was() {
    let of = |fault| codes(&judge(UUID, &run(&quick(), Some(fault), 0), &well()));
    for (fault, code) in [
        (Fault::NoWork, ReasonCode::NoWork),
        (Fault::HalfTheTime, ReasonCode::LittleWork),
        (Fault::IdleHalf, ReasonCode::LittleWork),
        (Fault::HeldLittle, ReasonCode::LittleMemory),
        (Fault::FullBefore, ReasonCode::LittleMemory),
        (Fault::SelfTestMissed, ReasonCode::SelfTestMissed),
        (Fault::SelfTestAbsent, ReasonCode::SelfTestAbsent),
        (Fault::NoModule, ReasonCode::ModuleNotLoaded),
        (Fault::Failed(222), ReasonCode::ModuleNotLoaded),
        (Fault::Failed(214), ReasonCode::CudaError),
        (Fault::Failed(2), ReasonCode::WorkFailed),
        (Fault::Ending, ReasonCode::Preempted),
        (Fault::NotDone, ReasonCode::Broken),
        (Fault::OtherGpu, ReasonCode::WrongGpu),
        (Fault::CountedOnly, ReasonCode::Miscompare),
    ] {
        assert_eq!(of(fault).first(), Some(&code), "{fault:?}");
    }
}

#[test]
fn the_drivers_faults_fail_and_its_other_errors_do_not() {
    for code in [214, 220, 226, 700, 716, 719] {
        let judgement = judge(UUID, &run(&quick(), Some(Fault::Failed(code)), 3), &well());
        assert_eq!(judgement.outcome, Outcome::Fail, "{code}");
    }
    for code in [2, 100, 222, 999] {
        let judgement = judge(UUID, &run(&quick(), Some(Fault::Failed(code)), 3), &well());
        assert_eq!(judgement.outcome, Outcome::Inconclusive, "{code}");
    }
}

#[test]
fn a_tiny_gpu_keeps_more_than_a_tenth_for_other_things_and_half_of_it_is_still_too_little() {
    let mut worked = run(&quick(), None, 0);
    let device = worked.device.as_mut().expect("opened");
    device.memory_bytes = 128 << 20;
    for (held, outcome) in [(64 << 20, Outcome::Pass), (50 << 20, Outcome::Inconclusive)] {
        worked.held = Some((held, held));
        assert_eq!(judge(UUID, &worked, &well()).outcome, outcome, "{held}");
    }
}

#[test]
fn a_test_of_another_architecture_may_be_left_out_only_there() {
    let hopper = quick().stages.iter().position(|stage| stage.test == BurnInTest::GemmHopper(Format::Bf16));
    let fault = Some(Fault::StageLeftOut(SkipReason::Architecture));
    let mut worked = run(&quick(), fault, hopper.expect("there"));
    assert_eq!(judge(UUID, &worked, &well()).outcome, Outcome::Inconclusive, "an H200 has it");
    worked.device.as_mut().expect("opened").compute_capability = (8, 0);
    assert_eq!(judge(UUID, &worked, &well()).outcome, Outcome::Pass, "an A100 has not");
}

#[test]
fn a_soak_goes_on_where_it_stopped_and_repeats_the_stage_that_was_cut_short() {
    let plan = Plan::of(Mode::Soak, 2);
    let whole = run(&plan, None, 0);
    let mut worked = run(&plan, Some(Fault::StageSilent), 5);
    assert_eq!(worked.running(), Some(5));
    let kept = serde_json::to_string(&worked).expect("kept");
    worked = serde_json::from_str(&kept).expect("read");
    assert_eq!(worked.begin_order(), 5..plan.round());
    assert_eq!(worked.stages[5], StageState::Waiting);
    assert_eq!(judge(UUID, &worked, &well()).outcome, Outcome::Inconclusive);
    worked.stages.clone_from(&whole.stages);
    assert!(worked.begin_order().is_empty(), "nothing is left");
    assert_eq!(plan.stages.len(), 2 * plan.round());
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut worked = Worked::new(quick());
    worked.begin_order();
    let before = worked.clone();
    let ended = StageEnded {
        stage: 0,
        elapsed_ms: 1,
        launches: 1,
        work: 1,
        miscompares: 0,
        memory_bytes: 1,
        figures: vec![],
    };
    for report in [
        GpuReport::StageBegan { stage: 99 },
        GpuReport::StageSkipped { stage: u16::MAX, reason: SkipReason::NoPeer },
        GpuReport::StageEnded(ended),
        GpuReport::Done,
    ] {
        assert!(worked.take(&report).is_err(), "{report:?}");
        assert_eq!(worked, before);
    }
}

/// Something that must never end in pass, drawn at random beside everything else that may be.
fn spoilt() -> impl Strategy<Value = (Fault, usize)> {
    (prop::sample::select(FAULTS.to_vec()), 0..64_usize).prop_filter("no fault there", |(fault, victim)| {
        let plan = quick();
        let test = plan.stages[victim % plan.stages.len()].test;
        match fault {
            Fault::FewBytesTested => test == BurnInTest::MemoryPattern,
            Fault::StageLeftOut(SkipReason::NoPeer) => test != BurnInTest::PeerLink,
            _ => true,
        }
    })
}

proptest! {
    /// Whatever the samples say besides, a spoilt run is no pass.
    #[test]
    fn a_spoilt_run_is_never_a_pass(
        (fault, victim) in spoilt(),
        clock in 0..3_000_u32,
        reasons in any::<u64>(),
        processes in 0..4_u64,
        rate in 0..2_000_000_u64,
    ) {
        let seen = watch(|_, fast, _, _| {
            fast.clock_sm = Ok(Megahertz(clock));
            fast.clock_event_reasons = Ok(Bitmask(reasons));
            fast.processes_compute = Ok(Count(processes));
        });
        let mut worked = run(&quick(), Some(fault), victim);
        for stage in &mut worked.stages {
            if let StageState::Ended(end) = stage {
                for figure in &mut end.report.figures {
                    figure.median = rate;
                }
            }
        }
        prop_assert_ne!(judge(UUID, &worked, &seen).outcome, Outcome::Pass);
    }

    /// Reports in any order and with any content neither panic nor end in pass unless a whole run is among them.
    #[test]
    fn scattered_reports_are_never_a_pass(picks in prop::collection::vec((0..9_u8, any::<u16>(), any::<bool>()), 0..200)) {
        let mut worked = Worked::new(quick());
        worked.begin_order();
        for (pick, number, flag) in picks {
            let stage = number % 20;
            let report = match pick {
                0 => GpuReport::Device(device()),
                1 => GpuReport::Held { bytes: u64::from(number), intended_bytes: u64::MAX },
                2 => GpuReport::SelfTest { test: BurnInTest::Alu, caught: flag },
                3 => GpuReport::StageBegan { stage },
                4 => GpuReport::StageSkipped { stage, reason: SkipReason::NoPeer },
                5 => GpuReport::Done,
                6 => GpuReport::Loaded(Loaded { module: "m".into(), from_ptx: flag, took_us: 1, sha256: [0; 32] }),
                7 => GpuReport::Progress(Progress {
                    stage,
                    elapsed_ms: 1,
                    launches: 1,
                    kind: FigureKind::MegabytesPerSecond,
                    rate: 0,
                    miscompares: u64::MAX,
                }),
                _ => GpuReport::StageEnded(StageEnded {
                    stage,
                    elapsed_ms: u32::MAX,
                    launches: u64::MAX,
                    work: u64::MAX,
                    miscompares: 0,
                    memory_bytes: u64::MAX,
                    figures: vec![figure(BurnInTest::Alu)],
                }),
            };
            let _refused = worked.take(&report);
        }
        prop_assert_ne!(judge(UUID, &worked, &well()).outcome, Outcome::Pass);
    }
}
