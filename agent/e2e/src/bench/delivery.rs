//! A day in the spool, an hour without a broker, and what kills cost.

use std::fs;
use std::path::Path;
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::http::value;
use rackmark_e2e::kills::{self, patient_buyer};
use rackmark_e2e::process::private_bytes;
use rackmark_e2e::proxy::{Link, Proxy};
use rackmark_e2e::sim::Sim;
use rackmark_feed::{
    Body, Header, Message, NodeId, PreviousSession, SessionClaim, SessionId, SigningKey, SpoolEpoch, Stream,
    StreamEnd, TelemetryBatch, seal, topic,
};
use rackmark_spool::{Class, Disk, Limits, Now, Spool, StreamSpec};

use super::figure;

/// 24 hours of 1 Hz in batches of ten.
const DAY: u64 = 8640;
/// Real batches of the simulated load that the day is made of.
const PATTERNS: usize = 6;
/// Samples in an hour of 1 Hz, taken at ten a second.
const OUTAGE: Duration = Duration::from_secs(360);
/// Reconnects of about an hour at the longest pause, in three minutes.
const STORM: Duration = Duration::from_secs(180);
const WARM_UP: Duration = Duration::from_secs(30);

pub(crate) fn measure() -> Outcome<()> {
    day()?;
    outage()?;
    let (brokers, agents, both) = (kills::brokers(20)?, kills::agents(200)?, kills::both(10)?);
    let tolls = [&brokers, &agents, &both];
    let sum = |of: fn(&kills::Toll) -> usize| tolls.iter().map(|toll| of(toll)).sum::<usize>() as f64;
    figure("edges_lost", sum(kills::Toll::edges_lost), "records")?;
    figure("series_gaps_undeclared", sum(kills::Toll::series_gaps), "records")?;
    let most = tolls.iter().map(|toll| toll.most_duplicates).max().unwrap_or(0);
    figure("duplicates_per_reconnect_max", most as f64, "records")
}

fn telemetry(sim: &Sim) -> Outcome<Vec<TelemetryBatch>> {
    let broker = Mosquitto::start()?;
    let mut buyer = Buyer::subscribe(broker.port)?;
    let _agent = Agent::sampling(&Setup::on(sim).broker(broker.port))?;
    let mut batches = Vec::new();
    while batches.len() < PATTERNS {
        let batch = buyer.telemetry(Duration::from_secs(40))?;
        if batch.slots().len() == 8 && batch.samples().len() == 10 {
            batches.push(batch);
        }
    }
    Ok(batches)
}

fn day() -> Outcome<()> {
    let sim = Sim::scenario("load")?;
    let batches = telemetry(&sim)?;
    let broker = Mosquitto::start()?;
    let proxy = Proxy::to(broker.port)?;
    proxy.set(Link::Cut);
    let mut buyer = patient_buyer(broker.port)?;
    let setup = Setup::on(&sim)
        .broker(proxy.port)
        // Ten live messages a second, so that some are made while the day is sent.
        .line("sampling", "period_ms = 100")
        .line("mqtt", "batch_samples = 1")
        .line("mqtt", "reconnect_max_secs = 1");
    let agent = Agent::start_on(&setup, |state| fill(state, &batches))?;
    agent.wait("the first sample", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1")
    })?;
    figure("spool_24h_mb", folder_bytes(&agent.state().join("spool"))? as f64 / 1e6, "MB")?;

    proxy.set(Link::Passes);
    agent
        .wait("the broker", Duration::from_secs(20), |scrape| scrape.contains("rackmark_mqtt_connected 1"))?;
    let connected = Instant::now();
    let follow = Builder::new().name("consumer".to_owned()).spawn(move || -> (u64, f64) {
        let (mut came, mut longest) = (0, 0.0_f64);
        while came < DAY {
            let Some(judged) = buyer.next(Duration::from_secs(20)) else { break };
            let Ok(accepted) = &judged.outcome else { continue };
            for accepted in std::iter::once(accepted).chain(accepted.released.iter().flatten()) {
                match (&accepted.body, accepted.header.seq) {
                    (Some(Body::Telemetry(_)), Some(seq)) if seq < DAY => came += 1,
                    (Some(Body::Telemetry(batch)), _) => {
                        let taken = batch.samples().first().map_or(0, |sample| sample.taken_unix_ms);
                        longest = longest.max((now_unix_ms() as f64 - taken as f64) / 1e3);
                    }
                    _ => {}
                }
            }
        }
        (came, longest)
    })?;
    agent.wait("an empty spool", Duration::from_secs(60), |scrape| {
        value(scrape, "rackmark_spool_records{class=\"series\"}").is_some_and(|waiting| waiting <= 3.0)
    })?;
    let drained = connected.elapsed();
    let (came, longest) = follow.join().map_err(|_| "the consumer's thread")?;
    if came != DAY {
        return Err(format!("{came} of {DAY} messages came").into());
    }
    figure("drain_24h_s", drained.as_secs_f64(), "s")?;
    figure("drain_verified_s", connected.elapsed().as_secs_f64(), "s")?;
    figure("drain_live_wait_max_s", longest, "s")
}

