//! Writes a profile as TOML text.

use super::figures::{self, Kind, number};
use super::{Answers, Capture, ImportError, absence};
use crate::cell::{Cell, reason_name};
use crate::fields::{Cells, Field, NAMES};
use std::fmt::Write;

/// Facts about products that `nvidia-smi` does not print: name, cores, memory bus width in bits.
/// Source: the vendor's data sheets.
const PRODUCTS: &[(&str, i64, i64)] = &[
    ("NVIDIA H200", 16896, 6144),
    ("NVIDIA H100 80GB HBM3", 16896, 5120),
    ("NVIDIA GeForce RTX 4080 SUPER", 10240, 256),
];

/// Figures of a phase, those of the capture and those that it lacks.
struct Figures {
    captured: Cells,
    added: Vec<(Field, i64)>,
}

fn nvlink(capture: &Capture) -> Result<Option<(i64, i64)>, ImportError> {
    let mut links = 0;
    let mut speed = 0;
    for line in capture.section("capabilities :: nvlink -s").lines() {
        if let Some((_, text)) = line.split_once(": ").filter(|_| line.trim_start().starts_with("Link ")) {
            links += 1;
            // GB/s with three decimals is MB/s.
            speed = number("nvlink -s", text, Kind::Watts)?;
        }
    }
    Ok((links > 0).then_some((links, speed)))
}

fn added(capture: &Capture, cells: &Cells, name: &str) -> Result<Vec<(Field, i64)>, ImportError> {
    let figure = |field: Field| cells[field.position()].ok();
    let mut added = vec![(Field::INFOROM_CHECKSUM, 0x5151_5151), (Field::P2P_SUPPORTED, 0)];
    if let Some((_, cores, width)) = PRODUCTS.iter().find(|(known, ..)| *known == name) {
        added.extend([(Field::CORES, *cores), (Field::MEMORY_BUS_WIDTH, *width)]);
    }
    if figure(Field::POWER_DRAW).is_some() {
        added.push((Field::ENERGY_TOTAL, 0));
    }
    if figure(Field::FAN_SPEED).is_some() {
        added.push((Field::FANS, 1));
    }
    if let Some(mode) = figure(Field::ECC_MODE) {
        added.push((Field::ECC_MODE_DEFAULT, mode));
    }
    if figure(Field::FABRIC_STATE).is_some() {
        added.push((Field::FABRIC_HEALTH_MASK, 0));
        if figure(Field::FABRIC_HEALTH_SUMMARY).is_none() {
            added.push((Field::FABRIC_HEALTH_SUMMARY, 0));
        }
    }
    if figure(Field::MIG_MODE) == Some(1) {
        added.push((Field::MIG_DEVICES_MAX, 7));
    } else if figure(Field::MIG_MODE) == Some(0) {
        added.push((Field::MIG_DEVICES_MAX, 0));
    }
    added.extend([(Field::PROCESSES_COMPUTE, 0), (Field::PROCESSES_GRAPHICS, 0)]);
    if let Some((links, speed)) = nvlink(capture)? {
        // NVLink 4 towards switches, as in the boards with this GPU; the counters stand still.
        added.extend([
            (Field::NVLINK_LINKS, links),
            (Field::NVLINK_SPEED, speed),
            (Field::NVLINK_VERSION, 6),
            (Field::NVLINK_REMOTE_TYPE, 2),
            (Field::NVLINK_TRANSMIT, 0),
            (Field::NVLINK_RECEIVE, 0),
        ]);
    }
    if let (Some(9..), Some(percent)) = (figure(Field::ARCHITECTURE), figure(Field::UTILIZATION_GPU)) {
        let memory = figure(Field::UTILIZATION_MEMORY).unwrap_or(0);
        added.extend([
            (Field::GPM_SUPPORTED, 1),
            (Field::SM_ACTIVE, percent * 10),
            (Field::TENSOR_ACTIVE, 0),
            (Field::DRAM_ACTIVE, memory * 10),
        ]);
    }
    Ok(added)
}

fn line(out: &mut String, field: Field, cell: Cell) {
    let _ = match cell.get() {
        Ok(value) => writeln!(out, "{} = {value}", field.name()),
        Err(code) => writeln!(out, "{} = \"!{}\"", field.name(), reason_name(code)),
    };
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.chars().take(95).collect()).to_string()
}

fn text_line(out: &mut String, key: &str, text: Option<&str>) {
    let text = text.unwrap_or_default();
    let _ = match absence(text) {
        Some(code) => writeln!(out, "{key} = \"!{}\"", reason_name(code)),
        None => writeln!(out, "{key} = {}", quoted(text)),
    };
}

