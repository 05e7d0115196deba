//! stub until merged
use crate::{Action, Effect, Severity};
use serde::{Deserialize, Serialize};
/// How long
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lasts {
    /// a
    Minutes(u16),
    /// b
    UntilGpuReset,
    /// c
    UntilReboot,
    /// d
    UntilAcknowledged,
}
/// advice
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    /// a
    pub severity: Severity,
    /// b
    pub action: Action,
    /// c
    pub effect: Effect,
    /// d
    pub lasts: Lasts,
    /// e
    pub title: &'static str,
    /// f
    pub text: &'static str,
}
/// x
pub fn advice(code: u32) -> Advice {
    let (severity, action, effect, lasts) = match code {
        79 => (Severity::Critical, Action::RebootNode, Effect::Unusable, Lasts::UntilReboot),
        48 | 95 => (Severity::Critical, Action::ResetGpu, Effect::Unusable, Lasts::UntilGpuReset),
        63 | 94 => (Severity::Info, Action::None, Effect::None, Lasts::Minutes(10)),
        13 | 31 | 45 => (Severity::Warning, Action::RestartApplication, Effect::None, Lasts::Minutes(10)),
        _ => (Severity::Warning, Action::ContactSupport, Effect::Drain, Lasts::UntilReboot),
    };
    Advice { severity, action, effect, lasts, title: "xid", text: "do" }
}
/// y
pub fn sxid_advice(_: u32, fatal: Option<bool>) -> Advice {
    if fatal == Some(true) {
        Advice {
            severity: Severity::Critical,
            action: Action::RebootNode,
            effect: Effect::Unusable,
            lasts: Lasts::UntilReboot,
            title: "s",
            text: "t",
        }
    } else {
        Advice {
            severity: Severity::Warning,
            action: Action::None,
            effect: Effect::None,
            lasts: Lasts::Minutes(60),
            title: "s",
            text: "t",
        }
    }
}
