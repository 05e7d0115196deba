//! The motion of one GPU between the idle and the load figures of its profile.
//!
//! Time runs in whole seconds. Each second has one power, one clock and one set of rates, computed from the seconds
//! before it in the same order by every process, so that processes agree and counters only grow; within a second the
//! counters grow linearly. Catching up costs some tens of nanoseconds per simulated second and GPU.

use crate::cell::Cell;
use crate::curve::{Curve, noise};
use crate::fields::{Cells, Field};
use crate::profile::Model;
use std::collections::VecDeque;

/// Clocks move in steps of this many MHz.
const CLOCK_STEP: f64 = 15.0;
/// Power above idle grows with the clock to this power (voltage follows the clock).
const CLOCK_EXPONENT: f64 = 2.2;

/// NVML's clock event reasons.
pub mod reason {
    /// Nothing runs.
    pub const IDLE: u64 = 0x1;
    /// The software power limit holds the clock down.
    pub const SW_POWER_CAP: u64 = 0x4;
    /// A hardware slowdown is engaged.
    pub const HW_SLOWDOWN: u64 = 0x8;
    /// Clocks follow the slowest of a group.
    pub const SYNC_BOOST: u64 = 0x10;
    /// The software temperature limit holds the clock down.
    pub const SW_THERMAL: u64 = 0x20;
    /// Hardware thermal slowdown.
    pub const HW_THERMAL: u64 = 0x40;
    /// External power brake.
    pub const HW_POWER_BRAKE: u64 = 0x80;
}

/// Counters that the motion moves, with the field each adds to: energy in microjoules, then NVLink bytes sent and
/// received, then nanoseconds under each reason.
pub const COUNTERS: [Field; 8] = [
    Field::ENERGY_TOTAL,
    Field::NVLINK_TRANSMIT,
    Field::NVLINK_RECEIVE,
    Field::SW_POWER_CAP_TIME,
    Field::SYNC_BOOST_TIME,
    Field::SW_THERMAL_TIME,
    Field::HW_THERMAL_TIME,
    Field::HW_POWER_BRAKE_TIME,
];

/// What the field of counter `at` counts per unit of the counter: energy is kept in microjoules, shown in millijoules.
pub const fn counter_divisor(at: usize) -> u64 {
    if at == 0 { 1000 } else { 1 }
}

/// A change that the motion sees from a given second on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// A fixed load instead of the curve, or the curve again.
    Load(Option<f64>),
    /// Forced clock event reasons.
    Throttle(u64),
    /// A power limit in milliwatts instead of the profile's, or the profile's again.
    Limit(Option<f64>),
    /// The driver was loaded anew: its counters start at zero.
    Reset,
}

/// What holds during the present second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Second {
    /// 0.0..=1.0
    pub load: f64,
    /// Share of the second spent in collectives.
    pub links: f64,
    /// Average power.
    pub power_milliwatts: u64,
    /// SM clock.
    pub clock_megahertz: u64,
    /// Clock event reasons.
    pub reasons: u64,
    /// Core temperature in degrees.
    pub core_celsius: f64,
    /// Memory temperature in degrees.
    pub memory_celsius: f64,
}

/// The constants of one GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    key: u64,
    group: u64,
    idle_milliwatts: f64,
    full_milliwatts: f64,
    noise: f64,
    core: [f64; 2],
    memory: [f64; 2],
    core_share: f64,
    memory_share: f64,
    slowdown_celsius: f64,
    clock: [f64; 2],
    nvlink: f64,
    power_limit: f64,
    /// Captured figures stay as they are: this power, these reasons.
    held: Option<(u64, u64)>,
}

fn figure(cells: &Cells, field: Field, default: f64) -> f64 {
    cells[field.position()].ok().map_or(default, |value| value as f64)
}

