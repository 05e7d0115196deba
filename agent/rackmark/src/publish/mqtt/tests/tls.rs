//! TLS against a real broker: who is refused, and what a renewal costs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::super::report::chain;
use super::super::transport::{ConnectOptions, Link, Transport};
use super::super::{Broker, Publisher, RumqttTransport, Security};
use super::certificates::Authority;
use super::mosquitto::{Mosquitto, Observer, edge, free_port};
use super::queue::Queued;
use super::{Running, config, will};
use crate::attesting::Changes;
use crate::config::Config;
use crate::publish::renewal::RenewableFiles;
use crate::tls::{CertificateFiles, TlsSettings};

/// A broker with a certificate, that asks for one of `authority`.
struct Secured {
    mosquitto: Mosquitto,
    /// Port without TLS, for the observer.
    plain: u16,
    log: PathBuf,
}

impl Secured {
    fn start(folder: &tempfile::TempDir, authority: &Authority, server: &CertificateFiles) -> Option<Self> {
        let plain = free_port();
        let log = folder.path().join(format!("broker-{plain}.log"));
        let lines = format!(
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuse_identity_as_username true\n\
             listener {plain} 127.0.0.1\nuser root\nlog_dest file {}\n",
            authority.file().display(),
            server.cert_file.display(),
            server.key_file.display(),
            log.display()
        );
        Some(Self { mosquitto: Mosquitto::start(&lines)?, plain, log })
    }

    fn broker(&self, settings: TlsSettings) -> Broker {
        Broker { host: "127.0.0.1".to_owned(), port: self.mosquitto.port, security: Security::Tls(settings) }
    }

    /// One connection attempt: the reason where it fails.
    async fn attempt(&self, settings: &TlsSettings) -> Result<(), String> {
        let options = ConnectOptions {
            broker: self.broker(settings.clone()),
            client_id: "node".to_owned(),
            credentials: None,
            keep_alive: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            max_packet_size: 1000,
            will: will(),
            subscriptions: Vec::new(),
        };
        match RumqttTransport::new().connect(options).await {
            Ok(mut connection) => {
                connection.link.disconnect(false);
                Ok(())
            }
            Err(error) => Err(chain(&error)),
        }
    }

    /// Names in the client certificates of all connections so far.
    fn identities(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let names = log.lines().filter_map(|line| line.split_once("u'")?.1.split_once('\''));
        names.map(|(name, _)| name.to_owned()).collect()
    }
}

fn settings(authority: &Authority, own: Option<CertificateFiles>) -> TlsSettings {
    TlsSettings { ca_file: authority.file(), certificate: own, server_name: None }
}

#[tokio::test]
async fn both_sides_show_certificates_and_each_wrong_one_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "foreign"));
    let Some(secured) = Secured::start(&folder, &ours, &ours.issue("127.0.0.1")) else { return };
    let good = settings(&ours, Some(ours.issue("node-1")));
    secured.attempt(&good).await.expect("both certificates are right");
    assert_eq!(secured.identities(), ["node-1"]);

    let without = TlsSettings { certificate: None, ..good.clone() };
    let not_ours = TlsSettings { certificate: Some(foreign.issue("node-1")), ..good.clone() };
    let too_old = TlsSettings { certificate: Some(ours.issue_expired("node-1")), ..good.clone() };
    let mixed = CertificateFiles {
        cert_file: ours.issue("node-1").cert_file,
        key_file: ours.issue("node-2").key_file,
    };
    let mixed = TlsSettings { certificate: Some(mixed), ..good.clone() };
    let unknown_server = TlsSettings { ca_file: foreign.file(), ..good.clone() };
    let other_name = TlsSettings { server_name: Some("broker.example".to_owned()), ..good.clone() };
    let no_file = TlsSettings { ca_file: "/nowhere/ca.pem".into(), ..good.clone() };
    for (case, settings, reason) in [
        ("no client certificate", without, "CertificateRequired"),
        ("client certificate of another authority", not_ours, "UnknownCA"),
        ("expired client certificate", too_old, "xpired"),
        ("certificate and key of two pairs", mixed, "do not fit together"),
        ("server certificate of another authority", unknown_server, "UnknownIssuer"),
        ("server certificate for another name", other_name, "not valid for name"),
        ("no file", no_file, "cannot read /nowhere/ca.pem"),
    ] {
        let refusal = secured.attempt(&settings).await.expect_err(case);
        println!("{case}: {refusal}");
        assert!(refusal.contains(reason) && !refusal.contains('\n'), "{case}: {refusal}");
    }
    assert_eq!(secured.identities(), ["node-1"], "nobody else was let in");
}

#[tokio::test]
async fn an_expired_server_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let Some(secured) = Secured::start(&folder, &ours, &ours.issue_expired("127.0.0.1")) else { return };
    let refusal = secured.attempt(&settings(&ours, Some(ours.issue("node")))).await.expect_err("expired");
    assert!(refusal.contains("expired"), "{refusal}");
}

