//! A GPU with a fault is never one that found nothing: each fault, and what is said of it.

use rackmark_model::gpu_work::{BurnInTest, Format, GpuReport, Place, SkipReason};

use super::support::{Ended, Machine};

const PRODUCT: BurnInTest = BurnInTest::GemmPortable(Format::Bf16);

/// Every stage that ended counted wrong results, and the places that were named are these.
fn found(ended: &Ended, is_there: impl Fn(&Place) -> bool) {
    let miscompares = ended.miscompares();
    assert!(!miscompares.is_empty(), "nothing was found: {:?} {}", ended.reports, ended.complaints);
    assert!(miscompares.iter().all(|wrong| is_there(&wrong.place)), "{miscompares:?}");
    assert!(ended.stages().iter().all(|stage| stage.miscompares > 0), "{:?}", ended.stages());
    assert!(ended.done(), "the run goes on, so that all of a fault is seen: {}", ended.complaints);
}

#[test]
fn a_bit_of_memory_that_is_stuck_is_named_by_address_and_bit() {
    for (cell, rose, fell) in [("stuck1", 1 << 17, 0), ("stuck0", 0, 1 << 17)] {
        let ended = Machine::with(&format!("word 0 409600 17 {cell}")).run(BurnInTest::MemoryPattern);
        found(&ended, |place| *place == Place::Memory { offset: 409_600 });
        assert!(ended.miscompares().iter().all(|wrong| (wrong.rose, wrong.fell) == (rose, fell)), "{cell}");
    }
}

#[test]
fn a_bit_of_memory_that_flips_once_is_named() {
    let ended = Machine::with("word 0 8 63 once memory_invert").run(BurnInTest::MemoryPattern);
    found(&ended, |place| *place == Place::Memory { offset: 8 });
    let [wrong] = ended.miscompares()[..] else { panic!("once") };
    assert_eq!(wrong.rose | wrong.fell, 1 << 63);
}

#[test]
fn reading_and_copying_see_memory_that_is_wrong() {
    for test in [BurnInTest::MemoryRead, BurnInTest::MemoryCopy, BurnInTest::MemoryWrite, BurnInTest::Gather]
    {
        let ended = Machine::with("word 0 2097160 40 stuck1").run(test);
        assert!(ended.stages().iter().any(|stage| stage.miscompares > 0), "{test:?}: {:?}", ended.reports);
    }
}

#[test]
fn a_bit_that_is_wrong_on_its_way_over_the_link_is_named_whichever_way_it_goes() {
    let sound = Machine::one().run(BurnInTest::HostLink);
    let held = sound.reports.iter().find_map(|report| match report {
        GpuReport::Held { bytes, .. } => Some(*bytes),
        _ => None,
    });
    // What comes is in the first half of what is held, what goes in the second.
    let half = ((held.expect("memory was held") / 2) >> 20 << 20).min(64 << 20);
    for (begin, passes) in [(0, [0, 2]), (half, [1, 2])] {
        // What is sent has the bit one way or the other.
        let [rose, fell] = ["stuck1", "stuck0"].map(|cell| {
            Machine::with(&format!("word 0 {} 9 {cell}", begin + 8_192)).run(BurnInTest::HostLink)
        });
        let ended = if rose.miscompares().is_empty() { fell } else { rose };
        found(&ended, |place| *place == Place::Link { offset: 8_192 });
        for pass in ended.miscompares().iter().map(|wrong| wrong.pass % 3) {
            assert!(passes.contains(&pass), "{begin}: {pass}");
        }
        for pass in passes {
            assert!(ended.miscompares().iter().any(|wrong| wrong.pass % 3 == pass), "{begin}: {pass}");
        }
    }
}

#[test]
fn a_product_that_is_always_wrong_is_named_by_its_tile() {
    // A fault that is the same every time is invisible to who compares a GPU with itself.
    let ended = Machine::with("product 0 gemm_bf16 1 77 5 3 always").run(PRODUCT);
    found(&ended, |place| *place == Place::Tile { row: 0, column: 1 });
}

#[test]
fn any_bit_of_a_product_of_full_entropy_is_held_against_the_first_pass() {
    // From the last bit of the mantissa to the sign: sums are rounded, and still every bit counts.
    for bit in [0, 9, 22, 30, 31] {
        let machine = Machine::one();
        let mut worker = machine.worker(0, &[(BurnInTest::Power, 1_500)]);
        worker.until(|report| matches!(report, GpuReport::Progress(_)));
        // What is stored is the last pass of a launch, so the fault is in all of them.
        machine.fault(&format!("product 0 gemm_hopper_bf16 2 4 6 {bit} always"));
        let ended = worker.reports();
        found(&ended, |place| *place == Place::Tile { row: 1, column: 0 });
    }
}

#[test]
fn a_multiprocessor_that_is_wrong_is_seen_in_products_of_full_entropy_although_it_was_before() {
    // The first pass has the fault, too; the tile is somewhere else in the next.
    let ended = Machine::with("sm 0 3 20").run(BurnInTest::Power);
    assert!(!ended.miscompares().is_empty(), "{:?} {}", ended.reports, ended.complaints);
}

#[test]
fn a_product_that_is_wrong_once_is_named_by_its_tile() {
    let machine = Machine::one();
    let mut worker = machine.worker(0, &[(PRODUCT, 2_000)]);
    worker.until(|report| matches!(report, GpuReport::Progress(_)));
    machine.fault("product 0 * 2 0 0 22 once");
    let ended = worker.reports();
    let [wrong] = ended.miscompares()[..] else { panic!("once: {:?}", ended.miscompares()) };
    assert_eq!(wrong.place, Place::Tile { row: 1, column: 0 });
}

