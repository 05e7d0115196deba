//! The attester without a TPM, beside a BMC that says nothing.

use std::sync::RwLock;

use rackmark_e2e::certificates::{Authority, Use};
use rackmark_feed::{DeviceKind, EvidenceClaim, Frame, ReplyOutcome};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::super::asked::WayBack;
use super::super::due::{CHANGES_EVERY, SETTLE};
use super::*;
use crate::bmc::tests::Site;
use crate::config::CollectLaunch;
use crate::inventory::Kept;
use crate::publish::feed::{Feed, Machine};
use crate::publish::identity::Session;
use crate::publish::inbox::CommandCounts;
use crate::publish::mqtt::Outbox;
use crate::publish::spool;
use crate::sampling::roster::Roster;
use crate::tls::CertificateFiles;

/// For what comes at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

struct Bench {
    asks: mpsc::Sender<Ask>,
    epochs: mpsc::Sender<Begun>,
    changes: Changes,
    counts: Counts,
    outbox: Outbox,
    way_back: WayBack,
    _keep: (tempfile::TempDir, spool::Writer, watch::Sender<Arc<Config>>, watch::Sender<bool>),
}

impl Bench {
    fn start(site: &Site, port: u16) -> Self {
        let bmc = Some(site.settings(port));
        Self::configured(|config| config.bmc = bmc)
    }

    fn configured(configure: impl FnOnce(&mut Config)) -> Self {
        Self::of(None, configure)
    }

    /// Of a node with another identity than its software key's.
    fn of(node: Option<NodeId>, configure: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("state");
        let session = Session::begin(&state, None).expect("session");
        let speaker = Speaker {
            node: node.unwrap_or(session.node),
            identity: session.identity.public(),
            session: session.key.public(),
            boot_id: [0; 16],
        };
        let mut config = Config::parse("[node]\nname = \"n\"\n", "test.toml".as_ref()).expect("a good file");
        configure(&mut config);
        let (config_sender, config) = watch::channel(Arc::new(config));
        let wake = Arc::new(Notify::new());
        let opened = spool::open_in_memory(String::new(), 7, wake.clone()).expect("spool");
        let outbox = Outbox::new(Box::new(opened.spool.clone()), wake);
        let machine = Machine { boot_id: [0; 16], boot_text: String::new(), host: None };
        let feed = SharedFeed::new(Feed::begin(session, None, config.clone(), state.clone(), machine));
        let roster: SharedRoster = Arc::new(RwLock::new(Roster::default()));
        let (looked, first_look) = oneshot::channel();
        looked.send(FirstLook { boot_log: None }).expect("the attester waits");
        let (changes, counts) = (Changes::default(), Counts::default());
        let sources = Sources {
            config,
            feed: feed.clone(),
            roster: roster.clone(),
            inventory: Arc::new(RwLock::new(Some(Kept::default()))),
            bmc: Turn::default(),
            first_look,
            changes: changes.clone(),
            counts: counts.clone(),
            state,
        };
        let (asks, asked) = mpsc::channel(8);
        let (epochs, begun) = mpsc::channel(1);
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(Attester::new(sources, speaker).run(asked, begun, stopping));
        let topic = Some("rackmark/reply".to_owned());
        let way_back = WayBack {
            feed,
            roster,
            outbox: outbox.clone(),
            topic,
            correlation: None,
            counts: CommandCounts::default(),
        };
        Self {
            asks,
            epochs,
            changes,
            counts,
            outbox,
            way_back,
            _keep: (folder, opened.writer, config_sender, stop),
        }
    }

    async fn ask(&self, number: u8, devices: bool) {
        self.send(number, Verb::Attest { nonce: [number; 32], devices }).await;
    }

    async fn send(&self, number: u8, verb: Verb) {
        let ask = Ask {
            verb,
            consumer: "verifier".to_owned(),
            nonce: [number; 16],
            way_back: self.way_back.clone(),
        };
        assert!(self.asks.send(ask).await.is_ok(), "the attester listens");
    }

