//! NVIDIA's XID codes: what each asks for, and our answer.
//!
//! The catalogue is a table of facts; [`advice`] turns the class of a code into severity, action and effect.
//! Where our answer is another one, [`DIFFERENCES`] says so with its reason. `docs/xids.md` is made from both.

mod catalogue;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;

pub use catalogue::CATALOGUE;

use serde::{Deserialize, Serialize};

use crate::{Action, Effect, Severity};

/// NVIDIA's classes of immediate action, as its catalogue names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionClass {
    /// `IGNORE`
    Ignore,
    /// `RESTART_APP`
    RestartApp,
    /// `CONTACT_SUPPORT`
    ContactSupport,
    /// `RESET_GPU`
    ResetGpu,
    /// `RESTART_BM`: restart the bare-metal host.
    RestartBm,
    /// `RESTART_VM`
    RestartVm,
    /// `WORKFLOW_XID_45`: alone, restart the fabric manager; with another XID, ignore.
    WorkflowXid45,
    /// `WORKFLOW_XID_48`
    WorkflowXid48,
    /// `WORKFLOW_NVLINK_ERR`
    WorkflowNvlinkErr,
    /// `WORKFLOW_NVLINK5_ERR`
    WorkflowNvlink5Err,
    /// `CHECK_MECHANICALS`
    CheckMechanicals,
    /// `UPDATE_SWFW`
    UpdateSwfw,
    /// `CHECK_UVM`
    CheckUvm,
    /// `XID_154`: the driver's own word decides.
    Xid154,
    /// The catalogue leaves the cell empty.
    Unstated,
}

impl ActionClass {
    /// The name in NVIDIA's catalogue; empty where it states none.
    pub const fn catalogue_name(self) -> &'static str {
        match self {
            Self::Ignore => "IGNORE",
            Self::RestartApp => "RESTART_APP",
            Self::ContactSupport => "CONTACT_SUPPORT",
            Self::ResetGpu => "RESET_GPU",
            Self::RestartBm => "RESTART_BM",
            Self::RestartVm => "RESTART_VM",
            Self::WorkflowXid45 => "WORKFLOW_XID_45",
            Self::WorkflowXid48 => "WORKFLOW_XID_48",
            Self::WorkflowNvlinkErr => "WORKFLOW_NVLINK_ERR",
            Self::WorkflowNvlink5Err => "WORKFLOW_NVLINK5_ERR",
            Self::CheckMechanicals => "CHECK_MECHANICALS",
            Self::UpdateSwfw => "UPDATE_SWFW",
            Self::CheckUvm => "CHECK_UVM",
            Self::Xid154 => "XID_154",
            Self::Unstated => "",
        }
    }
}

/// One code of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xid {
    /// The code, 1 to 172.
    pub code: u16,
    /// NVIDIA's name of it.
    pub mnemonic: &'static str,
    /// Drivers of today can report it.
    pub in_use: bool,
    /// NVIDIA's immediate action.
    pub class: ActionClass,
    /// NVIDIA's follow-up action, as the catalogue spells it; empty where it states none.
    pub follow_up: &'static str,
    /// What happened, in our words.
    pub title: &'static str,
}

/// The catalogue's entry for a code.
pub fn by_code(code: u32) -> Option<&'static Xid> {
    CATALOGUE.get(usize::try_from(code).ok()?.checked_sub(1)?)
}

/// For how long a message of the kernel stands as a condition. A person's acknowledgement ends it in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasts {
    /// This many minutes after the last such message.
    Minutes(u16),
    /// Until the GPU was reset, or the node restarted.
    UntilGpuReset,
    /// Until the node was restarted.
    UntilReboot,
    /// Until a person acknowledges it.
    UntilAcknowledged,
}

/// Messages that leave no damage behind stand for so long after the last one: long enough to be seen by a scrape
/// and a person, short enough that yesterday's application is not on today's page.
const PASSING: Lasts = Lasts::Minutes(10);

/// What to do about an XID or SXid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// How much it matters.
    pub severity: Severity,
    /// What is to be done.
    pub action: Action,
    /// What it does to the verdict.
    pub effect: Effect,
    /// For how long it stands.
    pub lasts: Lasts,
    /// What happened.
    pub title: &'static str,
    /// What a technician does about it.
    pub text: &'static str,
}

/// Our answer to a code of which the catalogue says something else, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The code.
    pub code: u16,
    /// What we do instead.
    pub answer: Answer,
    /// Why.
    pub reason: &'static str,
}

