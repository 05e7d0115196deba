//! Any sequence of inputs, against a naive model of the conditions that follow the readings.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rackmark_health::{
    Code, Condition, Effect, Input, Instance, Recovery, Standing, Transition, Verb, Witness, XidReport,
};
use rackmark_model::{
    Celsius, Count, GpuState, Millijoules, Milliwatts, Nanoseconds, NoData, Percent, Verdict,
};

use crate::world::{Card, MINUTE, SECOND, World};

/// GPUs of the node.
const GPUS: usize = 2;

/// Most conditions of one GPU, as `condition.rs` says.
const CONDITIONS_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Wrong,
    Fine,
    Absent,
}

/// What a step of a sequence does. GPUs are chosen modulo their number.
#[derive(Debug, Clone)]
enum Op {
    Pass(u64),
    SetWallClock(i64),
    Look,
    Read(usize, usize, Reading),
    Raw(usize, u8, u64),
    Stand(usize, u8),
    NewCard(usize, u8),
    Xid(Option<u8>, u32, bool, Option<(u32, Option<u32>)>, Option<u32>),
    Sxid(u32, Option<bool>),
    Recovery(u8, bool),
    Word(usize, Option<bool>),
    DriverUp(Option<bool>),
    DriverLoaded,
    Verb(u8, Option<u8>),
    Restart,
    Reboot,
}

/// A rule of the model: how long until it is shown, how long the readings must be fine.
struct Rule {
    code: Code,
    visible_after: u64,
    hold: u64,
    of_the_moment: bool,
    set: fn(&mut Card, Reading),
}

const RULES: [Rule; 6] = [
    Rule {
        code: Code::RowRemapFailed,
        visible_after: 0,
        hold: 0,
        of_the_moment: false,
        set: |card, to| card.slow().remapped_rows_failed = flag(to),
    },
    Rule {
        code: Code::ModePending,
        visible_after: MINUTE,
        hold: 0,
        of_the_moment: false,
        set: |card, to| {
            let wrong = flag(to);
            card.inventory().ecc_enabled = Ok(true);
            card.inventory().ecc_pending_enabled = wrong.map(|wrong| !wrong);
            card.inventory().mig_enabled = Err(NoData::NotSupported);
        },
    },
    Rule {
        code: Code::TemperatureHigh,
        visible_after: 30 * SECOND,
        hold: MINUTE,
        of_the_moment: true,
        set: |card, to| {
            card.fast.temperature_gpu = Err(NoData::Timeout);
            card.fast.temperature_margin = flag(to).map(|wrong| Celsius(if wrong { 0 } else { 1 }));
        },
    },
    Rule {
        code: Code::PowerUnreadable,
        visible_after: 30 * SECOND,
        hold: 0,
        of_the_moment: true,
        set: |card, to| {
            card.fast.power_draw = match to {
                Reading::Wrong => Err(NoData::Error(999)),
                Reading::Fine => Ok(Milliwatts(1)),
                Reading::Absent => Err(NoData::NotSupported),
            };
        },
    },
    Rule {
        code: Code::EccUncorrected,
        visible_after: 0,
        hold: 0,
        of_the_moment: false,
        set: |card, to| {
            card.fast.ecc_uncorrected_volatile_total = flag(to).map(|wrong| Count(u64::from(wrong)));
        },
    },
    Rule {
        code: Code::ImplausibleReading,
        visible_after: 10 * SECOND,
        hold: MINUTE,
        of_the_moment: true,
        set: |card, to| {
            card.fast.utilization_memory = Ok(Percent(if to == Reading::Wrong { 101 } else { 1 }));
        },
    },
];

fn flag(to: Reading) -> Result<bool, NoData> {
    match to {
        Reading::Wrong => Ok(true),
        Reading::Fine => Ok(false),
        Reading::Absent => Err(NoData::Timeout),
    }
}

/// What the model remembers of one rule on one GPU.
#[derive(Debug, Clone, Copy)]
struct Naive {
    reading: Reading,
    first_wrong: Option<u64>,
    fine_since: Option<u64>,
    shown: bool,
}

impl Naive {
    const NEW: Self = Self { reading: Reading::Fine, first_wrong: None, fine_since: None, shown: false };

    fn over(&mut self) {
        *self = Self { reading: self.reading, ..Self::NEW };
    }

    fn look(&mut self, rule: &Rule, now: u64) {
        let reading = match self.reading {
            // Always read, one way or the other.
            Reading::Absent if rule.code == Code::ImplausibleReading => Reading::Fine,
            reading => reading,
        };
        match reading {
            Reading::Absent => {}
            Reading::Wrong => {
                self.fine_since = None;
                let first = *self.first_wrong.get_or_insert(now);
                self.shown |= now - first >= rule.visible_after;
            }
            Reading::Fine if self.shown => {
                let since = *self.fine_since.get_or_insert(now);
                if now - since >= rule.hold {
                    self.over();
                }
            }
            Reading::Fine => self.over(),
        }
    }
}

