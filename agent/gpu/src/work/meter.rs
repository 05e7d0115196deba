//! How fast a stage is: rates over windows of time, and what becomes of them.

use std::time::Duration;

use rackmark_model::gpu_work::{Figure, FigureKind, FigurePart, PROGRESS_EVERY_MS};

/// Most of the beginning that is left out, in windows: 5 s.
const WARM_UP_WINDOWS_MAX: usize = 5_000 / PROGRESS_EVERY_MS as usize;
/// Windows of a minute.
const MINUTE_WINDOWS: usize = 60_000 / PROGRESS_EVERY_MS as usize;

/// Work that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Of what.
    pub part: FigurePart,
    /// What its rate is.
    pub kind: FigureKind,
    /// Operations, bytes, or reads that depend on each other.
    pub amount: u64,
}

/// At least 1: a rate of 0 says that nothing was done.
fn rate(kind: FigureKind, amount: u64, took: Duration) -> u64 {
    let nanoseconds = took.as_nanos().max(1);
    let amount = u128::from(amount);
    let rate = match kind {
        FigureKind::GigaOperationsPerSecond => amount / nanoseconds,
        FigureKind::MegabytesPerSecond => amount * 1_000 / nanoseconds,
        FigureKind::NanosecondsPerRead => nanoseconds / amount.max(1),
    };
    u64::try_from(rate).unwrap_or(u64::MAX).max(1)
}

/// One part of a test.
struct Part {
    part: FigurePart,
    kind: FigureKind,
    amount: u64,
    took: Duration,
    rates: Vec<u64>,
}

/// Every part of a test.
#[derive(Default)]
pub struct Meter(Vec<Part>);

impl Meter {
    /// Adds work to the window.
    pub fn add(&mut self, work: Work, took: Duration) {
        let Work { part, kind, amount } = work;
        if let Some(known) = self.0.iter_mut().find(|known| known.part == part) {
            known.amount += amount;
            known.took += took;
        } else {
            self.0.push(Part { part, kind, amount, took, rates: Vec::new() });
        }
    }

    /// Ends the window; the rate of the part that did most of it, or 0 where there was no work.
    pub fn end_window(&mut self) -> (FigureKind, u64) {
        let most = self.0.iter().max_by_key(|part| part.took).map(|part| part.part);
        let mut shown = (FigureKind::GigaOperationsPerSecond, 0);
        for known in &mut self.0 {
            let (amount, took) = (std::mem::take(&mut known.amount), std::mem::take(&mut known.took));
            if amount > 0 {
                known.rates.push(rate(known.kind, amount, took));
            }
            if Some(known.part) == most {
                shown = (known.kind, if amount > 0 { rate(known.kind, amount, took) } else { 0 });
            }
        }
        shown
    }

    /// What it comes to.
    pub fn figures(mut self) -> Vec<Figure> {
        self.end_window();
        self.0.iter().filter_map(|part| figure(part.part, part.kind, &part.rates)).collect()
    }
}

fn median(rates: &[u64]) -> Option<u64> {
    let mut sorted = rates.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn figure(part: FigurePart, kind: FigureKind, rates: &[u64]) -> Option<Figure> {
    let warm_up = (rates.len() / 5).min(WARM_UP_WINDOWS_MAX);
    let sustained = rates.get(warm_up..)?;
    let mut sorted = sustained.to_vec();
    sorted.sort_unstable();
    // Of nanoseconds the slowest are the largest.
    if kind == FigureKind::NanosecondsPerRead {
        sorted.reverse();
    }
    let p5 = *sorted.get(sorted.len() / 20)?;
    let drift_permille = (rates.len() >= 3 * MINUTE_WINDOWS)
        .then(|| {
            let first = median(&sustained[..MINUTE_WINDOWS])?;
            let last = median(&sustained[sustained.len() - MINUTE_WINDOWS..])?;
            u16::try_from(u128::from(last) * 1_000 / u128::from(first.max(1))).ok()
        })
        .flatten();
    Some(Figure { part, kind, median: median(sustained)?, p5, drift_permille })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(PROGRESS_EVERY_MS as u64);

    fn operations(amount: u64) -> Work {
        Work { part: FigurePart::Whole, kind: FigureKind::GigaOperationsPerSecond, amount }
    }

    #[test]
    fn rates_have_the_units_of_their_kind() {
        let second = Duration::from_secs(1);
        assert_eq!(rate(FigureKind::GigaOperationsPerSecond, 989_000_000_000_000, second), 989_000);
        assert_eq!(rate(FigureKind::MegabytesPerSecond, 4_800_000_000_000, second), 4_800_000);
        assert_eq!(rate(FigureKind::NanosecondsPerRead, 2_000_000, second), 500);
        assert_eq!(rate(FigureKind::GigaOperationsPerSecond, 1_000, second), 1, "little is not nothing");
    }

    #[test]
    fn the_beginning_is_left_out_and_the_slowest_twentieth_is_told() {
        let mut meter = Meter::default();
        for window in 0..100_u64 {
            // A cold start, then a hundred, and ten slow windows at the end.
            let rate = if window < 20 { 10 } else { 100 - if window >= 90 { 40 } else { 0 } };
            meter.add(operations(rate * 250_000_000), WINDOW);
            assert_eq!(meter.end_window().1, rate);
        }
        let [figure] = meter.figures()[..] else { panic!("one part") };
        assert_eq!((figure.median, figure.p5, figure.drift_permille), (100, 60, None));
    }

    #[test]
    fn a_stage_shorter_than_a_window_has_a_figure_and_one_without_work_has_none() {
        let mut meter = Meter::default();
        assert_eq!(meter.end_window().1, 0);
        meter.add(operations(7_000_000), Duration::from_millis(1));
        let [figure] = meter.figures()[..] else { panic!("one part") };
        assert_eq!((figure.median, figure.p5), (7, 7));
        assert!(Meter::default().figures().is_empty());
    }

    #[test]
    fn a_card_that_slows_down_over_minutes_drifts() {
        let mut meter = Meter::default();
        for window in 0..4 * MINUTE_WINDOWS as u64 {
            meter.add(operations((1_000 - window / 4) * 250_000_000), WINDOW);
            meter.end_window();
        }
        let [figure] = meter.figures()[..] else { panic!("one part") };
        let drift = figure.drift_permille.expect("long enough");
        assert!((800..850).contains(&drift), "{drift}");
    }
}
