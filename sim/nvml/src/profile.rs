//! GPU profiles: what a machine of some kind says about itself, idle and under load.

use crate::abi::{self, Ret};
use crate::cell::{Cell, reason_code};
use crate::fields::{COUNT, Cells, Field};
use crate::tables::{Reader, TableError};
use toml::{Table, Value};

/// The shipped profiles: name and TOML text.
pub const SHIPPED: &[(&str, &str)] = &[
    ("h100-sxm-8", include_str!("../profiles/h100-sxm-8.toml")),
    ("a100-mig-8", include_str!("../profiles/a100-mig-8.toml")),
    ("b200-8", include_str!("../profiles/b200-8.toml")),
    ("rtx4090-2", include_str!("../profiles/rtx4090-2.toml")),
    ("h200", include_str!("../profiles/h200.toml")),
    ("h100-mig", include_str!("../profiles/h100-mig.toml")),
    ("rtx4080-super", include_str!("../profiles/rtx4080-super.toml")),
];

/// Texts of a GPU that are not derived from its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Product name.
    Name,
    /// `sim` (numbered by the library) or a reason.
    Serial,
    /// VBIOS version.
    Vbios,
    /// Board part number.
    BoardPartNumber,
    /// InfoROM image version.
    InforomImage,
    /// InfoROM OEM object.
    InforomOem,
    /// InfoROM ECC object.
    InforomEcc,
    /// InfoROM power object.
    InforomPower,
    /// GSP firmware version.
    GspVersion,
    /// Chassis serial number, 15 bytes at most.
    ChassisSerial,
}

/// Keys of [`Text`] in a profile, in its order.
pub const TEXT_NAMES: &[&str] = &[
    "name",
    "serial",
    "vbios_version",
    "board_part_number",
    "inforom_image_version",
    "inforom_oem_version",
    "inforom_ecc_version",
    "inforom_power_version",
    "gsp_firmware_version",
    "chassis_serial",
];

/// A text or the return code in its place.
pub type TextCell = Result<String, Ret>;

/// A process that uses a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Name as NVML reports it.
    pub name: String,
    /// Listed among compute processes.
    pub compute: bool,
    /// Listed among graphics processes.
    pub graphics: bool,
    /// GPU memory in bytes.
    pub memory_bytes: u64,
    /// GPU instance, `u32::MAX` outside MIG.
    pub gpu_instance: u32,
    /// Compute instance, `u32::MAX` outside MIG.
    pub compute_instance: u32,
}

/// One MIG device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mig {
    /// Index among the GPU's MIG devices.
    pub index: u32,
    /// GPU instance id.
    pub gpu_instance: u32,
    /// Compute instance id.
    pub compute_instance: u32,
    /// Profile name such as `3g.40gb`.
    pub profile: String,
    /// Slices, multiprocessors, copy engines, encoders, decoders, OFAs, JPEG engines.
    pub engines: [u32; 7],
    /// Memory in bytes: total, reserved, used, free.
    pub memory_bytes: [u64; 4],
    /// BAR1 in bytes: total, used, free.
    pub bar1_bytes: [u64; 3],
    /// Volatile uncorrected SRAM errors.
    pub sram_uncorrected: u64,
}

/// A GPU instance profile, as `nvmlDeviceGetGpuInstanceProfileInfoV` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceProfile {
    /// NVML's profile number (`NVML_GPU_INSTANCE_PROFILE_*`).
    pub slot: u32,
    /// Profile name such as `1g.10gb`.
    pub name: String,
    /// id, P2P, slices, instances, multiprocessors, copy engines, decoders, encoders, JPEG engines, OFAs.
    pub numbers: [u32; 10],
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// What the machine says about driver and library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Driver version.
    pub driver_version: String,
    /// NVML version.
    pub nvml_version: String,
    /// CUDA version as NVML spells it (13010 = 13.1).
    pub cuda_version: i32,
    /// Driver branch.
    pub driver_branch: TextCell,
}

/// Constants of the motion between the idle and the load figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Seconds in which the core covers 63 % of a temperature step.
    pub core_seconds: f64,
    /// The same for the memory.
    pub memory_seconds: f64,
    /// Power at full load and full clock, before the limit acts, in milliwatts.
    pub unlimited_milliwatts: Option<f64>,
    /// Power noise, as a fraction of the draw.
    pub power_noise: f64,
    /// NVLink bytes per second and direction while a collective runs.
    pub nvlink_bytes_per_second: f64,
}