/// Splits the repeated groups below `head` at each occurrence of `first`.
fn groups<'a>(answers: &'a Answers, head: &str, first: &str) -> Vec<Vec<(&'a str, &'a str)>> {
    let mut groups: Vec<Vec<(&str, &str)>> = Vec::new();
    for (path, value) in &answers.lines {
        let Some(path) = path.strip_prefix(head).and_then(|path| path.strip_prefix('/')) else { continue };
        if path == first {
            groups.push(Vec::new());
        }
        if let Some(group) = groups.last_mut() {
            group.push((path, value));
        }
    }
    groups
}

fn processes(out: &mut String, phase: &str, answers: &Answers) -> Result<(), ImportError> {
    for group in groups(answers, "Processes", "GPU instance ID") {
        let get = |path: &str| group.iter().find(|(known, _)| *known == path).map(|(_, value)| *value);
        let Some(pid) = get("Process ID") else { continue };
        let bytes = get("Process ID/Used GPU Memory").filter(|text| absence(text).is_none());
        let _ = writeln!(
            out,
            "\n[[phase.{phase}.process]]\npid = {}\nname = {}\nkind = {}\nmemory_bytes = {}",
            number("Process ID", pid, Kind::Whole)?,
            quoted(get("Process ID/Name").unwrap_or_default()),
            quoted(get("Process ID/Type").unwrap_or("C")),
            bytes.map_or(Ok(0), |text| number("Used GPU Memory", text, Kind::Mebibytes))?,
        );
        for (key, path) in [("gpu_instance", "GPU instance ID"), ("compute_instance", "Compute instance ID")]
        {
            if let Some(id) = get(path).filter(|text| absence(text).is_none()) {
                let _ = writeln!(out, "{key} = {}", number(path, id, Kind::Whole)?);
            }
        }
    }
    Ok(())
}

#[rustfmt::skip]
const MIG: &[(&str, &str, Kind)] = &[
    ("index", "Index", Kind::Whole),
    ("gpu_instance", "GPU Instance ID", Kind::Whole),
    ("compute_instance", "Compute Instance ID", Kind::Whole),
    ("multiprocessors", "Device Attributes/Shared/Multiprocessor count", Kind::Whole),
    ("copy_engines", "Device Attributes/Shared/Copy Engine count", Kind::Whole),
    ("encoders", "Device Attributes/Shared/Encoder count", Kind::Whole),
    ("decoders", "Device Attributes/Shared/Decoder count", Kind::Whole),
    ("ofas", "Device Attributes/Shared/OFA count", Kind::Whole),
    ("jpegs", "Device Attributes/Shared/JPG count", Kind::Whole),
    ("memory_total_bytes", "Shared FB Memory Usage/Total", Kind::Mebibytes),
    ("memory_reserved_bytes", "Shared FB Memory Usage/Reserved", Kind::Mebibytes),
    ("memory_used_bytes", "Shared FB Memory Usage/Used", Kind::Mebibytes),
    ("memory_free_bytes", "Shared FB Memory Usage/Free", Kind::Mebibytes),
    ("bar1_total_bytes", "Shared BAR1 Memory/Total", Kind::Mebibytes),
    ("bar1_used_bytes", "Shared BAR1 Memory/Used", Kind::Mebibytes),
    ("bar1_free_bytes", "Shared BAR1 Memory/Free", Kind::Mebibytes),
    ("sram_uncorrected_total", "ECC Errors/Volatile/SRAM Uncorrectable", Kind::Whole),
];

/// Profile names of MIG devices by index, from the list of GPUs.
fn mig_profiles(capture: &Capture) -> Vec<&str> {
    let lines = capture.section("capabilities :: list (-L)").lines();
    lines.filter_map(|line| line.trim().strip_prefix("MIG ")?.split_whitespace().next()).collect()
}

fn mig(out: &mut String, phase: &str, capture: &Capture, answers: &Answers) -> Result<(), ImportError> {
    let profiles = mig_profiles(capture);
    for group in groups(answers, "MIG Device", "Index") {
        let get = |path: &str| group.iter().find(|(known, _)| *known == path).map(|(_, value)| *value);
        let _ = writeln!(out, "\n[[phase.{phase}.mig]]");
        for (key, path, kind) in MIG {
            if let Some(text) = get(path).filter(|text| absence(text).is_none()) {
                let _ = writeln!(out, "{key} = {}", number(path, text, *kind)?);
            }
        }
        let index = get("Index").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        if let Some(profile) = profiles.get(index) {
            let slices: String = profile.chars().take_while(char::is_ascii_digit).collect();
            let _ = writeln!(
                out,
                "profile = {}\nslices = {}",
                quoted(profile),
                number("MIG profile", &slices, Kind::Whole)?
            );
        }
    }
    Ok(())
}

