//! What the NVIDIA driver writes into the kernel log: XIDs of GPUs and SXids of
//! NVSwitches.
//!
//! The forms are those of NVIDIA's open-gpu-kernel-modules 595.45:
//! `krcReportXid` in `kernel_rc.c`, `NVSWITCH_PRINT_SXID` in `common_nvswitch.h`.

use rackmark_model::PciAddress;

use super::{Record, decimal};

/// Most bytes of the driver's words that are kept.
const TEXT_BYTES_MAX: usize = 400;

/// Most bytes of a process name that are kept: the driver's
/// `NV_PROC_NAME_MAX_LENGTH`.
const NAME_BYTES_MAX: usize = 100;

/// Most bytes of a device's name that are kept; the longest the driver prints,
/// `PCI:ffffffff:ff:1f`, has 18.
const DEVICE_BYTES_MAX: usize = 32;

/// `ROBUST_CHANNEL_PREEMPTIVE_REMOVAL`, the code that may name the one before it.
const PREEMPTIVE_REMOVAL: u32 = 45;

/// `GPU_RECOVERY_ACTION_CHANGED`, the code that carries the driver's own verdict.
const RECOVERY_ACTION_CHANGED: u32 = 154;

/// What the NVIDIA driver reports in one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelReport {
    /// An error of a GPU.
    Xid(XidLine),
    /// An error of an NVSwitch.
    SxId(SxidLine),
}

/// An XID: an error of a GPU that the driver has reported to the kernel log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XidLine {
    /// The GPU. The driver leaves the function out; it is 0 on every GPU.
    pub pci: Option<PciAddress>,
    /// The GPU as printed, such as `PCI:0000:1b:00`, also where that is no address.
    pub pci_text: String,
    /// The code of NVIDIA's XID catalogue.
    pub code: u32,
    /// The MIG GPU instance.
    pub gpu_instance_id: Option<u32>,
    /// The MIG compute instance.
    pub compute_instance_id: Option<u32>,
    /// The process whose channel failed, or that called the driver.
    pub pid: Option<u32>,
    /// Its name, as the driver knows it.
    pub process: Option<String>,
    /// The words after that, at most 400 bytes, without control characters.
    pub text: String,
    /// The code of the error that this one only follows from (XID 45).
    pub caused_by: Option<u32>,
    /// What the driver now asks for (XID 154).
    pub recovery_action: Option<RecoveryAction>,
    /// The error was injected for a test (`i1` in the lines of NVLink 5).
    pub injected: bool,
}

/// What the driver says a GPU needs before it can be trusted again: the values
/// of `NV2080_CTRL_GPU_RECOVERY_ACTION`, which NVML hands out as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryAction {
    /// Nothing.
    None,
    /// A reset of this GPU.
    GpuReset,
    /// A restart of the node.
    NodeReboot,
    /// An end of all peer-to-peer traffic.
    DrainP2p,
    /// No new work, then a reset.
    DrainAndReset,
    /// A recovery of the IMEX domain.
    RecoverImexDomain,
}

/// An SXid: an error of an NVSwitch that the driver has reported to the kernel log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SxidLine {
    /// The switch as printed, such as `PCI:0000:05:00.0`, also where that is no address.
    pub pci_text: String,
    /// The switch.
    pub pci: Option<PciAddress>,
    /// Its number, 3 in `nvidia-nvswitch3`.
    pub switch: Option<u32>,
    /// The SXid.
    pub code: u32,
    /// Whether the driver calls it fatal; it does not rate every error.
    pub fatal: Option<bool>,
    /// The NVLink of the switch.
    pub link: Option<u32>,
    /// The words after the code, at most 400 bytes, without control characters.
    pub text: String,
}

/// What the NVIDIA driver says in `record`, if it is one of its reports.
///
/// XIDs have the forms `NVRM: Xid (PCI:0000:1b:00): 79, pid=71, name=x, text`,
/// where `pid` and `name` may be missing and the parentheses may go on with
/// ` GPU-I:02`, or ` GPU-I:02 GPU-CI:00`; SXids the form
/// `nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 text`.
/// A device in another form leaves the address empty rather than the report
/// unseen. What a program has written into the log is not the driver's word and
/// no report, nor are the two or three lines of raw data that follow an SXid
/// with its code.
pub fn nvidia_report(record: &Record) -> Option<KernelReport> {
    if record.facility != 0 {
        return None;
    }
    if let Some(rest) = record.text.strip_prefix("NVRM: Xid (") {
        return xid(rest).map(KernelReport::Xid);
    }
    let (name, rest) = record.text.strip_prefix("nvidia-")?.split_once(": SXid (")?;
    sxid(name, rest).map(KernelReport::SxId)
}

fn xid(rest: &str) -> Option<XidLine> {
    let (device, report) = rest.split_once("): ")?;
    let (code, report) = code(report)?;
    let mut parts = device.split(' ');
    let pci_text = parts.next().unwrap_or_default();
    let (mut gpu_instance_id, mut compute_instance_id) = (None, None);
    for part in parts {
        if let Some(id) = part.strip_prefix("GPU-I:") {
            gpu_instance_id = number(id);
        } else if let Some(id) = part.strip_prefix("GPU-CI:") {
            compute_instance_id = number(id);
        }
    }
    let (pid, process, text) = process(report);
    Some(XidLine {
        pci: address(pci_text),
        pci_text: cleaned(pci_text, DEVICE_BYTES_MAX),
        code,
        gpu_instance_id,
        compute_instance_id,
        pid,
        process,
        caused_by: caused_by(code, text),
        recovery_action: recovery_action(code, text),
        injected: injected(code, text),
        text: cleaned(text, TEXT_BYTES_MAX),
    })
}

