//! The feed over mutual TLS: the agent on one side, an independent client on
//! the other, and certificates that are renewed while it flows.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rackmark_e2e::Outcome;
use rackmark_e2e::account::Account;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::certificates::{Authority, Use};
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::http::value;
use rackmark_e2e::kills::patient_consumer;
use rackmark_e2e::process::free_port;
use rackmark_e2e::sim::Sim;
use rackmark_feed::Stream;

fn paho(folder: &Path, port: u16) -> Outcome<Buyer> {
    let python = std::env::var("RACKMARK_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paho_reader.py")).arg(port.to_string());
    command.args(["ca.pem", "buyer.pem", "buyer.key"].map(|name| folder.join(name)));
    Buyer::over(&mut command, patient_consumer())
}

#[test]
fn the_paho_client_reads_the_feed_over_mutual_tls_while_the_agents_certificate_is_renewed() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new("fleet")?;
    std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
    authority.issue(Use::Server, &["localhost"])?.write(folder.path(), "broker")?;
    authority.issue(Use::Client, &["buyer"])?.write(folder.path(), "buyer")?;
    authority.issue(Use::Client, &["node"])?.write(folder.path(), "node")?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port()?;
    let _broker = Mosquitto::with(
        port,
        &format!(
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\ntls_version tlsv1.2\n",
            path("ca.pem"),
            path("broker.pem"),
            path("broker.key")
        ),
    )?;
    let mut buyer = paho(folder.path(), port)?;

    let sim = Sim::profile("h200", Some(1))?;
    let setup = Setup::on(&sim)
        .broker_at(&format!("mqtts://localhost:{port}"))
        .line("sampling", "period_ms = 100")
        .line("mqtt", "batch_samples = 1")
        .line("mqtt", format!("ca_file = {:?}", path("ca.pem")))
        .line("mqtt", format!("cert_file = {:?}", path("node.pem")))
        .line("mqtt", format!("key_file = {:?}", path("node.key")));
    let agent = Agent::sampling(&setup)?;
    let mut account = Account::default();
    assert!(
        account.follow(&mut buyer, Duration::from_secs(15), |account| account.came(Stream::Telemetry) > 10),
        "{}",
        agent.log()
    );

    let last = SystemTime::now() + Duration::from_secs(30 * 86_400);
    authority.issue_until(Use::Client, &["node"], last)?.write(folder.path(), "node")?;
    let not_after = last.duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as f64;
    let series = "rackmark_tls_certificate_not_after_timestamp_seconds{use=\"mqtt\"}";
    let renewed = |scrape: &str| {
        value(scrape, series) == Some(not_after) && value(scrape, "rackmark_mqtt_connects_total") >= Some(2.0)
    };
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !agent.scrape().is_ok_and(|scrape| renewed(&scrape.body)) {
        assert!(std::time::Instant::now() < end, "not renewed; {}", agent.log());
        account.follow(&mut buyer, Duration::from_millis(100), |_| false);
    }
    let before = account.came(Stream::Telemetry);
    account
        .follow(&mut buyer, Duration::from_secs(10), |account| account.came(Stream::Telemetry) > before + 20);
    println!("{} telemetry messages, {} duplicates", account.came(Stream::Telemetry), account.duplicates);
    account.balanced()
}
