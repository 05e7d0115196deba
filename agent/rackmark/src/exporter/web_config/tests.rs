//! The file as people write it: what is accepted, and every mistake by its key.

use std::fs;
use std::path::Path;

use rackmark_e2e::certificates::{Authority, Use};
use rustls::NamedGroup;
use tempfile::TempDir;

use super::*;

/// A folder with a server certificate, its key and a CA.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("folder");
    let authority = Authority::new("test CA").expect("CA");
    let server = authority.issue(Use::Server, &["localhost"]).expect("certificate");
    server.write(folder.path(), "server").expect("files");
    fs::write(folder.path().join("ca.pem"), authority.pem()).expect("file");
    folder
}

fn read(folder: &TempDir, text: &str) -> Result<WebConfig, WebConfigError> {
    let path = folder.path().join("web.yml");
    fs::write(&path, text).expect("file");
    load(&path).0
}

/// Keys of all mistakes, and the whole text.
fn mistakes(text: &str) -> (Vec<String>, String) {
    let error = read(&folder(), text).expect_err(text);
    let shown = error.to_string();
    let WebConfigError::Mistakes { mistakes, .. } = error else { panic!("{shown}") };
    (mistakes.into_iter().map(|mistake| mistake.key).collect(), shown)
}

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
const HASH: &str = "$2y$10$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";

#[test]
fn an_empty_file_is_plain_http_for_everyone() {
    for text in ["", "# nothing\n", "tls_server_config:\n", "tls_server_config: {}\nbasic_auth_users: {}\n"] {
        let config = read(&folder(), text).expect(text);
        assert!(config.tls.is_none() && config.users.is_none() && config.rate_limit.is_none(), "{text}");
    }
}

#[test]
fn every_key_of_the_format_is_understood() {
    let text = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [prometheus.example, 10.0.0.1]\n  min_version: TLS12\n  max_version: TLS13\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]\n  prefer_server_cipher_suites: false\n  curve_preferences: [CurveP384, X25519]\nhttp_server_config:\n  http2: true\n  headers:\n    Content-Security-Policy: default-src 'none'\n    X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1; mode=block\n    Strict-Transport-Security: max-age=31536000\nbasic_auth_users:\n  alice: {HASH}\n  \"007\": {HASH}\nrate_limit:\n  interval: 1m1.5s\n  burst: 20\n"
    );
    let config = read(&folder(), &text).unwrap_or_else(|error| panic!("{error}"));
    let tls = config.tls.expect("TLS");
    assert!(tls.needs_client_certificate && !tls.config.ignore_client_order);
    let provider = tls.config.crypto_provider();
    let groups: Vec<NamedGroup> = provider.kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [NamedGroup::secp384r1, NamedGroup::X25519]);
    let old: Vec<_> = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).collect();
    assert_eq!(old.len(), 1, "of TLS 1.2 only what is listed");
    assert_eq!(provider.cipher_suites.len(), 4, "of TLS 1.3 all");
    assert_eq!(config.headers.len(), 5);
    assert!(config.users.is_some());
    assert_eq!(config.rate_limit, Some(RateLimit { interval: Duration::from_millis(61_500), burst: 20 }));
}

#[test]
fn certificates_may_stand_in_the_file_itself() {
    let folder = folder();
    let indented = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).expect(name);
        text.lines().map(|line| format!("    {line}\n")).collect::<String>()
    };
    let text = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}  client_ca: |\n{}  client_auth_type: VerifyClientCertIfGiven\n",
        indented("server.pem"),
        indented("server.key"),
        indented("ca.pem")
    );
    let config = read(&folder, &text).unwrap_or_else(|error| panic!("{error}"));
    assert!(!config.tls.expect("TLS").needs_client_certificate);
}

#[test]
fn all_mistakes_are_told_at_once_each_by_its_key() {
    let (keys, shown) = mistakes(
        "tls_server_config:\n  cert_file: server.pem\n  client_auth_type: Maybe\n  min_version: TLS11\n  max_version: TLS14\n  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n  curve_preferences: [CurveP521]\n  prefer_server_cipher_suites: perhaps\n  cert_fil: x\nhttp_server_config:\n  http3: true\n  headers:\n    X-Frame-Options: always\n    Server: x\nbasic_auth_users:\n  alice: hunter2secret\n  a:b: x\nrate_limit:\n  interval: soon\n  burst: many\nbasic_auth: {}\n",
    );
    let mut keys = keys;
    keys.sort();
    assert_eq!(
        keys,
        [
            "basic_auth",
            "basic_auth_users.a:b",
            "basic_auth_users.a:b",
            "basic_auth_users.alice",
            "http_server_config.headers.Server",
            "http_server_config.headers.X-Frame-Options",
            "http_server_config.http3",
            "rate_limit.burst",
            "rate_limit.interval",
            "tls_server_config.cert_fil",
            "tls_server_config.cipher_suites",
            "tls_server_config.client_auth_type",
            "tls_server_config.curve_preferences",
            "tls_server_config.key_file",
            "tls_server_config.max_version",
            "tls_server_config.min_version",
            "tls_server_config.prefer_server_cipher_suites",
        ],
        "{shown}"
    );
    assert!(!shown.contains("hunter2secret"), "a password is not shown: {shown}");
    assert!(shown.contains("did you mean `cert_file`") && shown.contains("17 mistakes"), "{shown}");
}

