//! Who comes in with which certificate: Go's five policies and names.

use std::time::SystemTime;

use rustls::HandshakeKind;
use rustls::client::ClientSessionMemoryCache;
use rustls::client::Resumption;
use rustls::version::TLS12;

use super::*;

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// Whether a client gets an answer.
fn comes_in(endpoint: &Endpoint, identity: Option<&Identity>) -> bool {
    get(&mut endpoint.tls(identity), "/metrics", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn the_five_policies_let_in_whom_go_lets_in() {
    let stranger = Authority::new("stranger").expect("CA").issue(Use::Client, &["c"]).expect("certificate");
    let ca = "  client_ca_file: ca.pem\n";
    for (policy, ca, expected) in [
        //                           nobody, good, stranger, expired, a server's
        ("NoClientCert", "", [true, true, true, true, true]),
        ("RequestClientCert", "", [true, true, true, true, true]),
        ("RequireAnyClientCert", "", [false, true, true, true, true]),
        ("RequireAnyClientCert", ca, [false, true, true, true, true]),
        ("VerifyClientCertIfGiven", ca, [true, true, false, false, false]),
        ("RequireAndVerifyClientCert", ca, [false, true, false, false, false]),
    ] {
        let endpoint = Endpoint::with(&format!("{TLS}{ca}  client_auth_type: {policy}\n"));
        let issue =
            |for_use, last| endpoint.authority.issue_until(for_use, &["c"], last).expect("certificate");
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        let good = issue(Use::Client, tomorrow);
        let expired = issue(Use::Client, SystemTime::now() - Duration::from_secs(60));
        let of_a_server = issue(Use::Server, tomorrow);
        let clients = [None, Some(&good), Some(&stranger), Some(&expired), Some(&of_a_server)];
        let came_in = clients.map(|identity| comes_in(&endpoint, identity));
        assert_eq!(came_in, expected, "{policy}");
        let refused = expected.iter().filter(|let_in| !**let_in).count() as u64;
        let scrape = get(&mut endpoint.tls(Some(&good)), "/metrics", "").expect("scrape");
        assert_eq!(counter(&scrape, "tls"), refused, "{policy}");
    }
}

#[test]
fn a_client_needs_the_key_of_its_certificate_under_every_policy() {
    let endpoint = Endpoint::with(&format!("{TLS}  client_auth_type: RequireAnyClientCert\n"));
    let issue = |name: &str| endpoint.authority.issue(Use::Client, &[name]).expect("certificate");
    let mut stolen = issue("c");
    assert!(comes_in(&endpoint, Some(&stolen)));
    stolen.key = issue("thief").key;
    // `with_client_auth_cert` would notice; what is set directly is not looked at.
    let chain = vec![CertificateDer::from_pem_slice(stolen.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(stolen.key.as_bytes()).expect("PEM");
    let signer = tls::provider().key_provider.load_private_key(key).expect("key");
    let mut config = client(&endpoint.authority, None);
    config.client_auth_cert_resolver =
        Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, signer)));
    assert!(get(&mut endpoint.tls_with(config), "/metrics", "").is_err());
}

#[test]
fn only_certificates_with_an_allowed_name_come_in() {
    let endpoint = Endpoint::with(&format!(
        "{TLS}  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans:\n    - prometheus.example\n    - 10.1.2.3\n    - fd00::7\n    - ops@example.net\n    - spiffe://example/prometheus\n"
    ));
    for (names, expected) in [
        (&["prometheus.example"][..], true),
        (&["other.example", "prometheus.example"], true),
        (&["10.1.2.3"], true),
        (&["fd00::7"], true),
        (&["ops@example.net"], true),
        (&["spiffe://example/prometheus"], true),
        (&["other.example"], false),
        (&["a.prometheus.example"], false),
        (&["prometheus.example.net"], false),
        (&["*.example"], false),
        (&["10.1.2.4"], false),
        (&["spiffe://example/prometheus/x"], false),
        // Only a common name, which is no alternative name.
        (&[], false),
    ] {
        let identity = endpoint.authority.issue(Use::Client, names).expect("certificate");
        assert_eq!(comes_in(&endpoint, Some(&identity)), expected, "{names:?}");
    }
}

#[test]
fn no_session_is_resumed_so_that_every_connection_shows_its_certificate() {
    let endpoint = Endpoint::with(TLS);
    for versions in [rustls::ALL_VERSIONS, &[&TLS12]] {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(endpoint.authority.pem().as_bytes()).expect("PEM");
        roots.add(ca).expect("root");
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        let config = Arc::new(config);
        for _ in 0..3 {
            let mut stream = endpoint.tls_with(config.clone());
            assert!(get(&mut stream, "/metrics", "").is_ok());
            assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn versions_and_protocols_are_what_the_file_says() {
    let endpoint = Endpoint::with(&format!("{TLS}  min_version: TLS13\n"));
    let mut old = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&TLS12])
        .expect("version")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    old.enable_sni = false;
    assert!(get(&mut endpoint.tls_with(old), "/metrics", "").is_err());
    // A client that would rather speak HTTP/2 is told to speak HTTP/1.1, as Prometheus is.
    let mut config = client(&endpoint.authority, None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut stream = endpoint.tls_with(config);
    assert!(get(&mut stream, "/metrics", "").is_ok());
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    // Plain HTTP to a TLS endpoint gets no metrics.
    let answer = get(&mut endpoint.connect(), "/metrics", "");
    assert!(!answer.is_ok_and(|answer| answer.contains("rackmark_")));
}