impl Constants {
    /// From the two ends of a profile. `key` is the GPU's own, `group` is shared by the machine.
    pub fn new(
        key: u64,
        group: u64,
        idle: &Cells,
        load: &Cells,
        model: &Model,
        held: Option<&Cells>,
    ) -> Constants {
        let ends = |field, default| [figure(idle, field, default), figure(load, field, default)];
        let power = ends(Field::POWER_DRAW, 50_000.0);
        let mut core = ends(Field::TEMPERATURE_GPU, 40.0);
        let mut memory = ends(Field::TEMPERATURE_MEMORY, core[0]);
        // The limit in degrees: either a threshold, or what is left of the margin at idle.
        let margin = idle[Field::TEMPERATURE_MARGIN.position()].ok().map(|margin| margin as f64 + core[0]);
        let gpu_max = load[Field::TEMPERATURE_GPU_MAX.position()].ok().map(|max| max as f64);
        // No two GPUs of a box are alike: some draw a little more, some sit in warmer air.
        let silicon = 1.0 + 0.015 * noise(key, 60, 0);
        let air = 4.0 * noise(key, 61, 0);
        core[1] += air;
        memory[1] += air;
        Constants {
            key,
            group,
            idle_milliwatts: power[0],
            full_milliwatts: (model.unlimited_milliwatts.unwrap_or(power[1]) * silicon).max(power[0] + 1.0),
            noise: model.power_noise,
            core,
            memory,
            core_share: 1.0 - (-1.0 / model.core_seconds).exp(),
            memory_share: 1.0 - (-1.0 / model.memory_seconds).exp(),
            slowdown_celsius: margin.or(gpu_max).unwrap_or(90.0),
            clock: [figure(idle, Field::CLOCK_SM, 300.0), figure(load, Field::CLOCK_SM_MAX, 1500.0)],
            nvlink: model.nvlink_bytes_per_second,
            power_limit: figure(load, Field::POWER_LIMIT, f64::MAX),
            held: held.map(|cells| {
                let power = figure(cells, Field::POWER_DRAW, 0.0) as u64;
                (power, figure(cells, Field::CLOCK_EVENT_REASONS, 0.0) as u64)
            }),
        }
    }

    /// Temperature that `milliwatts` lead to in the end, on the line through the two ends.
    fn settled(&self, ends: [f64; 2], milliwatts: f64) -> f64 {
        let share = (milliwatts - self.idle_milliwatts) / (self.full_milliwatts - self.idle_milliwatts);
        ends[0] + (ends[1] - ends[0]) * share
    }
}

/// The motion of one GPU.
#[derive(Debug, Clone)]
pub struct Motion {
    constants: Constants,
    curve: Curve,
    second: u64,
    now: Second,
    totals: [u64; 8],
    rates: [u64; 8],
    pending: VecDeque<(u64, Change)>,
    load: Option<f64>,
    power_limit: f64,
    forced: u64,
    reset: bool,
}

impl Motion {
    /// At second 0, at rest.
    pub fn new(constants: Constants, curve: Curve) -> Motion {
        let now = Second {
            core_celsius: constants.core[0],
            memory_celsius: constants.memory[0],
            ..Second::default()
        };
        let mut motion = Motion {
            constants,
            curve,
            second: 0,
            now,
            totals: [0; 8],
            rates: [0; 8],
            pending: VecDeque::new(),
            load: None,
            power_limit: constants.power_limit,
            forced: 0,
            reset: false,
        };
        motion.enter(0);
        motion
    }

    /// Queues a change that was ordered at `ms` after the start. It acts from a whole second on that no process can
    /// have computed yet when the order reaches it (at least a quarter of a second later).
    pub fn order(&mut self, ms: u64, change: Change) {
        let from = (ms + 250) / 1000 + 1;
        self.pending.push_back((from.max(self.second + 1), change));
    }

    /// Goes on to `second`. Does nothing for a second that is not later.
    pub fn advance(&mut self, second: u64) {
        while self.second < second {
            // Held figures do not move, so the whole way to the next change is one step.
            let target = match self.pending.front() {
                _ if self.constants.held.is_none() || self.load.is_some() => self.second + 1,
                Some((from, _)) => (*from).clamp(self.second + 1, second),
                None => second,
            };
            let steps = target - self.second;
            for (total, rate) in self.totals.iter_mut().zip(self.rates) {
                *total = total.saturating_add(rate.saturating_mul(steps));
            }
            self.enter(target);
        }
    }