#[test]
fn what_is_no_number_is_no_right_product() {
    for fault in ["product 0 * 0 3 3 nan always", "product 0 * 0 3 3 inf always"] {
        for test in [PRODUCT, BurnInTest::GemmPortable(Format::Fp64), BurnInTest::GemmHopper(Format::Bf16)] {
            found(&Machine::with(fault).run(test), |place| *place == Place::Tile { row: 0, column: 0 });
        }
    }
}

#[test]
fn a_multiprocessor_that_is_wrong_is_named() {
    let ended = Machine::with("sm 0 3 12").run(PRODUCT);
    let miscompares = ended.miscompares();
    assert!(!miscompares.is_empty());
    assert!(miscompares.iter().all(|wrong| wrong.sm == Some(3)), "{miscompares:?}");
    let mut tiles: Vec<String> = miscompares.iter().map(|wrong| format!("{:?}", wrong.place)).collect();
    tiles.sort();
    tiles.dedup();
    assert!(tiles.len() > 1, "the multiprocessor gets other tiles from launch to launch: {tiles:?}");
}

#[test]
fn errors_that_stick_end_the_work_with_their_name() {
    for (code, name) in [
        (700, "CUDA_ERROR_ILLEGAL_ADDRESS"),
        (214, "CUDA_ERROR_ECC_UNCORRECTABLE"),
        (220, "CUDA_ERROR_NVLINK_UNCORRECTABLE"),
        (719, "CUDA_ERROR_LAUNCH_FAILED"),
    ] {
        let machine = Machine::one();
        let mut worker = machine.worker(0, &[(BurnInTest::MemoryRead, 60_000)]);
        worker.until(|report| matches!(report, GpuReport::Progress(_)));
        machine.fault(&format!("sticky 0 {code}"));
        let ended = worker.reports();
        assert_eq!(ended.failed(), Some((Some(code), name)));
        assert_eq!(ended.status.code(), Some(70));
        assert!(ended.complaints.contains(name), "{}", ended.complaints);
    }
}

#[test]
fn a_module_that_does_not_load_skips_its_stage() {
    let ended = Machine::with("module 0 222").run(PRODUCT);
    assert!(ended.done(), "{}", ended.complaints);
    let skipped = GpuReport::StageSkipped { stage: 0, reason: SkipReason::NoModule };
    assert!(ended.reports.contains(&skipped), "{:?}", ended.reports);
    assert!(ended.complaints.contains("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"), "{}", ended.complaints);
}

#[test]
fn launches_that_do_nothing_are_no_work() {
    // From the start: nothing that is said could be relied on.
    let ended = Machine::with("idle 0").run(PRODUCT);
    assert_eq!((ended.caught(), ended.done()), (vec![false], false));
    assert_eq!(ended.status.code(), Some(70));
    // From some moment on: what is counted stands still.
    let machine = Machine::one();
    let mut worker = machine.worker(0, &[(PRODUCT, 3_000)]);
    worker.until(|report| matches!(report, GpuReport::Progress(_)));
    machine.fault("idle 0");
    let ended = worker.reports();
    let idle = ended
        .reports
        .iter()
        .filter(|report| matches!(report, GpuReport::Progress(progress) if progress.rate == 0));
    assert!(idle.count() >= 3, "{:?}", ended.reports);
}

#[test]
fn a_block_that_does_not_run_is_wrong() {
    for test in [
        BurnInTest::MemoryPattern,
        BurnInTest::MemoryRead,
        BurnInTest::MemoryWrite,
        BurnInTest::MemoryCopy,
        PRODUCT,
        BurnInTest::Alu,
        BurnInTest::Gather,
    ] {
        let machine = Machine::one();
        let mut worker = machine.worker(0, &[(test, 1_500)]);
        worker.until(|report| matches!(report, GpuReport::Progress(_)));
        machine.fault("skip 0 1");
        let ended = worker.reports();
        let [stage] = &ended.stages()[..] else { panic!("{test:?}: {:?}", ended.reports) };
        assert!(stage.miscompares > 0, "{test:?}: {stage:?}");
    }
}

#[test]
fn half_the_memory_is_said_to_be_half() {
    let ended = Machine::with("left 0 500").run(BurnInTest::MemoryPattern);
    let held = |ended: &Ended| {
        ended.reports.iter().find_map(|report| match report {
            GpuReport::Held { bytes, .. } => Some(*bytes),
            _ => None,
        })
    };
    let all = held(&Machine::one().run(BurnInTest::MemoryPattern));
    assert!(held(&ended) < all, "{:?} of {all:?}", held(&ended));
    let ended = Machine::with("left 0 0").run(BurnInTest::MemoryPattern);
    assert_eq!(ended.failed(), Some((Some(2), "CUDA_ERROR_OUT_OF_MEMORY")));
}

#[test]
fn a_gpu_that_is_slow_has_a_lower_figure() {
    let median = |machine: &Machine| {
        // Bandwidth has a finer unit than what a CPU makes of products.
        let ended = machine.worker(0, &[(BurnInTest::MemoryRead, 1_000)]).reports();
        ended.stages()[0].figures[0].median
    };
    let (sound, slow) = (median(&Machine::one()), median(&Machine::with("slow 0 3")));
    assert!(slow * 2 < sound, "{slow} against {sound}");
}
