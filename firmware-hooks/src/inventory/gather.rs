//! Puts together what all readers find.

use std::io;
use std::path::{Path, PathBuf};

use rackmark_hardware::ethtool::CardDriver;
use rackmark_model::PciAddress;
use serde::{Deserialize, Serialize};

use super::catalogue::Source;
use super::cross_check::{Contradictions, NvmlGpu, cross_check};
use super::diff::{Changed, Unseen, carry_over, diff, findings_since};
use super::fact::{Component, Fact, Facts};
use super::file;
use super::finding::{FINDINGS_MAX, Finding, FindingCode};
use super::gpu::DRIVER;
use super::pci::sysfs_name;
use super::swap::DeclaredSwap;
use super::{bmc, cpu, gpu, kernel, mounts, nic, nvme, pci, rdma, smbios, swap, tpm, uefi};

/// Where a machine is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
}

/// What only root may read, as it was handed over; each absent where it could not be had.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// The SMBIOS entry point and the table.
    pub smbios: Option<(Vec<u8>, Vec<u8>)>,
    /// The boot event log.
    pub boot_event_log: Option<Vec<u8>>,
}

/// What NVML says.
#[derive(Debug, Clone, Copy)]
pub struct Nvml<'a> {
    /// The driver answers; while it does not, nothing is missed.
    pub answers: bool,
    /// Version of the driver.
    pub driver_version: Option<&'a str>,
    /// The GPUs it knows or knew.
    pub gpus: &'a [NvmlGpu<'a>],
}

/// What others have to find.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// What only root may read.
    pub tables: &'a Tables,
    /// What NVML says.
    pub nvml: Nvml<'a>,
    /// The file that NVML is.
    pub nvml_library: Option<&'a Path>,
    /// What the BMC says over Redfish, nothing where none is configured; absent while it could not be asked.
    pub redfish: Option<&'a [Fact]>,
    /// Cards that somebody said were taken out.
    pub swaps: &'a [DeclaredSwap],
    /// What the driver of a network interface says; it does no I/O where the tree is not that of this machine.
    pub card_driver: fn(&str) -> io::Result<CardDriver>,
}

/// What a machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// In order, without doubles, at most [`super::FACTS_MAX`].
    pub facts: Vec<Fact>,
    /// Facts there was no room for.
    pub left_out: usize,
    /// In order.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub unseen: Vec<Unseen>,
}

/// What is found in the tables stays found while they cannot be had.
const OF_TABLES: [FindingCode; 3] =
    [FindingCode::SmbiosDamaged, FindingCode::SmbiosMismatch, FindingCode::IdentityPlaceholder];

impl Inventory {
    /// Completes this look with what an earlier one knows of whatever could not be looked at now, and says what
    /// changed. What is seen for the first time because its source could be looked at now did not change.
    pub fn since(&mut self, earlier: &Self) -> Vec<Changed> {
        carry_over(&earlier.facts, &mut self.facts, &self.unseen);
        self.findings.extend(findings_since(&earlier.facts, &self.facts));
        if self.unseen.iter().any(|unseen| unseen.source == Source::Smbios) {
            let of_tables = earlier.findings.iter().filter(|finding| OF_TABLES.contains(&finding.code));
            self.findings.extend(of_tables.cloned());
        }
        self.findings.sort_unstable();
        self.findings.truncate(FINDINGS_MAX);
        let mut changes = diff(&earlier.facts, &self.facts);
        changes.retain(|change| {
            let key = (change.component, change.instance.as_str(), change.field.as_str());
            change.from.is_some() || !earlier.unseen.iter().any(|unseen| unseen.hides(key))
        });
        changes
    }
}