    fn enter(&mut self, second: u64) {
        self.second = second;
        while let Some((_, change)) = self.pending.pop_front_if(|(from, _)| *from <= second) {
            match change {
                Change::Load(load) => self.load = load,
                Change::Throttle(mask) => self.forced = mask,
                Change::Limit(limit) => self.power_limit = limit.unwrap_or(self.constants.power_limit),
                Change::Reset => {
                    self.totals = [0; 8];
                    self.reset = true;
                }
            }
        }
        match self.constants.held {
            Some((power_milliwatts, reasons)) if self.load.is_none() => {
                self.now.power_milliwatts = power_milliwatts;
                self.now.reasons = reasons | self.forced;
                self.now.links = 0.0;
            }
            _ => self.compute(second),
        }
        self.rates[0] = self.now.power_milliwatts * 1000;
        let traffic = self.constants.nvlink * self.now.links;
        self.rates[1] = (traffic * (1.0 + 0.01 * noise(self.constants.key, 1, second))) as u64;
        self.rates[2] = (traffic * (1.0 + 0.01 * noise(self.constants.key, 2, second))) as u64;
        let bits = [
            reason::SW_POWER_CAP,
            reason::SYNC_BOOST,
            reason::SW_THERMAL,
            reason::HW_THERMAL,
            reason::HW_POWER_BRAKE,
        ];
        for (rate, bit) in self.rates[3..].iter_mut().zip(bits) {
            *rate = if self.now.reasons & bit == 0 { 0 } else { 1_000_000_000 };
        }
    }

    fn compute(&mut self, second: u64) {
        let c = &self.constants;
        let power_limit = self.power_limit;
        let demand = match self.load {
            Some(load) => crate::curve::Demand { load, links: 0.0 },
            None => self.curve.demand(c.key, c.group, second),
        };
        let [clock_idle, clock_max] = c.clock;
        let mut reasons = self.forced;
        let mut clock = if demand.load <= 0.0 { clock_idle } else { clock_max };
        let span = (c.full_milliwatts - c.idle_milliwatts) * demand.load;
        let draw = |clock: f64| c.idle_milliwatts + span * (clock / clock_max).powf(CLOCK_EXPONENT);
        if demand.load <= 0.0 {
            reasons |= reason::IDLE;
        } else {
            if c.idle_milliwatts + span > power_limit && power_limit > c.idle_milliwatts {
                reasons |= reason::SW_POWER_CAP;
                clock = clock_max * ((power_limit - c.idle_milliwatts) / span).powf(1.0 / CLOCK_EXPONENT);
            } else {
                // Boost gives up a step now and then.
                clock -= CLOCK_STEP * (noise(c.key, 3, second).abs() * 2.6).floor();
            }
            let over = self.now.core_celsius - c.slowdown_celsius;
            if over >= 0.0 {
                reasons |= reason::SW_THERMAL;
                clock -= CLOCK_STEP * (1.0 + over * 4.0);
            }
            if reasons & (reason::HW_SLOWDOWN | reason::HW_THERMAL | reason::HW_POWER_BRAKE) != 0 {
                clock = clock.min(clock_max * 0.5);
            }
            clock = (clock / CLOCK_STEP).floor() * CLOCK_STEP;
            clock = clock.max(clock_idle);
        }
        let quiet = if demand.load <= 0.0 { 0.25 } else { 1.0 };
        let mut power = draw(clock) * (1.0 + c.noise * quiet * noise(c.key, 4, second));
        if reasons & reason::SW_POWER_CAP != 0 {
            power = power.min(power_limit * (1.0 + 0.004 * noise(c.key, 5, second)));
        }
        let power = power.max(1000.0);
        self.now = Second {
            load: demand.load,
            links: demand.links,
            power_milliwatts: power as u64,
            clock_megahertz: clock as u64,
            reasons,
            core_celsius: self.now.core_celsius
                + (c.settled(c.core, power) - self.now.core_celsius) * c.core_share,
            memory_celsius: self.now.memory_celsius
                + (c.settled(c.memory, power) - self.now.memory_celsius) * c.memory_share,
        };
    }

    /// The present second.
    pub fn now(&self) -> &Second {
        &self.now
    }

    /// The present second's number.
    pub fn second(&self) -> u64 {
        self.second
    }

    /// True when captured figures hold (no load was ordered).
    pub fn held(&self) -> bool {
        self.constants.held.is_some() && self.load.is_none()
    }

    /// True when a live order replaces the curve.
    pub fn ordered_load(&self) -> Option<f64> {
        self.load
    }

