//! What a condition asks of people and what it does to the verdict.

use serde::{Deserialize, Serialize};

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Info,
    /// Someone should look at it during the day.
    Warning,
    /// A person is needed now, or the GPU earns nothing.
    Critical,
}

impl Severity {
    /// All, mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The name used in JSON, tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What a person or a scheduler is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    None,
    /// Start the application again; the hardware is not to blame.
    RestartApplication,
    /// Ask those who know: the vendor's support.
    ContactSupport,
    /// Let the work finish and give the GPU nothing new.
    Drain,
    /// Reset this GPU (`nvidia-smi --gpu-reset`), after its work has ended.
    ResetGpu,
    /// Restart the whole node.
    RebootNode,
    /// Look at the hardware: seating, power, cooling, cables.
    InspectHardware,
    /// Replace the part (RMA).
    ReplaceHardware,
}

impl Action {
    /// All, in rising order of effort.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::RestartApplication,
        Self::ContactSupport,
        Self::Drain,
        Self::ResetGpu,
        Self::RebootNode,
        Self::InspectHardware,
        Self::ReplaceHardware,
    ];

    /// The name used in JSON, tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::RestartApplication => "restart_application",
            Self::ContactSupport => "contact_support",
            Self::Drain => "drain",
            Self::ResetGpu => "reset_gpu",
            Self::RebootNode => "reboot_node",
            Self::InspectHardware => "inspect_hardware",
            Self::ReplaceHardware => "replace_hardware",
        }
    }

    /// The same for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::None => "nothing to do",
            Self::RestartApplication => "restart the application",
            Self::ContactSupport => "contact support",
            Self::Drain => "drain",
            Self::ResetGpu => "reset the GPU",
            Self::RebootNode => "reboot the node",
            Self::InspectHardware => "inspect the hardware",
            Self::ReplaceHardware => "replace the hardware (RMA)",
        }
    }
}

/// What a condition does to the verdict on its GPU, or on all GPUs where it is the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// None: work may be placed.
    None,
    /// Nothing new is placed, running work may finish.
    Drain,
    /// No work: nothing trustworthy is known.
    Unknown,
    /// No work.
    Unusable,
}

impl Effect {
    /// The name used in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Drain => "drain",
            Self::Unknown => "unknown",
            Self::Unusable => "unusable",
        }
    }
}