/// A state directory in which a day waits, as an agent of an earlier session left it.
fn fill(state: &Path, batches: &[TelemetryBatch]) -> Outcome<()> {
    fs::create_dir_all(state)?;
    let pkcs8 = SigningKey::generate_pkcs8()?;
    fs::write(state.join("identity.pk8"), &pkcs8)?;
    let (identity, key) = (SigningKey::from_pkcs8(&pkcs8)?, SigningKey::generate()?);
    let epoch = SpoolEpoch(0x0123_4567_89ab_cdef);
    let spec = |id, name, class| StreamSpec { id, name, class };
    let streams = [
        spec(0, "session", Class::Edge),
        spec(1, "event", Class::Edge),
        spec(2, "telemetry", Class::Series),
        spec(3, "telemetry-slow", Class::Series),
    ];
    let limits = Limits {
        series_bytes: 256 << 20,
        series_age_ms: u64::MAX,
        edge_bytes: 64 << 20,
        edge_age_ms: u64::MAX,
        series_segment_bytes: 1 << 20,
        edge_segment_bytes: 256 << 10,
        keep_series_ms: 3_600_000,
        keep_edges_ms: 3_600_000,
    };
    let now = Now { mono_ms: 0, unix_ms: now_unix_ms() };
    let mut spool = Spool::open(Disk::open(&state.join("spool"))?, &streams, limits, epoch.0, now)?.spool;

    let header = Header {
        node: NodeId::software(&identity.public()),
        session: SessionId::of(&key.public()),
        epoch,
        stream: Stream::Session,
        seq: Some(0),
        time_unix_ms: now_unix_ms(),
    };
    let claim = SessionClaim {
        node: header.node,
        site: "test".to_owned(),
        node_name: "node".to_owned(),
        identity_public_key: identity.public(),
        session_public_key: key.public(),
        boot_id: [7; 16],
        spool_epoch: epoch,
        started_unix_ms: now_unix_ms() - 86_400_000,
        agent_version: "bench".to_owned(),
        previous: None,
        extensions: Vec::new(),
    };
    let record =
        seal(&Message { header: header.clone(), body: Body::Session(claim.sign(&identity)?) }, &key)?;
    spool.append(0, 0, &topic::of(Stream::Session, "test", "node")?, &record, now)?;
    let label = topic::of(Stream::Telemetry, "test", "node")?;
    for seq in 0..DAY {
        let header = Header { stream: Stream::Telemetry, seq: Some(seq), ..header.clone() };
        let body = Body::Telemetry(batches[seq as usize % batches.len()].clone());
        spool.append(2, seq, &label, &seal(&Message { header, body }, &key)?, now)?;
    }
    spool.commit()?;
    let previous = PreviousSession {
        session: header.session,
        spool_epoch: epoch,
        ends: vec![StreamEnd { stream: Stream::Telemetry, last_seq: DAY - 1 }],
    };
    fs::write(state.join("session.json"), serde_json::to_vec(&serde_json::json!({ "previous": previous }))?)?;
    Ok(())
}

/// Private memory over an hour's samples without a broker, and over an hour's reconnects.
fn outage() -> Outcome<()> {
    let (sim, broker) = (Sim::scenario("load")?, Mosquitto::start()?);
    let proxy = Proxy::to(broker.port)?;
    let _buyer = Buyer::subscribe(broker.port)?;
    let setup = Setup::on(&sim)
        .broker(proxy.port)
        .line("sampling", "period_ms = 100")
        .line("mqtt", "reconnect_max_secs = 1");
    let agent = Agent::sampling(&setup)?;
    std::thread::sleep(WARM_UP);
    let pid = agent.process.pid();
    let before = private_bytes(pid)?;
    proxy.set(Link::Cut);
    std::thread::sleep(OUTAGE);
    let grown = private_bytes(pid)? as f64 - before as f64;
    figure("outage_growth_mb", grown / 1e6, "MB")?;

    proxy.set(Link::Passes);
    kills::drained(&agent)?;
    let (before, connections) = (private_bytes(pid)?, proxy.connections());
    let end = Instant::now() + STORM;
    while Instant::now() < end {
        proxy.set(Link::Passes);
        std::thread::sleep(Duration::from_millis(400));
        proxy.set(Link::Cut);
        std::thread::sleep(Duration::from_millis(50));
    }
    let grown = private_bytes(pid)? as f64 - before as f64;
    figure("storm_growth_mb", grown / 1e6, "MB")?;
    figure("storm_reconnects", (proxy.connections() - connections) as f64, "connections")
}

fn folder_bytes(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