/// One phase of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Figures.
    pub cells: Cells,
    /// Processes.
    pub processes: Vec<(Vec<usize>, Process)>,
    /// MIG devices.
    pub mig: Vec<(Vec<usize>, Mig)>,
}

/// Figures that the GPUs of a list (empty: all) have differently.
pub type Override = (Vec<usize>, Vec<(Field, Cell)>);

/// A GPU profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Figures of one captured moment: they are held constant unless a scenario asks for motion.
    pub captured: bool,
    /// Number of GPUs unless a scenario says otherwise.
    pub gpus: usize,
    /// PCI addresses by index (`domain:bus:device.function`).
    pub pci_addresses: Vec<String>,
    /// NUMA node of each GPU's slot, by index; the last one goes on for the others.
    pub numa_nodes: Vec<u32>,
    /// CPUs of one NUMA node.
    pub cpus_per_numa_node: u32,
    /// Driver and library.
    pub system: System,
    /// Texts in the order of [`Text`].
    pub texts: Vec<TextCell>,
    /// At rest.
    pub idle: Phase,
    /// Under load.
    pub load: Phase,
    /// Figures that some GPUs have differently, in both phases.
    pub overrides: Vec<Override>,
    /// GPU instance profiles.
    pub instance_profiles: Vec<InstanceProfile>,
    /// Motion.
    pub model: Model,
}

/// The text of a shipped profile.
pub fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// GPU indices under `key`: a list of indices, or the word `all` (also when absent), which reads as an empty list.
pub(crate) fn gpu_list(reader: &mut Reader, key: &str) -> Result<Vec<usize>, TableError> {
    match reader.any(key) {
        None => Ok(Vec::new()),
        Some(Value::String(word)) if word == "all" => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_integer()
                    .and_then(|gpu| usize::try_from(gpu).ok())
                    .filter(|gpu| *gpu < crate::control::MAX_GPUS)
                    .ok_or_else(|| reader.error(key, "has an item that is no GPU index"))
            })
            .collect(),
        Some(_) => Err(reader.error(key, "is neither `all` nor a list of GPU indices")),
    }
}

/// True when a list from [`gpu_list`] covers the GPU.
pub(crate) fn covers(list: &[usize], gpu: usize) -> bool {
    list.is_empty() || list.contains(&gpu)
}

fn cell(reader: &Reader, key: &str, value: &Value) -> Result<Cell, TableError> {
    match value {
        Value::Integer(number) => Ok(Cell::value(*number)),
        Value::String(text) if text.starts_with('!') => {
            Cell::parse(text).ok_or_else(|| reader.error(key, format!("`{text}` is not a known reason")))
        }
        other => {
            Err(reader
                .error(key, format!("is {} where a whole number or `!reason` is needed", other.type_str())))
        }
    }
}

pub(crate) fn cells(mut reader: Reader) -> Result<Vec<(Field, Cell)>, TableError> {
    let mut found = Vec::new();
    for (key, value) in reader.rest() {
        let field = Field::by_name(&key).ok_or_else(|| reader.error(&key, "is not the name of a figure"))?;
        found.push((field, cell(&reader, &key, &value)?));
    }
    Ok(found)
}

fn text_cell(reader: &mut Reader, key: &str) -> Result<TextCell, TableError> {
    match reader.text(key)? {
        None => Ok(Err(abi::NOT_SUPPORTED)),
        Some(text) => match text.strip_prefix('!') {
            None if text.len() <= 95 => Ok(Ok(text)),
            None => Err(reader.error(key, "is longer than 95 bytes")),
            Some(name) => match reason_code(name) {
                Some(code) => Ok(Err(code)),
                None => Err(reader.error(key, format!("`{name}` is not a known reason"))),
            },
        },
    }
}

fn count(reader: &mut Reader, key: &str) -> Result<u32, TableError> {
    Ok(reader.whole(key, 0..=i64::from(u32::MAX))?.unwrap_or(0) as u32)
}

fn bytes(reader: &mut Reader, key: &str) -> Result<u64, TableError> {
    Ok(reader.whole(key, 0..=1 << 50)?.unwrap_or(0) as u64)
}

