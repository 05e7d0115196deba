//! Device memory and caches: ECC, remapped rows, retired pages, repairs.

use rackmark_model::{Count, NoData, Reading};

use super::{Bench, any_set, number};
use crate::catalogue::Code;
use crate::clock::MINUTE_MS;
use crate::condition::Finding;

/// Rows remapped for uncorrected errors that DCGM 4.6 fails on.
const REMAPPED_ROWS_MAX: u64 = 512;
/// Retired pages that DCGM 4.6 fails on.
const RETIRED_PAGES_MAX: u64 = 63;
/// Pages for double-bit errors from which on DCGM 4.6 looks at the last week.
const RETIRED_DOUBLE_BIT: u64 = 15;
/// A week, in milliseconds.
const WEEK_MS: u64 = 7 * 24 * 3_600_000;
/// Corrected errors within [`CORRECTED_WINDOW_MS`] (ours).
const CORRECTED_MAX: u64 = 1000;
/// See [`CORRECTED_MAX`].
const CORRECTED_WINDOW_MS: u64 = 10 * MINUTE_MS;
/// Marks kept of retired pages: a change a day for two weeks.
const RETIRED_MARKS_MAX: usize = 16;

pub(super) fn judge(bench: &mut Bench<'_, '_>) {
    let fast = bench.gpu.fast;
    let uncorrected = number(&fast.ecc_uncorrected_volatile_total);
    bench.level(Code::EccUncorrected, 0, Finding::of(uncorrected, |count| count > 0), || {
        format!("{} since the driver was loaded", uncorrected.unwrap_or(0))
    });
    if let Some(corrected) = number(&fast.ecc_corrected_volatile_total) {
        let rate = bench.memory.ecc_corrected.take(corrected, bench.now.boot_ms, CORRECTED_WINDOW_MS);
        let finding = Finding::of(rate, |rate| rate.per(CORRECTED_WINDOW_MS) >= CORRECTED_MAX);
        bench.level(Code::EccCorrectedRate, 0, finding, || {
            format!("{} within 10 minutes", rate.map_or(0, |rate| rate.per(CORRECTED_WINDOW_MS)))
        });
    }
    let Some((slow, _)) = bench.gpu.slow else { return };
    let flag = |reading: &Result<bool, _>| Finding::of(reading.ok(), |set| set);
    bench.level(Code::RowRemapPending, 0, flag(&slow.remapped_rows_pending), String::new);
    bench.level(Code::RowRemapFailed, 0, flag(&slow.remapped_rows_failed), String::new);
    let rows = number(&slow.remapped_rows_uncorrected);
    bench.level(Code::RowRemapExhausted, 0, Finding::of(rows, |rows| rows >= REMAPPED_ROWS_MAX), || {
        format!("{} rows", rows.unwrap_or(0))
    });
    let banks = number(&slow.remap_banks_none);
    bench.level(Code::RowRemapSparesLow, 0, Finding::of(banks, |banks| banks > 0), || {
        format!("{} banks", banks.unwrap_or(0))
    });
    bench.level(Code::SramThreshold, 0, flag(&slow.sram_threshold_exceeded), String::new);
    let repair = any_set([&slow.repair_channel_pending, &slow.repair_tpc_pending]);
    bench.level(Code::RepairPending, 0, repair, || {
        let what = if slow.repair_channel_pending == Ok(true) { "memory channel" } else { "TPC" };
        what.to_owned()
    });
    retired_pages(bench);
}

fn retired_pages(bench: &mut Bench<'_, '_>) {
    let Some((slow, _)) = bench.gpu.slow else { return };
    let pending = Finding::of(slow.retired_pages_pending.ok(), |set| set);
    bench.level(Code::RetiredPagesPending, 0, pending, String::new);
    let both = [&slow.retired_pages_single_bit, &slow.retired_pages_double_bit];
    let total: u64 = both.into_iter().filter_map(number).fold(0, u64::saturating_add);
    let unread = |pages: &&Reading<Count>| pages.is_err_and(|why| why != NoData::NotSupported);
    let finding = match total {
        RETIRED_PAGES_MAX.. => Finding::Wrong,
        _ if both.iter().all(|pages| pages.is_err()) || both.iter().any(unread) => Finding::NoData,
        _ => Finding::Fine,
    };
    bench.level(Code::RetiredPagesLimit, 0, finding, || format!("{total} pages"));
    let Some(double) = number(&slow.retired_pages_double_bit) else { return };
    let week = new_within_a_week(bench.retired, double, bench.now.unix_ms);
    let finding = Finding::wrong_if(double > RETIRED_DOUBLE_BIT && week > 1);
    bench.level(Code::RetiredPagesRate, 0, finding, || format!("{week} new within a week, {double} in all"));
}

/// How many of `count` are not older than a week, by the marks kept at each change.
fn new_within_a_week(marks: &mut Vec<(u64, u64)>, count: u64, unix_ms: u64) -> u64 {
    match marks.last() {
        Some((_, last)) if *last == count => {}
        // Fewer pages than before: another card, or a board that was repaired.
        Some((_, last)) if *last > count => *marks = vec![(unix_ms, count)],
        _ => {
            if marks.len() == RETIRED_MARKS_MAX {
                marks.remove(1);
            }
            marks.push((unix_ms, count));
        }
    }
    let week_ago = unix_ms.saturating_sub(WEEK_MS);
    while marks.len() > 1 && marks[1].0 <= week_ago {
        marks.remove(0);
    }
    let before = marks.first().map_or(count, |(_, first)| *first);
    count.saturating_sub(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_count_as_new_for_a_week() {
        let day = 24 * 3_600_000;
        let mut marks = Vec::new();
        assert_eq!(new_within_a_week(&mut marks, 16, day), 0, "what was there before is not new");
        assert_eq!(new_within_a_week(&mut marks, 17, 2 * day), 1);
        assert_eq!(new_within_a_week(&mut marks, 19, 3 * day), 3);
        assert_eq!(new_within_a_week(&mut marks, 19, 9 * day + 1), 2);
        assert_eq!(new_within_a_week(&mut marks, 19, 11 * day), 0);
        assert_eq!(new_within_a_week(&mut marks, 2, 11 * day), 0, "another card");
    }

    #[test]
    fn marks_stay_few() {
        let mut marks = Vec::new();
        for count in 0..1000 {
            new_within_a_week(&mut marks, count, count * 1000);
        }
        assert!(marks.len() <= RETIRED_MARKS_MAX);
        assert_eq!(new_within_a_week(&mut marks, 1000, 1_000_000), 1000);
    }
}
