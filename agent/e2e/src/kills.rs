//! Brokers and agents that are killed under load, with the books kept from
//! number 0. Used by tests, which judge, and by the bench, which prints.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rackmark_feed::Stream;
use rackmark_feed::consumer::{Consumer, Settings};

use crate::Outcome;
use crate::account::Account;
use crate::agent::{Agent, Setup};
use crate::asker::Asker;
use crate::broker::Mosquitto;
use crate::consumer::Buyer;
use crate::http::value;
use crate::process::free_port;
use crate::sim::Sim;

/// What a run of kills cost.
#[derive(Debug)]
pub struct Toll {
    /// The consumer's books.
    pub account: Account,
    /// Most records that came again after one kill.
    pub most_duplicates: u64,
    /// Messages that the brokers took, lost, and that were asked for again.
    pub lost_by_brokers: usize,
}

impl Toll {
    /// Events and session records that are missing without a word.
    pub fn edges_lost(&self) -> usize {
        [Stream::Session, Stream::Event].map(|stream| self.account.missing(stream).len()).iter().sum()
    }

    /// Telemetry messages that are missing without a word.
    pub fn series_gaps(&self) -> usize {
        [Stream::Telemetry, Stream::TelemetrySlow]
            .map(|stream| self.account.missing(stream).len())
            .iter()
            .sum()
    }
}

/// Ten samples a second, five messages a second, and quick reconnects.
pub fn setup(sim: &Sim, port: u16, asker: &Asker) -> Setup {
    Setup::on(sim)
        .broker(port)
        .line("sampling", "period_ms = 100")
        .line("mqtt", "batch_samples = 2")
        .line("mqtt", "reconnect_max_secs = 1")
        .line("consumers", asker.allowed())
}

/// A consumer that remembers the sessions of hundreds of restarts.
///
/// # Errors
/// Where mosquitto's clients are missing.
pub fn patient_buyer(port: u16) -> Outcome<Buyer> {
    Buyer::subscribe_as(port, patient_consumer())
}

/// The judge of such a consumer: it counts from number 0.
pub fn patient_consumer() -> Consumer {
    let settings = Settings {
        sessions_per_node: 1000,
        held_per_node: 10_000,
        missing_ranges: 10_000,
        hold_ms: u64::MAX,
        from_start: true,
        ..Settings::default()
    };
    Consumer::new(settings)
}

/// Waits until nothing waits in the spool but what has just been made.
///
/// # Errors
/// Where that takes more than a minute.
pub fn drained(agent: &Agent) -> Outcome<()> {
    agent.wait("an empty spool", Duration::from_secs(60), |scrape| {
        let waiting = |class| value(scrape, &format!("rackmark_spool_records{{class=\"{class}\"}}"));
        waiting("series").is_some_and(|waiting| waiting <= 3.0) && waiting("edge") == Some(0.0)
    })?;
    Ok(())
}

fn answering(agent: &Agent) -> Outcome<()> {
    agent.wait("a GPU that answers", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"0\"} 1")
    })?;
    Ok(())
}

fn connected(agent: &Agent) -> Outcome<()> {
    agent
        .wait("the broker", Duration::from_secs(20), |scrape| scrape.contains("rackmark_mqtt_connected 1"))?;
    Ok(())
}

/// Numbers that differ from run to run; the seed is printed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("seed {seed}\n").as_bytes());
        Self(seed)
    }

    fn milliseconds(&mut self, below: u64) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % below)
    }
}

fn settle(agent: &Agent, mut toll: Toll, buyer: &mut Buyer, asker: &Asker, port: u16) -> Outcome<Toll> {
    drained(agent)?;
    toll.account.follow(buyer, Duration::from_secs(2), |_| false);
    toll.lost_by_brokers = toll.edges_lost() + toll.series_gaps();
    toll.account.ask_for_missing(buyer, asker, port, 5)?;
    Ok(toll)
}

fn toll() -> Toll {
    Toll { account: Account::default(), most_duplicates: 0, lost_by_brokers: 0 }
}

/// Kills the broker `times` with SIGKILL while ten samples a second and five XIDs per life are made.
///
/// # Errors
/// Where something does not start or come back in time.
pub fn brokers(times: u32) -> Outcome<Toll> {
    let (sim, asker, port) = (Sim::profile("h200", Some(1))?, Asker::new("acme")?, free_port()?);
    let mut broker = Some(Mosquitto::on(port)?);
    let mut buyer = patient_buyer(port)?;
    let agent = Agent::sampling(&setup(&sim, port, &asker))?;
    let (mut toll, mut random) = (toll(), Random::new());
    for kill in 0..times {
        connected(&agent)?;
        // Repeats of a code would be one incident and one event.
        for number in 0..3 {
            sim.command(&format!("xid 0 {}", 1000 + 3 * kill + number))?;
        }
        let before = toll.account.duplicates;
        toll.account.follow(&mut buyer, Duration::from_millis(200) + random.milliseconds(800), |_| false);
        toll.most_duplicates = toll.most_duplicates.max(toll.account.duplicates - before);
        drop(broker.take());
        for number in 0..2 {
            sim.command(&format!("xid 0 {}", 2000 + 2 * kill + number))?;
        }
        toll.account.follow(&mut buyer, random.milliseconds(300), |_| false);
        broker = Some(Mosquitto::on(port)?);
    }
    settle(&agent, toll, &mut buyer, &asker, port)
}

/// Kills the agent `times` with SIGKILL, at any point of its start and its work.
///
/// # Errors
/// Where something does not start in time.
pub fn agents(times: u64) -> Outcome<Toll> {
    let (sim, asker, broker) = (Sim::profile("h200", Some(1))?, Asker::new("acme")?, Mosquitto::start()?);
    let setup = setup(&sim, broker.port, &asker);
    let mut buyer = patient_buyer(broker.port)?;
    let (mut toll, mut random) = (toll(), Random::new());
    let mut agent = Agent::start(&setup)?;
    for kill in 0..times {
        if kill % 10 == 0 {
            answering(&agent)?;
            sim.command(&format!("xid 0 {kill}"))?;
        }
        let before = toll.account.duplicates;
        toll.account.follow(&mut buyer, random.milliseconds(350), |_| false);
        toll.most_duplicates = toll.most_duplicates.max(toll.account.duplicates - before);
        agent = agent.again(&setup)?;
    }
    answering(&agent)?;
    settle(&agent, toll, &mut buyer, &asker, broker.port)
}

/// Kills both at once, `times`.
///
/// # Errors
/// Where something does not start or come back in time.
pub fn both(times: u32) -> Outcome<Toll> {
    let (sim, asker, port) = (Sim::profile("h200", Some(1))?, Asker::new("acme")?, free_port()?);
    let setup = setup(&sim, port, &asker);
    let mut broker = Some(Mosquitto::on(port)?);
    let mut buyer = patient_buyer(port)?;
    let mut agent = Agent::sampling(&setup)?;
    let (mut toll, mut random) = (toll(), Random::new());
    for kill in 0..times {
        sim.command(&format!("xid 0 {}", 100 + kill))?;
        let before = toll.account.duplicates;
        toll.account.follow(&mut buyer, Duration::from_millis(300) + random.milliseconds(1200), |_| false);
        toll.most_duplicates = toll.most_duplicates.max(toll.account.duplicates - before);
        drop(broker.take());
        agent = agent.again(&setup)?;
        std::thread::sleep(random.milliseconds(400));
        broker = Some(Mosquitto::on(port)?);
        connected(&agent)?;
        answering(&agent)?;
    }
    settle(&agent, toll, &mut buyer, &asker, port)
}
