//! The samples of a telemetry batch that is being filled, as they are kept on
//! disk until the batch is a record: a crash of the daemon costs at most the last second.

use rackmark_feed::{BatchBuilder, Cell, FAST_FIELDS, SampleTime, TelemetryBatch};

/// Collects samples and hands them out about once a second.
#[derive(Default)]
pub struct Drafts {
    waiting: Vec<u8>,
    since_boot_ms: Option<u64>,
}

/// Samples are written to disk this often, or as often as they come.
const EVERY_MS: u64 = 950;

/// One sample on disk: the number of the batch's record, slots, number and times of the sample, cells by GPU.
type Draft<'a> = (u64, &'a [u8], (u64, u64, u64), &'a [Cell]);
type Read = (u64, Vec<u8>, (u64, u64, u64), Vec<Cell>);

impl Drafts {
    /// Adds a sample of the batch that will be record `seq`. Gives what is to be written, when it is due.
    pub fn add(
        &mut self,
        seq: u64,
        slots: &[u8],
        time: SampleTime,
        cells: &[[Cell; FAST_FIELDS]],
        now_boot_ms: u64,
    ) -> Option<Vec<u8>> {
        let times = (time.seq, time.taken_unix_ms, time.taken_mono_ms);
        let draft: Draft<'_> = (seq, slots, times, cells.as_flattened());
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = postcard::to_extend(&draft, waiting).unwrap_or_default();
        if self.since_boot_ms.is_some_and(|since| now_boot_ms.saturating_sub(since) < EVERY_MS) {
            return None;
        }
        self.since_boot_ms = Some(now_boot_ms);
        let room = self.waiting.len();
        Some(std::mem::replace(&mut self.waiting, Vec::with_capacity(room)))
    }

    /// The batch is a record now.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// The batches in what an earlier run left, if they were to be record `seq` and not one that was written.
pub fn recovered(drafts: &[Vec<u8>], seq: u64) -> Vec<TelemetryBatch> {
    let mut batches = Vec::new();
    let mut open: Option<(Vec<u8>, BatchBuilder)> = None;
    for written in drafts {
        let mut rest = written.as_slice();
        while let Ok((draft, left)) = postcard::take_from_bytes::<Read>(rest) {
            rest = left;
            let (of, slots, (sample, taken_unix_ms, taken_mono_ms), cells) = draft;
            let (cells, odd) = cells.as_chunks::<FAST_FIELDS>();
            if of != seq || !odd.is_empty() || cells.len() != slots.len() {
                continue;
            }
            if open.as_ref().is_none_or(|(known, _)| *known != slots) {
                batches.extend(open.take().and_then(|(_, mut batch)| batch.finish()));
                open = BatchBuilder::new(&slots).ok().map(|batch| (slots, batch));
            }
            let time = SampleTime { seq: sample, taken_unix_ms, taken_mono_ms };
            if let Some((_, batch)) = &mut open
                && let Err(error) = batch.push(time, cells)
            {
                tracing::warn!(%error, "a sample of the last run does not fit its batch");
            }
        }
    }
    batches.extend(open.and_then(|(_, mut batch)| batch.finish()));
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seq: u64) -> SampleTime {
        SampleTime { seq, taken_unix_ms: 1_000_000 + seq * 1000, taken_mono_ms: seq * 1000 }
    }

    #[test]
    fn what_was_written_comes_back_as_batches_of_one_set_of_gpus() {
        let mut drafts = Drafts::default();
        let cells = [[Ok(7); FAST_FIELDS], [Err(rackmark_feed::NoData::Timeout); FAST_FIELDS]];
        let written: Vec<Vec<u8>> = (0..5)
            .filter_map(|n| {
                let slots: &[u8] = if n < 3 { &[0, 1] } else { &[0] };
                drafts.add(9, slots, time(n), &cells[..slots.len()], n * 1000)
            })
            .collect();
        assert_eq!(written.len(), 5, "at one sample a second every one is written");
        let batches = recovered(&written, 9);
        let lengths: Vec<_> =
            batches.iter().map(|batch| (batch.samples().len(), batch.slots().len())).collect();
        assert_eq!(lengths, [(3, 2), (2, 1)]);
        assert_eq!(batches[0].cell(2, 1, 0), Some(Err(rackmark_feed::NoData::Timeout)));
        assert_eq!(recovered(&written, 10), [], "that record was written");
    }

    #[test]
    fn fast_samples_are_written_once_a_second() {
        let mut drafts = Drafts::default();
        let cells = [[Ok(7); FAST_FIELDS]];
        let written: Vec<Vec<u8>> =
            (0..31).filter_map(|n| drafts.add(0, &[0], time(n), &cells, n * 100)).collect();
        assert_eq!(written.len(), 4, "at 0, 1, 2 and 3 s");
        let samples: usize = recovered(&written, 0).iter().map(|batch| batch.samples().len()).sum();
        assert_eq!(samples, 31);
    }

    #[test]
    fn damaged_drafts_give_less_and_never_panic() {
        let mut drafts = Drafts::default();
        let cells = [[Ok(u64::MAX); FAST_FIELDS]];
        let written = drafts.add(0, &[0], time(0), &cells, 0).expect("due");
        for cut in 0..written.len() {
            assert_eq!(recovered(&[written[..cut].to_vec()], 0), []);
        }
    }
}
