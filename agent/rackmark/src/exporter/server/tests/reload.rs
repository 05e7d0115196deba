//! Files that change while the endpoint runs.

use super::*;

/// Longer than the pause between two looks at the files: after it, the next connection looks.
const ONE_LOOK: Duration = Duration::from_millis(1200);

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// The certificate that a new connection is shown.
fn shown(endpoint: &Endpoint) -> CertificateDer<'static> {
    let mut stream = endpoint.tls(None);
    get(&mut stream, "/metrics", "").expect("scrape");
    stream.conn.peer_certificates().expect("certificates")[0].clone().into_owned()
}

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM")
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let endpoint = Endpoint::with(TLS);
    let first = shown(&endpoint);
    let mut kept = endpoint.tls(None);
    let before = get(&mut kept, "/metrics", "").expect("scrape");
    let not_after = |scrape: &str| {
        let series = "rackmark_tls_certificate_not_after_timestamp_seconds{use=\"metrics\"} ";
        scrape.lines().find_map(|line| line.strip_prefix(series)).map(str::to_owned).expect("metric")
    };
    // Certificate first, key later: what lies there in between is of no use.
    let last = std::time::SystemTime::now() + Duration::from_secs(30 * 86_400);
    let second = endpoint.authority.issue_until(Use::Server, &["localhost"], last).expect("certificate");
    fs::write(endpoint.folder.path().join("server.pem"), &second.certificate).expect("file");
    std::thread::sleep(ONE_LOOK);
    for _ in 0..3 {
        assert_eq!(shown(&endpoint), first, "the old pair stays in force");
    }
    fs::write(endpoint.folder.path().join("server.key"), &second.key).expect("file");
    wait("the renewed certificate", || shown(&endpoint) == der(&second));
    // A kept connection is answered once more, so that no scrape is lost, and then made anew.
    let after = get(&mut kept, "/metrics", "").expect("scrape");
    assert!(after.to_lowercase().contains("connection: close") && is_closed(&mut kept), "{after}");
    assert_ne!(not_after(&before), not_after(&after));
    fs::remove_file(endpoint.folder.path().join("server.pem")).expect("file");
    std::thread::sleep(ONE_LOOK);
    assert_eq!(shown(&endpoint), der(&second));
}

#[test]
fn a_user_that_is_taken_out_is_refused_on_the_connection_it_has() {
    const HASH: &str = "$2y$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";
    const ALICE: &str = "Authorization: Basic YWxpY2U6YQ==\r\n";
    let endpoint = Endpoint::with(&format!("basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n"));
    let mut kept = endpoint.connect();
    assert!(get(&mut kept, "/metrics", ALICE).expect("answer").starts_with("HTTP/1.1 200"));
    let path = endpoint.folder.path().join("web.yml");
    // What cannot be read lets nobody in who was not, and throws nobody out.
    fs::write(&path, "basic_auth_users: [\n").expect("file");
    std::thread::sleep(ONE_LOOK);
    assert!(get(&mut kept, "/metrics", ALICE).expect("answer").starts_with("HTTP/1.1 200"));
    assert!(get(&mut endpoint.connect(), "/metrics", "").expect("answer").starts_with("HTTP/1.1 401"));
    fs::write(&path, format!("basic_auth_users:\n  bob: {HASH}\n")).expect("file");
    wait("the refusal", || get(&mut kept, "/metrics", ALICE).expect("answer").starts_with("HTTP/1.1 401"));
}

#[test]
fn tls_can_be_switched_on_while_it_runs() {
    let endpoint = Endpoint::with("");
    assert!(get(&mut endpoint.connect(), "/metrics", "").is_ok());
    fs::write(endpoint.folder.path().join("web.yml"), TLS).expect("file");
    wait("TLS", || get(&mut endpoint.tls(None), "/metrics", "").is_ok());
    let plain = get(&mut endpoint.connect(), "/metrics", "");
    assert!(!plain.is_ok_and(|answer| answer.contains("rackmark_")));
}
