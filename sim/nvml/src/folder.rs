//! Makes a simulation folder: scenario, control files, library link, sysfs and procfs trees.

use crate::replay::{Recorded, Trace, TraceError};
use crate::scenario::{Scenario, resolve};
use crate::tables::TableError;
use std::io;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What to simulate.
#[derive(Debug, Clone)]
pub enum Source {
    /// A shipped profile or a profile file, with the profile's own figures.
    Profile(String),
    /// A shipped scenario or a scenario file.
    Scenario(String),
    /// A recording.
    Trace(PathBuf),
}

/// How to make a folder.
#[derive(Debug, Clone)]
pub struct Prepare {
    /// What to simulate.
    pub source: Source,
    /// The folder; made if missing. A folder of an earlier run is replaced piece by piece.
    pub dir: PathBuf,
    /// Number of GPUs instead of the source's.
    pub gpus: Option<usize>,
    /// Seed instead of the source's.
    pub seed: Option<u64>,
    /// Phase of a captured profile, `load` or `idle`.
    pub phase: Option<String>,
    /// The simulated library.
    pub library: PathBuf,
}

/// Why a folder cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error("cannot use `{path}`")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not TOML.
    #[error("`{path}` is not TOML: {problem}")]
    Toml {
        /// Which file.
        path: String,
        /// What the parser says.
        problem: String,
    },
    /// A mistake in a scenario or profile.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A recording that cannot be used.
    #[error("recording `{path}` cannot be replayed")]
    Trace {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: TraceError,
    },
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.display().to_string();
    move |source| FolderError::File { path, source }
}

fn scenario_table(name: &str) -> Result<Table, FolderError> {
    let text = match crate::scenario::SHIPPED.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(name).map_err(file(Path::new(name)))?,
    };
    text.parse().map_err(|error: toml::de::Error| FolderError::Toml {
        path: name.to_owned(),
        problem: error.message().to_owned(),
    })
}

/// The shipped profile whose product has this name; else `h200`.
fn base_profile(product: Option<&str>) -> &'static str {
    let has = |text: &str| {
        crate::profile::Profile::parse(text)
            .is_ok_and(|profile| profile.texts[0].as_deref().ok() == product && product.is_some())
    };
    crate::profile::SHIPPED.iter().find(|(_, text)| has(text)).map_or("h200", |(name, _)| name)
}

fn recorded_table(recorded: &Recorded) -> Value {
    let mut table = Table::new();
    let mut text = |key: &str, text: &str| {
        table.insert(key.to_owned(), Value::String(text.to_owned()));
    };
    text("uuid", &recorded.uuid);
    text("serial", &recorded.serial);
    if let Some(name) = &recorded.name {
        text("name", name);
    }
    if let Some(address) = &recorded.pci_address {
        text("pci_address", address);
    }
    for (field, cell) in &recorded.cells {
        if let Some(value) = cell.ok() {
            table.insert(field.name().to_owned(), Value::Integer(value));
        }
    }
    Value::Table(table)
}

fn trace_table(path: &Path, dir: &Path) -> Result<Table, FolderError> {
    let wrong = |source| FolderError::Trace { path: path.display().to_string(), source };
    let from = io::BufReader::new(std::fs::File::open(path).map_err(file(path))?);
    let trace = Trace::read(from).map_err(wrong)?;
    let _ = std::fs::remove_file(dir.join("trace.bin"));
    trace.write(&dir.join("trace.bin")).map_err(wrong)?;
    let mut table = Table::new();
    let product = trace.gpus.first().and_then(|gpu| gpu.name.as_deref());
    table.insert("profile".to_owned(), Value::String(base_profile(product).to_owned()));
    table.insert("gpus".to_owned(), Value::Integer(trace.gpus.len() as i64));
    table.insert("replay".to_owned(), Value::Boolean(true));
    table.insert("recorded".to_owned(), Value::Array(trace.gpus.iter().map(recorded_table).collect()));
    let mut table = resolve(table, |_| None)?;
    if let (Some(Value::Table(profile)), Some(version)) = (table.get_mut("profile"), trace.driver_version)
        && let Some(Value::Table(system)) = profile.get_mut("system")
    {
        system.insert("driver_version".to_owned(), Value::String(version));
    }
    Ok(table)
}

/// Makes the folder; the timeline starts now.
///
/// # Errors
/// A mistake in what was named, or a file that cannot be read or written.
pub fn prepare(order: &Prepare) -> Result<Scenario, FolderError> {
    let dir = &order.dir;
    std::fs::create_dir_all(dir).map_err(file(dir))?;
    if dir.join("scenario.toml").is_file() && dir.join("control.gen").is_file() {
        // A folder of an earlier run: its GPUs go.
        for part in ["sysfs", "proc", "attestation"] {
            let _ = std::fs::remove_dir_all(dir.join(part));
        }
    }
    let mut table = match &order.source {
        Source::Profile(name) => {
            let mut table = Table::new();
            table.insert("profile".to_owned(), Value::String(name.clone()));
            table
        }
        Source::Scenario(name) => scenario_table(name)?,
        Source::Trace(path) => trace_table(path, dir)?,
    };
    for (key, value) in
        [("gpus", order.gpus.map(|gpus| gpus as i64)), ("seed", order.seed.map(u64::cast_signed))]
    {
        if let Some(value) = value {
            table.insert(key.to_owned(), Value::Integer(value));
        }
    }
    if let Some(phase) = &order.phase {
        table.insert("phase".to_owned(), Value::String(phase.clone()));
    }
    table.insert("start_unix_ms".to_owned(), Value::Integer(crate::world::unix_ms().cast_signed()));
    let table = resolve(table, |name| std::fs::read_to_string(name).ok())?;
    let scenario = Scenario::read(table.clone())?;
    // Always a new file: a process that still maps the old one keeps it whole.
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).map_err(file(&path))
    };
    write("scenario.toml", table.to_string().as_bytes())?;
    write("control.log", b"")?;
    write("control.gen", &[0; crate::generation::FILE_BYTES])?;
    let log = dir.join(crate::kernel_log::FIFO);
    crate::kernel_log::make(dir).map_err(file(&log))?;
    let link = dir.join("libnvidia-ml.so.1");
    let _ = std::fs::remove_file(&link);
    let library = std::path::absolute(&order.library).map_err(file(&order.library))?;
    std::os::unix::fs::symlink(&library, &link).map_err(file(&link))?;
    for index in 0..scenario.gpus {
        crate::sysfs::write_gpu(dir, &scenario, index).map_err(file(&dir.join("sysfs")))?;
    }
    for part in [
        "sysfs/bus/pci/drivers/nvidia",
        "sysfs/bus/pci/drivers/vfio-pci",
        "sysfs/bus/pci/devices",
        "proc/driver/nvidia/gpus",
    ] {
        std::fs::create_dir_all(dir.join(part)).map_err(file(&dir.join(part)))?;
    }
    let version = format!(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  (simulated)\nGCC version:  simulated\n",
        scenario.profile.system.driver_version
    );
    write("proc/driver/nvidia/version", version.as_bytes())?;
    Ok(scenario)
}
