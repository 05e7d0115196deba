//! TLS, client certificates and passwords of the Prometheus endpoint, judged by
//! Prometheus itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::certificates::{Authority, Use};
use rackmark_e2e::http;
use rackmark_e2e::process::{Process, binary, free_port, wait_for};
use rackmark_e2e::sim::Sim;
use tempfile::TempDir;

/// Of the password "a", at a cost that a debug build bears.
const HASH: &str = "$2y$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";

/// An agent on one simulated GPU whose endpoint has the web configuration `web.yml`.
struct Guarded {
    _sim: Sim,
    folder: TempDir,
    authority: Authority,
    agent: Agent,
}

impl Guarded {
    fn start(web: &str) -> Outcome<Self> {
        let (folder, authority) = (TempDir::new()?, Authority::new("test CA")?);
        authority.issue(Use::Server, &["localhost", "127.0.0.1"])?.write(folder.path(), "server")?;
        fs::write(folder.path().join("ca.pem"), authority.pem())?;
        let file = folder.path().join("web.yml");
        fs::write(&file, web)?;
        let sim = Sim::profile("h200", Some(1))?;
        let setup = Setup::on(&sim).line("metrics", format!("web_config_file = {file:?}"));
        Ok(Self { agent: Agent::start(&setup)?, _sim: sim, folder, authority })
    }

    /// Outcome and text of one check of `rackmark doctor`.
    fn doctor(&self, check: &str) -> Outcome<(String, String)> {
        self.doctor_with(check, &[])
    }

    fn doctor_with(&self, check: &str, arguments: &[&str]) -> Outcome<(String, String)> {
        let output = self.agent.cli(&[&["doctor", "--json"], arguments].concat())?;
        let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
        let found = findings.iter().find(|finding| finding["check"] == check);
        let found = found.ok_or_else(|| format!("no {check} in {findings:?}"))?;
        let text = |key: &str| found[key].as_str().unwrap_or("").to_owned();
        Ok((text("outcome"), text("found")))
    }

    fn wait_doctor(&self, check: &str, outcome: &str, part: &str) -> Outcome<()> {
        let mut last = Default::default();
        let found = wait_for(part, Duration::from_secs(20), || {
            last = self.doctor(check).ok()?;
            (last.0 == outcome && last.1.contains(part)).then_some(())
        });
        found.map_err(|error| format!("{error}: {last:?}; log:\n{}", self.agent.log()).into())
    }
}

const MUTUAL: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [prometheus.example]\n";

/// Starts Prometheus with one job for each name and settings; its port.
fn prometheus(folder: &Path, port: u16, jobs: &[(&str, String)]) -> Outcome<(Process, u16)> {
    let mut config = String::from("global:\n  scrape_interval: 1s\nscrape_configs:\n");
    for (name, settings) in jobs {
        config.push_str(&format!(
            "  - job_name: {name}\n    scheme: https\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n{settings}"
        ));
    }
    let file = folder.join("prometheus.yml");
    fs::write(&file, config)?;
    let own = free_port()?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{own}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok((Process::start(&mut command)?, own))
}

/// The value of each series of a query, by job.
fn by_job(port: u16, query: &str) -> Option<Vec<(String, String)>> {
    let path = format!("/api/v1/query?query={query}");
    let answer: serde_json::Value = serde_json::from_str(&http::get(port, &path, "*/*").ok()?.body).ok()?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let result = answer["data"]["result"].as_array()?;
    let mut found: Vec<_> =
        result.iter().map(|series| (text(&series["metric"]["job"]), text(&series["value"][1]))).collect();
    found.sort();
    Some(found)
}