    /// True once the driver was loaded anew: the profile's own counter values no longer count.
    pub fn was_reset(&self) -> bool {
        self.reset
    }

    /// A counter (see [`COUNTERS`]) at the start of the present second.
    pub fn total(&self, counter: usize) -> u64 {
        self.totals[counter] / counter_divisor(counter)
    }

    /// What the counter has gained `ms` into the present second, on top of [`Motion::total`].
    pub fn gained(&self, counter: usize, ms: u64) -> u64 {
        let divisor = counter_divisor(counter);
        let whole = self.totals[counter] + self.rates[counter] / 1000 * ms.min(999);
        whole / divisor - self.totals[counter] / divisor
    }
}

/// `a` at load 0, `b` at load 1, in between in proportion. A missing end stays missing.
pub fn between(a: Cell, b: Cell, load: f64, noise: f64) -> Cell {
    match (a.get(), b.get()) {
        (Ok(a), Ok(b)) => Cell::value((a as f64 + (b as f64 - a as f64) * load + noise).round() as i64),
        (Err(_), _) => a,
        (_, Err(_)) => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Profile, shipped};
    use proptest::prelude::*;

    fn motion(curve: Curve, held: bool) -> Motion {
        let profile = Profile::parse(shipped("h100-sxm-8").unwrap()).unwrap();
        let (idle, load) = (&profile.idle.cells, &profile.load.cells);
        Motion::new(Constants::new(7, 9, idle, load, &profile.model, held.then_some(load)), curve)
    }

    const TRAINING: Curve = Curve::Training {
        high: 0.97,
        low: 0.42,
        period_ms: 6500,
        dip_ms: 900,
        checkpoint_every: 900,
        checkpoint: 12,
    };

    #[test]
    fn power_leads_and_temperature_follows() {
        let mut motion = motion(Curve::Steady { load: 0.9 }, false);
        motion.advance(2);
        let (early_power, early) = (motion.now().power_milliwatts, motion.now().core_celsius);
        motion.advance(200);
        assert!(motion.now().power_milliwatts.abs_diff(early_power) < 30_000);
        assert!(motion.now().core_celsius > early + 15.0, "{} -> {}", early, motion.now().core_celsius);
    }

    #[test]
    fn a_lower_limit_holds_power_and_clock_down() {
        let mut motion = motion(Curve::Steady { load: 1.0 }, false);
        motion.order(0, Change::Limit(Some(400_000.0)));
        motion.advance(300);
        let now = motion.now();
        assert!(now.power_milliwatts <= 402_000, "{now:?}");
        assert_eq!(now.clock_megahertz % 15, 0);
        assert!(now.clock_megahertz < 1800 && now.reasons & reason::SW_POWER_CAP != 0, "{now:?}");
        assert!(motion.total(3) > 290_000_000_000);
    }

    #[test]
    fn a_reset_starts_the_counters_at_zero() {
        let mut motion = motion(TRAINING, false);
        motion.advance(100);
        let before = motion.total(0);
        motion.order(100_200, Change::Reset);
        motion.advance(102);
        assert!(motion.total(0) < before / 50 && motion.was_reset());
    }

    proptest! {
        #[test]
        fn counters_only_grow_and_any_path_agrees(
            stops in prop::collection::vec(1u64..400, 1..20), held: bool, order in 0u64..300_000, percent in 0u32..=100,
        ) {
            let mut one = motion(TRAINING, held);
            let mut other = motion(TRAINING, held);
            for motion in [&mut one, &mut other] {
                motion.order(order, Change::Load(Some(f64::from(percent) / 100.0)));
                motion.order(order + 20_000, Change::Load(None));
            }
            let mut at = 0;
            let mut last = [0; 8];
            for stop in stops {
                at += stop;
                one.advance(at);
                for (counter, last) in last.iter_mut().enumerate() {
                    for ms in [0, 1, 500, 999] {
                        let value = one.total(counter) + one.gained(counter, ms);
                        prop_assert!(value >= *last, "counter {} fell from {} to {}", counter, last, value);
                        *last = value;
                    }
                }
            }
            other.advance(at);
            prop_assert_eq!(one.totals, other.totals);
            prop_assert_eq!(one.now(), other.now());
        }
    }
}