fn sxid(name: &str, rest: &str) -> Option<SxidLine> {
    if name.contains(' ') {
        return None;
    }
    let (pci_text, report) = rest.split_once("): ")?;
    let (code, text) = code(report)?;
    if text.starts_with("Severity ") || text.starts_with("Data {") {
        return None;
    }
    let (severity, after) = text.split_once(", ").unwrap_or((text, ""));
    let fatal = match severity {
        "Fatal" => Some(true),
        "Non-fatal" | "Correctable" => Some(false),
        _ => None,
    };
    let detail = if fatal.is_some() { after } else { text };
    let link = detail.strip_prefix("Link ").and_then(|link| number(link.split(' ').next()?));
    Some(SxidLine {
        pci: address(pci_text),
        pci_text: cleaned(pci_text, DEVICE_BYTES_MAX),
        switch: name.strip_prefix("nvswitch").and_then(number),
        code,
        fatal,
        link,
        text: cleaned(text, TEXT_BYTES_MAX),
    })
}

/// The code and what follows its comma.
fn code(report: &str) -> Option<(u32, &str)> {
    let (code, rest) = report.split_once(',').unwrap_or((report, ""));
    Some((number(code)?, rest.trim()))
}

fn number(text: &str) -> Option<u32> {
    u32::try_from(decimal(text)?).ok()
}

/// The address in `PCI:0000:1b:00`, whose function is 0, or in
/// `PCI:0000:05:00.0`. Drivers before 2014 leave `PCI:` out.
fn address(device: &str) -> Option<PciAddress> {
    let text = device.strip_prefix("PCI:").unwrap_or(device);
    if text.len() > DEVICE_BYTES_MAX || text.contains('+') {
        return None;
    }
    if text.contains('.') { text.parse().ok() } else { format!("{text}.0").parse().ok() }
}

/// Process id and name in front of the words, and the words. The driver writes
/// `pid='<unknown>', name=<unknown>` where it knows of none. A name ends at the
/// first comma with a space after it, as nothing else marks its end.
fn process(report: &str) -> (Option<u32>, Option<String>, &str) {
    let Some(after) = report.strip_prefix("pid=") else { return (None, None, report) };
    let (pid, rest) = until_comma(after);
    let Some(after) = rest.strip_prefix("name=") else { return (number(pid), None, rest.trim()) };
    let (name, text) = until_comma(after);
    let known = !name.is_empty() && name != "<unknown>";
    (number(pid), known.then(|| cleaned(name, NAME_BYTES_MAX)), text.trim())
}

/// Where the words are empty the last comma ends the line, its space trimmed.
fn until_comma(text: &str) -> (&str, &str) {
    text.split_once(", ").unwrap_or_else(|| (text.strip_suffix(',').unwrap_or(text), ""))
}

fn caused_by(code: u32, text: &str) -> Option<u32> {
    let (_, cause) = text.rsplit_once("caused by previous Xid ")?;
    number(cause).filter(|_| code == PREEMPTIVE_REMOVAL)
}

/// The new action in `GPU recovery action changed from 0x0 (None) to 0x1 (GPU
/// Reset Required)`, by its name, or by its number where a later driver has
/// another name for it.
fn recovery_action(code: u32, text: &str) -> Option<RecoveryAction> {
    if code != RECOVERY_ACTION_CHANGED {
        return None;
    }
    let (_, new) = text.rsplit_once(" to 0x")?;
    let (number, name) = new.split_once(" (")?;
    let name = name.trim_end_matches(')');
    let by_name = RECOVERY_ACTIONS.iter().find(|(_, known)| *known == name);
    let by_number = || RECOVERY_ACTIONS.get(usize::try_from(decimal(number)?).ok()?);
    by_name.or_else(by_number).map(|(action, _)| *action)
}

/// In the order of their numbers, with the driver's names.
const RECOVERY_ACTIONS: [(RecoveryAction, &str); 6] = [
    (RecoveryAction::None, "None"),
    (RecoveryAction::GpuReset, "GPU Reset Required"),
    (RecoveryAction::NodeReboot, "Node Reboot Required"),
    (RecoveryAction::DrainP2p, "Drain P2P"),
    (RecoveryAction::DrainAndReset, "Drain and Reset"),
    (RecoveryAction::RecoverImexDomain, "Recover IMEX Domain"),
];

/// NVLink 5 errors (codes 144 to 150) are written as
/// `RLW_REMAP Nonfatal XC0 i0 Link 02 (0x...)`: unit, severity, whether the
/// error crosses a container, whether it was injected, link, registers.
fn injected(code: u32, text: &str) -> bool {
    (144..=150).contains(&code) && text.split_ascii_whitespace().take(4).any(|word| word == "i1")
}

/// `text` with every control character replaced, cut at a character to at most
/// `longest` bytes.
fn cleaned(text: &str, longest: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(longest));
    for letter in text.chars() {
        let letter = if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
        if clean.len() + letter.len_utf8() > longest {
            break;
        }
        clean.push(letter);
    }
    clean
}
