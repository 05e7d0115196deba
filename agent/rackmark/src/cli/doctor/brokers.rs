//! The broker checks of `rackmark doctor`: certificate files, and a connection to each broker.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use rustls::ClientConnection;

use super::{Finding, connect, fine, odd, wrong};
use crate::clock;
use crate::config::{BrokerAddress, Config};
use crate::exit::chain;
use crate::tls::{CertificateFiles, TlsSettings, TlsSettingsError, validity};

/// With TLS 1.3 a broker judges the client's certificate after the handshake;
/// a refusal follows within a round trip.
const REFUSAL_WITHIN: Duration = Duration::from_millis(500);
/// A renewal that works has replaced the certificate long before.
const ODD_BELOW_S: u64 = 14 * 24 * 3600;
/// From here on somebody must act.
const WRONG_BELOW_S: u64 = 2 * 24 * 3600;

const RENEW: &str =
    "renew it and replace mqtt.cert_file and mqtt.key_file; the agent takes them over by itself";

/// All checks for the brokers of a configuration.
pub(super) fn brokers(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.brokers.iter().any(|broker| broker.tls) {
        findings.push(files(&config.broker_tls));
        findings
            .extend(config.broker_tls.certificate.as_ref().map(|own| expiry(own, clock::unix_ms() / 1000)));
    }
    findings.extend(config.brokers.iter().map(|broker| reach(broker, &config.broker_tls)));
    findings
}

fn files(settings: &TlsSettings) -> Finding {
    let check = "broker certificates";
    match settings.client_config() {
        Ok(_) if settings.certificate.is_some() => {
            fine(check, "files load, and the key fits the certificate")
        }
        Ok(_) => fine(check, "authorities load; no own certificate is configured"),
        Err(error) => {
            let hint = match &error {
                TlsSettingsError::Pair { .. } => "mqtt.cert_file and mqtt.key_file are not of one pair",
                _ => {
                    "see mqtt.ca_file, mqtt.cert_file and mqtt.key_file; run doctor as the agent's user or root"
                }
            };
            wrong(check, chain(&error), hint)
        }
    }
}

fn expiry(own: &CertificateFiles, now_unix_s: u64) -> Finding {
    let check = "own certificate";
    let validity = match validity(&own.cert_file) {
        Ok(validity) => validity,
        Err(error) => return wrong(check, chain(&error), "see mqtt.cert_file"),
    };
    if now_unix_s < validity.not_before_unix_s {
        return wrong(check, "is not valid yet", "is the clock right?");
    }
    let Some(left_s) = validity.not_after_unix_s.checked_sub(now_unix_s) else {
        return wrong(check, "has expired", RENEW);
    };
    let found = format!("is valid for {} more days", left_s / (24 * 3600));
    if left_s < WRONG_BELOW_S {
        wrong(check, found, RENEW)
    } else if left_s < ODD_BELOW_S {
        odd(check, found, RENEW)
    } else {
        fine(check, found)
    }
}

