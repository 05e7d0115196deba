//! Disk, daemon, broker and consumer in one deterministic play: crashes, power
//! cuts, full and read-only and lying disks, brokers of every kind, a consumer
//! that comes and goes. Everything is drawn from a seed; a failure prints it,
//! and `SEED=… cargo test simulation` plays it again.
//!
//! What must hold at the end of every play: a record that was on offer was
//! delivered as it was written, or is declared lost; and no more than a window
//! is repeated per connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rackmark_feed::LossCause;
use rackmark_spool::faults::Faulty;
use rackmark_spool::{Limits, Now, Numbers};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::backlog::{Again, StreamIndex};
use super::super::outbox::Outbox;
use super::super::session::{Send, Session, WINDOW, window};
use super::mock::facts;
use crate::publish::spool::{ByHand, Loss, STREAMS, Spool, by_hand};

/// Plays in one run of the tests.
const PLAYS: u64 = 10_000;
/// Events, where losses are declared.
const EVENTS: StreamIndex = 1;
const TOPICS: [&str; 4] = ["session", "event", "telemetry", "telemetry/operator"];

const LIMITS: Limits = Limits {
    series_bytes: 96 << 10,
    series_age_ms: 7 * 24 * 3_600_000,
    edge_bytes: 64 << 10,
    edge_age_ms: 70 * 24 * 3_600_000,
    series_segment_bytes: 8 << 10,
    edge_segment_bytes: 8 << 10,
    keep_series_ms: 3_600_000,
    keep_edges_ms: 24 * 3_600_000,
};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How a broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broker {
    Honest,
    /// Acknowledges, and delivers nothing.
    Drops,
    /// Answers with any reason code.
    Moody,
}

struct Agent {
    spool: Spool,
    work: crate::publish::spool::Work<Faulty>,
    outbox: Outbox,
}

struct Connection {
    session: Session,
    broker: Broker,
    in_flight: Vec<Send>,
    repeated: u64,
}

/// What a stream's record was and became.
#[derive(Debug, Default)]
struct Entry {
    /// What was given this number last.
    written: Bytes,
    offered: bool,
    delivered: bool,
}

