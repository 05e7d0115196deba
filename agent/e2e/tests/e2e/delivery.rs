//! Nothing is lost between the rack and the buyer: brokers and agents that are
//! killed, links that are cut, consumers that are away. The books are kept from
//! number 0 of every stream.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::account::Account;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::asker::Asker;
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::http::value;
use rackmark_e2e::kills::{self, Toll, drained, patient_buyer};
use rackmark_e2e::proxy::{Link, Proxy};
use rackmark_e2e::sim::Sim;
use rackmark_feed::{SpoolEpoch, Stream};

/// The publisher's window: no more comes again per connection.
const WINDOW: u64 = 64;

fn judge(toll: &Toll) -> Outcome<()> {
    let account = &toll.account;
    println!(
        "{} sessions, {} events, {} telemetry messages, {} duplicates, at most {} per kill, {} lost by brokers and sent again",
        account.came(Stream::Session),
        account.came(Stream::Event),
        account.came(Stream::Telemetry),
        account.duplicates,
        toll.most_duplicates,
        toll.lost_by_brokers
    );
    assert!(toll.most_duplicates <= WINDOW, "{} duplicates after one kill", toll.most_duplicates);
    account.balanced()
}

#[test]
fn a_broker_that_is_killed_twenty_times_under_load_costs_nothing() -> Outcome<()> {
    let toll = kills::brokers(20)?;
    judge(&toll)?;
    assert!(toll.account.xids.len() >= 100, "{} of 100 events", toll.account.xids.len());
    Ok(())
}

#[test]
fn an_agent_that_is_killed_two_hundred_times_loses_no_record() -> Outcome<()> {
    let toll = kills::agents(200)?;
    judge(&toll)?;
    assert!(toll.account.came(Stream::Session) > 100, "most starts came as far as a session");
    Ok(())
}

#[test]
fn agent_and_broker_killed_at_once() -> Outcome<()> {
    judge(&kills::both(10)?)
}

/// Of the samples taken until a crash of the daemon, none older than a second is missing.
#[test]
fn a_crash_of_the_daemon_costs_at_most_the_last_second_of_samples() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let setup = Setup::on(&sim)
        .broker(broker.port)
        .line("sampling", "period_ms = 100")
        .line("mqtt", "batch_samples = 60");
    let mut buyer = patient_buyer(broker.port)?;
    let agent = Agent::sampling(&setup)?;
    std::thread::sleep(Duration::from_millis(4500));
    let taken = |agent: &Agent| -> Outcome<u64> {
        let scrape = agent.scrape()?.body;
        Ok(value(&scrape, "rackmark_samples_total").ok_or("no sample counter")? as u64)
    };
    let before = taken(&agent)?;
    let agent = agent.again(&setup)?;
    let mut account = Account::default();
    assert!(
        account.follow(&mut buyer, Duration::from_secs(10), |account| !account.samples.is_empty()),
        "{}",
        agent.log()
    );
    println!("{before} samples before the crash, {} recovered", account.samples.len());
    assert!(account.samples.len() as u64 + 11 >= before, "{} of {before}", account.samples.len());
    Ok(())
}

#[test]
fn a_link_that_is_cut_stalled_and_slow_costs_nothing() -> Outcome<()> {
    let (sim, asker) = (Sim::profile("h200", Some(1))?, Asker::new("acme")?);
    let broker = Mosquitto::start()?;
    let proxy = Proxy::to(broker.port)?;
    let mut buyer = patient_buyer(broker.port)?;
    let agent = Agent::sampling(&kills::setup(&sim, proxy.port, &asker).line("mqtt", "keep_alive_secs = 5"))?;
    let mut account = Account::default();
    let links = [
        (Link::Cut, 300),
        (Link::Passes, 700),
        (Link::Slow { bytes_per_s: 4000 }, 4000),
        (Link::Cut, 100),
        (Link::Stalls, 13_000),
        (Link::Passes, 1500),
        (Link::Cut, 1500),
        (Link::Passes, 500),
    ];
    for (link, ms) in links {
        proxy.set(link);
        account.follow(&mut buyer, Duration::from_millis(ms), |_| false);
    }
    drained(&agent)?;
    account.follow(&mut buyer, Duration::from_secs(2), |_| false);
    println!("{} connections, {} duplicates", proxy.connections(), account.duplicates);
    assert!(proxy.connections() >= 4, "the link was cut");
    account.balanced()
}