/// [`Advice`] without its title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// How much it matters.
    pub severity: Severity,
    /// What is to be done.
    pub action: Action,
    /// What it does to the verdict.
    pub effect: Effect,
    /// For how long it stands.
    pub lasts: Lasts,
    /// What a technician does about it.
    pub text: &'static str,
}

/// A passing message that asks nothing of anybody.
const NOTHING: Answer = Answer {
    severity: Severity::Info,
    action: Action::None,
    effect: Effect::None,
    lasts: PASSING,
    text: "Nothing to do. If it comes again and again, hand the kernel lines to support.",
};

const RESTART_APPLICATION: Answer = Answer {
    severity: Severity::Warning,
    action: Action::RestartApplication,
    effect: Effect::None,
    lasts: PASSING,
    text: "The application on this GPU was stopped and is to be started again. Other work goes on. If different \
           applications meet it on this GPU only, test the GPU.",
};

const RESET: Answer = Answer {
    severity: Severity::Critical,
    action: Action::ResetGpu,
    effect: Effect::Unusable,
    lasts: Lasts::UntilGpuReset,
    text: "End the work on this GPU and reset it (nvidia-smi --gpu-reset). If it comes back after the reset, \
           restart the node, then contact support.",
};

const REBOOT: Answer = Answer {
    severity: Severity::Critical,
    action: Action::RebootNode,
    effect: Effect::Unusable,
    lasts: Lasts::UntilReboot,
    text: "A reset cannot reach this GPU any more. Move the work away and restart the node; after a second time, \
           look at seating, power and riser, then contact support.",
};

const SUPPORT: Answer = Answer {
    severity: Severity::Warning,
    action: Action::ContactSupport,
    effect: Effect::Drain,
    lasts: Lasts::UntilReboot,
    text: "Let the work finish, save nvidia-bug-report.sh and ask support before this GPU gets new work.",
};

/// Our answers where they are not those of the catalogue, or where it has none.
pub static DIFFERENCES: &[Difference] = &[
    Difference {
        code: 45,
        answer: Answer {
            text: "Nothing to do: look for the XID just before it. Without one, the application was ended.",
            ..NOTHING
        },
        reason: "the driver clears channels whenever an application is killed or another XID stops it, thousands at \
                 a time; the cause has a condition of its own, and so has a fabric manager that is down",
    },
    Difference { code: 162, answer: NOTHING, reason: "no action stated; the message is good news" },
    Difference {
        code: 163,
        answer: Answer {
            severity: Severity::Warning,
            action: Action::InspectHardware,
            lasts: Lasts::UntilGpuReset,
            text: "The GPU computes as before, but its power swings reach the supply. Look at its cooling; a reset \
                   switches the circuit on again.",
            ..NOTHING
        },
        reason: "no action stated; heat or a timeout switches the circuit off, and the GPU still computes",
    },
    Difference {
        code: 164,
        answer: Answer {
            effect: Effect::None,
            text: "The GPU computes as before. Plan for power swings at the supply, or for a replacement.",
            ..SUPPORT
        },
        reason: "no action stated; wear of a circuit that work does not need is no cause to drain",
    },
    Difference {
        code: 165,
        answer: Answer {
            effect: Effect::None,
            text: "The GPU computes as before. Make sure that the supply bears its power swings, or replace it.",
            ..SUPPORT
        },
        reason: "no action stated; wear of a circuit that work does not need is no cause to drain",
    },
    Difference {
        code: 167,
        answer: REBOOT,
        reason: "no action stated; without PCIe a reset does not reach the GPU, as with 79",
    },
    Difference {
        code: 169,
        answer: RESET,
        reason: "no action stated; a halted controller starts with a reset, as with 62",
    },
    Difference {
        code: 171,
        answer: RESET,
        reason: "no action stated; it comes with 48 and says that the error is in DRAM",
    },
    Difference {
        code: 172,
        answer: RESET,
        reason: "no action stated; it comes with 48 and says that the error is in SRAM",
    },
];

/// Why our answer to a code is not the catalogue's, if it is not.
pub fn differs(code: u32) -> Option<&'static str> {
    difference(code).map(|difference| difference.reason)
}

fn difference(code: u32) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| u32::from(difference.code) == code)
}

