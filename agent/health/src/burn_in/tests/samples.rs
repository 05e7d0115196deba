//! What samples saw decides as well.

use super::*;

#[test]
fn what_samples_saw_decides_as_well() {
    type Change = fn(u64, &mut Fast, &mut Inventory, &mut Slow);
    let table: [(&str, Change, ReasonCode, Outcome); 17] = [
        (
            "uncorrected",
            |at, fast, _, _| fast.ecc_uncorrected_volatile_total = Ok(Count(3 + u64::from(at > 30))),
            ReasonCode::EccUncorrected,
            Outcome::Fail,
        ),
        (
            "corrected",
            |at, fast, _, _| fast.ecc_corrected_volatile_total = Ok(Count(3 + u64::from(at > 30))),
            ReasonCode::EccCorrected,
            Outcome::Pass,
        ),
        (
            "pending",
            |at, _, _, slow| slow.remapped_rows_pending = Ok(at > 30),
            ReasonCode::RowRemapPending,
            Outcome::Fail,
        ),
        (
            "failed",
            |at, _, _, slow| slow.remapped_rows_failed = Ok(at > 30),
            ReasonCode::RowRemapFailed,
            Outcome::Fail,
        ),
        (
            "rows",
            |at, _, _, slow| slow.remapped_rows_corrected = Ok(Count(u64::from(at > 30))),
            ReasonCode::RowsRemapped,
            Outcome::Pass,
        ),
        (
            "replays",
            |at, fast, _, _| fast.pcie_replays_total = Ok(Count(at)),
            ReasonCode::PcieReplays,
            Outcome::Fail,
        ),
        (
            "heat of hardware",
            |at, fast, _, _| fast.clock_event_reasons = Ok(Bitmask(if at == 9 { 0x44 } else { 4 })),
            ReasonCode::ThrottledByHardware,
            Outcome::Fail,
        ),
        (
            "slowdown",
            |at, fast, _, _| fast.clock_event_reasons = Ok(Bitmask(if at == 9 { 0x0c } else { 4 })),
            ReasonCode::ThrottledByHardware,
            Outcome::Fail,
        ),
        (
            "brake",
            |at, fast, _, _| fast.clock_event_reasons = Ok(Bitmask(if at == 9 { 0x84 } else { 4 })),
            ReasonCode::PowerBrake,
            Outcome::Fail,
        ),
        (
            "brake between samples",
            |at, fast, _, _| {
                fast.hw_power_brake_time =
                    Ok(rackmark_model::Nanoseconds(if at > 9 { 900_000_000 } else { 0 }));
            },
            ReasonCode::PowerBrake,
            Outcome::Fail,
        ),
        (
            "heat",
            |at, fast, _, _| fast.clock_event_reasons = Ok(Bitmask(if at < 5 { 0x24 } else { 4 })),
            ReasonCode::ThrottledByHeat,
            Outcome::Pass,
        ),
        (
            "foreign",
            |at, fast, _, _| fast.processes_compute = Ok(Count(if at == 9 { 2 } else { 1 })),
            ReasonCode::ForeignProcess,
            Outcome::Inconclusive,
        ),
        (
            "power limit",
            |_, fast, _, _| fast.power_limit = Ok(Milliwatts(500_000)),
            ReasonCode::PowerLimitLow,
            Outcome::Inconclusive,
        ),
        (
            "locked clocks",
            |_, fast, _, _| {
                fast.clock_sm = Ok(Megahertz(1_200));
                fast.clock_event_reasons = Ok(Bitmask(0x2));
            },
            ReasonCode::ClocksLocked,
            Outcome::Inconclusive,
        ),
        (
            "link",
            |at, fast, _, _| fast.pcie_link_width = Ok(Lanes(if at == 9 { 8 } else { 16 })),
            ReasonCode::PcieLinkDegraded,
            Outcome::Pass,
        ),
        (
            "counter unread",
            |_, fast, _, _| fast.ecc_uncorrected_volatile_total = Err(NoData::Timeout),
            ReasonCode::Unseen,
            Outcome::Inconclusive,
        ),
        (
            "processes unread",
            |_, fast, _, _| fast.processes_compute = Err(NoData::NoPermission),
            ReasonCode::Unseen,
            Outcome::Inconclusive,
        ),
    ];
    for (name, change, code, outcome) in table {
        let judgement = judge(UUID, &run(&quick(), None, 0), &watch(change));
        assert!(codes(&judgement).contains(&code), "{name}: {:?}", judgement.reasons);
        assert_eq!(judgement.outcome, outcome, "{name}: {:?}", judgement.reasons);
    }
}

#[test]
fn what_is_usual_under_load_is_no_fault() {
    let judgement = judge(
        UUID,
        &run(&quick(), None, 0),
        &watch(|at, fast, _, _| {
            // One brake of a thousandth, an idle link, clocks below their best at the power limit.
            fast.hw_power_brake_time = Ok(rackmark_model::Nanoseconds(if at > 9 { 60_000_000 } else { 0 }));
            fast.clock_sm = Ok(Megahertz(1_400));
            fast.pcie_replays_total = Ok(Count(at / 20));
        }),
    );
    assert_eq!(judgement.outcome, Outcome::Pass, "{:?}", judgement.reasons);
    assert!(codes(&judgement).contains(&ReasonCode::PowerCapped));
    assert!(!codes(&judgement).contains(&ReasonCode::ClocksLocked));
}

#[test]
fn eyes_that_were_closed_leave_it_open() {
    let mut few = Seen::default();
    few.slow_after_end = true;
    let hole = {
        let mut seen = Seen::default();
        for at in [0, 1_000, 30_000, 31_000] {
            seen.take(&Sampled {
                boot_ms: at,
                fast: &fast(),
                slow: Some(&slow()),
                inventory: Some(&inventory()),
                stage: None,
                own_processes: 1,
            });
        }
        seen.slow_after_end = true;
        seen
    };
    let lost = watch(|at, fast, _, _| {
        if at > 20 {
            *fast = Fast::absent(NoData::GpuLost);
        }
    });
    let mut early = well();
    early.slow_after_end = false;
    for seen in [few, hole, lost, early] {
        let judgement = judge(UUID, &run(&quick(), None, 0), &seen);
        assert_eq!(judgement.outcome, Outcome::Inconclusive, "{:?}", judgement.reasons);
        assert_eq!(codes(&judgement).first(), Some(&ReasonCode::Unseen));
    }
}

#[test]
fn an_xid_fails_and_beats_a_preemption() {
    let mut seen = well();
    seen.xid(79);
    let judgement = judge(UUID, &run(&quick(), Some(Fault::Ending), 0), &seen);
    assert_eq!(judgement.outcome, Outcome::Fail);
    assert_eq!(codes(&judgement).first(), Some(&ReasonCode::Xid), "the gravest reason comes first");
    assert!(codes(&judgement).contains(&ReasonCode::Preempted));
}
