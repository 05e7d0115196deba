//! What the kernel log says, handed to the judge.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rackmark_hardware::kmsg::{KernelReport, RecoveryAction, SxidLine, XidLine};
use rackmark_health::{Input, Instance, Now, Recovery, Witness, XidReport};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Announcer;
use crate::clock;
use crate::config::Config;
use crate::sampling::kernel_log::{self, Batch, Ear};
use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::{Observer, SharedRoster};

/// An XID names its GPU by address, so the GPUs are found first; a driver that does not answer is waited for no longer.
const GPUS_FIRST: Duration = Duration::from_secs(5);
/// They are looked for this often.
const LOOK: Duration = Duration::from_millis(50);

/// Listens to the kernel log until `stop` is set.
pub async fn listen<O: Observer + Send>(
    config: watch::Receiver<Arc<Config>>,
    announcer: Announcer<O>,
    roster: SharedRoster,
    mut stop: watch::Receiver<bool>,
) {
    let found = || {
        let roster = roster.read().unwrap_or_else(PoisonError::into_inner);
        roster.taken.is_some() || roster.driver_cause.is_some()
    };
    let begun = Instant::now();
    while !found() && begun.elapsed() < GPUS_FIRST {
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
    kernel_log::run(config, Listener { announcer }, stop).await;
}

/// Hands batches of the kernel log to the judge.
struct Listener<O> {
    announcer: Announcer<O>,
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
                // The log's clock is not kept in step with the others: it only dates what is old anyway.
                let ago_us = monotonic_us.saturating_sub(report.monotonic_us);
                let then = if batch.lookback { at(now, ago_us) } else { now };
                take(roster, &report.report, then, changes);
                heard = true;
            }
            if batch.records > 0 {
                roster.health.kernel_log_seq = Some(newest(batch, taken));
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

/// Newest record that was taken. A look-back begins at the oldest record there is, and must not lower it.
fn newest(batch: &Batch, taken: Option<u64>) -> u64 {
    let before = taken.filter(|_| batch.lookback).unwrap_or(0);
    batch.last_seq.max(before)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch that ends at `last_seq`.
    fn batch(last_seq: u64, lookback: bool) -> Batch {
        Batch { last_seq, lookback, records: 1, ..Batch::default() }
    }

    /// A log of many batches is read again from its beginning: all that was taken stays taken until the last of them.
    #[test]
    fn a_look_back_in_parts_does_not_forget_what_was_taken() {
        let mut taken = Some(700);
        for last_seq in [255, 511] {
            taken = Some(newest(&batch(last_seq, true), taken));
            assert_eq!(taken, Some(700), "at record {last_seq}");
        }
        taken = Some(newest(&batch(767, true), taken));
        assert_eq!(taken, Some(767));
    }

    /// A live record is newer than what came before it, whatever its number; a log that began anew counts from 0.
    #[test]
    fn a_live_record_is_the_newest() {
        assert_eq!(newest(&batch(12, false), Some(700)), 12);
        assert_eq!(newest(&batch(12, true), None), 12);
    }
}