fn reach(broker: &BrokerAddress, settings: &TlsSettings) -> Finding {
    let check = "broker";
    let host = if broker.host.contains(':') { format!("[{}]", broker.host) } else { broker.host.clone() };
    let mut socket = match connect(&format!("{host}:{}", broker.port)) {
        Ok(socket) => socket,
        Err(error) => {
            return wrong(
                check,
                format!("{broker}: {error}"),
                "is the broker up, and the address right? see mqtt.brokers",
            );
        }
    };
    if !broker.tls {
        return fine(check, format!("{broker} accepts connections"));
    }
    let prepared = settings
        .client_config()
        .and_then(|config| Ok((config, settings.expected_name(&broker.host)?)))
        .map_err(|error| chain(&error));
    let shaken = prepared.and_then(|(config, name)| {
        let mut tls = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).map_err(|error| error.to_string())?;
        }
        socket.set_read_timeout(Some(REFUSAL_WITHIN)).map_err(|error| error.to_string())?;
        let version = tls.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
        match rustls::Stream::new(&mut tls, &mut socket).read(&mut [0; 1]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(version),
            Ok(0) => Err("the broker closed the connection after the handshake".to_owned()),
            // A broker says nothing before CONNECT, but it is connected.
            Ok(_) => Ok(version),
            Err(error) => Err(error.to_string()),
        }
    });
    match shaken {
        Ok(version) => fine(check, format!("{broker} accepts connections by {version}")),
        Err(reason) => wrong(
            check,
            format!("{broker}: {reason}"),
            "do both sides trust each other's authority, and is the name in its certificate right? see mqtt.ca_file, mqtt.cert_file, mqtt.server_name",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ServerConfig, ServerConnection, Stream};

    use super::*;
    use crate::cli::doctor::Outcome;
    use crate::tls::{certificates, private_key, provider, roots};

    /// A certificate that is its own authority, valid from 2000-01-01 to 2030-01-01.
    fn own(folder: &Path, name: &str) -> CertificateFiles {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        let files = CertificateFiles {
            cert_file: folder.join(format!("{name}.pem")),
            key_file: folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.cert_file, params.self_signed(&key).expect("certificate").pem())
            .expect("write");
        std::fs::write(&files.key_file, key.serialize_pem()).expect("write");
        files
    }

    #[test]
    fn a_certificate_is_odd_below_14_days_and_wrong_below_2() {
        let folder = tempfile::tempdir().expect("folder");
        let own = own(folder.path(), "node");
        let (begin, end, day) = (946_684_800, 1_893_456_000, 24 * 3600);
        for (now, expected) in [
            (begin - 1, Outcome::Wrong),
            (begin, Outcome::Fine),
            (end - 14 * day, Outcome::Fine),
            (end - 14 * day + 1, Outcome::Odd),
            (end - 2 * day, Outcome::Odd),
            (end - 2 * day + 1, Outcome::Wrong),
            (end + 1, Outcome::Wrong),
        ] {
            let finding = expiry(&own, now);
            assert!(finding.outcome == expected, "{now}: {}", finding.found);
        }
    }

    #[test]
    fn files_that_do_not_fit_are_found() {
        let folder = tempfile::tempdir().expect("folder");
        let (one, other) = (own(folder.path(), "one"), own(folder.path(), "other"));
        let good =
            TlsSettings { ca_file: one.cert_file.clone(), certificate: Some(one.clone()), server_name: None };
        assert!(files(&good).outcome == Outcome::Fine);
        let mixed = CertificateFiles { key_file: other.key_file, ..one };
        let finding = files(&TlsSettings { certificate: Some(mixed), ..good.clone() });
        assert!(finding.outcome == Outcome::Wrong && finding.hint.contains("pair"), "{}", finding.found);
        assert!(files(&TlsSettings { ca_file: "/nowhere".into(), ..good }).outcome == Outcome::Wrong);
    }

    #[test]
    fn a_broker_that_refuses_our_certificate_or_shows_a_foreign_one_is_found() {
        let folder = tempfile::tempdir().expect("folder");
        let (server, client) = (own(folder.path(), "server"), own(folder.path(), "client"));
        let trusted = Arc::new(roots(&client.cert_file).expect("roots"));
        let verifier = WebPkiClientVerifier::builder_with_provider(trusted, provider()).build();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.expect("verifier"))
            .with_single_cert(
                certificates(&server.cert_file).expect("certificate"),
                private_key(&server.key_file).expect("key"),
            );
        let config = Arc::new(config.expect("configuration"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let port = listener.local_addr().expect("address").port();
        let serve = move || {
            for socket in listener.incoming() {
                let mut socket = socket.expect("connection");
                let mut tls = ServerConnection::new(Arc::clone(&config)).expect("server");
                // Ends when the client closes or was refused.
                let _ = Stream::new(&mut tls, &mut socket).read(&mut [0; 1]);
            }
        };
        std::thread::Builder::new().name("broker".to_owned()).spawn(serve).expect("thread");
        let broker = BrokerAddress { host: "127.0.0.1".to_owned(), port, tls: true };
        let good =
            TlsSettings { ca_file: server.cert_file, certificate: Some(client.clone()), server_name: None };
        let finding = reach(&broker, &good);
        assert!(finding.outcome == Outcome::Fine && finding.found.contains("TLSv1_3"), "{}", finding.found);
        for (case, settings) in [
            ("no own certificate", TlsSettings { certificate: None, ..good.clone() }),
            ("foreign authority", TlsSettings { ca_file: client.cert_file, ..good.clone() }),
            ("other name", TlsSettings { server_name: Some("broker.example".to_owned()), ..good }),
        ] {
            let finding = reach(&broker, &settings);
            println!("{case}: {}", finding.found);
            assert!(finding.outcome == Outcome::Wrong, "{case}");
        }
    }
}
