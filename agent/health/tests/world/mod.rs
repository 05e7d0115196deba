//! A node that tests can bend: GPUs with editable readings, a host, two clocks.

#![allow(dead_code, reason = "every test binary uses its own part of it")]

use rackmark_health::{
    Code, Condition, Disk, FileLease, GpuView, Host, Input, Instance, NodeView, Now, Recovery, Refusal,
    Standing, State, Transition, Verb, Witness, XidReport, carry_out, step, take_lease_file,
};
use rackmark_model::readings::{Fast, Inventory, Slow};
use rackmark_model::{
    Bytes, Celsius, Count, GpuState, Lanes, Megahertz, Millijoules, Milliwatts, Nanoseconds, NoData, NvLink,
    Percent, Verdict,
};

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;

/// One GPU and what it would answer.
pub struct Card {
    pub serial: Option<String>,
    pub uuid: Option<String>,
    pub standing: Standing<'static>,
    pub fast: Fast,
    /// Slow readings, and when they were taken; `None` where there are none yet.
    pub slow: Option<(Slow, u64)>,
    pub nvlinks: Vec<NvLink>,
    pub inventory: Option<Inventory>,
}

/// The node and its memory.
pub struct World {
    pub state: State,
    pub now: Now,
    pub cards: Vec<Card>,
    /// Every look is preceded by new fast readings of all GPUs.
    pub sampled: bool,
    /// Every look is preceded by new slow readings of all GPUs.
    pub slow_is_new: bool,
    pub samples: u64,
    pub sampled_boot_ms: Option<u64>,
    pub driver_up: Option<bool>,
    pub paused: bool,
    pub expected_gpus: Option<u32>,
    pub lease_source: bool,
    pub host: Option<Host>,
    pub kernel_log_trouble: Option<&'static str>,
    pub spool_trouble: &'static str,
    pub boot_grace_ms: u64,
    pub ignored: Vec<Code>,
    pub boot_id: String,
    /// Everything that was said so far.
    pub said: Vec<Transition>,
}

pub fn link(number: u8) -> NvLink {
    NvLink {
        link: number,
        active: Ok(true),
        version: Ok(4),
        remote_type: Ok("switch".to_owned()),
        crc_flit_errors: Ok(0),
        crc_data_errors: Ok(0),
        replay_errors: Ok(0),
        recovery_errors: Ok(0),
        transmit_bytes_total: Ok(1),
        receive_bytes_total: Ok(1),
    }
}

impl Card {
    pub fn healthy(at: usize) -> Self {
        let mut fast = Fast::absent(NoData::NotSupported);
        fast.utilization_gpu = Ok(Percent(0));
        fast.utilization_memory = Ok(Percent(0));
        fast.memory_used = Ok(Bytes(1 << 20));
        fast.clock_sm = Ok(Megahertz(1980));
        fast.clock_memory = Ok(Megahertz(2619));
        fast.power_draw = Ok(Milliwatts(72_000));
        fast.energy_total = Ok(Millijoules(1_000_000));
        fast.temperature_gpu = Ok(Celsius(35));
        fast.temperature_memory = Ok(Celsius(40));
        fast.temperature_margin = Ok(Celsius(50));
        fast.hw_thermal_time = Ok(Nanoseconds(0));
        fast.hw_power_brake_time = Ok(Nanoseconds(0));
        fast.sw_thermal_time = Ok(Nanoseconds(0));
        fast.pcie_link_generation = Ok(Count(5));
        fast.pcie_link_width = Ok(Lanes(16));
        fast.pcie_replays_total = Ok(Count(0));
        fast.processes_compute = Ok(Count(0));
        fast.processes_graphics = Ok(Count(0));
        fast.ecc_corrected_volatile_total = Ok(Count(0));
        fast.ecc_uncorrected_volatile_total = Ok(Count(0));
        let mut slow = Slow::absent(NoData::NotSupported);
        slow.sram_threshold_exceeded = Ok(false);
        slow.remapped_rows_pending = Ok(false);
        slow.remapped_rows_failed = Ok(false);
        slow.remapped_rows_uncorrected = Ok(Count(0));
        slow.remap_banks_none = Ok(Count(0));
        slow.retired_pages_single_bit = Ok(Count(0));
        slow.retired_pages_double_bit = Ok(Count(0));
        slow.retired_pages_pending = Ok(false);
        slow.repair_channel_pending = Ok(false);
        slow.repair_tpc_pending = Ok(false);
        slow.recovery_action = Ok("none".to_owned());
        let mut inventory = Inventory::absent(NoData::NotSupported);
        inventory.name = Ok("NVIDIA H100 80GB HBM3".to_owned());
        inventory.pcie_generation_max = Ok(Count(5));
        inventory.pcie_width_max = Ok(Lanes(16));
        inventory.temperature_gpu_max = Ok(Celsius(87));
        inventory.temperature_memory_max = Ok(Celsius(95));
        inventory.ecc_enabled = Ok(true);
        inventory.ecc_pending_enabled = Ok(true);
        inventory.mig_enabled = Ok(false);
        inventory.mig_pending_enabled = Ok(false);
        inventory.persistence_enabled = Ok(true);
        inventory.inforom_valid = Ok(true);
        inventory.fabric_state = Ok("completed".to_owned());
        inventory.fabric_status = Ok(Count(0));
        inventory.fabric_health = Ok(rackmark_model::Bitmask(0));
        Self {
            serial: Some(format!("165{at:07}")),
            uuid: None,
            standing: Standing::Answering,
            fast,
            slow: Some((slow, 0)),
            nvlinks: (0..18).map(link).collect(),
            inventory: Some(inventory),
        }
    }

