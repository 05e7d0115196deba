//! A software TPM (swtpm) on loopback, with a maker of its own: the real boundary of every TPM path.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::Outcome;
use crate::process::{Process, wait_for};

/// Who vouches for the endorsement keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certified {
    /// The maker, for RSA 2048 (index 0x1c00002) and for P-384 (index 0x1c00016).
    ByItsMaker,
    /// Nobody: a virtual TPM as clouds give it.
    ByNobody,
}

/// A manufactured TPM; powered while a [`Swtpm`] runs on it.
pub struct Chip {
    folder: TempDir,
}

impl Chip {
    /// Manufactures a TPM, with a certificate authority that nobody else uses.
    ///
    /// # Errors
    /// Where swtpm_setup is missing or fails.
    pub fn manufacture(certified: Certified) -> Outcome<Self> {
        let chip = Self { folder: TempDir::new()? };
        let path = |name: &str| chip.folder.path().join(name);
        fs::create_dir(path("state"))?;
        fs::create_dir(path("ca"))?;
        let ca = |name: &str| path("ca").join(name).display().to_string();
        fs::write(
            path("localca.conf"),
            format!(
                "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
                path("ca").display(),
                ca("signkey.pem"),
                ca("issuercert.pem"),
                ca("certserial")
            ),
        )?;
        fs::write(
            path("localca.options"),
            "--platform-manufacturer rackmark\n--platform-version 1\n--platform-model test\n",
        )?;
        fs::write(
            path("setup.conf"),
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
                path("localca.conf").display(),
                path("localca.options").display()
            ),
        )?;
        let mut command = Command::new("swtpm_setup");
        command
            .args(["--tpm2", "--createek", "--overwrite", "--vmid", "rackmark-test"])
            .args(["--pcr-banks", "sha1,sha256,sha384"])
            .arg("--tpmstate")
            .arg(format!("dir://{}", path("state").display()))
            .arg("--config")
            .arg(path("setup.conf"))
            .arg("--logfile")
            .arg(path("setup.log"));
        if certified == Certified::ByItsMaker {
            command.arg("--create-ek-cert");
        }
        run(&mut command)?;
        Ok(chip)
    }

    /// The same chip again: a copy of its whole state, as a thief of a virtual TPM makes it.
    ///
    /// # Errors
    /// Where the state cannot be copied.
    pub fn clone_state(&self) -> Outcome<Self> {
        let copy = Self { folder: TempDir::new()? };
        for name in ["state", "ca"] {
            let (from, to) = (self.folder.path().join(name), copy.folder.path().join(name));
            fs::create_dir(&to)?;
            for entry in fs::read_dir(from)?.flatten() {
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    fs::copy(entry.path(), to.join(entry.file_name()))?;
                }
            }
        }
        Ok(copy)
    }

    /// The certificates of its maker, DER: root, then the issuer of endorsement certificates.
    ///
    /// # Errors
    /// Where the maker has none.
    pub fn maker(&self) -> Outcome<[Vec<u8>; 2]> {
        let der = |name: &str| -> Outcome<Vec<u8>> {
            let output = run(Command::new("openssl")
                .args(["x509", "-outform", "der", "-in"])
                .arg(self.ca().join(name)))?;
            Ok(output.stdout)
        };
        Ok([der("swtpm-localca-rootca-cert.pem")?, der("issuercert.pem")?])
    }

    /// Folder of its maker's certificates and keys.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

/// A powered TPM.
pub struct Swtpm<'a> {
    process: Process,
    chip: &'a Chip,
    folder: TempDir,
    port: u16,
}

impl<'a> Swtpm<'a> {
    /// Powers a chip.
    ///
    /// # Errors
    /// Where swtpm is missing or does not start.
    pub fn power(chip: &'a Chip) -> Outcome<Self> {
        let folder = TempDir::new()?;
        // Clients take the control port to be the next one, so two in a row must be free.
        for _ in 0..20 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let Some(control) = port.checked_add(1) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, control)).is_err() {
                continue;
            }
            let mut command = Command::new("swtpm");
            command
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
                .arg("--tpmstate")
                .arg(format!("dir={}", chip.state().display()))
                .arg("--server")
                .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"))
                .arg("--ctrl")
                .arg(format!("type=tcp,port={control},bindaddr=127.0.0.1"))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut process = Process::start(&mut command)?;
            let up = wait_for("swtpm", Duration::from_secs(10), || {
                let ended = process.child().try_wait().ok().flatten().is_some();
                (ended || TcpStream::connect((Ipv4Addr::LOCALHOST, control)).is_ok()).then_some(!ended)
            })?;
            if up {
                return Ok(Self { process, chip, folder, port });
            }
        }
        Err("no two free ports in a row for swtpm".into())
    }

    /// Where it is, for tpm2-tss.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The chip.
    pub fn chip(&self) -> &Chip {
        self.chip
    }

    /// Takes the power away without a shutdown.
    ///
    /// # Errors
    /// Where the process does not end.
    pub fn cut_power(mut self) -> Outcome<()> {
        self.process.signal(Signal::KILL);
        self.process.child().wait()?;
        Ok(())
    }

    /// Makes it hang: it takes commands and answers none.
    pub fn stop(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Runs one of tpm2-tools on it, in a folder of its own; a line of words.
    ///
    /// # Errors
    /// Where it fails, with what it said.
    pub fn tool(&self, line: &str) -> Outcome<Vec<u8>> {
        let said = self.words(line);
        // There is no resource manager, and a TPM has room for three objects. What is in files stays usable.
        self.words("tpm2_flushcontext -t")?;
        said
    }

    /// Runs one of tpm2-tools that only looks, and leaves the TPM as it is.
    ///
    /// # Errors
    /// Where it fails, with what it said.
    pub fn look(&self, line: &str) -> Outcome<Vec<u8>> {
        self.words(line)
    }

    fn words(&self, line: &str) -> Outcome<Vec<u8>> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(self.folder.path());
        command.env("TPM2TOOLS_TCTI", self.tcti()).env("TSS2_LOG", "all+NONE");
        Ok(run(&mut command)?.stdout)
    }

    /// What a tool left in a file.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn file(&self, name: &str) -> Outcome<Vec<u8>> {
        Ok(fs::read(self.path(name))?)
    }

    /// A file for a tool.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn run(command: &mut Command) -> Outcome<Output> {
    let shown = format!("{command:?}");
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run {shown}: {error}"))?;
    if output.status.success() {
        Ok(output)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{shown}: {} {said}{}", output.status, String::from_utf8_lossy(&output.stdout)).into())
    }
}

/// A TCTI that is not there.
pub fn no_tpm(folder: &Path) -> String {
    format!("device:{}", folder.join("no-such-tpm").display())
}
