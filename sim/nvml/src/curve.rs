//! Load curves: how busy a GPU is in each second since the start, as a pure function of (key, second).

use crate::tables::{Reader, TableError};

/// A well-mixed number from a key, a channel and a position (the finaliser of SplitMix64).
pub fn mix(key: u64, channel: u64, at: u64) -> u64 {
    let mut z = key ^ channel.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ at.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Noise in -1.0..1.0, most often near 0 (the sum of two uniform halves).
pub fn noise(key: u64, channel: u64, at: u64) -> f64 {
    let bits = mix(key, channel, at);
    let half = |bits: u64| (bits & 0xFFFF_FFFF) as f64 / 4_294_967_296.0 - 0.5;
    half(bits) + half(bits >> 32)
}

/// How busy a GPU is during one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// 0.0 (idle) to 1.0 (full).
    pub load: f64,
    /// Share of the second in which the links run a collective, 0.0 to 1.0.
    pub links: f64,
}

/// A load curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// The figures of the profile's phase, held constant.
    Captured,
    /// Nothing runs.
    Idle,
    /// A constant load.
    Steady {
        /// 0.0..=1.0
        load: f64,
    },
    /// Training: bursts of computing, interrupted by all-reduce dips, and a long dip for each checkpoint.
    Training {
        /// Load of a burst.
        high: f64,
        /// Load during an all-reduce.
        low: f64,
        /// Milliseconds from one all-reduce to the next.
        period_ms: u64,
        /// Milliseconds of an all-reduce.
        dip_ms: u64,
        /// Seconds between checkpoints.
        checkpoint_every: u64,
        /// Seconds of a checkpoint.
        checkpoint: u64,
    },
    /// Inference: a mean with noise on three time scales.
    Inference {
        /// Mean load.
        mean: f64,
        /// Width of the noise.
        spread: f64,
    },
    /// From one load to another, then constant.
    Ramp {
        /// At the start.
        from: f64,
        /// At the end.
        to: f64,
        /// Seconds between.
        over: u64,
    },
    /// A sine.
    Sine {
        /// Middle.
        mean: f64,
        /// Half of the swing.
        amplitude: f64,
        /// Seconds of one turn.
        period: u64,
    },
    /// The fast figures of a recording.
    Replay,
}

fn percent(reader: &mut Reader, key: &str, default: f64) -> Result<f64, TableError> {
    Ok(reader.number(key, 0.0..=100.0)?.unwrap_or(default) / 100.0)
}

fn seconds(reader: &mut Reader, key: &str, default: u64) -> Result<u64, TableError> {
    Ok(reader.whole(key, 1..=10_000_000)?.map_or(default, |number| number as u64))
}

impl Curve {
    /// Reads a curve: the word under `curve` and its parameters beside it.
    ///
    /// # Errors
    /// The word is no curve, or a parameter is out of range.
    pub fn read(reader: &mut Reader) -> Result<Curve, TableError> {
        let word = reader.text("curve")?.ok_or_else(|| reader.error("curve", "is missing"))?;
        Ok(match word.as_str() {
            "captured" => Curve::Captured,
            "idle" => Curve::Idle,
            "steady" => Curve::Steady { load: percent(reader, "percent", 100.0)? },
            "training" => {
                let period_ms = reader.whole("period_ms", 200..=3_600_000)?.unwrap_or(6500) as u64;
                Curve::Training {
                    high: percent(reader, "percent", 97.0)?,
                    low: percent(reader, "low_percent", 42.0)?,
                    period_ms,
                    dip_ms: reader
                        .whole("dip_ms", 0..=3_600_000)?
                        .map_or(900, |dip| dip as u64)
                        .min(period_ms),
                    checkpoint_every: seconds(reader, "checkpoint_every_secs", 900)?,
                    checkpoint: seconds(reader, "checkpoint_secs", 12)?,
                }
            }
            "inference" => Curve::Inference {
                mean: percent(reader, "percent", 55.0)?,
                spread: percent(reader, "spread_percent", 25.0)?,
            },
            "ramp" => Curve::Ramp {
                from: percent(reader, "from_percent", 0.0)?,
                to: percent(reader, "to_percent", 100.0)?,
                over: seconds(reader, "over_secs", 300)?,
            },
            "sine" => Curve::Sine {
                mean: percent(reader, "percent", 50.0)?,
                amplitude: percent(reader, "amplitude_percent", 40.0)?,
                period: seconds(reader, "period_secs", 120)?,
            },
            "replay" => Curve::Replay,
            _ => {
                return Err(reader.error(
                    "curve",
                    format!(
                        "`{word}` is not captured, idle, steady, training, inference, ramp, sine or replay"
                    ),
                ));
            }
        })
    }