    pub fn slow(&mut self) -> &mut Slow {
        &mut self.slow.as_mut().expect("slow readings").0
    }

    pub fn inventory(&mut self) -> &mut Inventory {
        self.inventory.as_mut().expect("an inventory")
    }

    fn view(&self, at: usize) -> GpuView<'_> {
        GpuView {
            slot: u8::try_from(at).expect("a slot"),
            serial: self.serial.as_deref(),
            uuid: self.uuid.as_deref(),
            standing: self.standing,
            fast: &self.fast,
            slow: self.slow.as_ref().map(|(slow, taken)| (slow, *taken)),
            nvlinks: &self.nvlinks,
            inventory: self.inventory.as_ref(),
        }
    }
}

pub fn healthy_host() -> Host {
    Host {
        persistenced: Some(true),
        fabric_manager: Some(true),
        clock_synchronised: Some(true),
        disk: Some(Disk { free_bytes: 50 << 30, total_bytes: 100 << 30, read_only: false }),
        blocked: 0,
        blocked_names: String::new(),
    }
}

impl World {
    /// A node that has been up for longer than the grace after a boot, and was looked at once.
    pub fn new(gpus: usize) -> Self {
        let mut world = Self::before_the_first_look(gpus);
        world.look();
        world.said.clear();
        world
    }

    pub fn before_the_first_look(gpus: usize) -> Self {
        let mut world = Self {
            state: State::default(),
            now: Now { boot_ms: HOUR, unix_ms: 1_800_000_000_000 },
            cards: (0..gpus).map(Card::healthy).collect(),
            sampled: true,
            slow_is_new: true,
            samples: 100,
            sampled_boot_ms: None,
            driver_up: Some(true),
            paused: false,
            expected_gpus: None,
            lease_source: false,
            host: Some(healthy_host()),
            kernel_log_trouble: Some(""),
            spool_trouble: "",
            boot_grace_ms: 2 * MINUTE,
            ignored: Vec::new(),
            boot_id: "boot-1".to_owned(),
            said: Vec::new(),
        };
        world.begin();
        world
    }

    pub fn begin(&mut self) -> Vec<Transition> {
        let boot_id = self.boot_id.clone();
        self.tell(Input::Begin { boot_id: &boot_id })
    }

    pub fn pass(&mut self, ms: u64) {
        self.now.boot_ms += ms;
        self.now.unix_ms += ms;
    }

    pub fn tell(&mut self, input: Input<'_>) -> Vec<Transition> {
        let mut out = Vec::new();
        step(&mut self.state, input, self.now, &mut out);
        self.said.extend(out.iter().cloned());
        out
    }

    pub fn look(&mut self) -> Vec<Transition> {
        let mut out = Vec::new();
        self.look_into(&mut out);
        self.said.extend(out.iter().cloned());
        out
    }

    /// New readings where they are due, then a look.
    pub fn look_into(&mut self, out: &mut Vec<Transition>) {
        if self.sampled {
            self.sampled_boot_ms = Some(self.now.boot_ms);
            self.samples += 1;
        }
        if self.slow_is_new {
            for (_, taken) in self.cards.iter_mut().filter_map(|card| card.slow.as_mut()) {
                *taken = self.now.unix_ms;
            }
        }
        let node = NodeView {
            driver_up: self.driver_up,
            driver_cause: if self.driver_up == Some(false) { "no library" } else { "" },
            sampled_boot_ms: self.sampled_boot_ms,
            period_ms: SECOND,
            samples: self.samples,
            paused: self.paused,
            expected_gpus: self.expected_gpus,
            lease_source: self.lease_source,
            host: self.host.as_ref(),
            kernel_log_trouble: self.kernel_log_trouble,
            spool_trouble: self.spool_trouble,
            boot_grace_ms: self.boot_grace_ms,
            ignored: &self.ignored,
        };
        let input = Input::Look { node: &node, gpus: &Shown(&self.cards) };
        step(&mut self.state, input, self.now, out);
    }