/// Reads one process table.
pub(crate) fn process(mut reader: Reader) -> Result<(Vec<usize>, Process), TableError> {
    let gpus = gpu_list(&mut reader, "gpus")?;
    let kind = reader.text("kind")?.unwrap_or_else(|| "C".to_owned());
    if !["C", "G", "C+G"].contains(&kind.as_str()) {
        return Err(reader.error("kind", "is not C, G or C+G"));
    }
    let process = Process {
        pid: count(&mut reader, "pid")?,
        name: reader.text("name")?.unwrap_or_default(),
        compute: kind.contains('C'),
        graphics: kind.contains('G'),
        memory_bytes: bytes(&mut reader, "memory_bytes")?,
        gpu_instance: reader.whole("gpu_instance", 0..=i64::from(u32::MAX))?.map_or(u32::MAX, |id| id as u32),
        compute_instance: reader
            .whole("compute_instance", 0..=i64::from(u32::MAX))?
            .map_or(u32::MAX, |id| id as u32),
    };
    reader.finish()?;
    Ok((gpus, process))
}

const ENGINES: [&str; 7] =
    ["slices", "multiprocessors", "copy_engines", "encoders", "decoders", "ofas", "jpegs"];

fn mig(mut reader: Reader) -> Result<(Vec<usize>, Mig), TableError> {
    let gpus = gpu_list(&mut reader, "gpus")?;
    let mut engines = [0; 7];
    for (engine, key) in engines.iter_mut().zip(ENGINES) {
        *engine = count(&mut reader, key)?;
    }
    let mig = Mig {
        index: count(&mut reader, "index")?,
        gpu_instance: count(&mut reader, "gpu_instance")?,
        compute_instance: count(&mut reader, "compute_instance")?,
        profile: reader.text("profile")?.unwrap_or_default(),
        engines,
        memory_bytes: [
            bytes(&mut reader, "memory_total_bytes")?,
            bytes(&mut reader, "memory_reserved_bytes")?,
            bytes(&mut reader, "memory_used_bytes")?,
            bytes(&mut reader, "memory_free_bytes")?,
        ],
        bar1_bytes: [
            bytes(&mut reader, "bar1_total_bytes")?,
            bytes(&mut reader, "bar1_used_bytes")?,
            bytes(&mut reader, "bar1_free_bytes")?,
        ],
        sram_uncorrected: bytes(&mut reader, "sram_uncorrected_total")?,
    };
    reader.finish()?;
    Ok((gpus, mig))
}

const INSTANCE_NUMBERS: [&str; 10] = [
    "id",
    "p2p",
    "slices",
    "instances",
    "multiprocessors",
    "copy_engines",
    "decoders",
    "encoders",
    "jpegs",
    "ofas",
];

fn instance_profile(mut reader: Reader) -> Result<InstanceProfile, TableError> {
    let mut numbers = [0; 10];
    for (number, key) in numbers.iter_mut().zip(INSTANCE_NUMBERS) {
        *number = count(&mut reader, key)?;
    }
    let found = InstanceProfile {
        slot: count(&mut reader, "slot")?,
        name: reader.text("name")?.unwrap_or_default(),
        numbers,
        memory_mib: bytes(&mut reader, "memory_mib")?,
    };
    reader.finish()?;
    Ok(found)
}

fn phase(mut reader: Reader, device: &Cells) -> Result<Phase, TableError> {
    let processes = reader.tables("process")?.into_iter().map(process).collect::<Result<_, _>>()?;
    let mig = reader.tables("mig")?.into_iter().map(mig).collect::<Result<_, _>>()?;
    let mut all = *device;
    for (field, cell) in cells(reader)? {
        all[field.position()] = cell;
    }
    Ok(Phase { cells: all, processes, mig })
}

/// True for `dddddddd:bb:dd.f` in hexadecimal.
pub(crate) fn is_pci_address(text: &str) -> bool {
    let shape = text.len() == 16
        && text.is_ascii()
        && &text[8..9] == ":"
        && &text[11..12] == ":"
        && &text[14..15] == ".";
    shape && text.bytes().filter(u8::is_ascii_hexdigit).count() == 13
}

