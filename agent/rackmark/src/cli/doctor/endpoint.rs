//! The Prometheus endpoint as a client sees it: does it answer, with which
//! certificate, and for how long is that one good?

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    StreamOwned,
};

use super::{Finding, connect, fine, odd, wrong};
use crate::config::Config;
use crate::exit::chain;
use crate::exporter::web_config::{self, ServerTls, WebConfig};
use crate::tls;

/// A certificate with less left than this is told: renewing takes people days.
const CERTIFICATE_ODD_DAYS: u64 = 14;

/// A certificate with less left than this is a fault: a weekend is this long.
const CERTIFICATE_WRONG_DAYS: u64 = 2;

const DAY_S: u64 = 86_400;

/// An answer of rackmark is a few hundred KB; another program's may have no end.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Everything about the endpoint.
pub fn check(config: &Config) -> Vec<Finding> {
    let address = config.metrics_listen;
    let web = match config.metrics_web_config_file.as_deref().map(|path| web_config::load(path).0).transpose()
    {
        Ok(web) => web.unwrap_or_default(),
        Err(error) => {
            let hint =
                "correct it; the endpoint is not tried, and the agent goes on with what it read before";
            return vec![wrong("metrics", chain(&error), hint)];
        }
    };
    let mut findings = vec![answers(address, &web)];
    match &web.tls {
        Some(tls) => findings.push(certificate(tls.not_after_unix_s, crate::clock::unix_ms() / 1000)),
        None if !address.ip().is_loopback() => findings.push(odd(
            "metrics encryption",
            format!("plain HTTP on {address}, which is not loopback"),
            "give it TLS, and a password or client certificates: metrics.web_config_file",
        )),
        None => {}
    }
    findings
}

fn answers(address: SocketAddr, web: &WebConfig) -> Finding {
    let scheme = if web.tls.is_some() { "https" } else { "http" };
    let fetched = connect(&address.to_string()).and_then(|stream| match &web.tls {
        None => fetch(stream, address),
        Some(tls) => {
            let client = client(address, tls).map_err(io::Error::other)?;
            fetch(StreamOwned::new(client, stream), address)
        }
    });
    match fetched {
        Ok(text) if text.starts_with("HTTP/1.1 200") && text.contains("rackmark_node_info") => {
            let series = text.lines().filter(|line| line.starts_with("rackmark_")).count();
            fine("metrics", format!("{scheme}://{address}/metrics, {series} series"))
        }
        Ok(text) if text.starts_with("HTTP/1.1 401") && web.users.is_some() => {
            fine("metrics", format!("{scheme}://{address}/metrics answers and asks for a password"))
        }
        Ok(_) => wrong(
            "metrics",
            format!("{address} answers, but not with rackmark metrics"),
            "another program has this port, or the agent runs with another web configuration; see metrics.listen and metrics.web_config_file",
        ),
        Err(error) => match (&web.tls, refusal(&error)) {
            (Some(tls), Some(Error::AlertReceived(_))) if tls.needs_client_certificate => fine(
                "metrics",
                format!("{scheme}://{address}/metrics answers and asks for a client certificate"),
            ),
            (_, Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))) => wrong(
                "metrics",
                format!("{address} shows another certificate than the web configuration names"),
                "the agent takes a new one at the next connection; its log says why if it did not",
            ),
            _ => wrong("metrics", format!("{address}: {error}"), "is the agent running? see metrics.listen"),
        },
    }
}

fn fetch(mut stream: impl Read + Write, address: SocketAddr) -> io::Result<String> {
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The TLS error inside an I/O error.
fn refusal(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn client(address: SocketAddr, tls: &ServerTls) -> Result<ClientConnection, Error> {
    let provider = tls::provider();
    let pinned = Pinned { certificate: tls.certificate.clone(), provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::from(address.ip()))
}

/// Accepts the one certificate that the web configuration names: who issued it is
/// for Prometheus to judge.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Judges how long a certificate is still good; both in seconds since 1970.
fn certificate(not_after_unix_s: u64, now_unix_s: u64) -> Finding {
    const CHECK: &str = "metrics certificate";
    const HINT: &str = "renew it and replace the files; the agent takes them without a restart";
    let Some(left) = not_after_unix_s.checked_sub(now_unix_s) else {
        let days = (now_unix_s - not_after_unix_s) / DAY_S;
        return wrong(CHECK, format!("has expired {days} days ago"), HINT);
    };
    let found = format!("is good for {} days", left / DAY_S);
    if left < CERTIFICATE_WRONG_DAYS * DAY_S {
        wrong(CHECK, found, HINT)
    } else if left < CERTIFICATE_ODD_DAYS * DAY_S {
        odd(CHECK, found, HINT)
    } else {
        fine(CHECK, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn a_certificate_is_odd_below_fourteen_days_and_wrong_below_two_or_when_expired() {
        let now = 1_800_000_000;
        let judged = |not_after| certificate(not_after, now).outcome;
        assert!(judged(now + 14 * DAY_S) == Outcome::Fine);
        assert!(judged(now + 14 * DAY_S - 1) == Outcome::Odd);
        assert!(judged(now + 2 * DAY_S) == Outcome::Odd);
        assert!(judged(now + 2 * DAY_S - 1) == Outcome::Wrong);
        assert!(judged(now - 1) == Outcome::Wrong);
    }

    #[test]
    fn plain_http_is_odd_only_where_others_can_reach_it() {
        let encryption = |listen: &str| {
            // Nothing listens on port 1; whether it answers is not asked here.
            let text = format!("[node]\nname = \"n\"\n[metrics]\nlisten = \"{listen}\"\n");
            let config = Config::parse(&text, std::path::Path::new("test.toml")).expect("configuration");
            check(&config).into_iter().find(|finding| finding.check == "metrics encryption")
        };
        assert!(encryption("0.0.0.0:1").is_some_and(|finding| finding.outcome == Outcome::Odd));
        assert!(encryption("127.0.0.1:1").is_none());
    }
}