    /// The name of the refusal of a verb.
    async fn refusal(&self, number: u8, verb: Verb) -> Option<Refusal> {
        self.send(number, verb).await;
        let reply = async {
            loop {
                let replies = self.outbox.replies();
                let bodies = replies.iter().map(|reply| {
                    Frame::parse(&reply.payload).and_then(|frame| frame.body()).expect("a body")
                });
                let mut replies = bodies.filter_map(|body| match body {
                    Body::Reply(reply) => Some(reply),
                    _ => None,
                });
                if let Some(reply) = replies.find(|reply| reply.nonce == [number; 16]) {
                    return reply.refusal();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON * 10, reply).await.expect("a reply")
    }

    /// Evidence that was made so far, by cause.
    fn made(&self) -> Vec<(&'static str, u64)> {
        let figures = self.counts.snapshot();
        let made = figures.evidence().filter(|(_, outcome, count)| *outcome == "made" && *count > 0);
        made.map(|(cause, _, count)| (cause, count)).collect()
    }

    fn evidence(&self) -> Vec<EvidenceClaim> {
        let bodies = self
            .outbox
            .replies()
            .into_iter()
            .map(|reply| Frame::parse(&reply.payload).and_then(|frame| frame.body()).expect("a body"));
        let claim = |body| match body {
            Body::Evidence(evidence) => Some(evidence.claim),
            Body::Reply(reply) => {
                assert_eq!(reply.outcome, ReplyOutcome::Accepted, "{}", reply.reason);
                None
            }
            other => panic!("{other:?}"),
        };
        bodies.filter_map(claim).collect()
    }

    /// Whose evidence came, by the first byte of the nonce, once there is so much of it.
    async fn answered(&self, many: usize) -> Vec<u8> {
        let looking = async {
            while self.evidence().len() < many {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, looking).await.expect("evidence");
        self.evidence().iter().map(|claim| claim.freshness.value[0]).collect()
    }
}

#[tokio::test]
async fn a_bmc_that_hangs_delays_only_evidence_that_is_to_have_components() {
    let site = Site::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let bench = Bench::start(&site, silent.local_addr().expect("address").port());
    bench.ask(1, true).await;
    bench.ask(2, false).await;
    assert_eq!(bench.answered(1).await, [2], "who wants no components waits for none");
    for number in 3..=5 {
        bench.ask(number, true).await;
    }
    // Four wait; whoever comes after them is not kept waiting.
    bench.ask(6, true).await;
    assert_eq!(bench.answered(2).await, [2, 6]);
    // Nobody listens any more: the connections that wait are refused, and evidence is made without components.
    drop(silent);
    let mut answered = bench.answered(6).await;
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4, 5, 6]);
    let components = |claim: &EvidenceClaim| {
        claim.devices.iter().filter(|device| device.kind == DeviceKind::Component).count()
    };
    assert!(bench.evidence().iter().all(|claim| components(claim) == 0));
}

/// Time passes at once where nobody does anything.
#[tokio::test(start_paused = true)]
async fn whatever_evidence_speaks_of_makes_another_one_when_it_changes() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new("authority").expect("authority");
    let renew = || {
        let identity = authority.issue(Use::Client, &["n"]).expect("certificate");
        let (cert_file, key_file) = identity.write(folder.path(), "node").expect("files");
        CertificateFiles { cert_file, key_file }
    };
    let files = renew();
    let bench = Bench::configured(|config| config.broker_tls.certificate = Some(files));
    let wait = |time| tokio::time::sleep(time);
    wait(SETTLE).await;
    assert_eq!(bench.made(), [("start", 1)]);
    // Looked at again, as after a new password, the certificate is the same.
    bench.changes.certificate();
    wait(CHANGES_EVERY * 2).await;
    assert_eq!(bench.made(), [("start", 1)]);
    renew();
    bench.changes.certificate();
    wait(SETTLE / 2).await;
    assert_eq!(bench.made(), [("start", 1)], "others may come");
    wait(SETTLE).await;
    assert_eq!(bench.made(), [("start", 1), ("certificate_changed", 1)]);
    // An inventory that changes all the time is signed once a minute.
    for _ in 0..600 {
        bench.changes.inventory();
        wait(Duration::from_secs(1)).await;
    }
    let made = bench.made();
    assert!(
        made.iter().any(|(cause, many)| *cause == "inventory_changed" && (9..=10).contains(many)),
        "{made:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_epoch_is_answered_once_within_its_first_tenth() {
    let bench = Bench::configured(|_| {});
    let expires_unix_ms = clock::unix_ms() + 300_000;
    let begun = Begun { verifier: "acme".to_owned(), value: [1; 32], expires_unix_ms };
    bench.epochs.send(begun).await.expect("the attester listens");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.made(), [("start", 1), ("epoch", 1)]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(bench.made(), [("start", 1), ("epoch", 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_attester_refuses_has_its_name() {
    let activate = || Verb::Activate { credential_blob: vec![1], encrypted_secret: vec![2] };
    let bench = Bench::configured(|_| {});
    assert_eq!(bench.refusal(1, activate()).await, Some(Refusal::NoTpm));
    assert_eq!(bench.refusal(2, Verb::Fetch { digest: [0; 32] }).await, Some(Refusal::NotKept));
    assert_eq!(bench.refusal(3, Verb::Accepted { digest: [0; 32] }).await, Some(Refusal::NotPossible));
    let folder = tempfile::tempdir().expect("folder");
    let socket = folder.path().join("nobody.sock");
    let node = NodeId::from_parts(IdentityClass::Tpm, [1; 32]);
    let bench = Bench::of(Some(node), |config| config.attest.launch = CollectLaunch::Socket(socket));
    assert_eq!(bench.refusal(1, activate()).await, Some(Refusal::TpmFailed));
    let attest = Verb::Attest { nonce: [2; 32], devices: false };
    assert_eq!(bench.refusal(2, attest).await, Some(Refusal::TpmFailed));
    let figures = bench.counts.snapshot();
    assert_eq!(bench.made(), []);
    assert!(
        figures.evidence().any(|(cause, outcome, count)| (cause, outcome, count) == ("request", "failed", 1))
    );
    assert_eq!(figures.tpm.and_then(|tpm| tpm.up), Some(false));
}
