//! What a sound GPU answers.

use rackmark_model::gpu_work::{BurnInTest, FigureKind, FigurePart, Format, GpuReport, SkipReason};

use super::support::{Machine, uuid};

/// Every test, those of other architectures included.
const EVERY: [BurnInTest; 19] = [
    BurnInTest::MemoryPattern,
    BurnInTest::MemoryRead,
    BurnInTest::MemoryWrite,
    BurnInTest::MemoryCopy,
    BurnInTest::GemmPortable(Format::Bf16),
    BurnInTest::GemmPortable(Format::Fp16),
    BurnInTest::GemmPortable(Format::Tf32),
    BurnInTest::GemmPortable(Format::Fp8E4m3),
    BurnInTest::GemmPortable(Format::Int8),
    BurnInTest::GemmPortable(Format::Fp64),
    BurnInTest::GemmHopper(Format::Bf16),
    BurnInTest::GemmHopper(Format::Fp8E4m3),
    BurnInTest::GemmHopper(Format::Int8),
    BurnInTest::Alu,
    BurnInTest::Gather,
    BurnInTest::Pulse,
    BurnInTest::HostLink,
    BurnInTest::PeerLink,
    BurnInTest::Power,
];

fn skipped(reports: &[GpuReport]) -> Vec<(usize, SkipReason)> {
    let of = |report: &GpuReport| match report {
        GpuReport::StageSkipped { stage, reason } => Some((usize::from(*stage), *reason)),
        _ => None,
    };
    reports.iter().filter_map(of).collect()
}

#[test]
fn every_test_runs_is_proven_and_finds_nothing() {
    let machine = Machine::new("h200", "2");
    let stages = EVERY.map(|test| (test, 150));
    let ended = machine.worker(0, &stages).reports();
    assert!(ended.done(), "{:?} {}", ended.reports.last(), ended.complaints);
    assert_eq!(
        skipped(&ended.reports),
        [(7, SkipReason::Architecture)],
        "mma.sync has no FP8 before PTX 8.4"
    );
    assert_eq!(ended.caught(), [true; EVERY.len() - 1]);
    assert_eq!(ended.miscompares(), []);
    for stage in ended.stages() {
        let test = EVERY[usize::from(stage.stage)];
        assert!(stage.work > 0 && stage.launches > 0 && stage.miscompares == 0, "{test:?}: {stage:?}");
        assert!(!stage.figures.is_empty(), "{test:?}");
        assert!(
            stage
                .figures
                .iter()
                .all(|figure| figure.median >= figure.p5 || figure.kind == FigureKind::NanosecondsPerRead)
        );
    }
    let [GpuReport::Hello { .. }, GpuReport::Device(device), GpuReport::Held { bytes, intended_bytes }, ..] =
        &ended.reports[..]
    else {
        panic!("{:?}", ended.reports.first());
    };
    assert_eq!((device.uuid.as_str(), device.name.as_str()), (uuid(0).as_str(), "NVIDIA H200"));
    assert_eq!((device.compute_capability, bytes), ((9, 0), intended_bytes));
    let pattern = &ended.stages()[0];
    assert_eq!(pattern.memory_bytes, *bytes, "a pass over memory is whole");
    // What was loaded is code for this GPU.
    assert!(
        ended.reports.iter().all(|report| !matches!(report, GpuReport::Loaded(loaded) if loaded.from_ptx))
    );
}

#[test]
fn parts_have_figures_of_their_own() {
    let machine = Machine::one();
    let stages = [(BurnInTest::Alu, 600), (BurnInTest::Gather, 600), (BurnInTest::HostLink, 600)];
    let ended = machine.worker(0, &stages).reports();
    assert!(ended.done(), "{}", ended.complaints);
    let parts: Vec<Vec<FigurePart>> =
        ended.stages().iter().map(|stage| stage.figures.iter().map(|figure| figure.part).collect()).collect();
    let has = |stage: usize, wanted: &[FigurePart]| wanted.iter().all(|part| parts[stage].contains(part));
    assert!(has(0, &[FigurePart::Fp32, FigurePart::Fp64, FigurePart::Integer]), "{parts:?}");
    assert!(has(1, &[FigurePart::Gather, FigurePart::Atomic, FigurePart::Chase]), "{parts:?}");
    assert!(has(2, &[FigurePart::ToDevice, FigurePart::ToHost, FigurePart::BothWays]), "{parts:?}");
}

#[test]
fn another_architecture_skips_what_only_hopper_has() {
    let machine = Machine::new("rtx4090-2", "1");
    let stages = [(BurnInTest::GemmHopper(Format::Bf16), 100), (BurnInTest::GemmPortable(Format::Bf16), 100)];
    let ended = machine.worker(0, &stages).reports();
    assert!(ended.done(), "{}", ended.complaints);
    assert_eq!(skipped(&ended.reports), [(0, SkipReason::Architecture)]);
    assert_eq!(ended.stages().len(), 1);
}

#[test]
fn the_gpu_is_found_by_its_uuid_and_a_lonely_one_has_no_peer() {
    let machine = Machine::new("h200", "2");
    let ended = machine.worker(1, &[(BurnInTest::GemmPortable(Format::Int8), 50)]).reports();
    let device = ended.reports.iter().find_map(|report| match report {
        GpuReport::Device(device) => Some(device.uuid.clone()),
        _ => None,
    });
    assert_eq!(device, Some(uuid(1)));
    let ended = Machine::one().run(BurnInTest::PeerLink);
    assert_eq!(skipped(&ended.reports), [(0, SkipReason::NoPeer)]);
}

#[test]
fn signs_of_life_come_every_quarter_of_a_second() {
    let ended = Machine::one().worker(0, &[(BurnInTest::GemmPortable(Format::Bf16), 3_000)]).reports();
    let times: Vec<u32> = ended
        .reports
        .iter()
        .filter_map(|report| match report {
            GpuReport::Progress(progress) => Some(progress.elapsed_ms),
            _ => None,
        })
        .collect();
    assert!(times.len() >= 5, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 250), "{times:?}");
}
