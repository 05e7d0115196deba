//! Strict bookkeeping of a consumer: what came, what came twice, what the node
//! declared lost, and what is missing without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rackmark_feed::consumer::{Accepted, Refusal};
use rackmark_feed::{Body, EventKind, Header, ReplyOutcome, SpoolEpoch, Stream};

use crate::Outcome;
use crate::asker::Asker;
use crate::consumer::{Buyer, Judged};

/// The streams whose records are counted.
pub const STREAMS: [Stream; 4] = [Stream::Session, Stream::Event, Stream::Telemetry, Stream::TelemetrySlow];

/// Numbers of one stream in one epoch.
#[derive(Debug, Default, Clone)]
pub struct Numbers {
    /// Came, verified.
    pub came: BTreeSet<u64>,
    /// Declared lost by an event of the node.
    pub declared: BTreeSet<u64>,
}

impl Numbers {
    /// Neither came nor declared, below the highest that came.
    pub fn missing(&self) -> Vec<u64> {
        let highest = self.came.last().copied().unwrap_or(0);
        (0..highest).filter(|seq| !self.came.contains(seq) && !self.declared.contains(seq)).collect()
    }
}

/// The books of one node.
#[derive(Debug, Default)]
pub struct Account {
    /// By epoch and stream name.
    pub streams: BTreeMap<(u64, &'static str), Numbers>,
    /// Records that came again.
    pub duplicates: u64,
    /// Refused for another reason than having come before, with the reason.
    pub refused: Vec<String>,
    /// Samples, by the second they were taken in, that came in telemetry.
    pub samples: BTreeSet<u64>,
    /// Header of the newest status: who the node is now.
    pub speaker: Option<Header>,
    /// Answers to commands: accepted or not, and why.
    pub answers: Vec<(bool, String)>,
    /// Epochs whose rest will not come, as the node said.
    pub replaced: BTreeSet<u64>,
    /// XID codes in the order of their events' numbers.
    pub xids: BTreeMap<u64, u32>,
}

impl Account {
    /// Takes everything that comes within `time`, or until `enough`.
    pub fn follow(
        &mut self,
        buyer: &mut Buyer,
        time: Duration,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> bool {
        let end = Instant::now() + time;
        while !enough(self) {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return false };
            if let Some(judged) = buyer.next(left.min(Duration::from_millis(200))) {
                self.take(&judged);
            }
        }
        true
    }

    /// Takes one message.
    pub fn take(&mut self, judged: &Judged) {
        match &judged.outcome {
            Ok(accepted) => {
                self.accept(accepted);
                for released in &accepted.released {
                    match released {
                        Ok(released) => self.accept(released),
                        Err(refusal) => self.refuse(refusal, judged),
                    }
                }
            }
            Err(refusal) => self.refuse(refusal, judged),
        }
    }

    fn refuse(&mut self, refusal: &Refusal, judged: &Judged) {
        if ["/cmd/", "/watermark/"].iter().any(|part| judged.topic.contains(part)) {
            return;
        }
        match refusal {
            Refusal::Duplicate if !judged.retained && counted_topic(&judged.topic) => self.duplicates += 1,
            Refusal::Duplicate | Refusal::Held | Refusal::OlderSession => {}
            other => self.refused.push(format!("{}: {other}", judged.topic)),
        }
    }

    fn accept(&mut self, accepted: &Accepted) {
        let header = &accepted.header;
        match &accepted.body {
            Some(Body::Status(_)) => self.speaker = Some(header.clone()),
            Some(Body::Reply(reply)) => {
                self.answers.push((reply.outcome == ReplyOutcome::Accepted, reply.reason.clone()));
            }
            _ => {}
        }
        let Some(seq) = header.seq.filter(|_| STREAMS.contains(&header.stream)) else { return };
        self.numbers(header.epoch, header.stream).came.insert(seq);
        match &accepted.body {
            Some(Body::Telemetry(batch)) => {
                self.samples.extend(batch.samples().iter().map(|sample| sample.taken_mono_ms));
            }
            Some(Body::Event(event)) => match &event.kind {
                EventKind::RecordsLost { stream, epoch, from_seq, to_seq, .. } => {
                    self.numbers(*epoch, *stream).declared.extend(*from_seq..=*to_seq);
                }
                EventKind::SpoolReplaced { old_epoch } => {
                    self.replaced.insert(old_epoch.0);
                }
                EventKind::Xid(xid) => {
                    self.xids.insert(seq, xid.code);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn numbers(&mut self, epoch: SpoolEpoch, stream: Stream) -> &mut Numbers {
        self.streams.entry((epoch.0, stream.name())).or_default()
    }

    /// Numbers missing without a word in a stream, over all epochs.
    pub fn missing(&self, stream: Stream) -> Vec<u64> {
        let of = self.streams.iter().filter(|((_, name), _)| *name == stream.name());
        of.flat_map(|(_, numbers)| numbers.missing()).collect()
    }

    /// Numbers that came in a stream, over all epochs.
    pub fn came(&self, stream: Stream) -> usize {
        let of = self.streams.iter().filter(|((_, name), _)| *name == stream.name());
        of.map(|(_, numbers)| numbers.came.len()).sum()
    }

    /// Asks for everything that is missing until nothing is, at most `rounds` times.
    ///
    /// # Errors
    /// Where a request cannot be sent.
    pub fn ask_for_missing(
        &mut self,
        buyer: &mut Buyer,
        asker: &Asker,
        port: u16,
        rounds: usize,
    ) -> Outcome<()> {
        for _ in 0..rounds {
            let Some(speaker) = self.speaker.clone() else { break };
            let mut asked = false;
            for stream in STREAMS {
                let lacking = self.streams.get(&(speaker.epoch.0, stream.name())).map(Numbers::missing);
                let lacking = lacking.unwrap_or_default();
                if let (Some(first), Some(last)) = (lacking.first(), lacking.last()) {
                    asker.ask_again(port, &speaker, stream, speaker.epoch, *first, *last)?;
                    asked = true;
                }
            }
            if !asked {
                break;
            }
            self.follow(buyer, Duration::from_secs(5), |account| {
                STREAMS.iter().all(|stream| account.missing(*stream).is_empty())
            });
        }
        Ok(())
    }

    /// Nothing is missing without a word, and nothing was refused.
    ///
    /// # Errors
    /// What is missing or was refused.
    pub fn balanced(&self) -> Outcome<()> {
        for stream in STREAMS {
            let missing = self.missing(stream);
            if !missing.is_empty() {
                return Err(
                    format!("{} of {stream} are missing undeclared: {missing:?}", missing.len()).into()
                );
            }
        }
        if self.refused.is_empty() { Ok(()) } else { Err(self.refused.join("\n").into()) }
    }
}

fn counted_topic(topic: &str) -> bool {
    ["/event", "/telemetry", "/telemetry/operator"].iter().any(|end| topic.ends_with(end))
}
