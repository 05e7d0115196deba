//! Commands from outside: who may send which, what reaches the carrier, what the consumer is told.

use std::path::Path;
use std::sync::{Mutex, RwLock};

use bytes::Bytes;
use rackmark_feed::{Body, Frame, IdentityClass, ReplyOutcome, SigningKey, seal_downlink};
use tokio::sync::Notify;

use super::*;
use crate::publish::feed::{Feed, Machine};
use crate::publish::identity::{Session, StateDir};
use crate::sampling::roster::Roster;

/// Notes what it is asked for, and refuses to drain.
#[derive(Default)]
struct Notes(Mutex<Vec<(String, String)>>);

impl Carrier for Notes {
    fn carry_out(&self, verb: &Verb, consumer: &str) -> Result<(), Refused> {
        self.0.lock().expect("notes").push((verb.name().to_owned(), consumer.to_owned()));
        match verb {
            Verb::Drain { reason, .. } => {
                Err(Refused::new(Refusal::NotPossible, format!("asks for {reason}").repeat(200)))
            }
            _ => Ok(()),
        }
    }
}

struct Bench {
    inbox: Inbox,
    notes: Arc<Notes>,
    asked: mpsc::Receiver<Ask>,
    begun: mpsc::Receiver<Begun>,
    counts: CommandCounts,
    outbox: Outbox,
    sent: u8,
    _state: tempfile::TempDir,
    _config: watch::Sender<Arc<Config>>,
    _writer: spool::Writer,
}

fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(&[name.as_bytes()[0]; 32])
}

/// Three consumers: an operator, a lessor, and one who is allowed and no more.
fn config() -> Config {
    let allowed: Vec<String> =
        ["olga", "lea", "bob"].iter().map(|name| format!("\"{name}={}\"", key(name).public())).collect();
    let text = format!(
        "[node]\nsite = \"test\"\nname = \"node\"\n[consumers]\nallowed = [{}]\noperators = [\"olga\"]\nlessors = [\"lea\"]\n",
        allowed.join(", ")
    );
    Config::parse(&text, Path::new("test.toml")).expect("a good file")
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("state");
        let session = Session::begin(&state, None).expect("session");
        let wake = Arc::new(Notify::new());
        let opened = spool::open_in_memory(String::new(), 7, wake.clone()).expect("spool");
        let outbox = Outbox::new(Box::new(opened.spool.clone()), wake);
        let (sender, config) = watch::channel(Arc::new(config()));
        let machine = Machine { boot_id: [0; 16], boot_text: String::new(), host: None };
        let feed = SharedFeed::new(Feed::begin(session, None, config.clone(), state, machine));
        let roster: SharedRoster = Arc::new(RwLock::new(Roster::default()));
        let notes = Arc::new(Notes::default());
        let counts = CommandCounts::default();
        let (asks, asked) = mpsc::channel(4);
        let (epochs, begun) = mpsc::channel(4);
        let doors = Doors { carrier: notes.clone(), asks, epochs, counts: counts.clone() };
        let inbox = Inbox::new(config, opened.spool, outbox.clone(), feed, roster, SpoolEpoch(7), doors);
        Self {
            inbox,
            notes,
            asked,
            begun,
            counts,
            outbox,
            sent: 0,
            _state: folder,
            _config: sender,
            _writer: opened.writer,
        }
    }

    /// Sends a verb as `consumer`, signed by `signer`; what the node answers.
    fn send(&mut self, consumer: &str, signer: &str, verb: Verb) -> Option<Reply> {
        let command = self.command(consumer, verb);
        self.give(command, signer)
    }

    /// The name of the refusal of a command of olga's that `change` made another one.
    fn refusal(&mut self, verb: Verb, change: impl FnOnce(&mut Command)) -> Option<Refusal> {
        let (topic, payload) = self.sealed("olga", "olga", verb, change);
        self.deliver(topic, "olga", payload)?.refusal()
    }

    /// A signed command on the topic of `verb`.
    fn sealed(
        &mut self,
        consumer: &str,
        signer: &str,
        verb: Verb,
        change: impl FnOnce(&mut Command),
    ) -> (String, Vec<u8>) {
        let topic = topic::command("test", "node", verb.name()).expect("topic");
        let mut command = self.command(consumer, verb);
        change(&mut command);
        (topic, seal_downlink(&DownlinkBody::Command(command), &key(signer)).expect("sealed"))
    }

    /// A good command, with a nonce of its own.
    fn command(&mut self, consumer: &str, verb: Verb) -> Command {
        self.sent += 1;
        let (node, session) = self.inbox.addressee();
        Command {
            node,
            session,
            consumer: consumer.to_owned(),
            expires_unix_ms: clock::unix_ms() + 60_000,
            nonce: [self.sent; 16],
            verb,
            extensions: Vec::new(),
        }
    }

    fn give(&mut self, command: Command, signer: &str) -> Option<Reply> {
        let topic = topic::command("test", "node", command.verb.name()).expect("topic");
        let consumer = command.consumer.clone();
        let payload = seal_downlink(&DownlinkBody::Command(command), &key(signer)).expect("sealed");
        self.deliver(topic, &consumer, payload)
    }

    /// The node refuses it with these words, and does nothing.
    fn refuses(&mut self, command: Command, words: &str) {
        let signer = command.consumer.clone();
        let reply = self.give(command, &signer).expect("an answer");
        assert_eq!(reply.outcome, ReplyOutcome::Refused);
        assert!(reply.reason.contains(words), "{}", reply.reason);
        assert_eq!(self.carried_out(), []);
    }

    fn deliver(&mut self, topic: String, consumer: &str, payload: Vec<u8>) -> Option<Reply> {
        // As if they had been sent: only so many wait.
        self.outbox.forget_replies();
        self.inbox.take(&Incoming {
            topic,
            payload: Bytes::from(payload),
            response_topic: topic::reply("test", "node", consumer).ok(),
            correlation_data: None,
        });
        let replies = self.outbox.replies();
        let reply = replies.first()?;
        match Frame::parse(&reply.payload).and_then(|frame| frame.body()) {
            Ok(Body::Reply(reply)) => Some(reply),
            other => panic!("not a reply: {other:?}"),
        }
    }

    fn carried_out(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.notes.0.lock().expect("notes"))
    }
}

