//! A spool on a faulty medium beside a naive model of it: every record ever
//! appended, what was committed, acknowledged and declared.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use rackmark_spool::faults::Faulty;
use rackmark_spool::{Class, Limits, Loss, Now, Spool, StreamSpec};

pub const STREAMS: [StreamSpec; 4] = [
    StreamSpec { id: 0, name: "session", class: Class::Edge },
    StreamSpec { id: 1, name: "event", class: Class::Edge },
    StreamSpec { id: 2, name: "telemetry", class: Class::Series },
    StreamSpec { id: 5, name: "slow", class: Class::Series },
];

pub const LIMITS: Limits = Limits {
    series_bytes: 40 << 10,
    series_age_ms: 3_600_000,
    edge_bytes: 32 << 10,
    edge_age_ms: 36_000_000,
    series_segment_bytes: 4 << 10,
    edge_segment_bytes: 4 << 10,
    keep_series_ms: 60_000,
    keep_edges_ms: 600_000,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// What the model knows of one number.
#[derive(Debug, Default, Clone)]
pub struct Known {
    /// What was appended under the number; several while none of them is committed.
    pub written: Vec<Vec<u8>>,
    pub committed: bool,
    pub acked: bool,
    pub declared: bool,
}

pub struct World {
    pub random: Random,
    pub medium: Faulty,
    pub spool: Option<Spool<Faulty>>,
    pub now: Now,
    pub model: BTreeMap<(u8, u64), Known>,
    pub log: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random(seed),
            medium: Faulty::new(),
            spool: None,
            now: Now { mono_ms: 1_000, unix_ms: 1_800_000_000_000 },
            model: BTreeMap::new(),
            log: Vec::new(),
        };
        world.open();
        world
    }

    pub fn say(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    pub fn open(&mut self) {
        match Spool::open(self.medium.clone(), &STREAMS, LIMITS, 77, self.now) {
            Ok(opened) => {
                let positions: Vec<_> =
                    STREAMS.iter().map(|stream| opened.spool.position(stream.id)).collect();
                self.say(format!("opens: {positions:?}"));
                assert_eq!(opened.spool.epoch(), 77);
                self.spool = Some(opened.spool);
                // Whole records that a crash left uncommitted count from now on; the others were never there.
                for (stream, position) in STREAMS.iter().zip(positions) {
                    for (_, known) in self.model.range_mut((stream.id, 0)..(stream.id, position.committed)) {
                        known.committed |= !known.written.is_empty();
                    }
                }
                self.check_positions();
            }
            Err(error) => self.say(format!("does not open: {error}")),
        }
    }

    pub fn close(&mut self) {
        self.spool = None;
    }

    pub fn append(&mut self, stream: StreamSpec) {
        let size = match self.random.below(20) {
            0 => 3000,
            _ => 10 + self.random.below(400),
        };
        let mut payload = self.random.next().to_le_bytes().to_vec();
        payload.resize(size as usize, stream.id);
        let label = if self.random.below(30) == 0 { "other/topic" } else { "topic" };
        let now = self.now;
        let Some(spool) = &mut self.spool else { return };
        let seq = spool.position(stream.id).next;
        let appended = spool.append(stream.id, seq, label, &payload, now);
        let known = self.model.entry((stream.id, seq)).or_default();
        assert!(!known.committed && !known.declared, "number {seq} of {} is used again", stream.name);
        match appended {
            Ok(()) => known.written.push(payload),
            Err(error) => {
                let used_up = spool.position(stream.id).next;
                let expected = if stream.class == Class::Series { seq + 1 } else { seq };
                assert_eq!(used_up, expected, "{error}");
                self.say(format!("{} {seq} is not appended: {error}", stream.name));
            }
        }
    }

    pub fn commit(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        match spool.commit() {
            Ok(()) => {
                for stream in &STREAMS {
                    let position = spool.position(stream.id);
                    assert_eq!(position.committed, position.next);
                    for (_, known) in self.model.range_mut((stream.id, 0)..(stream.id, position.next)) {
                        let newest = known.written.len().saturating_sub(1);
                        if !known.committed {
                            known.written.drain(..newest);
                        }
                        known.committed = true;
                    }
                }
            }
            Err(error) => self.say(format!("does not commit: {error}")),
        }
    }

    /// Reads a stream from `from` to its end and compares.
    pub fn read_all(&mut self, stream: StreamSpec, from: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        let mut at = from;
        let Some(spool) = &mut self.spool else { return seen };
        loop {
            let records = match spool.read(stream.id, at, 7, 1500) {
                Ok(records) => records,
                Err(error) => {
                    self.say(format!("does not read: {error}"));
                    return seen;
                }
            };
            let Some(last) = records.last() else { return seen };
            for record in &records {
                assert!(
                    record.seq >= at && seen.last().is_none_or(|seen| *seen < record.seq),
                    "out of order"
                );
                seen.push(record.seq);
                let known = self.model.entry((stream.id, record.seq)).or_default();
                assert!(
                    known.written.contains(&record.payload),
                    "{} {} was changed\n{}",
                    stream.name,
                    record.seq,
                    self.log.join("\n")
                );
                known.written = vec![record.payload.clone()];
                assert!(known.committed, "{} {} was never committed", stream.name, record.seq);
            }
            at = last.seq + 1;
        }
    }

    pub fn ack(&mut self, stream: StreamSpec) {
        let Some(spool) = &mut self.spool else { return };
        let position = spool.position(stream.id);
        let below = position.acked + self.random.below(position.committed - position.acked + 1);
        let mut ranges = Vec::new();
        if self.random.below(3) == 0 && below + 2 < position.committed {
            let from = below + 1 + self.random.below(position.committed - below - 1);
            ranges.push((from, (from + 1 + self.random.below(3)).min(position.committed)));
        }
        let noted = spool.ack(stream.id, below, &ranges);
        for ((_, seq), known) in self.model.range_mut((stream.id, 0)..(stream.id, position.committed)) {
            known.acked |= *seq < below || ranges.iter().any(|(from, to)| (*from..*to).contains(seq));
        }
        if let Err(error) = noted {
            self.say(format!("does not note: {error}"));
        }
    }

    pub fn trim(&mut self) {
        let now = self.now;
        if let Some(spool) = &mut self.spool
            && let Err(error) = spool.trim(now)
        {
            self.say(format!("does not trim: {error}"));
        }
    }

    /// Declares every loss, as a daemon would: a durable event first.
    pub fn declare(&mut self) {
        let Some(spool) = &self.spool else { return };
        let losses = spool.losses();
        if losses.is_empty() {
            return;
        }
        let before = spool.position(1).committed;
        self.append(STREAMS[1]);
        self.commit();
        let Some(spool) = &mut self.spool else { return };
        if spool.position(1).committed == before {
            return;
        }
        for loss in losses {
            let Loss { stream, from_seq, to_seq, .. } = loss;
            self.log.push(format!("declares {loss:?}"));
            for seq in from_seq..=to_seq.min(from_seq + 10_000) {
                self.model.entry((stream, seq)).or_default().declared = true;
            }
            if let Err(error) = spool.declared(&loss) {
                self.log.push(format!("does not note the declaration: {error}"));
            }
            let left = spool.losses();
            let overlaps =
                |other: &Loss| other.stream == stream && other.from_seq <= to_seq && from_seq <= other.to_seq;
            assert!(!left.iter().any(overlaps), "declared and still reported");
        }
    }

    pub fn check_positions(&mut self) {
        let Some(spool) = &self.spool else { return };
        for stream in &STREAMS {
            let position = spool.position(stream.id);
            assert!(position.oldest <= position.next, "{position:?}");
            assert!(position.committed <= position.next, "{position:?}");
            assert!(position.released <= position.acked, "{position:?}");
            let mut highest = self.model.range((stream.id, 0)..=(stream.id, u64::MAX)).rev();
            let committed = highest.find(|(_, known)| known.committed || known.declared);
            let highest = committed.map_or(0, |((_, seq), _)| seq + 1);
            assert!(
                position.next >= highest,
                "{} falls back to {position:?}, had {highest}\n{}",
                stream.name,
                self.log.join("\n")
            );
        }
    }

    /// Everything committed is read, or acknowledged, or declared.
    pub fn check_whole(&mut self) {
        // Reading finds what is damaged, and a declaration may itself be written where it cannot be read.
        for _ in 0..3 {
            for stream in STREAMS {
                self.read_all(stream, 0);
            }
            self.declare();
        }
        for stream in STREAMS {
            let seen = self.read_all(stream, 0);
            let of = self.model.range((stream.id, 0)..=(stream.id, u64::MAX));
            let open = of.filter(|((_, seq), known)| {
                known.committed && !known.acked && !known.declared && !seen.contains(seq)
            });
            let open: Vec<u64> = open.map(|((_, seq), _)| *seq).collect();
            let log = self.log.join("\n");
            assert!(open.is_empty(), "{}: neither read nor declared: {open:?}\n{log}", stream.name);
        }
    }

    pub fn budget_held(&self) {
        let Some(spool) = &self.spool else { return };
        for (class, budget, segment) in [
            (Class::Series, LIMITS.series_bytes, LIMITS.series_segment_bytes),
            (Class::Edge, LIMITS.edge_bytes, LIMITS.edge_segment_bytes),
        ] {
            let bytes = spool.usage(class).bytes;
            // One segment per stream beyond the budget, the spares, and a record that is larger than a segment.
            assert!(bytes <= budget + 6 * segment, "{class:?} takes {bytes} bytes");
        }
    }
}

/// Runs `play` for many seeds; a failure prints its seed, and `SEED` plays one again.
pub fn seeds(plays: u64, play: impl Fn(u64) + std::panic::RefUnwindSafe) {
    if let Ok(seed) = std::env::var("SEED") {
        play(seed.parse().expect("SEED is a number"));
        return;
    }
    let first =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos()
            as u64;
    for seed in (0..plays).map(|n| first.wrapping_add(n)) {
        if let Err(panic) = std::panic::catch_unwind(|| play(seed)) {
            println!("SEED={seed} plays this again");
            std::panic::resume_unwind(panic);
        }
    }
}
