//! The attester without a TPM, beside a BMC that says nothing.

use std::sync::RwLock;

use rackmark_feed::{DeviceKind, EvidenceClaim, Frame, ReplyOutcome};
use tokio::net::TcpListener;

use super::super::asked::WayBack;
use super::*;
use crate::bmc::tests::Site;
use crate::inventory::Kept;
use crate::publish::feed::{Feed, Machine};
use crate::publish::identity::Session;
use crate::publish::mqtt::Outbox;
use crate::publish::spool;
use crate::sampling::roster::Roster;

/// For what comes at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

struct Bench {
    asks: mpsc::Sender<Ask>,
    outbox: Outbox,
    way_back: WayBack,
    _keep: (
        tempfile::TempDir,
        spool::Writer,
        mpsc::Sender<Begun>,
        watch::Sender<Arc<Config>>,
        watch::Sender<bool>,
    ),
}

impl Bench {
    fn start(site: &Site, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("state");
        let session = Session::begin(&state, None).expect("session");
        let speaker = Speaker {
            node: session.node,
            identity: session.identity.public(),
            session: session.key.public(),
            boot_id: [0; 16],
        };
        let mut config = Config::parse("[node]\nname = \"n\"\n", "test.toml".as_ref()).expect("a good file");
        config.bmc = Some(site.settings(port));
        let (config_sender, config) = watch::channel(Arc::new(config));
        let wake = Arc::new(Notify::new());
        let opened = spool::open_in_memory(String::new(), 7, wake.clone()).expect("spool");
        let outbox = Outbox::new(Box::new(opened.spool.clone()), wake);
        let machine = Machine { boot_id: [0; 16], boot_text: String::new(), host: None };
        let feed = SharedFeed::new(Feed::begin(session, None, config.clone(), state.clone(), machine));
        let roster: SharedRoster = Arc::new(RwLock::new(Roster::default()));
        let sources = Sources {
            config,
            feed: feed.clone(),
            roster: roster.clone(),
            inventory: Arc::new(RwLock::new(Some(Kept::default()))),
            bmc: Turn::default(),
            changed: Arc::new(Notify::new()),
            state,
        };
        let (asks, asked) = mpsc::channel(8);
        let (epochs, begun) = mpsc::channel(1);
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(Attester::new(sources, speaker).run(asked, begun, stopping));
        let topic = Some("rackmark/reply".to_owned());
        let way_back = WayBack { feed, roster, outbox: outbox.clone(), topic, correlation: None };
        Self { asks, outbox, way_back, _keep: (folder, opened.writer, epochs, config_sender, stop) }
    }

    async fn ask(&self, number: u8, devices: bool) {
        let verb = Verb::Attest { nonce: [number; 32], devices };
        let ask = Ask {
            verb,
            consumer: "verifier".to_owned(),
            nonce: [number; 16],
            way_back: self.way_back.clone(),
        };
        assert!(self.asks.send(ask).await.is_ok(), "the attester listens");
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
