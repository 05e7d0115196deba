//! One look at the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rackmark_firmware_hooks::inventory::{
    DeclaredSwap, Fact, Given, Inventory, Listed, Nvml, NvmlGpu, Roots, Tables, gather,
};
use rackmark_hardware::ethtool::{CardDriver, card_driver};
use rackmark_model::readings::Inventory as Readings;
use rackmark_model::{NoData, PciAddress};

use super::library_path;
use crate::config::Config;
use crate::exit::chain;
use crate::sampling::collect_link;
use crate::sampling::roster::{Gpu, Roster, Standing};

/// Everything a look needs, so that it can be taken on a thread that may block.
pub struct Look {
    roots: Roots,
    tables: Tables,
    library: Option<PathBuf>,
    redfish: Option<Arc<[Fact]>>,
    answers: bool,
    driver_version: Option<String>,
    gpus: Vec<(PciAddress, Listed, Option<Readings>)>,
    swaps: Vec<DeclaredSwap>,
}

impl Look {
    /// Prepares a look; `redfish` is what the BMC says, absent where it does not answer.
    pub fn new(config: &Config, roster: &Roster, tables: Tables, redfish: Option<Arc<[Fact]>>) -> Self {
        let driver = roster.driver.as_ref();
        Self {
            roots: Roots { sysfs: config.sysfs_root.clone(), proc: config.proc_root.clone() },
            tables,
            library: library_path(config).1,
            redfish,
            // Before the first sample no GPU was asked for.
            answers: driver.is_some() && roster.taken.is_some(),
            driver_version: driver.and_then(|driver| driver.driver_version.clone().ok()),
            gpus: roster.gpus.iter().map(|gpu| (gpu.address, listed(gpu), gpu.inventory.clone())).collect(),
            swaps: swaps(&roster.health),
        }
    }

    /// Takes it. It blocks.
    pub fn take(&self) -> Inventory {
        let gpus: Vec<NvmlGpu<'_>> = self
            .gpus
            .iter()
            .map(|(address, listed, readings)| NvmlGpu {
                address: *address,
                listed: *listed,
                inventory: readings.as_ref(),
            })
            .collect();
        let nvml =
            Nvml { answers: self.answers, driver_version: self.driver_version.as_deref(), gpus: &gpus };
        let given = Given {
            tables: &self.tables,
            nvml,
            nvml_library: self.library.as_deref(),
            redfish: self.redfish.as_deref(),
            swaps: &self.swaps,
            // The interfaces of another tree are none of this machine's.
            card_driver: if self.roots.sysfs == Path::new("/sys") {
                card_driver
            } else {
                |_| Ok(CardDriver::default())
            },
        };
        gather(&self.roots, &given)
    }
}

/// What was declared, whether it was seen to happen already or not; oldest first, so that the newest counts.
fn swaps(judged: &rackmark_health::State) -> Vec<DeclaredSwap> {
    let seen = judged.swaps.iter().filter_map(|swap| Some((&swap.removed, swap.ticket.as_ref()?)));
    let announced = judged.gpus.iter().filter_map(|gpu| gpu.declared.as_ref());
    let announced = announced.map(|declared| (&declared.card, &declared.ticket));
    seen.chain(announced)
        .map(|(card, ticket)| DeclaredSwap {
            removed_uuid: card.uuid.clone(),
            removed_serial: card.serial.clone(),
            ticket: ticket.clone(),
        })
        .collect()
}

fn listed(gpu: &Gpu) -> Listed {
    match gpu.standing {
        Standing::Answering => Listed::Answers,
        // What is bound to another driver, or what NVML cannot open, is none of its GPUs.
        Standing::Absent(NoData::HandedOver | NoData::DriverGone | NoData::Error(_)) => Listed::Missing,
        Standing::Slow | Standing::Unresponsive { .. } | Standing::Absent(_) => Listed::Silent,
    }
}

/// What only root may read, from the collector; what it cannot have is absent, and the log says why once.
pub async fn tables(config: &Config, told: &mut Option<String>) -> Tables {
    let (tables, trouble) = match collect_link::tables(config).await {
        Err(error) => (Tables::default(), Some(chain(&error))),
        Ok(read) => {
            // Firmware without a TPM has no event log, which is no trouble.
            let trouble = read.entry_point.as_ref().err().or(read.smbios.as_ref().err()).cloned();
            let smbios = read.entry_point.ok().zip(read.smbios.ok());
            (Tables { smbios, boot_event_log: read.boot_event_log.ok() }, trouble)
        }
    };
    if let Some(cause) = trouble.as_ref().filter(|_| *told != trouble) {
        tracing::info!(cause, "the inventory is made without the tables of the firmware");
    }
    *told = trouble;
    tables
}
