//! A real mosquitto on loopback.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::process::{Process, free_port, wait_for};

/// A running broker.
pub struct Mosquitto {
    _process: Process,
    _folder: TempDir,
    /// Where it listens on loopback.
    pub port: u16,
}

impl Mosquitto {
    /// Starts one and waits until it accepts connections.
    ///
    /// # Errors
    /// Where mosquitto is missing or does not start.
    pub fn start() -> Outcome<Self> {
        Self::on(free_port()?)
    }

    /// Starts one on a given port.
    ///
    /// # Errors
    /// Where mosquitto is missing or does not start.
    pub fn on(port: u16) -> Outcome<Self> {
        Self::with(port, "")
    }

    /// Starts one on a given port with more lines for its listener.
    ///
    /// # Errors
    /// Where mosquitto is missing or does not start.
    pub fn with(port: u16, listener: &str) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("mosquitto.conf");
        fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 10000\n{listener}"),
        )?;
        // Debian keeps it where an ordinary user's search path does not look.
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"]
            .into_iter()
            .find(|path| fs::exists(path).unwrap_or(false));
        let mut command = Command::new(program.unwrap_or("mosquitto"));
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(&mut command)?;
        wait_for("mosquitto", Duration::from_secs(5), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        })?;
        Ok(Self { _process: process, _folder: folder, port })
    }
}
