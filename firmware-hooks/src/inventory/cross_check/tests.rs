//! Each finding has a test that fails without its check.

use std::path::PathBuf;

use rackmark_model::{Count, NoData};

use super::*;

fn address(text: &str) -> PciAddress {
    text.parse().expect("address")
}

fn device(place: &str) -> PciDevice {
    PciDevice {
        address: address(place),
        vendor: NVIDIA,
        device: 0x2330,
        class: 0x03_0200,
        subsystem_vendor: Some(NVIDIA),
        subsystem_device: Some(0x16c1),
        driver: Some("nvidia".to_owned()),
        suspended: false,
        folder: Some(PathBuf::from("/sys/devices/pci0000:00").join(place)),
    }
}

fn readings(number: u8) -> Readings {
    let mut readings = Readings::absent(NoData::NotSupported);
    readings.name = Ok("NVIDIA H100".to_owned());
    readings.uuid = Ok(format!("GPU-{number}"));
    readings.serial = Ok(format!("16500{number}"));
    readings.vbios_version = Ok("96.00".to_owned());
    readings.pci_device_id = Ok(Count(0x2330_10de));
    readings.pci_subsystem_id = Ok(Count(0x16c1_10de));
    readings.board_id = Ok(Count(u64::from(number)));
    readings
}

fn in_procfs(place: &str, number: u8) -> ProcGpu {
    ProcGpu {
        address: Some(address(place)),
        model: Some("NVIDIA H100".to_owned()),
        uuid: Some(format!("GPU-{number}")),
        vbios: Some("96.00".to_owned()),
        minor: None,
    }
}

const PLACES: [&str; 2] = ["0000:1b:00.0", "0000:2b:00.0"];

/// A machine with two GPUs on which everything agrees.
struct Machine {
    pci: Vec<PciDevice>,
    procfs: Vec<ProcGpu>,
    nvml: Vec<(PciAddress, Listed, Option<Readings>)>,
    module: Option<&'static str>,
    driver_answers: bool,
}

impl Machine {
    fn new() -> Self {
        let numbered = || (0..).zip(PLACES);
        Self {
            pci: PLACES.into_iter().map(device).collect(),
            procfs: numbered().map(|(number, place)| in_procfs(place, number)).collect(),
            nvml: numbered()
                .map(|(number, place)| (address(place), Listed::Answers, Some(readings(number))))
                .collect(),
            module: Some("580.95.05"),
            driver_answers: true,
        }
    }

    /// The first GPU of NVML.
    fn nvml(&mut self) -> &mut Readings {
        self.nvml[0].2.as_mut().expect("inventory")
    }

    fn found(&self) -> Vec<(FindingCode, String)> {
        let nvml: Vec<NvmlGpu<'_>> = self
            .nvml
            .iter()
            .map(|(address, listed, readings)| NvmlGpu {
                address: *address,
                listed: *listed,
                inventory: readings.as_ref(),
            })
            .collect();
        let sources = Contradictions {
            pci: &self.pci,
            procfs: &self.procfs,
            module: self.module,
            nvml: self.driver_answers.then_some(&nvml),
            nvml_driver: Some("580.95.05"),
        };
        cross_check(&sources).into_iter().map(|finding| (finding.code, finding.instance)).collect()
    }

    fn finds(&self, code: FindingCode, instance: &str) {
        assert_eq!(self.found(), [(code, instance.to_owned())]);
    }
}

#[test]
fn a_machine_on_which_everything_agrees_has_no_finding() {
    assert_eq!(Machine::new().found(), []);
}

#[test]
fn a_gpu_with_no_pci_device_behind_it() {
    let mut machine = Machine::new();
    machine.pci.remove(0);
    machine.procfs.remove(0);
    machine.finds(FindingCode::GpuWithoutPciDevice, PLACES[0]);
    // One that fell off the bus does not answer any more.
    machine.nvml[0].1 = Listed::Silent;
    assert_eq!(machine.found(), []);
}