    /// Load and link use during `second`. `key` is the GPU's own, `group` is shared by all GPUs, so that collectives coincide.
    pub fn demand(&self, key: u64, group: u64, second: u64) -> Demand {
        let (load, links) = match *self {
            Curve::Captured | Curve::Idle | Curve::Replay => (0.0, 0.0),
            Curve::Steady { load } => (load, 0.0),
            Curve::Training { high, low, period_ms, dip_ms, checkpoint_every, checkpoint } => {
                if second % checkpoint_every >= checkpoint_every.saturating_sub(checkpoint) {
                    (0.12 + 0.03 * noise(key, 20, second), 0.0)
                } else {
                    let links = overlap(second * 1000, period_ms, dip_ms) as f64 / 1000.0;
                    (high + (low - high) * links + 0.01 * noise(group, 21, second), links)
                }
            }
            Curve::Inference { mean, spread } => {
                let slow = noise(key, 22, second / 60);
                let middle = noise(key, 23, second / 7);
                let fast = noise(key, 24, second);
                (mean + spread * (0.4 * slow + 0.3 * middle + 0.5 * fast), 0.02)
            }
            Curve::Ramp { from, to, over } => {
                (from + (to - from) * (second as f64 / over as f64).min(1.0), 0.0)
            }
            Curve::Sine { mean, amplitude, period } => {
                let turn = (second % period) as f64 / period as f64;
                (mean + amplitude * (turn * std::f64::consts::TAU).sin(), 0.0)
            }
        };
        Demand { load: load.clamp(0.0, 1.0), links: links.clamp(0.0, 1.0) }
    }
}

/// Milliseconds of the second that starts at `start` in which a dip runs. Each period ends with its dip.
fn overlap(start: u64, period: u64, dip: u64) -> u64 {
    let end = start + 1000;
    let mut covered = 0;
    let mut dip_start = (start / period) * period + period - dip;
    while dip_start < end {
        let from = dip_start.max(start);
        let to = (dip_start + dip).min(end);
        covered += to.saturating_sub(from);
        dip_start += period;
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dips_add_up_over_a_period() {
        let total: u64 = (0..13).map(|second| overlap(second * 1000, 6500, 900)).sum();
        assert_eq!(total, 1800);
    }

    proptest! {
        #[test]
        fn demand_is_within_bounds(key: u64, second in 0u64..1_000_000_000, mean in 0.0f64..1.0, spread in 0.0f64..1.0) {
            for curve in [
                Curve::Idle,
                Curve::Inference { mean, spread },
                Curve::Sine { mean, amplitude: spread, period: 60 },
                Curve::Ramp { from: mean, to: spread, over: 100 },
                Curve::Training { high: mean, low: spread, period_ms: 6500, dip_ms: 900, checkpoint_every: 900, checkpoint: 12 },
            ] {
                let demand = curve.demand(key, 1, second);
                prop_assert!((0.0..=1.0).contains(&demand.load) && (0.0..=1.0).contains(&demand.links));
            }
        }

        #[test]
        fn noise_is_within_bounds(key: u64, channel in 0u64..100, at: u64) {
            prop_assert!((-1.0..1.0).contains(&noise(key, channel, at)));
        }
    }
}
