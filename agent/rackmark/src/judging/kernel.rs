//! What the kernel log says, handed to the judge.

use rackmark_hardware::kmsg::{KernelReport, RecoveryAction, SxidLine, XidLine};
use rackmark_health::{Input, Instance, Now, Recovery, Witness, XidReport};

use super::Announcer;
use crate::clock;
use crate::sampling::kernel_log::{Batch, Ear};
use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::Observer;

/// Hands batches of the kernel log to the judge.
pub struct Listener<O> {
    announcer: Announcer<O>,
}

impl<O: Observer> Listener<O> {
    /// Tells through `announcer`.
    pub const fn new(announcer: Announcer<O>) -> Self {
        Self { announcer }
    }
}

impl<O: Observer + Send> Ear for Listener<O> {
    fn heard(&mut self, batch: &Batch) {
        // Most of a kernel log is of no interest here, and nobody is disturbed for it.
        let monotonic_us = clock::monotonic_us();
        self.announcer.announce(|roster, now, changes| {
            let counts = &mut roster.around.kernel_log;
            counts.records += batch.records;
            counts.lost += batch.lost;
            counts.unreadable += batch.unreadable;
            if batch.lost > 0 {
                roster.tell(Input::KernelLogLost { records: batch.lost }, now, changes);
            }
            let taken = roster.health.kernel_log_seq;
            let mut heard = false;
            for report in &batch.reports {
                // What was taken before the daemon was restarted is not taken again.
                if batch.lookback && taken.is_some_and(|taken| report.seq <= taken) {
                    continue;
                }
                let then = at(now, monotonic_us.saturating_sub(report.monotonic_us));
                take(roster, &report.report, then, changes);
                heard = true;
            }
            if batch.records > 0 {
                roster.health.kernel_log_seq = Some(batch.last_seq);
            }
            if heard || batch.lost > 0 {
                roster.judge(now, changes);
            }
        });
    }

    fn availability(&mut self, state: Result<(), String>) {
        self.announcer.announce(|roster, now, changes| {
            roster.around.kernel_log_trouble = Some(state.err().unwrap_or_default());
            roster.judge(now, changes);
        });
    }
}

/// Both clocks as they stood `ago_us` microseconds ago.
fn at(now: Now, ago_us: u64) -> Now {
    let ago_ms = ago_us / 1000;
    Now { boot_ms: now.boot_ms.saturating_sub(ago_ms), unix_ms: now.unix_ms.saturating_sub(ago_ms) }
}

fn take(roster: &mut Roster, report: &KernelReport, then: Now, changes: &mut Vec<Change>) {
    match report {
        KernelReport::Xid(line) => xid(roster, line, then, changes),
        KernelReport::SxId(SxidLine { pci_text, code, fatal, text, .. }) => {
            let (pci_text, text) = (pci_text.as_str(), text.as_str());
            roster.tell(Input::SxId { pci_text, code: *code, fatal: *fatal, text }, then, changes);
        }
    }
}

fn xid(roster: &mut Roster, line: &XidLine, then: Now, changes: &mut Vec<Change>) {
    let slot = line.pci.and_then(|address| roster.position(address)).map(|at| roster.gpus[at].identity.slot);
    if let (Some(slot), Some(action)) = (slot, line.recovery_action) {
        roster.tell(Input::Recovery { slot, action: recovery(action) }, then, changes);
    }
    let report = XidReport {
        slot,
        address: line.pci,
        address_text: line.pci_text.clone(),
        code: line.code,
        witness: Witness::KernelLog,
        instance: line
            .gpu_instance_id
            .map(|gpu_instance| Instance { gpu_instance, compute_instance: line.compute_instance_id }),
        pid: line.pid,
        process: line.process.clone(),
        text: line.text.clone(),
        caused_by: line.caused_by,
        seen_unix_ms: then.unix_ms,
    };
    roster.tell(Input::Xid(&report), then, changes);
}

const fn recovery(action: RecoveryAction) -> Recovery {
    match action {
        RecoveryAction::None => Recovery::None,
        RecoveryAction::GpuReset => Recovery::Reset,
        RecoveryAction::NodeReboot => Recovery::Reboot,
        RecoveryAction::DrainP2p => Recovery::DrainP2p,
        RecoveryAction::DrainAndReset => Recovery::DrainAndReset,
        RecoveryAction::RecoverImexDomain => Recovery::RecoverImexDomain,
    }
}