fn verbs() -> Vec<Verb> {
    let gpu = || Some("3".to_owned());
    vec![
        Verb::Acknowledge { gpu: gpu(), code: "xid".into(), key: 79 },
        Verb::MaintenanceStart { gpu: None, until_unix_ms: 5, reason: String::new() },
        Verb::MaintenanceEnd { gpu: None },
        Verb::LeaseStart { gpu: "3".into(), lease: "l-1".into(), until_unix_ms: None },
        Verb::LeaseEnd { lease: "l-1".into() },
        Verb::Drain { gpu: gpu(), reason: "an update".into() },
        Verb::Undrain { gpu: gpu() },
        Verb::Pause { gpu: gpu(), for_ms: 1000 },
        Verb::Resume { gpu: gpu() },
    ]
}

#[test]
fn an_operator_may_send_every_verb_and_the_carrier_gets_it_with_the_name() {
    let mut bench = Bench::new();
    for verb in verbs() {
        let reply = bench.send("olga", "olga", verb.clone()).expect("an answer");
        let refuses = matches!(verb, Verb::Drain { .. });
        let outcome = if refuses { ReplyOutcome::Refused } else { ReplyOutcome::Accepted };
        assert_eq!(reply.outcome, outcome, "{verb:?}: {}", reply.reason);
        assert_eq!(reply.nonce, [bench.sent; 16]);
        assert_eq!(bench.carried_out(), [(verb.name().to_owned(), "olga".to_owned())]);
    }
}

/// The carrier's reason is longer than the feed allows: without the cut there would be no answer at all.
#[test]
fn the_carriers_reason_is_told_as_far_as_it_fits() {
    let mut bench = Bench::new();
    let verb = Verb::Drain { gpu: None, reason: "an update".into() };
    let reply = bench.send("olga", "olga", verb).expect("an answer");
    assert!(reply.reason.starts_with("asks for an update") && reply.reason.len() > 500, "{}", reply.reason);
}

