//! Brokers that are absent, refuse, speak garbage or close at once: the agent
//! goes on and says so in its metrics. The publisher's own rules are tested
//! beside it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::http::value;
use rackmark_e2e::process::free_port;
use rackmark_e2e::sim::Sim;

/// A peer that reads a CONNECT, answers with these bytes and closes.
fn hostile(answer: &'static [u8]) -> Outcome<(u16, Arc<AtomicU32>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let met = Arc::new(AtomicU32::new(0));
    let count = met.clone();
    std::thread::Builder::new().name("hostile".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 512];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer);
        }
    })?;
    Ok((port, met))
}

#[test]
fn hostile_brokers_are_backed_off_from_visibly_and_harm_nothing() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(1))?;
    // CONNACK "not authorized"; garbage; nothing at all.
    let answers: [&'static [u8]; 3] =
        [&[0x20, 0x03, 0x00, 0x87, 0x00], b"HTTP/1.1 400 Bad Request\r\n\r\n", b""];
    for answer in answers {
        let (port, met) = hostile(answer)?;
        let mut agent = Agent::sampling(&Setup::on(&sim).broker(port))?;
        let (scrape, _) = agent.wait("two failures", Duration::from_secs(20), |scrape| {
            value(scrape, "rackmark_mqtt_connect_failures_total").is_some_and(|failures| failures >= 2.0)
        })?;
        assert_eq!(value(&scrape, "rackmark_mqtt_connected"), Some(0.0));
        assert!(met.load(Ordering::SeqCst) <= 30, "connects in a busy loop");
        assert!(scrape.contains("rackmark_gpu_up{gpu=\"0\"} 1"));
        let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
        assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    }
    Ok(())
}

#[test]
fn a_broker_that_comes_late_gets_everything_that_waited() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(1))?;
    let port = free_port()?;
    let setup = Setup::on(&sim).broker(port).line("mqtt", "batch_samples = 1");
    let agent = Agent::sampling(&setup)?;
    agent.wait("a backlog", Duration::from_secs(10), |scrape| {
        value(scrape, "rackmark_spool_records{class=\"series\"}").is_some_and(|waiting| waiting >= 3.0)
    })?;
    let _broker = Mosquitto::on(port)?;
    let mut buyer = Buyer::subscribe(port)?;
    let first = buyer.telemetry(Duration::from_secs(30))?;
    assert_eq!(first.samples()[0].seq, 1, "the oldest sample comes first");
    agent.wait("an empty backlog", Duration::from_secs(40), |scrape| {
        value(scrape, "rackmark_spool_records{class=\"series\"}").is_some_and(|waiting| waiting <= 1.0)
    })?;
    Ok(())
}