#[test]
fn a_consumer_that_was_away_asks_and_gets_what_the_broker_threw_away() -> Outcome<()> {
    let (sim, asker) = (Sim::profile("h200", Some(1))?, Asker::new("acme")?);
    let broker = Mosquitto::start()?;
    // Somebody listens, so the broker takes everything; the one who matters does not yet.
    let other = Buyer::subscribe(broker.port)?;
    let agent = Agent::sampling(&kills::setup(&sim, broker.port, &asker))?;
    for xid in 0..20 {
        sim.command(&format!("xid 0 {xid}"))?;
    }
    std::thread::sleep(Duration::from_secs(3));
    drained(&agent)?;
    let mut buyer = patient_buyer(broker.port)?;
    let mut account = Account::default();
    account.follow(&mut buyer, Duration::from_secs(3), |_| false);
    let lacking = account.missing(Stream::Telemetry).len();
    assert!(lacking >= 10, "the broker kept nothing, {lacking} are missing");
    account.ask_for_missing(&mut buyer, &asker, broker.port, 3)?;
    let speaker = account.speaker.clone().ok_or("no status")?;
    // Events end before the consumer came: only the node knows how many there are.
    asker.ask_again(broker.port, &speaker, Stream::Event, speaker.epoch, 0, u64::MAX)?;
    account.follow(&mut buyer, Duration::from_secs(5), |account| account.xids.len() >= 20);
    assert_eq!(account.xids.values().copied().collect::<Vec<_>>(), (0..20).collect::<Vec<u32>>());
    account.balanced()?;
    assert!(account.answers.iter().all(|(accepted, _)| *accepted), "{:?}", account.answers);

    // What is refused is refused with a reason.
    account.answers.clear();
    asker.ask_again(broker.port, &speaker, Stream::Event, SpoolEpoch(1), 0, 5)?;
    asker.ask_again(broker.port, &speaker, Stream::Status, speaker.epoch, 0, 5)?;
    asker.ask_again(broker.port, &speaker, Stream::Event, speaker.epoch, 5000, 5001)?;
    account.follow(&mut buyer, Duration::from_secs(5), |account| account.answers.len() == 3);
    let reasons: Vec<&str> = account.answers.iter().map(|(_, reason)| reason.as_str()).collect();
    assert!(account.answers.iter().all(|(accepted, _)| !accepted), "{reasons:?}");
    assert!(
        reasons.iter().any(|r| r.contains("epoch")) && reasons.iter().any(|r| r.contains("not kept")),
        "{reasons:?}"
    );

    // A request works once, and only with the key that the configuration names.
    account.answers.clear();
    asker.repeat(broker.port, "resend")?;
    account.follow(&mut buyer, Duration::from_secs(5), |account| account.answers.len() == 1);
    assert!(account.answers.iter().all(|(ok, why)| !ok && why.contains("before")), "{:?}", account.answers);
    let refused = |scrape: &str| value(scrape, "rackmark_mqtt_incoming_refused_total").unwrap_or(0.0);
    let before = refused(&agent.scrape()?.body);
    let stranger = Asker::new("acme")?;
    stranger.ask_again(broker.port, &speaker, Stream::Event, speaker.epoch, 0, 5)?;
    agent.wait("a refusal", Duration::from_secs(5), |scrape| refused(scrape) == before + 1.0)?;
    account.answers.clear();
    account.follow(&mut buyer, Duration::from_secs(1), |_| false);
    assert!(account.answers.is_empty(), "a stranger is answered: {:?}", account.answers);
    drop(other);
    Ok(())
}