#[test]
fn attack_command_beyond_the_role_of_a_lessor() {
    let mut bench = Bench::new();
    for verb in verbs() {
        let reply = bench.send("lea", "lea", verb.clone()).expect("an answer");
        let lease = matches!(verb, Verb::LeaseStart { .. } | Verb::LeaseEnd { .. });
        assert_eq!(reply.outcome == ReplyOutcome::Accepted, lease, "{verb:?}: {}", reply.reason);
        assert_eq!(bench.carried_out().len(), usize::from(lease));
        if !lease {
            let said = format!("asks for {}, which is for `consumers.operators`", verb.name());
            assert_eq!(reply.reason, said);
        }
    }
}

#[test]
fn attack_command_beyond_the_role_of_a_buyer() {
    let mut bench = Bench::new();
    for verb in verbs() {
        let reply = bench.send("bob", "bob", verb.clone()).expect("an answer");
        assert_eq!(reply.outcome, ReplyOutcome::Refused, "{verb:?}");
        assert!(reply.reason.contains("`consumers.operators`"), "{}", reply.reason);
    }
    assert_eq!(bench.carried_out(), []);
    let again = Verb::Resend { stream: Stream::Event, epoch: SpoolEpoch(7), from_seq: 5, to_seq: 9 };
    let reply = bench.send("bob", "bob", again).expect("an answer");
    assert!(reply.reason.contains("do not exist"), "it got as far as the spool: {}", reply.reason);
}

/// A name without its key is nobody; who may not ask uses up no nonces.
#[test]
fn attack_command_signed_by_another_key() {
    let mut bench = Bench::new();
    assert_eq!(bench.send("olga", "bob", Verb::Resume { gpu: None }), None);
    assert_eq!(bench.send("stranger", "bob", Verb::Resume { gpu: None }), None);
    for _ in 0..20 {
        bench.send("bob", "bob", Verb::Resume { gpu: None });
    }
    assert!(bench.inbox.nonces.is_empty());
    assert_eq!(bench.carried_out(), []);
    let reply = bench.send("olga", "olga", Verb::Resume { gpu: None }).expect("an answer");
    assert_eq!((reply.outcome, bench.inbox.nonces.len()), (ReplyOutcome::Accepted, 1));
}

#[test]
fn attack_expired_command() {
    let mut bench = Bench::new();
    let undrain = || Verb::Undrain { gpu: None };
    let good = bench.command("olga", undrain());
    let now = clock::unix_ms();
    bench.refuses(Command { expires_unix_ms: now - 1, ..good }, "expired");
    // One that would never expire could be kept for a better day.
    let good = bench.command("olga", undrain());
    bench.refuses(Command { expires_unix_ms: now + 24 * 3_600_000, ..good }, "expires");
}

#[test]
fn attack_replayed_command() {
    let mut bench = Bench::new();
    let command = bench.command("olga", Verb::Resume { gpu: None });
    let reply = bench.give(command.clone(), "olga").expect("an answer");
    assert_eq!((reply.outcome, bench.carried_out().len()), (ReplyOutcome::Accepted, 1));
    bench.refuses(command, "was taken before");
}

/// A command to one node, put on the topic of another by whoever has the broker.
#[test]
fn attack_command_to_another_node() {
    let mut bench = Bench::new();
    let good = bench.command("olga", Verb::Undrain { gpu: None });
    let node = NodeId::software(&key("another").public());
    bench.refuses(Command { node, ..good }, "is for node");
    // Of a session before this one: it was sent, held back and let go after a restart.
    let good = bench.command("olga", Verb::Undrain { gpu: None });
    bench.refuses(Command { session: SessionId([9; 16]), ..good }, "is for session");
}

/// A command counts on the topic of its verb only: brokers grant verbs by topic.
#[test]
fn attack_verb_on_the_topic_of_another() {
    let mut bench = Bench::new();
    let (_, payload) = bench.sealed("olga", "olga", Verb::Pause { gpu: None, for_ms: 1 }, |_| {});
    let topic = topic::command("test", "node", "lease_end").expect("topic");
    let reply = bench.deliver(topic, "olga", payload).expect("an answer");
    assert_eq!(reply.outcome, ReplyOutcome::Refused);
    assert_eq!(bench.carried_out(), []);
}

