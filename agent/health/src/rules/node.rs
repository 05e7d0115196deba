//! Rules about the node as a whole.

use rackmark_model::NoData;

use crate::catalogue::Code;
use crate::clock::{Now, SECOND_MS};
use crate::condition::{Conditions, Finding};
use crate::transition::Transition;
use crate::view::{GpuView, NodeView, Standing};

/// A sampler may miss three periods and this long.
const SILENCE_MS: u64 = 5 * SECOND_MS;
/// Least room on the disk of the state directory (ours).
const FREE_BYTES_MIN: u64 = 512 << 20;
/// One part in so many must be free (ours): 2 %.
const FREE_SHARE: u64 = 50;

/// What the GPUs say together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Around {
    /// GPUs that are on the bus.
    pub present: u32,
    /// A GPU has no persistence mode.
    pub persistence_off: bool,
    /// A GPU waits for its NVLink fabric.
    pub fabric_missing: bool,
}

impl Around {
    pub(crate) fn add(&mut self, gpu: &GpuView<'_>) {
        // A GPU that was lost while we looked is named as lost; here only those count that are not there at all.
        let there = !matches!(gpu.standing, Standing::Absent(NoData::NotSampled | NoData::DriverGone));
        self.present += u32::from(there);
        if let Some(inventory) = gpu.inventory {
            self.persistence_off |= inventory.persistence_enabled == Ok(false);
            let fabric = inventory.fabric_state.as_deref();
            self.fabric_missing |= matches!(fabric, Ok("not_started" | "in_progress"));
        }
    }
}

/// Applies every rule to the node.
pub(crate) fn judge_node(
    node: &NodeView<'_>,
    around: Around,
    began_boot_ms: Option<u64>,
    conditions: &mut Conditions,
    now: Now,
    out: &mut Vec<Transition>,
) {
    let settling = now.boot_ms < node.boot_grace_ms;
    let mut level = |code: Code, finding: Finding, detail: &dyn Fn() -> String| {
        let waits = settling && code.entry().settles && finding == Finding::Wrong;
        if !waits && !node.ignored.contains(&code) {
            conditions.level(None, (code, 0), finding, detail, now, out);
        }
    };
    let driver = Finding::of(node.driver_up, |up| !up);
    level(Code::DriverGone, driver, &|| node.driver_cause.to_owned());

    // Where no sample ever came, silence began with the daemon; a driver may take its time after a boot.
    let newest = node.sampled_boot_ms.or(began_boot_ms.filter(|_| !settling));
    let silence_ms = newest.map(|newest| now.since(newest));
    let stale = match (node.paused, silence_ms) {
        (true, _) => Finding::Fine,
        (false, age) => {
            Finding::of(age, |age| age > node.period_ms.saturating_mul(3).saturating_add(SILENCE_MS))
        }
    };
    level(Code::SamplingStale, stale, &|| {
        format!("newest sample is {} s old", silence_ms.unwrap_or(0) / 1000)
    });

    let counted = node.driver_up == Some(true) && node.samples > 0;
    let count = node.expected_gpus.filter(|_| counted);
    level(Code::GpuCount, Finding::of(count, |expected| around.present < expected), &|| {
        format!("{} of {}", around.present, count.unwrap_or(0))
    });

    level(Code::SpoolTrouble, Finding::wrong_if(!node.spool_trouble.is_empty()), &|| {
        node.spool_trouble.to_owned()
    });
    let kernel_log = Finding::of(node.kernel_log_trouble, |why| !why.is_empty());
    level(Code::KernelLogUnavailable, kernel_log, &|| node.kernel_log_trouble.unwrap_or("").to_owned());

    let Some(host) = node.host else { return };
    let persistenced = Finding::of(host.persistenced, |runs| !runs && around.persistence_off);
    level(Code::PersistencedDown, persistenced, &String::new);
    let fabric = Finding::of(host.fabric_manager, |runs| !runs && around.fabric_missing);
    level(Code::FabricManagerDown, fabric, &String::new);
    level(Code::ClockUnsynchronised, Finding::of(host.clock_synchronised, |yes| !yes), &String::new);
    let disk = Finding::of(host.disk, |disk| {
        disk.read_only || disk.free_bytes < FREE_BYTES_MIN || disk.free_bytes < disk.total_bytes / FREE_SHARE
    });
    level(Code::DiskLow, disk, &|| match host.disk {
        Some(disk) if disk.read_only => "read-only".to_owned(),
        Some(disk) => format!("{} MiB free", disk.free_bytes >> 20),
        None => String::new(),
    });
    level(Code::BlockedProcesses, Finding::wrong_if(host.blocked > 0), &|| {
        format!("{}: {}", host.blocked, host.blocked_names)
    });
}
