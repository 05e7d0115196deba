//! The identity of the demo's node: a software TPM where swtpm is installed, and what a stranger finds out about it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rackmark_feed::SigningKey;
use serde_json::Value as Json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long the TPM may take to be there, and a stranger to ask.
const PATIENCE: Duration = Duration::from_secs(30);
/// The TPM of the machine.
const DEVICE: &str = "/dev/tpmrm0";
/// Name of the stranger.
pub const STRANGER: &str = "stranger";

/// Whose identity the node has.
pub struct Identity {
    /// The table `attest` of the configuration.
    pub configuration: String,
    /// The line that allows the stranger.
    pub allowed: String,
    /// Said beside the result.
    software: bool,
    /// Ends with the demo.
    _tpm: Option<Child>,
}

impl Identity {
    /// Starts a software TPM, or takes the machine's where this user may, or none. A demo goes on without.
    pub async fn make(folder: &Path, simulated: Option<&Path>) -> Self {
        if let Some(simulated) = simulated {
            trust_simulated(folder, simulated);
        }
        let software = software_tpm(folder).await;
        let own = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE).is_ok();
        let configuration = match &software {
            Some((port, _)) => format!("[attest]\ntcti = \"swtpm:host=127.0.0.1,port={port}\"\n"),
            None if own => String::new(),
            None => "[attest]\ntpm = \"off\"\n".to_owned(),
        };
        let allowed = stranger(folder).map(|key| format!("[consumers]\nallowed = [\"{STRANGER}={key}\"]\n"));
        Self {
            configuration,
            allowed: allowed.unwrap_or_default(),
            software: software.is_some(),
            _tpm: software.map(|(_, child)| child),
        }
    }

    /// What a stranger finds out, in one line.
    pub async fn asked(software: bool, folder: &Path, port: u16, node: &str) -> String {
        let answer = async {
            let output = Command::new(std::env::current_exe().ok()?)
                .args(["feed", "verify", "--json", "--simulated", "--as", STRANGER, "--node", node])
                .args(["--broker", &format!("mqtt://127.0.0.1:{port}")])
                .arg("--key")
                .arg(folder.join("stranger.key"))
                .arg("--memory")
                .arg(folder.join("memory"))
                .arg("--trust")
                .arg(folder.join("trust"))
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .output()
                .await
                .ok()?;
            serde_json::from_slice::<Json>(&output.stdout).ok()
        };
        match timeout(PATIENCE, answer).await.ok().flatten() {
            None => "identity: nobody could ask for it".to_owned(),
            Some(document) => {
                let label = document["label"].as_str().unwrap_or("nothing");
                let made = if software { " (a software TPM, made for this demo)" } else { "" };
                let checks = document["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
                let verified = checks.iter().filter(|check| check["outcome"] == "verified").count();
                let devices = document["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
                let signed = devices.iter().filter(|device| device["label"] == "device-signed").count();
                let simulated = checks.iter().any(|check| check["reason"] == "simulated");
                let by = if signed > 0 && simulated { " (simulated)" } else { "" };
                format!(
                    "identity: {label}{made}; {signed} of {} GPUs signed{by}; a stranger asked with a nonce: {verified} of {} checks shown",
                    devices.len(),
                    checks.len()
                )
            }
        }
    }

    /// True where the TPM was made for the demo.
    pub const fn is_software(&self) -> bool {
        self.software
    }
}

/// The stranger of the demo believes in the maker of simulated GPUs, where they have one.
fn trust_simulated(folder: &Path, simulated: &Path) {
    let roots = folder.join("trust/devices/roots");
    let root = simulated.join("attestation/root.der");
    if root.is_file() && std::fs::create_dir_all(&roots).is_ok() {
        // Where it cannot be copied the GPUs are shown as reported by the host.
        let _ = std::fs::copy(root, roots.join("simulated.der"));
    }
}

/// A key for somebody who asks.
fn stranger(folder: &Path) -> Option<String> {
    let der = SigningKey::generate_pkcs8().ok()?;
    std::fs::write(folder.join("stranger.key"), &der).ok()?;
    Some(SigningKey::from_pkcs8(&der).ok()?.public().to_string())
}

async fn software_tpm(folder: &Path) -> Option<(u16, Child)> {
    let state = folder.join("tpm");
    std::fs::create_dir(&state).ok()?;
    // No certificate: nobody vouches for a TPM that is made on the spot.
    let made = Command::new("swtpm_setup")
        .args(["--tpm2", "--createek", "--overwrite", "--tpmstate"])
        .arg(format!("dir://{}", state.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !timeout(PATIENCE, made).await.ok()?.ok()?.success() {
        return None;
    }
    // Clients take the control port to be the next one.
    let port = (0..20).find_map(|_| {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.checked_add(1)?)).ok().map(|_| port)
    })?;
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1")])
        .args(["--ctrl", &format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    for _ in 0..100 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return Some((port, child));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}