const fn answer(class: ActionClass) -> Answer {
    match class {
        ActionClass::Ignore => NOTHING,
        ActionClass::RestartApp => RESTART_APPLICATION,
        ActionClass::ContactSupport | ActionClass::Unstated => SUPPORT,
        ActionClass::ResetGpu => RESET,
        ActionClass::RestartBm => REBOOT,
        ActionClass::RestartVm => Answer {
            text: "Restart the virtual machine that holds this GPU, or the node where there is none.",
            ..REBOOT
        },
        ActionClass::WorkflowXid45 => Answer {
            text: "Look for the XID just before it. Without one, restart the fabric manager, then the application.",
            ..RESTART_APPLICATION
        },
        ActionClass::WorkflowXid48 => Answer {
            text: "Data was lost. End the work on this GPU and reset it, so that the row or page is taken out of \
                   use. If errors come back, contact support.",
            ..RESET
        },
        ActionClass::WorkflowNvlinkErr => Answer {
            severity: Severity::Critical,
            action: Action::InspectHardware,
            effect: Effect::Unusable,
            lasts: Lasts::UntilGpuReset,
            text: "Look whether the GPU at the other end failed first. If not, reset both; if it comes back, look at \
                   the seating of module, bridge and cable, then contact support.",
        },
        // Most subcodes are not fatal; where one is, the driver asks for a reset itself (XID 154, field 230).
        ActionClass::WorkflowNvlink5Err => Answer {
            severity: Severity::Critical,
            action: Action::InspectHardware,
            effect: Effect::Drain,
            lasts: Lasts::UntilGpuReset,
            text: "Read the kernel line: after `Fatal` reset the GPU; after `Nonfatal` let the work finish. If it \
                   comes back, look at the link of that line: cable, module, switch.",
        },
        ActionClass::CheckMechanicals => Answer {
            severity: Severity::Critical,
            action: Action::InspectHardware,
            effect: Effect::Drain,
            lasts: Lasts::UntilReboot,
            text: "Switch the node off and check the power cables of this GPU and their plugs. It runs with lower \
                   clocks until then.",
        },
        ActionClass::UpdateSwfw => Answer {
            text: "Versions of driver, firmware and guest do not fit together. Update them, or ask support which to use.",
            ..SUPPORT
        },
        ActionClass::CheckUvm => Answer {
            text: "Start the application again. If it uses unified memory (UVM) and fails again, reset the GPU.",
            ..RESTART_APPLICATION
        },
        ActionClass::Xid154 => Answer {
            text: "The driver says itself what it needs: see the condition recovery_action.",
            ..NOTHING
        },
    }
}

/// The action that follows from a class alone.
pub const fn class_action(class: ActionClass) -> Action {
    answer(class).action
}

/// What to do about an XID. A code that the catalogue lacks is kept and shown, and drains its GPU.
pub fn advice(code: u32) -> Advice {
    let entry = by_code(code);
    let answer = match (difference(code), entry) {
        (Some(difference), _) => difference.answer,
        (None, Some(xid)) => answer(xid.class),
        (None, None) => SUPPORT,
    };
    titled(answer, entry.map_or("a code that is not in NVIDIA's catalogue", |xid| xid.title))
}

const fn titled(answer: Answer, title: &'static str) -> Advice {
    let Answer { severity, action, effect, lasts, text } = answer;
    Advice { severity, action, effect, lasts, title, text }
}

/// What to do about an SXid, the message of an NVSwitch. `fatal` is what its kernel line says; NVIDIA publishes no
/// catalogue of SXids with actions.
pub fn sxid_advice(code: u32, fatal: Option<bool>) -> Advice {
    let answer = match fatal {
        Some(true) => Answer {
            text: "NVLink jobs of this node were stopped. Restart the node; if it comes back, look at the seating of \
                   the baseboard and contact support.",
            ..REBOOT
        },
        Some(false) => Answer { severity: Severity::Warning, ..NOTHING },
        None => Answer {
            severity: Severity::Warning,
            action: Action::InspectHardware,
            effect: Effect::None,
            lasts: Lasts::UntilReboot,
            text: "The line does not say whether it is fatal. Look at the NVLinks of this node and at the log of the \
                   fabric manager.",
        },
    };
    let title = match (code, fatal) {
        // Names as the NVSwitch driver prints them.
        (20034, _) => "an NVLink went down at its NVSwitch port (LTSSM fault)",
        (12028, _) => "an NVSwitch refused an access without permission (egress PRIV error)",
        (_, Some(true)) => "fatal NVSwitch error",
        (_, Some(false)) => "NVSwitch error that is not fatal",
        (_, None) => "NVSwitch error",
    };
    titled(answer, title)
}