#[test]
fn a_node_listens_to_every_verb_once_anyone_is_allowed() {
    let topics = subscriptions(&config());
    for verb in verbs() {
        assert!(topics.contains(&format!("rackmark/v1/test/node/cmd/{}", verb.name())), "{topics:?}");
    }
    assert!(topics.contains(&"rackmark/v1/test/node/cmd/resend".to_owned()));
    assert_eq!(topics.iter().filter(|topic| topic.contains("/watermark/")).count(), 3);
    let nobody = Config::parse("", Path::new("test.toml")).expect("a good file");
    assert_eq!(subscriptions(&nobody), Vec::<String>::new());
}

#[test]
fn roles_are_for_those_who_are_allowed() {
    let text = "[consumers]\nallowed = []\noperators = [\"olga\"]\nlessors = [\"lea\"]\n";
    let error = Config::parse(text, Path::new("test.toml")).expect_err("nobody is allowed");
    let said = chain(&error);
    let mistakes = format!("{error:?}");
    for key in ["consumers.operators", "consumers.lessors"] {
        assert!(mistakes.contains(key), "{said}");
    }
}

// --- what is for the attester

/// Everybody who is allowed may ask for evidence; the attester answers by itself, to nobody but who asked.
#[test]
fn what_concerns_evidence_is_handed_over_for_everybody() {
    let mut bench = Bench::new();
    let verbs = [
        Verb::Attest { nonce: [7; 32], devices: true },
        Verb::Activate { credential_blob: vec![1], encrypted_secret: vec![2] },
        Verb::Fetch { digest: [3; 32] },
        Verb::Accepted { digest: [4; 32] },
    ];
    for verb in verbs {
        assert_eq!(bench.send("bob", "bob", verb.clone()), None, "{verb:?}");
        let ask = bench.asked.try_recv().expect("handed over");
        assert_eq!((ask.verb.name(), ask.consumer.as_str()), (verb.name(), "bob"));
        assert_eq!(ask.way_back.topic.as_deref(), Some("rackmark/v1/test/node/reply/bob"));
        assert_eq!(ask.nonce, [bench.sent; 16]);
    }
    assert_eq!(bench.carried_out(), []);
    // There is room for four; the fifth is told at once.
    for _ in 0..4 {
        assert_eq!(bench.send("bob", "bob", Verb::Fetch { digest: [0; 32] }), None);
    }
    let reply = bench.send("bob", "bob", Verb::Fetch { digest: [0; 32] }).expect("an answer");
    assert!(reply.reason.contains("ask later"), "{}", reply.reason);
}

#[test]
fn attack_flood_of_commands() {
    let mut bench = Bench::new();
    let mut answers = 0;
    for _ in 0..200 {
        answers += u32::from(bench.send("olga", "olga", Verb::Resume { gpu: None }).is_some());
    }
    // The bucket, one refusal, and what a slow machine refilled meanwhile.
    assert!((31..60).contains(&answers), "{answers}");
    assert!(bench.carried_out().len() < 60);
    assert!(bench.send("lea", "lea", Verb::LeaseEnd { lease: "l".into() }).is_some(), "others go on");
}

/// Every way to be refused has its name; what the attester refuses, it names itself.
#[test]
fn every_refusal_has_a_name() {
    let mut bench = Bench::new();
    let resume = || Verb::Resume { gpu: None };
    let resend = |epoch, from_seq, to_seq| Verb::Resend {
        stream: Stream::Event,
        epoch: SpoolEpoch(epoch),
        from_seq,
        to_seq,
    };
    let other_node = NodeId::from_parts(IdentityClass::Software, [9; 32]);
    let mut seen = vec![
        bench.refusal(resume(), |command| command.node = other_node),
        bench.refusal(resume(), |command| command.session = SessionId([9; 16])),
        bench.refusal(resume(), |command| command.expires_unix_ms = clock::unix_ms()),
        bench.refusal(resume(), |command| command.expires_unix_ms = clock::unix_ms() + 600_000),
        bench.refusal(resend(7, 5, 4), |_| {}),
        bench.refusal(Verb::Unrecognised { code: 999, payload: Vec::new() }, |_| {}),
        bench.refusal(resume(), |command| command.verb = Verb::Undrain { gpu: None }),
        bench.send("bob", "bob", resume()).and_then(|reply| reply.refusal()),
    ];
    assert_eq!(bench.refusal(resume(), |command| command.nonce = [200; 16]), None, "accepted");
    seen.push(bench.refusal(resume(), |command| command.nonce = [200; 16]));
    // The attester has room for four.
    let busy = (0..5).find_map(|_| bench.refusal(Verb::Fetch { digest: [0; 32] }, |_| {}));
    seen.push(busy);
    seen.push(bench.refusal(Verb::Drain { gpu: None, reason: "an update".into() }, |_| {}));
    seen.push(bench.refusal(resend(8, 0, 1), |_| {}));
    seen.push((0..100).find_map(|_| bench.refusal(resume(), |_| {})));
    let mut seen: Vec<Refusal> = seen.into_iter().map(|refusal| refusal.expect("a name")).collect();
    seen.sort_by_key(|refusal| refusal.code());
    let by_the_attester = [Refusal::NoTpm, Refusal::TpmFailed];
    let all: Vec<Refusal> =
        Refusal::ALL.iter().copied().filter(|refusal| !by_the_attester.contains(refusal)).collect();
    assert_eq!(seen, all);
    let counted = bench.counts.snapshot();
    for refusal in all {
        assert!(counted.iter().any(|(_, outcome, _)| *outcome == refusal.name()), "{refusal}: {counted:?}");
    }
    assert!(counted.contains(&("unrecognised", "unknown_verb", 1)), "{counted:?}");
}

