//! Looks at the host from time to time, and lets the judgement age where no sample comes.

use std::sync::Arc;
use std::time::Duration;

use rackmark_hardware::clocks::ClockState;
use rackmark_hardware::host_facts::{HostFacts, HostReader, Roots};
use rackmark_hardware::pci_slots::PciSlots;
use rackmark_hardware::services::ServiceState;
use rackmark_health::{Disk, Host};
use tokio::sync::watch;

use super::Announcer;
use crate::config::Config;
use crate::publish::spool::Spool;
use crate::sampling::roster::Roster;
use crate::sampling::task::Observer;

/// Time between two looks. Services and disks change slowly, and the judgement is made with every sample anyway.
const LOOK: Duration = Duration::from_secs(10);

/// Looks until `stop` is set.
pub async fn watch<O: Observer>(
    mut config: watch::Receiver<Arc<Config>>,
    mut announcer: Announcer<O>,
    spool: Option<Spool>,
    mut stop: watch::Receiver<bool>,
) {
    let mut reader = reader(&config.borrow());
    let mut due = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            changed = config.changed() => {
                if changed.is_err() {
                    return;
                }
                reader = self::reader(&config.borrow_and_update());
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let config = config.borrow().clone();
        let host = host(&reader.read());
        let trouble = spool.as_ref().and_then(Spool::trouble).unwrap_or_default();
        announcer.announce(|roster, now, changes| {
            name_slots(roster, &config);
            let around = &mut roster.around;
            around.set(&config);
            around.host = Some(host);
            around.spool_trouble = trouble;
            roster.judge(now, changes);
        });
    }
}

fn reader(config: &Config) -> HostReader {
    HostReader::new(Roots {
        sysfs: config.sysfs_root.clone(),
        proc: config.proc_root.clone(),
        run: config.run_root.clone(),
        state: config.state_dir.clone(),
    })
}

fn host(facts: &HostFacts) -> Host {
    let runs = |state: &ServiceState| match state {
        ServiceState::Running { .. } => Some(true),
        ServiceState::Absent => Some(false),
        ServiceState::Unknown => None,
    };
    let names = facts.blocked.shown.iter().map(|process| {
        let gpu = if process.gpu == Some(true) { " at a GPU" } else { "" };
        format!("{} ({}{gpu})", process.pid, process.name)
    });
    Host {
        persistenced: runs(&facts.persistenced),
        fabric_manager: runs(&facts.fabric_manager),
        clock_synchronised: match facts.clock {
            ClockState::Synchronised(_) => Some(true),
            ClockState::NotSynchronised => Some(false),
            ClockState::Unknown => None,
        },
        disk: facts.state_disk.as_ref().map(|disk| Disk {
            free_bytes: disk.free.0,
            total_bytes: disk.total.0,
            read_only: disk.read_only,
        }),
        blocked: facts.blocked.stuck,
        blocked_names: names.collect::<Vec<_>>().join(", "),
    }
}

/// Gives GPUs that are new the name of their slot in the chassis.
fn name_slots(roster: &mut Roster, config: &Config) {
    if roster.gpus.iter().all(|gpu| gpu.slot_named) {
        return;
    }
    let slots = PciSlots::read(&config.sysfs_root);
    for gpu in &mut roster.gpus {
        gpu.slot_named = true;
        gpu.physical_slot = slots.slot_of(gpu.address).map(str::to_owned);
    }
    roster.settled += 1;
}