    /// Looks after this time.
    pub fn after(&mut self, ms: u64) -> Vec<Transition> {
        self.pass(ms);
        self.look()
    }

    /// Looks every `every` for as long as `total`.
    pub fn looks(&mut self, every: u64, total: u64) -> Vec<Transition> {
        (0..total / every).flat_map(|_| self.after(every)).collect()
    }

    pub fn report(&self, slot: Option<u8>, code: u32, witness: Witness) -> XidReport {
        XidReport {
            slot,
            address: None,
            address_text: "0000:83:00".to_owned(),
            code,
            witness,
            instance: None,
            pid: None,
            process: None,
            text: if witness == Witness::KernelLog { format!("words on {code}") } else { String::new() },
            caused_by: None,
            seen_unix_ms: self.now.unix_ms,
        }
    }

    /// The kernel log tells of an XID, and a look follows.
    pub fn xid(&mut self, slot: u8, code: u32) -> Vec<Transition> {
        let report = self.report(Some(slot), code, Witness::KernelLog);
        self.take(&report)
    }

    pub fn take(&mut self, report: &XidReport) -> Vec<Transition> {
        let mut said = self.tell(Input::Xid(report));
        said.extend(self.look());
        said
    }

    /// The text of XID 154 tells what the driver wants, and a look follows.
    pub fn driver_wants(&mut self, slot: u8, action: Recovery) -> Vec<Transition> {
        let mut said = self.tell(Input::Recovery { slot, action });
        said.extend(self.look());
        said
    }

    pub fn verb(&mut self, verb: &Verb<'_>) -> Result<Vec<Transition>, Refusal> {
        let mut out = Vec::new();
        carry_out(&mut self.state, verb, "ops", self.now, &mut out)?;
        self.said.extend(out.iter().cloned());
        out.extend(self.look());
        Ok(out)
    }

    pub fn lease_file(&mut self, leases: &[FileLease]) -> (usize, Vec<Transition>) {
        let mut out = Vec::new();
        let refused = take_lease_file(&mut self.state, leases, self.now, &mut out);
        self.said.extend(out.iter().cloned());
        out.extend(self.look());
        (refused, out)
    }

    /// The daemon ends, its state is read again from the disk.
    pub fn restart(&mut self) -> Vec<Transition> {
        let kept = serde_json::to_vec(&self.state).expect("a state can be written");
        self.state = serde_json::from_slice(&kept).expect("a state can be read");
        self.begin()
    }

    /// The node restarts and has settled.
    pub fn reboot(&mut self) -> Vec<Transition> {
        self.boot_id.push('+');
        self.now = Now { boot_ms: HOUR, unix_ms: self.now.unix_ms + 5 * MINUTE };
        self.restart()
    }

    pub fn conditions(&self, slot: Option<u8>) -> &[Condition] {
        match slot {
            None => self.state.conditions.all(),
            Some(slot) => self.state.gpus[usize::from(slot)].conditions.all(),
        }
    }

    pub fn condition(&self, slot: Option<u8>, code: Code, key: u32) -> Option<&Condition> {
        self.conditions(slot).iter().find(|one| one.code == code && one.key == key)
    }

    /// GPU 0 shows it.
    pub fn shows(&self, code: Code) -> bool {
        self.state.gpus[0].conditions.shows(code)
    }

    pub fn node_shows(&self, code: Code) -> bool {
        self.state.conditions.shows(code)
    }

    pub fn verdict(&self, slot: u8) -> Verdict {
        self.state.gpus[usize::from(slot)].verdict.verdict
    }

    pub fn reason(&self, slot: u8) -> &str {
        &self.state.gpus[usize::from(slot)].verdict.reason
    }

    pub fn gpu_state(&self, slot: u8) -> GpuState {
        self.state.gpus[usize::from(slot)].state.0.state
    }
}

struct Shown<'a>(&'a [Card]);

impl rackmark_health::Gpus for Shown<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn gpu(&self, at: usize) -> GpuView<'_> {
        self.0[at].view(at)
    }
}

pub const fn mig(gpu_instance: u32, compute_instance: Option<u32>) -> Option<Instance> {
    Some(Instance { gpu_instance, compute_instance })
}

pub fn raised(said: &[Transition], code: Code) -> usize {
    let is =
        |one: &&Transition| matches!(one, Transition::Raised { condition, .. } if condition.code == code);
    said.iter().filter(is).count()
}

pub fn cleared(said: &[Transition], code: Code) -> Option<rackmark_health::ClearedBy> {
    said.iter().find_map(|one| match one {
        Transition::Cleared { condition, by, .. } if condition.code == code => Some(*by),
        _ => None,
    })
}