impl Profile {
    /// Reads a profile from its table.
    ///
    /// # Errors
    /// The first key that is unknown, missing or wrong.
    pub fn read(table: Table) -> Result<Profile, TableError> {
        let mut reader = Reader::root("profile", table);
        let mut system = reader.table("system")?;
        let mut text = reader.table("text")?;
        let mut model = reader.table("model")?;
        let mut phases = reader.table("phase")?;
        let mut device = [Cell::NOT_SUPPORTED; COUNT];
        for (field, cell) in cells(reader.table("device")?)? {
            device[field.position()] = cell;
        }
        let load = phase(phases.table("load")?, &device)?;
        let idle = phase(phases.table("idle")?, &device)?;
        phases.finish()?;
        let mut texts = Vec::new();
        for key in TEXT_NAMES {
            texts.push(text_cell(&mut text, key)?);
        }
        text.finish()?;
        let mut overrides = Vec::new();
        for mut table in reader.tables("override")? {
            let gpus = gpu_list(&mut table, "gpus")?;
            overrides.push((gpus, cells(table)?));
        }
        let pci_addresses = addresses(&mut reader)?;
        let numa_nodes: Vec<u32> = reader
            .list("numa_nodes")?
            .iter()
            .map(|node| node.as_integer().unwrap_or(0).clamp(0, 63) as u32)
            .collect();
        let profile = Profile {
            name: reader.text("name")?.ok_or_else(|| reader.error("name", "is missing"))?,
            captured: match reader.text("source")?.as_deref() {
                Some("capture") => true,
                Some("model") => false,
                _ => return Err(reader.error("source", "is not `capture` or `model`")),
            },
            gpus: reader.whole("gpus", 0..=crate::control::MAX_GPUS as i64)?.unwrap_or(1) as usize,
            pci_addresses,
            numa_nodes,
            cpus_per_numa_node: reader.whole("cpus_per_numa_node", 1..=4096)?.unwrap_or(1) as u32,
            system: System {
                driver_version: system
                    .text("driver_version")?
                    .ok_or_else(|| system.error("driver_version", "is missing"))?,
                nvml_version: system
                    .text("nvml_version")?
                    .ok_or_else(|| system.error("nvml_version", "is missing"))?,
                cuda_version: system.whole("cuda_version", 0..=1_000_000)?.unwrap_or(0) as i32,
                driver_branch: text_cell(&mut system, "driver_branch")?,
            },
            texts,
            idle,
            load,
            overrides,
            instance_profiles: reader
                .tables("gpu_instance_profile")?
                .into_iter()
                .map(instance_profile)
                .collect::<Result<_, _>>()?,
            model: Model {
                core_seconds: model.number("core_seconds", 1.0..=3600.0)?.unwrap_or(22.0),
                memory_seconds: model.number("memory_seconds", 1.0..=3600.0)?.unwrap_or(45.0),
                unlimited_milliwatts: model.number("unlimited_milliwatts", 1.0..=1e7)?,
                power_noise: model.number("power_noise", 0.0..=0.5)?.unwrap_or(0.012),
                nvlink_bytes_per_second: model.number("nvlink_bytes_per_second", 0.0..=1e13)?.unwrap_or(0.0),
            },
        };
        system.finish()?;
        model.finish()?;
        reader.finish()?;
        Ok(profile)
    }

    /// Reads a profile from TOML text.
    ///
    /// # Errors
    /// Not TOML, or the first key that is unknown, missing or wrong.
    pub fn parse(text: &str) -> Result<Profile, TableError> {
        let table = text.parse::<Table>().map_err(|error| TableError {
            place: "profile".to_owned(),
            problem: error.message().to_owned(),
        })?;
        Profile::read(table)
    }
}

fn addresses(reader: &mut Reader) -> Result<Vec<String>, TableError> {
    let mut addresses = Vec::new();
    for item in reader.list("pci_addresses")? {
        match item {
            Value::String(text) if is_pci_address(&text) => addresses.push(text.to_uppercase()),
            other => return Err(reader.error("pci_addresses", format!("`{other}` is not dddddddd:bb:dd.f"))),
        }
    }
    if addresses.is_empty() {
        return Err(reader.error("pci_addresses", "is missing"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_reads() {
        for (name, text) in SHIPPED {
            let profile = Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(profile.name, *name);
            assert!(profile.texts[Text::Name as usize].is_ok(), "{name}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let text = shipped("h100-sxm-8").unwrap().replace("[device]", "[device]\npower_draw_miliwatts = 5");
        let error = Profile::parse(&text).unwrap_err();
        assert_eq!(error.to_string(), "profile.device.power_draw_miliwatts: is not the name of a figure");
    }
}