#[tokio::test]
async fn a_server_is_known_by_the_configured_name_where_it_is_not_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let Some(secured) = Secured::start(&folder, &ours, &ours.issue("broker.example")) else { return };
    let by_host = settings(&ours, Some(ours.issue("node")));
    let refusal = secured.attempt(&by_host).await.expect_err("the host is not in the certificate");
    assert!(refusal.contains("not valid for name"), "{refusal}");
    let by_name = TlsSettings { server_name: Some("broker.example".to_owned()), ..by_host };
    secured.attempt(&by_name).await.expect("the name is");
}

/// A publisher whose files are watched as the daemon does it.
fn run_watched(secured: &Secured, settings: &TlsSettings) -> Running {
    let own = settings.certificate.as_ref().unwrap();
    let text = format!(
        "[mqtt]\nbrokers = [\"mqtts://127.0.0.1:{}\"]\nca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\n",
        secured.mosquitto.port, settings.ca_file, own.cert_file, own.key_file
    );
    let daemon = Arc::new(Config::parse(&text, "test.toml".as_ref()).unwrap());
    let outbox = Queued::new();
    let files = RenewableFiles::new(&daemon, outbox.stats(), Changes::default());
    let (incoming_to, incoming) = mpsc::channel(16);
    let (stop, stopped) = oneshot::channel();
    let config = config(vec![daemon.brokers[0].broker(&daemon.broker_tls)]);
    let (renew, renewed) = watch::channel(None);
    let publisher =
        Publisher::new(RumqttTransport::new(), config, (*outbox).clone(), Box::new(will), incoming_to)
            .unwrap()
            .renewed_by(renewed);
    let task = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        tokio::select! {
            () = publisher.run(stopped) => {}
            () = files.watch(renew) => {}
        }
    });
    Running { outbox, incoming, stop, task }
}

/// Replaces files one by one, as a script does it that knows nothing of us.
fn install(from: &CertificateFiles, to: &CertificateFiles) {
    std::fs::copy(&from.cert_file, &to.cert_file).unwrap();
    std::fs::copy(&from.key_file, &to.key_file).unwrap();
}

#[tokio::test]
async fn renewed_files_are_used_while_messages_flow_and_broken_ones_leave_the_connection_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let Some(secured) = Secured::start(&folder, &ours, &ours.issue("127.0.0.1")) else { return };
    let observer = Observer::start(secured.plain).await;
    let installed = CertificateFiles {
        cert_file: folder.path().join("own.pem"),
        key_file: folder.path().join("own.key"),
    };
    install(&ours.issue("node-1"), &installed);
    let running = run_watched(&secured, &settings(&ours, Some(installed.clone())));
    running.until("connected", |stats| stats.connected == 1).await;
    // 2100-01-01, from the file.
    assert_eq!(running.stats().certificate_not_after_unix_s, 4_102_444_800);
    running.outbox.level("status", "up".into());

    let flow = async {
        for n in 0_u32.. {
            edge(&running, "events", n.to_string());
            tokio::time::sleep(Duration::from_millis(2)).await;
            if n > 1000 && running.stats().connects_total == 2 {
                return n;
            }
        }
        unreachable!()
    };
    let renew = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        std::fs::write(&installed.cert_file, "no certificate").unwrap();
        running.until("broken files seen", |stats| stats.renewal_failures_total == 1).await;
        let stats = running.stats();
        assert_eq!((stats.connects_total, stats.connected, stats.disconnects_total), (1, 1, 0), "{stats:?}");
        install(&ours.issue("node-2"), &installed);
    };
    let (last, ()) = tokio::join!(flow, renew);
    running.until("all acknowledged", |stats| stats.waiting == 0 && stats.connected == 1).await;
    observer.wait_for("events", &last.to_string(), Duration::from_secs(5)).await;
    let seen = observer.of("events");
    let mut unique: Vec<u32> = seen.iter().map(|text| text.parse().unwrap()).collect();
    unique.sort_unstable();
    unique.dedup();
    println!(
        "{} sent, {} seen, {} twice, {:?}",
        last + 1,
        seen.len(),
        seen.len() - unique.len(),
        running.stats()
    );
    assert_eq!(unique, (0..=last).collect::<Vec<_>>(), "nothing is lost");
    let stats = running.stats();
    assert_eq!((stats.connects_total, stats.connect_failures_total, stats.disconnects_total), (2, 0, 0));
    let identities = secured.identities();
    assert_eq!(identities, ["node-1", "node-2"], "the broker saw the new certificate");
    // Longer than the will's delay of 10 s.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(observer.of("status").iter().all(|status| status == "up"), "{:?}", observer.of("status"));
}
