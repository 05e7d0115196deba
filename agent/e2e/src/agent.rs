//! The daemon as a process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::Outcome;
use crate::http::{self, Response};
use crate::process::{Process, binary, children, free_port, name, wait_for};
use crate::sim::Sim;

/// What the agent is given.
pub struct Setup {
    /// Lines of the configuration beyond those every test needs, by table.
    pub extra: Vec<(&'static str, String)>,
    /// Environment of the daemon.
    pub environment: Vec<(String, String)>,
    /// Address of the broker; the feed is off without one.
    pub broker: Option<String>,
}

impl Setup {
    /// An agent on simulated GPUs.
    pub fn on(sim: &Sim) -> Self {
        Self {
            extra: vec![
                ("sampler", format!("nvml_library = {:?}", sim.library())),
                ("hardware", format!("sysfs_root = {:?}", sim.path().join("sysfs"))),
                ("hardware", format!("kernel_log = {:?}", sim.path().join("kmsg"))),
                // A test machine may have been started a minute ago.
                ("health", "boot_grace_secs = 0".to_owned()),
                // Nor is its TPM touched.
                ("attest", "tpm = \"off\"".to_owned()),
            ],
            environment: vec![("RACKMARK_SIM_DIR".to_owned(), sim.path().display().to_string())],
            broker: None,
        }
    }

    /// With a broker.
    #[must_use]
    pub fn broker(mut self, port: u16) -> Self {
        self.broker = Some(format!("mqtt://127.0.0.1:{port}"));
        self
    }

    /// With a broker by its address.
    #[must_use]
    pub fn broker_at(mut self, address: &str) -> Self {
        self.broker = Some(address.to_owned());
        self
    }

    /// With a TPM, as tpm2-tss names it.
    #[must_use]
    pub fn tpm(mut self, tcti: &str) -> Self {
        self.extra.retain(|(table, _)| *table != "attest");
        self.line("attest", format!("tcti = {tcti:?}"))
    }

    /// With one more line in a table.
    #[must_use]
    pub fn line(mut self, table: &'static str, line: impl Into<String>) -> Self {
        self.extra.push((table, line.into()));
        self
    }

    /// With one more variable in the environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

/// A running daemon.
pub struct Agent {
    /// Its process.
    pub process: Process,
    folder: TempDir,
    /// Port of the Prometheus endpoint on loopback.
    pub metrics: u16,
    /// When it was started.
    pub started: Instant,
}

impl Agent {
    /// Starts it and returns at once.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(setup: &Setup) -> Outcome<Self> {
        Self::start_in(TempDir::new()?, setup)
    }

    /// Starts it on a state directory that is made first.
    ///
    /// # Errors
    /// Where that or the start fails.
    pub fn start_on(setup: &Setup, make: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<Self> {
        let folder = TempDir::new()?;
        make(&folder.path().join("state"))?;
        Self::start_in(folder, setup)
    }

    /// Starts it again where an ended one left its state.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn again(self, setup: &Setup) -> Outcome<Self> {
        let Self { process, folder, .. } = self;
        drop(process);
        Self::start_in(folder, setup)
    }

    /// The same after something was done to what it left.
    ///
    /// # Errors
    /// Where that or the start fails.
    pub fn again_after(self, setup: &Setup, change: impl FnOnce() -> std::io::Result<()>) -> Outcome<Self> {
        let Self { process, folder, .. } = self;
        drop(process);
        change()?;
        Self::start_in(folder, setup)
    }

    /// Its state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn start_in(folder: TempDir, setup: &Setup) -> Outcome<Self> {
        let metrics = free_port()?;
        let config = folder.path().join("rackmark.toml");
        fs::write(&config, configuration(setup, folder.path(), metrics))?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(binary("rackmark"));
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        let started = Instant::now();
        Ok(Self { process: Process::start(&mut command)?, folder, metrics, started })
    }

    /// Starts it and waits until a GPU answers.
    ///
    /// # Errors
    /// Where that takes more than ten seconds.
    pub fn sampling(setup: &Setup) -> Outcome<Self> {
        let agent = Self::start(setup)?;
        agent.wait("a GPU that answers", Duration::from_secs(10), |scrape| {
            scrape.contains("rackmark_gpu_up{gpu=\"0\"} 1")
        })?;
        Ok(agent)
    }

    /// One scrape in the classic format.
    ///
    /// # Errors
    /// Where the endpoint does not answer.
    pub fn scrape(&self) -> Outcome<Response> {
        http::get(self.metrics, "/metrics", "*/*")
    }

    /// Waits until a scrape is as wanted; the scrape and the time since the call.
    ///
    /// # Errors
    /// Where that does not happen in time; shows the log.
    pub fn wait(
        &self,
        what: &str,
        longest: Duration,
        mut want: impl FnMut(&str) -> bool,
    ) -> Outcome<(String, Duration)> {
        let began = Instant::now();
        let found = wait_for(what, longest, || {
            self.scrape().ok().map(|response| response.body).filter(|body| want(body))
        });
        found
            .map(|body| (body, began.elapsed()))
            .map_err(|error| format!("{error}; log:\n{}", self.log()).into())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("rackmark.toml")
    }

    /// Lets other users of this machine reach its folder, not its state.
    ///
    /// # Errors
    /// Where modes cannot be changed.
    pub fn open_folder(&self) -> Outcome<()> {
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Its sampler's pid.
    ///
    /// # Errors
    /// Where there is none within five seconds.
    pub fn sampler(&self) -> Outcome<u32> {
        wait_for("a sampler", Duration::from_secs(5), || {
            children(self.process.pid())
                .into_iter()
                .find(|pid| name(*pid).is_some_and(|name| name.starts_with("rackmark-sampl")))
        })
    }

    /// Runs the command line against this agent.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn cli(&self, arguments: &[&str]) -> Outcome<Output> {
        Ok(Command::new(binary("rackmark")).args(arguments).arg("--config").arg(self.config()).output()?)
    }

    /// `rackmark status --json`.
    ///
    /// # Errors
    /// Where it fails.
    pub fn status(&self) -> Outcome<Json> {
        let output = self.cli(&["status", "--json"])?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn configuration(setup: &Setup, folder: &Path, metrics: u16) -> String {
    let folder = folder.display();
    let feed = match &setup.broker {
        Some(address) => format!("brokers = [\"{address}\"]"),
        None => "enabled = false".to_owned(),
    };
    let mut lines: Vec<(&str, String)> = vec![
        ("node", "site = \"test\"\nname = \"node\"".to_owned()),
        ("mqtt", feed),
        ("metrics", format!("listen = \"127.0.0.1:{metrics}\"")),
        ("control", format!("socket = \"{folder}/control.sock\"")),
        ("state", format!("dir = \"{folder}/state\"")),
    ];
    lines.extend(setup.extra.iter().map(|(table, line)| (*table, line.clone())));
    let mut tables: Vec<&str> = lines.iter().map(|(table, _)| *table).collect();
    tables.sort_unstable();
    tables.dedup();
    tables.iter().fold(String::new(), |mut text, table| {
        text.push_str(&format!("[{table}]\n"));
        for (_, line) in lines.iter().filter(|(of, _)| of == table) {
            text.push_str(line);
            text.push('\n');
        }
        text
    })
}