/// Reads everything. It blocks: the driver's files in procfs can hang with the driver, the BMC's for seconds.
pub fn gather(roots: &Roots, given: &Given<'_>) -> Inventory {
    let Roots { sysfs, proc } = roots;
    let (mut facts, mut findings, mut unseen) = (Facts::default(), Vec::new(), Vec::new());
    let mut hidden = |source, instance| unseen.push(Unseen { source, instance });
    match &given.tables.smbios {
        Some((entry_point, table)) => {
            smbios::read(entry_point, table, &mut facts, &mut findings);
            findings.extend(kernel_disagrees(sysfs, entry_point, table));
        }
        None => hidden(Source::Smbios, None),
    }
    if given.tables.boot_event_log.is_none() {
        hidden(Source::EventLog, None);
    }
    uefi::read(sysfs, &mut facts);
    tpm::read(sysfs, given.tables.boot_event_log.as_deref(), &mut facts);
    cpu::read(proc, &mut facts, &mut findings);
    kernel::read(proc, sysfs, &mut facts);
    bmc::read(sysfs, &mut facts);
    nvme::read(sysfs, &mut facts);
    swap::put(given.swaps, &mut facts);

    let devices = pci::devices(sysfs);
    pci::read(sysfs, &devices, &mut facts);
    for silent in nic::read(sysfs, &devices, given.card_driver, &mut facts) {
        hidden(Source::Ethtool, Some(silent));
    }
    rdma::read(sysfs, &devices, &mut facts);
    let asleep: Vec<PciAddress> =
        devices.iter().filter(|device| device.suspended).map(|device| device.address).collect();
    for address in &asleep {
        hidden(Source::Link, Some(sysfs_name(*address)));
        hidden(Source::DriverProcfs, Some(sysfs_name(*address)));
    }

    let procfs = gpu::of_procfs(proc, &asleep);
    gpu::put_procfs(&procfs, &mut facts);
    gpu::put_driver(proc, given.nvml_library, &mut facts);
    let read = given.nvml.gpus.iter().filter_map(|gpu| Some((gpu.address, gpu.inventory?)));
    read.clone().for_each(|(address, readings)| gpu::put_nvml(address, readings, &mut facts));
    // A card that was taken out is not on the bus, and nothing of it is kept.
    for device in devices.iter().filter(|device| device.is_gpu()) {
        if !read.clone().any(|(address, _)| address == device.address) {
            hidden(Source::Nvml, Some(sysfs_name(device.address)));
        }
    }
    // Last, so that a BMC that says too much displaces nothing.
    match given.redfish {
        Some(said) => said.iter().for_each(|fact| {
            facts.put(fact.component, &fact.instance, &fact.field, &fact.value);
        }),
        None => hidden(Source::Redfish, None),
    }
    let (facts, left_out) = facts.finish();
    let key = (Component::Driver, DRIVER, "version");
    let module = facts.iter().find(|fact| fact.key() == key).map(|fact| fact.value.as_str());
    findings.extend(cross_check(&Contradictions {
        pci: &devices,
        procfs: &procfs,
        module,
        nvml: given.nvml.answers.then_some(given.nvml.gpus),
        nvml_driver: given.nvml.driver_version,
    }));
    findings.extend(mounts::over_sources(sysfs, proc, &mounts::read(proc)));
    findings.sort_unstable();
    findings.dedup();
    findings.truncate(FINDINGS_MAX);
    Inventory { facts, left_out, findings, unseen }
}