#[test]
fn prometheus_scrapes_over_mutual_tls_with_a_password_and_nobody_else_does() -> Outcome<()> {
    let guarded = Guarded::start(&format!("{MUTUAL}basic_auth_users:\n  prometheus: {HASH}\n"))?;
    let (folder, authority) = (guarded.folder.path(), &guarded.authority);
    authority.issue(Use::Client, &["prometheus.example"])?.write(folder, "good")?;
    authority.issue(Use::Client, &["other.example"])?.write(folder, "other")?;
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    authority.issue_until(Use::Client, &["prometheus.example"], yesterday)?.write(folder, "expired")?;
    let stranger = Authority::new("stranger")?;
    stranger.issue(Use::Client, &["prometheus.example"])?.write(folder, "stranger")?;
    fs::write(folder.join("stranger-ca.pem"), stranger.pem())?;
    let job = |ca: &str, server: &str, client: Option<&str>, user: &str, password: &str| {
        let path = |name: &str| folder.join(name).display().to_string();
        let client = client.map_or_else(String::new, |name| {
            format!(
                "      cert_file: {}\n      key_file: {}\n",
                path(&format!("{name}.pem")),
                path(&format!("{name}.key"))
            )
        });
        format!(
            "    tls_config:\n      ca_file: {}\n      server_name: {server}\n{client}    basic_auth: {{username: {user}, password: {password}}}\n",
            path(ca)
        )
    };
    let jobs = [
        ("good", job("ca.pem", "localhost", Some("good"), "prometheus", "a")),
        ("expired", job("ca.pem", "localhost", Some("expired"), "prometheus", "a")),
        ("nameless", job("ca.pem", "localhost", Some("other"), "prometheus", "a")),
        ("naked", job("ca.pem", "localhost", None, "prometheus", "a")),
        ("stranger", job("ca.pem", "localhost", Some("stranger"), "prometheus", "a")),
        ("wrong_ca", job("stranger-ca.pem", "localhost", Some("good"), "prometheus", "a")),
        ("wrong_host", job("ca.pem", "elsewhere.example", Some("good"), "prometheus", "a")),
        ("wrong_password", job("ca.pem", "localhost", Some("good"), "prometheus", "b")),
        ("wrong_user", job("ca.pem", "localhost", Some("good"), "nobody", "a")),
    ];
    let (_prometheus, port) = prometheus(folder, guarded.agent.metrics, &jobs)?;
    let expected: Vec<(String, String)> = jobs
        .iter()
        .map(|(name, _)| ((*name).to_owned(), if *name == "good" { "1" } else { "0" }.to_owned()))
        .collect();
    let mut expected = expected;
    expected.sort();
    let mut last = None;
    wait_for("up of every job", Duration::from_secs(20), || {
        last = by_job(port, "up");
        (last.as_ref() == Some(&expected)).then_some(())
    })
    .map_err(|error| format!("{error}: {last:?}; log:\n{}", guarded.agent.log()))?;

    // The certificate is renewed under a running Prometheus: no scrape is lost.
    let last = SystemTime::now() + Duration::from_secs(40 * 86_400);
    let renewed = authority.issue_until(Use::Server, &["localhost"], last)?;
    renewed.write(folder, "server")?;
    let not_after = last.duration_since(SystemTime::UNIX_EPOCH)?.as_secs().to_string();
    let metric = "rackmark_tls_certificate_not_after_timestamp_seconds";
    wait_for("the renewed certificate", Duration::from_secs(10), || {
        (by_job(port, metric)? == [("good".to_owned(), not_after.clone())]).then_some(())
    })?;
    std::thread::sleep(Duration::from_secs(3));
    let lowest = by_job(port, "min_over_time(up{job=\"good\"}[5s])");
    assert_eq!(lowest, Some(vec![("good".to_owned(), "1".to_owned())]));
    Ok(())
}

#[test]
fn doctor_speaks_to_a_guarded_endpoint_and_watches_its_certificate() -> Outcome<()> {
    let guarded = Guarded::start(MUTUAL)?;
    guarded.wait_doctor("metrics", "ok", "asks for a client certificate")?;
    guarded.wait_doctor("metrics certificate", "ok", "is good for")?;

    let folder = guarded.folder.path();
    // Another certificate than the agent's own is another program's, or an old one.
    let other = folder.join("other.yml");
    guarded.authority.issue(Use::Server, &["localhost"])?.write(folder, "other")?;
    fs::write(&other, "tls_server_config: {cert_file: other.pem, key_file: other.key}\n")?;
    let (outcome, found) =
        guarded.doctor_with("metrics", &["--web.config.file", &other.display().to_string()])?;
    assert!(outcome == "wrong" && found.contains("another certificate"), "{outcome}: {found}");

    let renew = |days: u64| -> Outcome<()> {
        let last = SystemTime::now() + Duration::from_secs(days * 86_400);
        guarded.authority.issue_until(Use::Server, &["localhost"], last)?.write(folder, "server")?;
        Ok(())
    };
    let tls = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";
    fs::write(folder.join("web.yml"), format!("{tls}basic_auth_users:\n  a: {HASH}\n"))?;
    renew(10)?;
    guarded.wait_doctor("metrics", "ok", "asks for a password")?;
    guarded.wait_doctor("metrics certificate", "odd", "is good for 9 days")?;

    fs::write(folder.join("web.yml"), tls)?;
    renew(0)?;
    guarded.wait_doctor("metrics", "ok", "https://127.0.0.1")?;
    guarded.wait_doctor("metrics certificate", "wrong", "")?;

    fs::remove_file(folder.join("server.key"))?;
    guarded.wait_doctor("metrics", "wrong", "tls_server_config.key_file")?;
    Ok(())
}

fn rackmark(arguments: &[&str]) -> Outcome<Output> {
    Ok(Command::new(binary("rackmark")).args(arguments).output()?)
}

#[test]
fn mistakes_of_the_web_configuration_are_told_before_anything_runs() -> Outcome<()> {
    let folder = TempDir::new()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("bad.yml"), "tls_server_config:\n  min_version: TLS10\nrate_limits: {}\n")?;
    fs::write(path("good.yml"), "rate_limit: {interval: 1s, burst: 5}\n")?;
    let line = format!("[metrics]\nweb_config_file = {:?}\n", path("bad.yml"));
    let state = format!("[state]\ndir = {:?}\n[control]\nsocket = {:?}\n", path("state"), path("socket"));
    fs::write(path("c.toml"), format!("{line}{state}"))?;
    fs::write(path("plain.toml"), state)?;
    for arguments in [
        &["check-config", &path("c.toml")][..],
        &["check-config", &path("plain.toml"), "--web.config.file", &path("bad.yml")],
        &["run", "--config", &path("c.toml")],
        &["run", "--config", &path("plain.toml"), "--web.config.file", &path("bad.yml")],
    ] {
        let output = rackmark(arguments)?;
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        for key in ["min_version", "cert_file", "key_file", "rate_limits"] {
            assert!(text.contains(key), "{key} in {text}");
        }
    }
    // What the command line says wins.
    let output = rackmark(&["check-config", &path("c.toml"), "--web.config.file", &path("good.yml")])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