/// Figures that both phases share, then those that differ, first those of the capture, then those it lacks.
fn write_figures(out: &mut String, load: &Figures, idle: &Figures) -> [String; 2] {
    let mut phases = [String::new(), String::new()];
    let mut added = String::new();
    for position in 0..NAMES.len() {
        let Some(field) = Field::at(position) else { continue };
        let of = |figures: &Figures| {
            let added =
                figures.added.iter().find(|(known, _)| *known == field).map(|(_, value)| Cell::value(*value));
            (added.unwrap_or(figures.captured[position]), added.is_some())
        };
        let ((load, is_added), (idle, _)) = (of(load), of(idle));
        if load != idle {
            line(&mut phases[0], field, load);
            line(&mut phases[1], field, idle);
        } else if load != Cell::NOT_SUPPORTED {
            line(if is_added { &mut added } else { out }, field, load);
        }
    }
    let _ = write!(out, "# not in the capture\n{added}");
    phases
}

/// CPUs of the first NUMA node, from the affinity column of the topology.
fn cpus(capture: &Capture) -> i64 {
    let row = capture.section("capabilities :: topo -m").lines().find(|line| line.starts_with("GPU0"));
    let range = row.and_then(|row| row.split_whitespace().find_map(|word| word.split_once('-')));
    let ends = range.and_then(|(first, last)| Some((first.parse::<i64>().ok()?, last.parse::<i64>().ok()?)));
    ends.map_or(1, |(first, last)| (last - first + 1).clamp(1, 4096))
}

/// A version such as 13.1 as NVML spells it: 13010.
fn cuda_version(text: &str) -> Option<i64> {
    let (major, minor) = text.split_once('.')?;
    Some(
        major.parse::<i64>().ok().filter(|major| (0..100).contains(major))? * 1000
            + minor.parse::<i64>().ok().filter(|minor| (0..100).contains(minor))? * 10,
    )
}

pub(super) fn profile(capture: &Capture, name: &str) -> Result<String, ImportError> {
    let load = &capture.load;
    let versions = capture.section("capabilities :: version");
    let version = |key: &str| {
        versions.lines().find_map(|line| {
            line.split_once(':').filter(|(known, _)| known.trim() == key).map(|(_, value)| value.trim())
        })
    };
    let product = load.text("name", "Product Name").unwrap_or_default();
    let address = load
        .text("pci.bus_id", "PCI/Bus Id")
        .filter(|text| crate::profile::is_pci_address(text))
        .unwrap_or("00000000:01:00.0");
    let mut out = format!(
        "# Made by `nvml-sim import` from a capture of {product}, driver {}. Do not edit.\n\
         # Identifiers are simulated. A figure that is missing here is \"not supported\".\n\
         name = {}\nsource = \"capture\"\ngpus = 1\npci_addresses = [{}]\nnuma_nodes = [0]\ncpus_per_numa_node = {}\n\n\
         [system]\ndriver_version = {}\nnvml_version = {}\ncuda_version = {}\n\n[text]\n",
        version("DRIVER version").unwrap_or("unknown"),
        quoted(name),
        quoted(address),
        cpus(capture),
        quoted(load.text("driver_version", "").or(version("DRIVER version")).unwrap_or("0")),
        quoted(version("NVML version").unwrap_or("0")),
        version("CUDA Version").and_then(cuda_version).unwrap_or(0),
    );
    let serial =
        load.text("serial", "Serial Number").map(|text| if absence(text).is_some() { text } else { "sim" });
    for (key, text) in [
        ("name", Some(product)),
        ("serial", serial),
        ("vbios_version", load.text("vbios_version", "VBIOS Version")),
        ("board_part_number", load.text("", "Board Part Number")),
        ("inforom_image_version", load.text("inforom.img", "Inforom Version/Image Version")),
        ("inforom_oem_version", load.text("inforom.oem", "Inforom Version/OEM Object")),
        ("inforom_ecc_version", load.text("inforom.ecc", "Inforom Version/ECC Object")),
        ("inforom_power_version", load.text("inforom.pwr", "Inforom Version/Power Management Object")),
        ("gsp_firmware_version", load.text("", "GSP Firmware Version")),
        ("chassis_serial", None),
    ] {
        text_line(&mut out, key, text);
    }
    let figures = |answers: &Answers| -> Result<Figures, ImportError> {
        let captured = figures::cells(answers)?;
        Ok(Figures { added: added(capture, &captured, product)?, captured })
    };
    let (load_figures, idle_figures) = (figures(load)?, figures(&capture.idle)?);
    out.push_str("\n[device]\n");
    let phases = write_figures(&mut out, &load_figures, &idle_figures);
    for ((phase, answers), figures) in [("load", load), ("idle", &capture.idle)].into_iter().zip(phases) {
        let _ = write!(out, "\n[phase.{phase}]\n{figures}");
        processes(&mut out, phase, answers)?;
        mig(&mut out, phase, capture, answers)?;
    }
    Ok(out)
}