/// Strings of the tables that the kernel shows otherwise.
fn kernel_disagrees(sysfs_root: &Path, entry_point: &[u8], table: &[u8]) -> Vec<Finding> {
    let differs = |(name, table): (&'static str, String)| {
        // Serial numbers are for root only; what cannot be read is not compared.
        let kernel = file::attribute(&sysfs_root.join("class/dmi/id").join(name))?;
        let detail = format!("the kernel shows {kernel:?}, the table has {table:?}");
        (kernel != table).then(|| Finding::new(FindingCode::SmbiosMismatch, name, detail))
    };
    smbios::shown_by_the_kernel(entry_point, table).into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use rackmark_model::NoData;
    use rackmark_model::readings::Inventory as Readings;

    use super::super::cross_check::Listed;
    use super::super::smbios::tests::{Table, entry_point_64};
    use super::super::tests::Tree;
    use super::*;

    fn address() -> PciAddress {
        "0000:1b:00.0".parse().expect("address")
    }

    struct Machine {
        tree: Tree,
        tables: Tables,
        readings: Option<Readings>,
        redfish: Option<Vec<Fact>>,
    }

    impl Machine {
        fn new() -> Self {
            let tree = Tree::new();
            tree.device("pci0000:15/0000:15:01.0/0000:1b:00.0", "0x10de", "0x2330", "0x030200");
            let table = Table::default().system("Example", "GPU server", "SN1").end();
            let tables = Tables {
                smbios: Some((entry_point_64(table.len()), table)),
                boot_event_log: Some(b"log".to_vec()),
            };
            let mut readings = Readings::absent(NoData::NotSupported);
            readings.serial = Ok("165001".to_owned());
            Self { tree, tables, readings: Some(readings), redfish: Some(Vec::new()) }
        }

        fn gather(&self) -> Inventory {
            let gpus =
                [NvmlGpu { address: address(), listed: Listed::Answers, inventory: self.readings.as_ref() }];
            let roots = Roots { sysfs: self.tree.path().to_owned(), proc: self.tree.path().join("proc") };
            let nvml = Nvml { answers: true, driver_version: None, gpus: &gpus };
            let library = self.tree.path().join("libnvidia-ml.so.1");
            gather(
                &roots,
                &Given {
                    tables: &self.tables,
                    nvml,
                    nvml_library: Some(&library),
                    redfish: self.redfish.as_deref(),
                    swaps: &[],
                    card_driver: |_| Ok(CardDriver::default()),
                },
            )
        }
    }

    #[test]
    fn the_same_machine_is_the_same_list() {
        let machine = Machine::new();
        let (one, other) = (machine.gather(), machine.gather());
        assert_eq!(one, other);
        assert!(one.facts.is_sorted() && one.left_out == 0);
        assert_eq!((one.findings, one.unseen), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_cannot_be_looked_at_is_no_change() {
        let mut machine = Machine::new();
        let before = machine.gather();
        machine.tables = Tables::default();
        machine.readings = None;
        machine.tree.write("bus/pci/devices/0000:1b:00.0/power/runtime_status", "suspended\n");
        let mut now = machine.gather();
        assert_ne!(diff(&before.facts, &now.facts), []);
        assert_eq!(now.since(&before), []);
        assert_eq!(now.facts, before.facts);
        assert_eq!(machine.gather().since(&now), []);
    }

    #[test]
    fn what_the_bmc_says_is_kept_while_it_is_silent_and_goes_when_it_is_no_longer_asked() {
        let mut machine = Machine::new();
        let [instance, field, value] = ["1", "redfish_serial", "SN1"].map(str::to_owned);
        let said = vec![Fact { component: Component::System, instance, field, value }];
        machine.redfish = Some(said.clone());
        let before = machine.gather();
        assert!(before.facts.contains(&said[0]));
        machine.redfish = None;
        let mut silent = machine.gather();
        assert!(!silent.facts.contains(&said[0]));
        assert_eq!((silent.since(&before), &silent.facts), (Vec::new(), &before.facts));
        machine.redfish = Some(Vec::new());
        assert_eq!(machine.gather().since(&silent).len(), 1, "gone");
    }

    #[test]
    fn what_is_seen_for_the_first_time_is_no_change() {
        let mut machine = Machine::new();
        let all = machine.gather();
        let (readings, tables) = (machine.readings.take(), std::mem::take(&mut machine.tables));
        let first = machine.gather();
        assert!(first.facts.len() < all.facts.len());
        (machine.readings, machine.tables) = (readings, tables);
        let mut second = machine.gather();
        assert_eq!(second.since(&first), []);
        assert_eq!(second.facts, all.facts);
        machine.readings.as_mut().expect("readings").serial = Ok("165002".to_owned());
        let changes = machine.gather().since(&second);
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((change.from.as_deref(), change.to.as_deref()), (Some("165001"), Some("165002")));
    }

    #[test]
    fn another_library_under_the_same_driver_is_found_and_is_a_change() {
        let machine = Machine::new();
        machine.tree.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX  580.95.05  x\n");
        machine.tree.write("libnvidia-ml.so.1", "one");
        let before = machine.gather();
        machine.tree.write("libnvidia-ml.so.1", "other");
        let mut now = machine.gather();
        assert_eq!(now.since(&before).len(), 1);
        let found: Vec<_> = now.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, [FindingCode::LibraryReplaced]);
    }

    #[test]
    fn a_card_that_was_taken_out_is_gone() {
        let mut machine = Machine::new();
        let before = machine.gather();
        machine.readings = None;
        std::fs::remove_file(machine.tree.path().join("bus/pci/devices/0000:1b:00.0")).expect("remove");
        let mut now = machine.gather();
        let gone = now.since(&before);
        assert!(gone.iter().any(|change| change.field == "serial" && change.to.is_none()), "{gone:?}");
    }

    #[test]
    fn a_kernel_that_shows_another_serial_number_than_the_table_is_found() {
        let mut machine = Machine::new();
        machine.tree.write("class/dmi/id/product_serial", "SN1\n");
        machine.tree.write("class/dmi/id/board_serial", "not in the table\n");
        assert_eq!(machine.gather().findings, []);
        machine.tree.write("class/dmi/id/product_serial", "SN2\n");
        let found: Vec<_> = machine.gather().findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, [FindingCode::SmbiosMismatch]);
        let before = machine.gather();
        machine.tables = Tables::default();
        let mut now = machine.gather();
        assert_eq!((now.findings.len(), now.since(&before)), (0, Vec::new()));
        assert_eq!(now.findings, before.findings, "it stays found");
    }

    #[test]
    fn findings_of_every_source_are_told() {
        let machine = Machine::new();
        machine.tree.write("proc/driver/nvidia/gpus/0000:77:00.0/information", "Model: \t X\n");
        let point = machine.tree.path().join("bus/pci/devices");
        machine
            .tree
            .write("proc/self/mountinfo", &format!("1 1 0:5 / {} rw - tmpfs tmpfs rw\n", point.display()));
        let found: Vec<_> = machine.gather().findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, [FindingCode::ProcfsGpuWithoutPciDevice, FindingCode::SourceOvermounted]);
    }
}