/// Somebody who hears the broker plays what olga sent again and again, in this session and from the one before.
#[test]
fn attack_replayed_commands_do_not_use_up_an_allowance() {
    let mut bench = Bench::new();
    let resume = || Verb::Resume { gpu: None };
    let (topic, taken) = bench.sealed("olga", "olga", resume(), |_| {});
    assert!(bench.deliver(topic.clone(), "olga", taken.clone()).is_some());
    let (_, expired) = bench.sealed("olga", "olga", resume(), |command| command.expires_unix_ms = 1);
    let (_, of_before) =
        bench.sealed("olga", "olga", resume(), |command| command.session = SessionId([9; 16]));
    let mut answers = 0;
    for _ in 0..200 {
        for payload in [&taken, &expired, &of_before] {
            answers += u32::from(bench.deliver(topic.clone(), "olga", payload.clone()).is_some());
        }
    }
    // The bucket of refusals, and what a slow machine refilled meanwhile.
    assert!((30..60).contains(&answers), "{answers}");
    assert_eq!(bench.carried_out().len(), 1);
    // All that olga may send at once is still there; the first command may have been refilled.
    for _ in 0..29 {
        let reply = bench.send("olga", "olga", resume()).expect("an answer");
        assert_eq!(reply.outcome, ReplyOutcome::Accepted, "{}", reply.reason);
    }
}

fn epoch(value: u8, issued_unix_ms: u64, expires_unix_ms: u64) -> rackmark_feed::Epoch {
    rackmark_feed::Epoch {
        verifier: "bob".to_owned(),
        value: [value; 32],
        issued_unix_ms,
        expires_unix_ms,
        extensions: Vec::new(),
    }
}

#[test]
fn attack_replayed_epoch() {
    let mut bench = Bench::new();
    let now = clock::unix_ms();
    let mut begin = |of: &str, signer: &str, epoch: rackmark_feed::Epoch| {
        let payload = seal_downlink(&DownlinkBody::Epoch(epoch), &key(signer)).expect("sealed");
        bench.inbox.take(&Incoming {
            topic: topic::epoch(of).expect("topic"),
            payload: payload.into(),
            response_topic: None,
            correlation_data: None,
        });
        bench.begun.try_recv().ok()
    };
    let later = now + 60_000;
    assert!(begin("bob", "bob", epoch(1, now, later)).is_some());
    assert_eq!(begin("bob", "bob", epoch(1, now, later)), None, "it comes again after each connect");
    assert!(begin("bob", "bob", epoch(2, now + 1, later)).is_some());
    assert_eq!(begin("bob", "bob", epoch(1, now, later)), None, "an old one");
    assert_eq!(begin("bob", "bob", epoch(3, now + 2, now)), None, "one that is over");
    assert_eq!(begin("bob", "lea", epoch(4, now + 3, later)), None, "another's key");
    assert_eq!(begin("lea", "lea", epoch(5, now + 4, later)), None, "under another's name");
    assert_eq!(begin("eve", "eve", epoch(6, now + 5, later)), None, "a stranger");
}