/// What a condition is told under: GPU, code, key, MIG instance.
type Name = (Option<u8>, Code, u32, Option<(u32, Option<u32>)>);

/// What was said so far must fit together.
#[derive(Default)]
struct Told {
    shown: BTreeSet<Name>,
    verdicts: BTreeMap<Option<u8>, Verdict>,
    states: BTreeMap<u8, GpuState>,
}

impl Told {
    fn hear(&mut self, said: &[Transition]) -> Result<(), TestCaseError> {
        let instance = |one: Option<Instance>| one.map(|one| (one.gpu_instance, one.compute_instance));
        for one in said {
            match one {
                Transition::Raised { slot, condition } => {
                    let name = (*slot, condition.code, condition.key, instance(condition.instance));
                    prop_assert!(self.shown.insert(name), "raised twice: {name:?}");
                }
                Transition::Cleared { slot, condition, .. } => {
                    let name = (*slot, condition.code, condition.key, instance(condition.instance));
                    prop_assert!(self.shown.remove(&name), "over, and was never raised: {name:?}");
                }
                Transition::Verdict { slot, from, to, .. } => {
                    let before = self.verdicts.insert(*slot, *to).unwrap_or(Verdict::Unknown);
                    prop_assert_eq!((before, from != to), (*from, true));
                }
                Transition::State { slot, from, to, .. } => {
                    let before = self.states.insert(*slot, *to).unwrap_or(GpuState::Unknown);
                    prop_assert_eq!((before, from != to), (*from, true));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const STANDINGS: [Standing<'static>; 7] = [
    Standing::Answering,
    Standing::Slow,
    Standing::Unresponsive("nvmlDeviceGetTemperature"),
    Standing::Absent(NoData::GpuLost),
    Standing::Absent(NoData::HandedOver),
    Standing::Absent(NoData::Suspended),
    Standing::Absent(NoData::DriverGone),
];

const RECOVERIES: [(&str, Recovery); 5] = [
    ("none", Recovery::None),
    ("reset", Recovery::Reset),
    ("reboot", Recovery::Reboot),
    ("drain_p2p", Recovery::DrainP2p),
    ("drain_and_reset", Recovery::DrainAndReset),
];

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let gpu = 0..GPUS;
    let slot = proptest::option::of(0..3_u8);
    let instance = proptest::option::of((0..3_u32, proptest::option::of(0..2_u32)));
    let code = prop_oneof![Just(13_u32), Just(45), Just(48), Just(79), Just(94), 0..400_u32];
    let reading =
        prop_oneof![3 => Just(Reading::Wrong), 2 => Just(Reading::Fine), 1 => Just(Reading::Absent)];
    let pass = prop_oneof![
        4 => 0..40_000_u64,
        2 => Just(30_000),
        1 => Just(60_000),
        1 => 0..900_000_u64,
        1 => 0..100_000_000_u64
    ];
    let op = prop_oneof![
        6 => pass.prop_map(Op::Pass),
        1 => (-100_000_000_000..100_000_000_000_i64).prop_map(Op::SetWallClock),
        10 => Just(Op::Look),
        8 => (gpu.clone(), 0..RULES.len(), reading).prop_map(|(gpu, rule, to)| Op::Read(gpu, rule, to)),
        3 => (gpu.clone(), any::<u8>(), any::<u64>()).prop_map(|(gpu, what, value)| Op::Raw(gpu, what, value)),
        2 => (gpu.clone(), prop_oneof![3 => Just(0_u8), 2 => 0..7_u8]).prop_map(|(gpu, at)| Op::Stand(gpu, at)),
        1 => (gpu, 0..4_u8).prop_map(|(gpu, card)| Op::NewCard(gpu, card)),
        6 => (slot.clone(), code.clone(), any::<bool>(), instance, proptest::option::weighted(0.2, code))
            .prop_map(|(slot, code, kernel, instance, cause)| Op::Xid(slot, code, kernel, instance, cause)),
        1 => (0..100_u32, any::<Option<bool>>()).prop_map(|(code, fatal)| Op::Sxid(code, fatal)),
        1 => (0..10_u8, any::<bool>()).prop_map(|(action, told)| Op::Recovery(action, told)),
        1 => (0..GPUS, any::<Option<bool>>()).prop_map(|(gpu, on)| Op::Word(gpu, on)),
        1 => any::<Option<bool>>().prop_map(Op::DriverUp),
        1 => Just(Op::DriverLoaded),
        2 => (0..9_u8, slot).prop_map(|(verb, slot)| Op::Verb(verb, slot)),
        1 => Just(Op::Restart),
        1 => Just(Op::Reboot),
    ];
    // A reading, some time, a look: what the rules live on.
    let reading =
        prop_oneof![3 => Just(Reading::Wrong), 2 => Just(Reading::Fine), 1 => Just(Reading::Absent)];
    let pass = prop_oneof![Just(SECOND), Just(30 * SECOND), Just(MINUTE), 0..100_000_u64];
    let watched = (0..GPUS, prop_oneof![3 => Just(2), 1 => 0..RULES.len()], reading, pass)
        .prop_map(|(gpu, rule, to, ms)| vec![Op::Read(gpu, rule, to), Op::Pass(ms), Op::Look]);
    let some = prop_oneof![2 => op.prop_map(|op| vec![op]), 1 => watched];
    proptest::collection::vec(some, 1..120).prop_map(|some| some.concat())
}

/// Readings that no rule of the model looks at, with any value.
fn raw(card: &mut Card, what: u8, value: u64) {
    let small = u32::try_from(value % (1 << 32)).unwrap_or(0);
    match what % 10 {
        0 => card.fast.energy_total = Ok(Millijoules(value)),
        1 => card.fast.pcie_replays_total = Ok(Count(value)),
        2 => card.fast.hw_thermal_time = Ok(Nanoseconds(value)),
        3 => card.fast.sw_power_cap_time = Ok(Nanoseconds(value)),
        4 => card.fast.ecc_corrected_volatile_total = Ok(Count(value)),
        5 => card.slow().retired_pages_double_bit = Ok(Count(value)),
        6 => card.slow().retired_pages_single_bit = Ok(Count(value)),
        7 => card.nvlinks[usize::from(what) % 18].crc_flit_errors = Ok(value),
        8 => {
            card.nvlinks[usize::from(what) % 18].link = small.to_le_bytes()[0];
            card.nvlinks[usize::from(what) % 18].replay_errors = Ok(value);
        }
        _ => {
            card.fast.processes_compute = Ok(Count(value % 3));
            card.fast.processes_graphics = Ok(Count(value));
        }
    }
}

fn verb(world: &mut World, which: u8, slot: Option<u8>) -> Vec<Transition> {
    let until_unix_ms = world.now.unix_ms.saturating_add(MINUTE);
    let one = slot.unwrap_or(0);
    let verb = match which {
        0 => Verb::Acknowledge { slot, condition: "all" },
        1 => Verb::Acknowledge { slot, condition: "xid" },
        2 => Verb::MaintenanceStart { slot, until_unix_ms, reason: "fans" },
        3 => Verb::MaintenanceEnd { slot },
        4 => Verb::Drain { slot, reason: "soon" },
        5 => Verb::Undrain { slot },
        6 => Verb::LeaseStart { slot: one, id: "job", reserved: false, until_unix_ms: Some(until_unix_ms) },
        7 => Verb::LeaseStart { slot: one, id: "other", reserved: true, until_unix_ms: None },
        _ => Verb::LeaseEnd { id: "job" },
    };
    let before = world.state.clone();
    let mut out = Vec::new();
    if rackmark_health::carry_out(&mut world.state, &verb, "ops", world.now, &mut out).is_err() {
        assert_eq!(world.state, before, "a refused verb changes nothing");
    }
    out
}

fn run(ops: &[Op]) -> Result<World, TestCaseError> {
    let mut world = World::before_the_first_look(GPUS);
    let mut naive = [[Naive::NEW; RULES.len()]; GPUS];
    let mut told = Told::default();
    for card in &mut world.cards {
        RULES.iter().for_each(|rule| (rule.set)(card, Reading::Fine));
    }
    for op in ops {
        let said = match op {
            Op::Pass(ms) => {
                world.pass(*ms);
                Vec::new()
            }
            Op::SetWallClock(by) => {
                world.now.unix_ms = world.now.unix_ms.saturating_add_signed(*by);
                Vec::new()
            }
            Op::Read(gpu, rule, to) => {
                (RULES[*rule].set)(&mut world.cards[*gpu], *to);
                naive[*gpu][*rule].reading = *to;
                Vec::new()
            }
            Op::Raw(gpu, what, value) => {
                raw(&mut world.cards[*gpu], *what, *value);
                Vec::new()
            }
            Op::Stand(gpu, at) => {
                world.cards[*gpu].standing = STANDINGS[usize::from(*at)];
                Vec::new()
            }
            Op::NewCard(gpu, card) => {
                world.cards[*gpu].serial = Some(format!("card {card}"));
                Vec::new()
            }
            Op::Xid(slot, code, kernel, instance, caused_by) => {
                let witness = if *kernel { Witness::KernelLog } else { Witness::Driver };
                let instance = instance
                    .map(|(gpu_instance, compute_instance)| Instance { gpu_instance, compute_instance });
                let report =
                    XidReport { instance, caused_by: *caused_by, ..world.report(*slot, *code, witness) };
                world.tell(Input::Xid(&report))
            }
            Op::Sxid(code, fatal) => world.tell(Input::SxId {
                pci_text: "0000:05:00.0",
                code: *code,
                fatal: *fatal,
                text: "words",
            }),
            Op::Recovery(action, _) if *action >= 5 => world.tell(Input::KernelLogLost { records: 1 }),
            Op::Recovery(action, true) => {
                world.tell(Input::Recovery { slot: 0, action: RECOVERIES[usize::from(*action)].1 })
            }
            Op::Recovery(action, false) => {
                world.cards[0].slow().recovery_action = Ok(RECOVERIES[usize::from(*action)].0.to_owned());
                Vec::new()
            }
            Op::Word(gpu, on) => {
                world.cards[*gpu].nvlinks[0].active = on.ok_or(NoData::Timeout);
                Vec::new()
            }
            Op::DriverUp(up) => {
                world.driver_up = *up;
                Vec::new()
            }
            Op::DriverLoaded => world.tell(Input::DriverLoaded),
            Op::Verb(which, slot) => verb(&mut world, *which, *slot),
            Op::Restart | Op::Reboot => {
                for naive in naive.iter_mut().flatten() {
                    (naive.first_wrong, naive.fine_since) = (None, None);
                }
                if matches!(op, Op::Restart) { world.restart() } else { world.reboot() }
            }
            Op::Look => look(&mut world, &mut naive)?,
        };
        told.hear(&said)?;
    }
    let said = look(&mut world, &mut naive)?;
    told.hear(&said)?;
    Ok(world)
}

fn look(
    world: &mut World,
    naive: &mut [[Naive; RULES.len()]; GPUS],
) -> Result<Vec<Transition>, TestCaseError> {
    let seated: Vec<Option<String>> =
        world.state.gpus.iter().map(|gpu| gpu.serial().map(str::to_owned)).collect();
    let said = world.look();
    let now = world.now.boot_ms;
    for (slot, naive) in naive.iter_mut().enumerate() {
        let card = &world.cards[slot];
        let moved = seated.get(slot).is_some_and(|before| before.is_some() && *before != card.serial);
        for (naive, rule) in naive.iter_mut().zip(&RULES) {
            if moved || rule.of_the_moment && card.standing == Standing::Absent(NoData::HandedOver) {
                naive.over();
            }
            if card.standing == Standing::Answering {
                naive.look(rule, now);
            }
            let stands =
                world.condition(u8::try_from(slot).ok(), rule.code, 0).is_some_and(Condition::counts);
            prop_assert_eq!(stands, naive.shown, "GPU {}: {:?}, {:?}", slot, rule.code, naive);
        }
    }
    check(world)?;
    Ok(said)
}

/// What holds after every look.
fn check(world: &World) -> Result<(), TestCaseError> {
    let of_node = world.state.conditions.all();
    for (gpu, card) in world.state.gpus.iter().zip(&world.cards) {
        let unusable = gpu
            .conditions
            .all()
            .iter()
            .chain(of_node)
            .any(|one| one.counts() && one.effect == Effect::Unusable);
        prop_assert_eq!(gpu.verdict.verdict == Verdict::Unusable, unusable);
        let untested = gpu.conditions.all().iter().any(|one| one.code == Code::CardUntested);
        prop_assert!(!untested || matches!(gpu.verdict.verdict, Verdict::Unknown | Verdict::Unusable));
        let known = matches!(
            card.standing,
            Standing::Answering | Standing::Slow | Standing::Absent(NoData::Suspended)
        );
        prop_assert!(known || matches!(gpu.verdict.verdict, Verdict::Unknown | Verdict::Unusable));
        prop_assert!(gpu.verdict.verdict == Verdict::Schedulable || !gpu.verdict.reason.is_empty());
        prop_assert!(gpu.incidents.open().len() <= 192);
        for of in [&gpu.conditions, &world.state.conditions] {
            prop_assert!(of.all().len() <= CONDITIONS_MAX);
            let names: BTreeSet<_> = of
                .all()
                .iter()
                .map(|one| {
                    (one.code, one.key, one.instance.map(|one| (one.gpu_instance, one.compute_instance)))
                })
                .collect();
            prop_assert_eq!(names.len(), of.all().len(), "each stands once");
            prop_assert!(of.all().iter().all(|one| one.last_unix_ms <= world.now.unix_ms));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_inputs_is_judged_as_the_naive_model_judges_it(ops in ops()) {
        let (one, other) = (run(&ops)?, run(&ops)?);
        prop_assert_eq!(one.state, other.state);
        prop_assert_eq!(one.said, other.said);
    }
}