struct Play {
    random: Random,
    medium: Faulty,
    now: Now,
    began: Instant,
    agent: Option<Agent>,
    epoch: Option<u64>,
    connection: Option<Connection>,
    books: [BTreeMap<u64, Entry>; 4],
    declared: [Numbers; 4],
    /// What was asked for again may come again.
    asked: [Numbers; 4],
    subscribed: bool,
    /// The medium itself was damaged: what was declared may have been delivered as well.
    damaged: bool,
    crashed: bool,
    /// A broker refused records for ever; another one may take them when they are asked for again.
    refused: bool,
    /// The disk was full or read-only for a time.
    troubled: bool,
    most_repeated: u64,
    log: Vec<String>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut play = Self {
            random: Random(seed),
            medium: Faulty::new(),
            now: Now { mono_ms: 1_000_000, unix_ms: 1_800_000_000_000 },
            began: Instant::now(),
            agent: None,
            epoch: None,
            connection: None,
            books: Default::default(),
            declared: Default::default(),
            asked: Default::default(),
            subscribed: true,
            damaged: false,
            crashed: false,
            refused: false,
            troubled: false,
            most_repeated: 0,
            log: Vec::new(),
        };
        play.start();
        play
    }

    fn say(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    fn instant(&self) -> Instant {
        self.began + Duration::from_millis(self.now.mono_ms)
    }

    fn start(&mut self) {
        let wake = Arc::new(Notify::new());
        let new_epoch = self.random.next();
        let opened = by_hand(self.medium.clone(), LIMITS, new_epoch, wake.clone(), true, self.now);
        match opened {
            Ok(ByHand { spool, work, epoch, .. }) => {
                if self.epoch.replace(epoch) != Some(epoch) {
                    // A new epoch: the daemon says that nothing more of the old one will come.
                    self.say("a new epoch begins");
                    self.books = Default::default();
                    self.declared = Default::default();
                    self.asked = Default::default();
                }
                let outbox = Outbox::new(Box::new(spool.clone()), wake);
                let state: Vec<_> =
                    (0..4).map(|s| (spool.acknowledged(s), spool.offered(s), spool.numbered(s))).collect();
                self.say(format!("starts: {state:?}"));
                self.agent = Some(Agent { spool, work, outbox });
                self.note_offered();
            }
            Err(error) => self.say(format!("does not start: {error:?}")),
        }
    }

    fn stop(&mut self) {
        self.disconnect();
        self.agent = None;
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.most_repeated = self.most_repeated.max(connection.repeated);
            assert!(
                connection.repeated <= u64::from(WINDOW),
                "{} records came again on one connection",
                connection.repeated
            );
        }
    }

    fn connect(&mut self, broker: Broker) {
        self.disconnect();
        let receive_maximum = [1, 5, 20, 100][self.random.below(4) as usize];
        let packet = self.random.one_in(4).then_some(1000);
        let Some(agent) = &self.agent else { return };
        let mut facts = facts(receive_maximum);
        facts.maximum_packet_size = packet.filter(|_| broker != Broker::Honest);
        let session = Session::new(&facts, window(receive_maximum), &agent.outbox, &[]);
        self.connection = Some(Connection { session, broker, in_flight: Vec::new(), repeated: 0 });
        self.say(format!("connects: {broker:?}, receive maximum {receive_maximum}"));
    }

    fn append(&mut self, stream: StreamIndex, declares: Option<Loss>) {
        let Some(agent) = &self.agent else { return };
        let seq = agent.spool.number(stream);
        let mut payload = vec![stream as u8];
        payload.extend_from_slice(&seq.to_le_bytes());
        payload.extend_from_slice(&self.random.next().to_le_bytes());
        let size = if self.random.one_in(20) { 1500 } else { 40 + self.random.below(300) };
        if let Some(loss) = declares {
            payload.extend_from_slice(&[loss.stream as u8]);
            payload.extend_from_slice(&loss.from_seq.to_le_bytes());
            payload.extend_from_slice(&loss.to_seq.to_le_bytes());
        } else {
            payload.resize(size as usize, b'.');
        }
        let payload = Bytes::from(payload);
        let entry = self.books[stream].entry(seq).or_default();
        assert!(
            !entry.offered,
            "number {seq} of stream {stream} is used twice after it was on offer\n{}",
            self.log.join("\n")
        );
        assert!(
            !self.declared[stream].contains(seq),
            "number {seq} of stream {stream} is used after it was declared lost"
        );
        entry.written = payload.clone();
        let topic = Arc::from(TOPICS[stream]);
        match declares {
            Some(loss) => agent.spool.append_declaring(stream, seq, topic, payload, loss),
            None => agent.spool.append(stream, seq, topic, payload),
        }
    }

    fn turn(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.work.turn(self.now);
            self.note_offered();
        }
    }

    fn note_offered(&mut self) {
        let Some(agent) = &self.agent else { return };
        for stream in 0..STREAMS.len() {
            let offered = agent.spool.offered(stream);
            for (_, entry) in self.books[stream].range_mut(..offered).rev().take_while(|(_, e)| !e.offered) {
                entry.offered = true;
            }
        }
    }

    fn declare(&mut self) {
        let Some(agent) = &self.agent else { return };
        let losses = agent.spool.take_losses();
        for loss in losses {
            self.say(format!("declares {loss:?}"));
            self.refused |= loss.cause == LossCause::Refused;
            assert!(
                // What a full disk did not take and nobody had declared before a crash is found missing after it.
                self.damaged || self.troubled || loss.cause != LossCause::Damaged,
                "a medium that was not damaged lost what was durable: {loss:?}\n{}",
                self.log.join("\n")
            );
            self.append(EVENTS, Some(loss));
        }
    }

    fn send(&mut self) {
        let now = self.instant();
        let (Some(agent), Some(connection)) = (&self.agent, &mut self.connection) else { return };
        while let Some(send) = connection.session.next(&agent.outbox, now) {
            connection.in_flight.push(send);
        }
    }

    fn answer(&mut self) {
        let now = self.instant();
        let Some(connection) = &mut self.connection else { return };
        if connection.in_flight.is_empty() {
            return;
        }
        let at = self.random.below(connection.in_flight.len() as u64) as usize;
        let sent = connection.in_flight.remove(at);
        let (reason, delivers) = match connection.broker {
            Broker::Honest if self.subscribed => (0, true),
            Broker::Honest => (0x10, false),
            Broker::Drops => (0, false),
            Broker::Moody => {
                let codes = [0x00, 0x00, 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x95, 0x97, 0x99];
                let code = codes[self.random.below(codes.len() as u64) as usize];
                (code, code == 0)
            }
        };
        if delivers {
            self.deliver(&sent.payload);
        }
        let (Some(agent), Some(connection)) = (&self.agent, &mut self.connection) else { return };
        connection.session.answered(sent.token, reason, &agent.outbox, now);
    }

    fn deliver(&mut self, payload: &Bytes) {
        let stream = usize::from(payload[0]);
        let seq = u64::from_le_bytes(payload[1..9].try_into().unwrap());
        let entry = self.books[stream].get_mut(&seq).expect("only what was written is delivered");
        assert_eq!(entry.written, payload, "record {seq} of stream {stream} was changed");
        if entry.delivered {
            if let Some(connection) = self.connection.as_mut().filter(|_| !self.asked[stream].contains(seq)) {
                connection.repeated += 1;
            }
            return;
        }
        entry.delivered = true;
        if let Some((lost, from, to)) = declaration(payload).filter(|_| stream == EVENTS) {
            self.declared[lost].insert(from, to + 1);
        }
    }

    /// The consumer confirms what it has, and asks for what it lacks.
    fn confirm(&mut self, ask: bool) {
        let Some(agent) = &self.agent else { return };
        for stream in 0..STREAMS.len() {
            let declared = &self.declared[stream];
            let mut open = self.books[stream]
                .iter()
                .filter(|(seq, entry)| !entry.delivered && !declared.contains(**seq));
            let lacking = open.next();
            let below = lacking.map_or(agent.spool.offered(stream), |(seq, _)| *seq);
            let below = below.min(agent.spool.acknowledged(stream));
            agent.spool.hold(stream, Some(below));
            if ask && below < agent.spool.acknowledged(stream) {
                let again = Again { stream, from_seq: below, to_seq: agent.spool.acknowledged(stream) - 1 };
                agent.spool.send_again(again);
                self.asked[stream].insert(again.from_seq, again.to_seq + 1);
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=24 => {
                let stream = [0, 1, 1, 2, 2, 2, 2, 3][self.random.below(8) as usize];
                self.append(stream, None);
            }
            25..=44 => self.turn(),
            45..=59 => self.send(),
            60..=76 => self.answer(),
            77..=79 => self.declare(),
            80..=82 => {
                let broker = [Broker::Honest, Broker::Honest, Broker::Drops, Broker::Moody];
                let broker = broker[self.random.below(4) as usize];
                self.connect(broker);
            }
            83 => self.disconnect(),
            84..=85 => {
                self.crashed = true;
                self.say("process is killed");
                self.stop();
                self.medium.crash();
                self.start();
            }
            86 => {
                self.crashed = true;
                self.say("power is cut");
                self.stop();
                let seed = self.random.next();
                self.medium.power_cut(seed);
                self.start();
            }
            87 => {
                let full = self.random.one_in(2);
                self.troubled = true;
                self.say(format!("disk full: {full}"));
                self.medium.set_full(full);
            }
            88 => {
                let read_only = self.random.one_in(2);
                self.troubled = true;
                self.say(format!("disk read-only: {read_only}"));
                self.medium.set_read_only(read_only);
            }
            89 => {
                self.say("bits flip");
                self.damaged = true;
                let (seed, bits) = (self.random.next(), 1 + self.random.below(8));
                self.medium.flip_bits(seed, bits as usize);
            }
            90 => {
                self.say("a file is cut");
                self.damaged = true;
                self.stop();
                let seed = self.random.next();
                self.medium.truncate_random(seed);
                self.start();
            }
            91..=92 => self.subscribed = !self.subscribed,
            93 => {
                let hour = 3_600_000;
                self.now.unix_ms = match self.random.one_in(2) {
                    true => self.now.unix_ms + hour,
                    false => self.now.unix_ms - hour,
                };
            }
            94..=96 => {
                let ms = [10, 1000, 40_000, 700_000][self.random.below(4) as usize];
                self.now.mono_ms += ms;
                self.now.unix_ms += ms;
            }
            _ => {
                let ask = self.random.one_in(3);
                self.confirm(ask);
            }
        }
    }

    /// Everything is well again: what is left is delivered and declared.
    fn heal(&mut self) {
        self.say("all is well again");
        self.medium.set_full(false);
        self.medium.set_read_only(false);
        self.subscribed = true;
        if self.agent.is_none() {
            self.start();
        }
        self.connect(Broker::Honest);
        for round in 0..400 {
            self.now.mono_ms += 2000;
            self.now.unix_ms += 2000;
            self.turn();
            self.declare();
            self.turn();
            for _ in 0..10 {
                self.send();
                while self.connection.as_ref().is_some_and(|connection| !connection.in_flight.is_empty()) {
                    self.answer();
                }
                self.turn();
            }
            self.confirm(round % 4 == 3);
            if round > 8 && self.undeclared().is_empty() {
                return;
            }
        }
    }

    /// What a lost event had declared: its own loss is declared, and with it what it said.
    fn follow_lost_declarations(&mut self) {
        for _ in 0..4 {
            let said: Vec<(usize, u64, u64)> = self.books[EVENTS]
                .iter()
                .filter(|(seq, entry)| !entry.delivered && self.declared[EVENTS].contains(**seq))
                .filter_map(|(_, entry)| declaration(&entry.written))
                .collect();
            for (stream, from, to) in said {
                self.declared[stream].insert(from, to + 1);
            }
        }
    }

    /// On offer once, and neither delivered nor declared.
    fn undeclared(&self) -> Vec<(usize, u64)> {
        let open = |(stream, book): (usize, &BTreeMap<u64, Entry>)| {
            let declared = &self.declared[stream];
            let lacking =
                book.iter().filter(|(seq, e)| e.offered && !e.delivered && !declared.contains(**seq));
            lacking.map(|(seq, _)| (stream, *seq)).collect::<Vec<_>>()
        };
        self.books.iter().enumerate().flat_map(open).collect()
    }
}

