//! A real Prometheus on loopback.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::Outcome;
use crate::http;
use crate::process::{Process, free_port, wait_for};

/// How `promtool check metrics` ends on a scrape, and all it says.
///
/// # Errors
/// Where it cannot be run.
pub fn check_metrics(scrape: &str) -> Outcome<(ExitStatus, String)> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    promtool.stdin.take().ok_or("stdin")?.write_all(scrape.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status, said))
}

/// A running Prometheus.
pub struct Prometheus {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

/// A rule as Prometheus has understood it.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its expression, as Prometheus writes it.
    pub query: String,
    /// True for an alert, false for a record.
    pub alerts: bool,
    /// Labels that it adds.
    pub labels: Json,
    /// Annotations as templates.
    pub annotations: Json,
    /// `ok`, `unknown` before the first evaluation, or `err`.
    pub health: String,
    /// What went wrong with the newest evaluation.
    pub error: String,
}

impl Prometheus {
    /// Starts one that scrapes ports on loopback every second as job `rackmark`, and evaluates rules every second.
    ///
    /// # Errors
    /// Where it is missing or does not get ready.
    pub fn start(targets: &[u16], rules: Option<&Path>) -> Outcome<Self> {
        Self::run(targets, "/metrics", rules)
    }

    /// Starts one that scrapes another path of one port.
    ///
    /// # Errors
    /// Where it is missing or does not get ready.
    pub fn scraping(target: u16, path: &str) -> Outcome<Self> {
        Self::run(&[target], path, None)
    }

    fn run(targets: &[u16], path: &str, rules: Option<&Path>) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let port = free_port()?;
        let targets: Vec<String> = targets.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        let rules = rules.map(|file| format!("rule_files: ['{}']\n", file.display())).unwrap_or_default();
        let config = folder.path().join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n{rules}scrape_configs:\n  \
                 - job_name: rackmark\n    metrics_path: {path}\n    static_configs: [{{ targets: [{}] }}]\n",
                targets.join(", ")
            ),
        )?;
        let log: PathBuf = folder.path().join("log");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        let process = Process::start(&mut command)?;
        let ready =
            wait_for("Prometheus", Duration::from_secs(20), || http::get(port, "/-/ready", "*/*").ok());
        if let Err(error) = ready {
            return Err(format!("{error}; log:\n{}", fs::read_to_string(log).unwrap_or_default()).into());
        }
        Ok(Self { _process: process, _folder: folder, port })
    }

    /// The series that an expression gives now.
    ///
    /// # Errors
    /// Where Prometheus does not understand it or cannot evaluate it.
    pub fn query(&self, expression: &str) -> Outcome<Vec<Json>> {
        let answer = self
            .get(&format!("/api/v1/query?query={}", encoded(expression)))
            .map_err(|error| format!("{expression}: {error}"))?;
        // A scalar is one value, not a list.
        match &answer["data"]["resultType"] {
            kind if kind == "vector" => Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default()),
            _ => Ok(vec![answer["data"]["result"].clone()]),
        }
    }

    /// The values that a label has among the series of a metric.
    ///
    /// # Errors
    /// Where Prometheus does not answer.
    pub fn label_values(&self, series: &str, label: &str) -> Outcome<Vec<String>> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", encoded(series));
        let answer = self.get(&path)?;
        let values = answer["data"].as_array().into_iter().flatten();
        Ok(values.filter_map(Json::as_str).map(str::to_owned).collect())
    }

    /// All rules, group by group.
    ///
    /// # Errors
    /// Where Prometheus does not answer.
    pub fn rules(&self) -> Outcome<Vec<Rule>> {
        let answer = self.get("/api/v1/rules")?;
        let groups = answer["data"]["groups"].as_array().ok_or("no groups")?;
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let text = |value: &Json| value.as_str().unwrap_or("").to_owned();
        Ok(rules
            .map(|rule| Rule {
                name: text(&rule["name"]),
                query: text(&rule["query"]),
                alerts: rule["type"] == "alerting",
                labels: rule["labels"].clone(),
                annotations: rule["annotations"].clone(),
                health: text(&rule["health"]),
                error: text(&rule["lastError"]),
            })
            .collect())
    }

    fn get(&self, path: &str) -> Outcome<Json> {
        Ok(serde_json::from_str(&http::get(self.port, path, "*/*")?.body)?)
    }
}

/// For a URL's query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
