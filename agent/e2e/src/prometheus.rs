//! A real Prometheus that scrapes one path every second.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::Outcome;
use crate::http;
use crate::process::{Process, free_port};

/// A running Prometheus with its data.
pub struct Prometheus {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl Prometheus {
    /// Starts one that scrapes `path` of `target`, a port on loopback.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn scraping(target: u16, path: &str) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let port = free_port()?;
        let config = folder.path().join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: rackmark\n    metrics_path: {path}\n    static_configs:\n      - targets: ['127.0.0.1:{target}']\n"
            ),
        )?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self { _process: Process::start(&mut command)?, _folder: folder, port })
    }

    /// The series an expression has now.
    ///
    /// # Errors
    /// Where Prometheus does not answer, or not with success.
    pub fn query(&self, expression: &str) -> Outcome<Vec<Json>> {
        let answer = self.api(&format!("query?query={}", encoded(expression)))?;
        let series = answer["result"].as_array().ok_or("no vector")?;
        Ok(series.clone())
    }

    /// What Grafana's `label_values(metric, label)` gives.
    ///
    /// # Errors
    /// Where Prometheus does not answer, or not with success.
    pub fn label_values(&self, metric: &str, label: &str) -> Outcome<Vec<String>> {
        let values = self.api(&format!("label/{label}/values?match[]={}", encoded(metric)))?;
        Ok(values.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect())
    }

    fn api(&self, path: &str) -> Outcome<Json> {
        let body = http::get(self.port, &format!("/api/v1/{path}"), "*/*")?.body;
        let mut answer: Json = serde_json::from_str(&body)?;
        if answer["status"] != "success" {
            return Err(format!("{path}: {body}").into());
        }
        Ok(answer["data"].take())
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02X}");
        out
    })
}