#[test]
fn a_pci_device_that_nvml_does_not_list() {
    let mut machine = Machine::new();
    machine.nvml.remove(1);
    machine.finds(FindingCode::PciGpuNotInNvml, PLACES[1]);
    machine.pci[1].driver = None;
    machine.finds(FindingCode::PciGpuNotInNvml, PLACES[1]);
    machine.pci[1].driver = Some("vfio-pci".to_owned());
    assert_eq!(machine.found(), [], "handed over");
    machine.pci[1].driver = None;
    machine.driver_answers = false;
    assert_eq!(machine.found(), [], "nobody was asked");
    machine.driver_answers = true;
    machine.nvml.push((address(PLACES[1]), Listed::Missing, None));
    machine.finds(FindingCode::PciGpuNotInNvml, PLACES[1]);
    machine.nvml[1].1 = Listed::Silent;
    assert_eq!(machine.found(), [], "known, and not sampled for a reason");
    machine.nvml.pop();
    machine.pci[1].class = 0x06_8000;
    assert_eq!(machine.found(), [], "an NVSwitch");
}

#[test]
fn a_gpu_in_procfs_with_no_pci_device_behind_it() {
    let mut machine = Machine::new();
    machine.procfs.push(in_procfs("0000:3b:00.0", 3));
    machine.finds(FindingCode::ProcfsGpuWithoutPciDevice, "0000:3b:00.0");
}

#[test]
fn a_pci_device_of_another_maker() {
    let mut machine = Machine::new();
    machine.pci[0].vendor = 0x1002;
    machine.finds(FindingCode::GpuVendorMismatch, PLACES[0]);
}

#[test]
fn another_device_id_and_another_subsystem_id() {
    let mut machine = Machine::new();
    machine.nvml().pci_device_id = Ok(Count(0x2331_10de));
    machine.finds(FindingCode::GpuDeviceIdMismatch, PLACES[0]);
    let mut machine = Machine::new();
    machine.nvml().pci_subsystem_id = Ok(Count(0x16c2_10de));
    machine.finds(FindingCode::GpuSubsystemIdMismatch, PLACES[0]);
    machine.pci[0].subsystem_device = None;
    assert_eq!(machine.found(), [], "nothing to compare with");
}

#[test]
fn procfs_says_something_else_than_nvml() {
    type Change = fn(&mut ProcGpu);
    let change: [(FindingCode, Change); 3] = [
        (FindingCode::GpuUuidMismatch, |gpu| gpu.uuid = Some("GPU-9".to_owned())),
        (FindingCode::GpuModelMismatch, |gpu| gpu.model = Some("NVIDIA A100".to_owned())),
        (FindingCode::GpuVbiosMismatch, |gpu| gpu.vbios = Some("96.01".to_owned())),
    ];
    for (code, change) in change {
        let mut machine = Machine::new();
        change(&mut machine.procfs[0]);
        machine.finds(code, PLACES[0]);
    }
    let mut machine = Machine::new();
    machine.procfs[0] = ProcGpu { address: Some(address(PLACES[0])), ..ProcGpu::default() };
    assert_eq!(machine.found(), [], "not known is no contradiction");
}

#[test]
fn two_gpus_of_one_uuid() {
    let mut machine = Machine::new();
    machine.procfs.clear();
    machine.nvml().uuid = Ok("GPU-1".to_owned());
    machine.finds(FindingCode::GpuUuidDuplicate, PLACES[1]);
}

#[test]
fn two_gpus_of_one_serial_number_are_on_one_board_or_a_finding() {
    let mut machine = Machine::new();
    machine.nvml().serial = Ok("165001".to_owned());
    machine.finds(FindingCode::GpuSerialDuplicate, PLACES[1]);
    let several = machine.nvml.clone();
    for (_, _, readings) in &mut machine.nvml {
        readings.as_mut().expect("inventory").multi_gpu_board = Ok(true);
    }
    assert_eq!(machine.found(), []);
    machine.nvml = several;
    machine.nvml().board_id = Ok(Count(1));
    assert_eq!(machine.found(), []);
}

#[test]
fn an_entry_of_the_bus_that_is_no_link() {
    let mut machine = Machine::new();
    machine.pci[1].folder = None;
    machine.finds(FindingCode::SysfsEntryNotLink, PLACES[1]);
}

#[test]
fn another_version_of_the_module() {
    let mut machine = Machine::new();
    machine.module = Some("590.48.01");
    machine.finds(FindingCode::DriverVersionMismatch, "nvidia");
    machine.module = None;
    assert_eq!(machine.found(), []);
}