/// Stream and numbers that a record of the play declares lost.
fn declaration(payload: &[u8]) -> Option<(usize, u64, u64)> {
    let payload: &[u8; 34] = payload.try_into().ok()?;
    let number = |at: usize| payload[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    Some((usize::from(payload[17]), number(18)?, number(26)?))
}

fn play(seed: u64) -> u64 {
    let mut play = Play::new(seed);
    let steps = 20 + play.random.below(180);
    for _ in 0..steps {
        play.step();
    }
    play.heal();
    if play.damaged {
        play.follow_lost_declarations();
    }
    let undeclared = play.undeclared();
    assert!(undeclared.is_empty(), "missing without a word: {undeclared:?}\n{}", play.log.join("\n"));
    // A crash between a declaration and its note may send what was declared after all; nothing else may.
    if !play.damaged && !play.crashed && !play.refused {
        let both = |(book, declared): (&BTreeMap<u64, Entry>, &Numbers)| {
            book.iter().filter(|(seq, e)| declared.contains(**seq) && e.delivered).count()
        };
        let both: usize = play.books.iter().zip(&play.declared).map(both).sum();
        assert_eq!(both, 0, "declared lost and delivered\n{}", play.log.join("\n"));
    }
    play.disconnect();
    play.most_repeated
}

#[test]
fn simulation() {
    if let Ok(seed) = std::env::var("SEED") {
        play(seed.parse().expect("SEED is a number"));
        return;
    }
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut most = 0;
    for seed in (0..PLAYS).map(|n| first.wrapping_add(n)) {
        let played = std::panic::catch_unwind(|| play(seed));
        match played {
            Ok(repeated) => most = most.max(repeated),
            Err(panic) => {
                println!("SEED={seed} plays this again");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{PLAYS} plays; most records repeated on one connection: {most}");
}