#[test]
fn what_would_leave_the_door_open_is_refused() {
    for (text, key) in [
        // A CA that nothing uses, and a check without a CA.
        ("  client_ca_file: ca.pem\n", "client_auth_type"),
        ("  client_auth_type: RequireAndVerifyClientCert\n", "client_auth_type"),
        ("  client_auth_type: VerifyClientCertIfGiven\n", "client_auth_type"),
        // Names that clients need not show.
        ("  client_allowed_sans: [a]\n", "client_allowed_sans"),
        (
            "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]\n",
            "client_allowed_sans",
        ),
        ("  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: []\n", "client_allowed_sans"),
        ("  cert: x\n", "cert_file"),
        ("  min_version: TLS13\n  max_version: TLS12\n", "min_version"),
    ] {
        let (keys, shown) = mistakes(&format!("{TLS}{text}"));
        assert_eq!(keys, [format!("tls_server_config.{key}")], "{shown}");
    }
    let (keys, _) = mistakes("tls_server_config:\n  min_version: TLS13\n");
    assert_eq!(keys, ["tls_server_config.cert_file", "tls_server_config.key_file"]);
    let (keys, _) = mistakes("rate_limit:\n  interval: 1s\n");
    assert_eq!(keys, ["rate_limit.burst"]);
    let (keys, _) = mistakes(&format!("basic_auth_users:\n  alice: {}\n", HASH.replace("$10$", "$15$")));
    assert_eq!(keys, ["basic_auth_users.alice"]);
}

#[test]
fn files_that_are_missing_empty_or_of_another_key_are_named() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let other = Authority::new("other").expect("CA").issue(Use::Server, &["x"]).expect("certificate");
    other.write(folder.path(), "other").expect("files");
    fs::write(path("empty.pem"), "").expect("file");
    for (text, key) in [
        ("cert_file: none.pem\n  key_file: server.key", "cert_file"),
        ("cert_file: empty.pem\n  key_file: server.key", "cert_file"),
        ("cert_file: server.pem\n  key_file: server.pem", "key_file"),
        ("cert_file: server.pem\n  key_file: other.key", "key_file"),
        (
            "cert_file: server.pem\n  key_file: server.key\n  client_ca_file: empty.pem\n  client_auth_type: RequireAndVerifyClientCert",
            "client_ca_file",
        ),
    ] {
        let error = read(&folder, &format!("tls_server_config:\n  {text}\n")).expect_err(text);
        let WebConfigError::Mistakes { mistakes, .. } = error else { panic!("{error}") };
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].key, format!("tls_server_config.{key}"), "{mistakes:?}");
    }
    assert!(matches!(load(Path::new("/nowhere/web.yml")).0, Err(WebConfigError::Read { .. })));
    assert!(matches!(read(&folder, "a: [\n"), Err(WebConfigError::Syntax { .. })));
    let large = "#".repeat(FILE_BYTES_MAX as usize + 1);
    assert!(matches!(read(&folder, &large), Err(WebConfigError::Read { .. })));
}

#[test]
fn times_are_read_as_go_writes_them() {
    for (text, ms) in [("0", 0), ("0s", 0), ("1s", 1000), ("1.5s", 1500), ("1m30s", 90_000), ("500ms", 500)] {
        assert_eq!(go_duration(text), Some(Duration::from_millis(ms)), "{text}");
    }
    for wrong in ["", "1", "s", "1x", "-1s", "1s2", "1..s", "999h"] {
        assert_eq!(go_duration(wrong), None, "{wrong}");
    }
}

#[test]
fn the_example_that_is_shipped_is_valid() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let text = fs::read_to_string(format!("{root}/packaging/examples/web-config.yml")).expect("example");
    let folder = folder();
    let in_folder = text.replace("/etc/rackmark/tls/", "");
    let shown = read(&folder, &in_folder).map_err(|error| error.to_string());
    let config = shown.unwrap_or_else(|error| panic!("{error}"));
    assert!(config.tls.is_some_and(|tls| tls.needs_client_certificate) && config.users.is_some());
}