#[test]
fn watermarks_hold_records_and_forged_foreign_old_and_too_high_ones_do_nothing() -> Outcome<()> {
    let (sim, asker, stranger) = (Sim::profile("h200", Some(1))?, Asker::new("acme")?, Asker::new("acme")?);
    let broker = Mosquitto::start()?;
    let setup = kills::setup(&sim, broker.port, &asker).line("consumers", "required = [\"acme\"]");
    let mut buyer = patient_buyer(broker.port)?;
    let agent = Agent::sampling(&setup)?;
    let mut account = Account::default();
    account.follow(&mut buyer, Duration::from_secs(10), |account| account.came(Stream::Telemetry) > 5);
    let speaker = account.speaker.clone().ok_or("no status")?;
    let refused = |more: f64| {
        agent.wait("a refusal", Duration::from_secs(5), |scrape| {
            value(scrape, "rackmark_mqtt_incoming_refused_total") == Some(more)
        })
    };
    refused(0.0)?;
    let all = [(Stream::Event, 0), (Stream::Telemetry, 3)];
    stranger.confirm(broker.port, stranger.watermark(&speaker, &all))?;
    refused(1.0)?;
    let mut foreign = asker.watermark(&speaker, &all);
    foreign.node = rackmark_feed::NodeId::software(&rackmark_feed::SigningKey::generate()?.public());
    asker.confirm(broker.port, foreign)?;
    refused(2.0)?;
    let mut other_epoch = asker.watermark(&speaker, &all);
    other_epoch.epoch = SpoolEpoch(speaker.epoch.0 ^ 1);
    asker.confirm(broker.port, other_epoch)?;
    refused(3.0)?;
    let mut other_name = asker.watermark(&speaker, &all);
    other_name.consumer = "somebody".to_owned();
    asker.confirm(broker.port, other_name)?;
    refused(4.0)?;
    asker.send(broker.port, "rackmark/v1/test/node/watermark/acme", b"\xb8nonsense", &[])?;
    refused(5.0)?;

    // A good one, one that is far too high, and an old one: none is refused, and the agent goes on.
    let taken = |marks: f64| {
        agent.wait("a watermark", Duration::from_secs(5), |scrape| {
            value(scrape, "rackmark_spool_confirmed_below{consumer=\"acme\",stream=\"telemetry\"}")
                == Some(marks)
        })
    };
    asker.confirm(broker.port, asker.watermark(&speaker, &[(Stream::Telemetry, 3)]))?;
    taken(3.0)?;
    asker.confirm(broker.port, asker.watermark(&speaker, &[(Stream::Telemetry, 2)]))?;
    asker.confirm(broker.port, asker.watermark(&speaker, &[(Stream::Telemetry, u64::MAX)]))?;
    let (scrape, _) = agent.wait("a clamped watermark", Duration::from_secs(5), |scrape| {
        value(scrape, "rackmark_spool_confirmed_below{consumer=\"acme\",stream=\"telemetry\"}")
            .is_some_and(|below| below > 3.0)
    })?;
    let below = value(&scrape, "rackmark_spool_confirmed_below{consumer=\"acme\",stream=\"telemetry\"}");
    assert!(below.is_some_and(|below| below < 1e6), "clamped to what a broker acknowledged: {below:?}");
    refused(5.0)?;
    account.follow(&mut buyer, Duration::from_secs(1), |_| false);
    account.balanced()
}

#[test]
fn a_node_whose_disk_cannot_be_used_goes_on_from_memory_and_says_so() -> Outcome<()> {
    let (sim, asker) = (Sim::profile("h200", Some(1))?, Asker::new("acme")?);
    let broker = Mosquitto::start()?;
    let setup = kills::setup(&sim, broker.port, &asker);
    let mut buyer = patient_buyer(broker.port)?;
    let agent = Agent::sampling(&setup)?;
    let mut account = Account::default();
    account.follow(&mut buyer, Duration::from_secs(10), |account| account.came(Stream::Telemetry) > 2);
    let spool = agent.state().join("spool");
    let agent = agent.again_after(&setup, || {
        // A file where the folder should be: nobody can use it, not even root.
        std::fs::rename(&spool, spool.with_extension("away"))?;
        std::fs::write(&spool, b"")
    })?;
    agent.wait("a GPU that answers", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"0\"} 1") && scrape.contains("rackmark_spool_durable 0")
    })?;
    let before = account.came(Stream::Telemetry);
    assert!(
        account.follow(&mut buyer, Duration::from_secs(10), |account| account.came(Stream::Telemetry)
            > before + 3)
    );
    assert_eq!(
        account.streams.keys().filter(|(_, stream)| *stream == "telemetry").count(),
        2,
        "another epoch"
    );
    let status = agent.status()?;
    assert!(
        status["spool"]["trouble"].as_str().is_some_and(|text| text.contains("not kept on disk")),
        "{status:#}"
    );
    let in_memory = account.speaker.as_ref().ok_or("no status")?.epoch.0;

    // The disk is back: what waited in memory is gone, and that is said.
    let agent = agent.again_after(&setup, || {
        std::fs::remove_file(&spool)?;
        std::fs::rename(spool.with_extension("away"), &spool)
    })?;
    assert!(
        account.follow(&mut buyer, Duration::from_secs(10), |account| account.replaced.contains(&in_memory)),
        "{}",
        agent.log()
    );
    agent.wait("a durable spool", Duration::from_secs(5), |scrape| {
        scrape.contains("rackmark_spool_durable 1")
    })?;
    account.balanced()
}
