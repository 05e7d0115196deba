//! A prepared simulation.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Outcome;
use crate::process::binary;

/// A folder with a simulated library, its controls and a sysfs tree.
pub struct Sim {
    folder: TempDir,
}

impl Sim {
    /// Prepares a profile, such as `h100-sxm-8`.
    ///
    /// # Errors
    /// Where the simulator refuses.
    pub fn profile(name: &str, gpus: Option<u32>) -> Outcome<Self> {
        let mut arguments = vec!["--profile".to_owned(), name.to_owned()];
        if let Some(gpus) = gpus {
            arguments.extend(["--gpus".to_owned(), gpus.to_string()]);
        }
        Self::prepare(&arguments)
    }

    /// The same profile with other cards: the seed is in their serial numbers and UUIDs.
    ///
    /// # Errors
    /// Where the simulator refuses.
    pub fn with_cards(name: &str, gpus: u32, seed: u64) -> Outcome<Self> {
        let words =
            [("--profile", name.to_owned()), ("--gpus", gpus.to_string()), ("--seed", seed.to_string())];
        let arguments: Vec<String> =
            words.into_iter().flat_map(|(key, value)| [key.to_owned(), value]).collect();
        Self::prepare(&arguments)
    }

    /// A profile whose GPUs sign reports, under a maker of their own.
    ///
    /// # Errors
    /// Where the simulator refuses.
    pub fn signing(name: &str, gpus: u32) -> Outcome<Self> {
        let arguments = ["--profile", name, "--gpus", &gpus.to_string(), "--attestation"].map(str::to_owned);
        Self::prepare(&arguments)
    }

    /// The root of the maker of GPUs that sign.
    pub fn device_root(&self) -> PathBuf {
        self.path().join("attestation/root.der")
    }

    /// Prepares a shipped scenario, such as `load`.
    ///
    /// # Errors
    /// Where the simulator refuses.
    pub fn scenario(name: &str) -> Outcome<Self> {
        Self::prepare(&["--scenario".to_owned(), name.to_owned()])
    }

    /// Prepares the replay of a recorded trace.
    ///
    /// # Errors
    /// Where the simulator refuses.
    pub fn trace(file: &Path) -> Outcome<Self> {
        Self::prepare(&["--trace".to_owned(), file.display().to_string()])
    }

    /// Idle GPUs of a profile that can compute, too. Their memory is small: a CPU does their work.
    ///
    /// # Errors
    /// Where a simulator refuses.
    pub fn computing(name: &str, gpus: u32) -> Outcome<Self> {
        let sim = Self::profile(name, Some(gpus))?;
        sim.call(Command::new(binary("cuda-sim")).args(["prepare", "--memory-mib", "80"]))?;
        sim.command("load all idle")?;
        Ok(sim)
    }

    /// Adds a fault of the simulated CUDA, such as `hang 0`.
    ///
    /// # Errors
    /// Where the simulator does not know the fault.
    pub fn cuda(&self, fault: &str) -> Outcome<()> {
        let mut command = Command::new(binary("cuda-sim"));
        command.arg("do").arg("--dir").arg(self.path()).args(fault.split(' '));
        let output = command.output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }

    fn prepare(arguments: &[String]) -> Outcome<Self> {
        let sim = Self { folder: TempDir::new()? };
        let library = binary("libnvidia_ml.so");
        sim.call(
            Command::new(binary("nvml-sim")).arg("prepare").args(arguments).arg("--library").arg(library),
        )?;
        Ok(sim)
    }

    fn call(&self, command: &mut Command) -> Outcome<()> {
        let output = command.arg("--dir").arg(self.path()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("sim")
    }

    /// The library as the agent is to load it.
    pub fn library(&self) -> PathBuf {
        self.path().join("libnvidia-ml.so.1")
    }

    /// Changes the simulation while it runs, such as `lost 1`.
    ///
    /// # Errors
    /// Where the simulator does not know the command.
    pub fn command(&self, line: &str) -> Outcome<()> {
        let mut command = Command::new(binary("nvml-sim"));
        command.arg("do").arg("--dir").arg(self.path()).args(line.split(' '));
        let output = command.output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }

    /// Changes the simulated sysfs, such as `suspend 1`.
    ///
    /// # Errors
    /// Where the simulator does not know the command.
    pub fn sysfs(&self, line: &str) -> Outcome<()> {
        let mut command = Command::new(binary("nvml-sim"));
        command.arg("sysfs").arg("--dir").arg(self.path()).args(line.split(' '));
        let output = command.output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }
}
