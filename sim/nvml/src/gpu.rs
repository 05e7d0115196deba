//! One simulated GPU: its fixed identity and its moving figures.

use crate::abi::{self, Ret};
use crate::cell::{Cell, NOT_SAMPLED};
use crate::curve::{Curve, mix, noise};
use crate::dynamics::{COUNTERS, Change, Constants, Motion, between};
use crate::fields::{Cells, FAST, Field};
use crate::profile::{Mig, Process, Text, TextCell, covers};
use crate::replay::Recording;
use crate::scenario::Scenario;

/// Most NVLinks of a GPU (`NVML_NVLINK_MAX_LINKS`).
pub const MAX_LINKS: usize = 18;
/// Most live processes per GPU.
pub(crate) const MAX_PROCESSES: usize = 256;

/// What never changes while the process lives.
#[derive(Debug)]
pub struct Fixed {
    /// Texts in the order of [`Text`], serial number resolved.
    pub texts: Vec<TextCell>,
    /// `GPU-51515151-...`: obviously made up, of valid shape.
    pub uuid: String,
    /// `dddddddd:bb:dd.f`
    pub pci_address: String,
    /// NUMA node of the slot.
    pub numa_node: u32,
    seed: u64,
    index: usize,
}

/// The obvious UUID of a GPU.
pub fn uuid(seed: u64, index: usize) -> String {
    format!("GPU-51515151-0000-0000-{:04x}-{:012x}", seed & 0xFFFF, index + 1)
}

/// The obvious serial number of a GPU.
pub fn serial(seed: u64, index: usize) -> String {
    format!("SIM{:06}{:04}", seed % 1_000_000, index + 1)
}

/// The PCI address of GPU `index`: from the list, or the next free bus after its last.
pub fn pci_address(addresses: &[String], index: usize) -> String {
    let Some(last) = addresses.last() else { return format!("00000000:{:02X}:00.0", index + 1) };
    addresses.get(index).cloned().unwrap_or_else(|| {
        let bus = u8::from_str_radix(last.get(9..11).unwrap_or("00"), 16).unwrap_or(0);
        let further = (index + 1).saturating_sub(addresses.len());
        let bus = usize::from(bus) + further;
        format!("{:08X}:{:02X}:00.0", bus >> 8, bus & 0xFF)
    })
}

impl Fixed {
    /// Identity of GPU `index`.
    pub fn new(scenario: &Scenario, index: usize) -> Fixed {
        let profile = &scenario.profile;
        let recorded = scenario.recorded.get(index);
        let mut texts = profile.texts.clone();
        if let Some(name) = recorded.and_then(|recorded| recorded.name.clone()) {
            texts[Text::Name as usize] = Ok(name);
        }
        let mut own = (uuid(scenario.seed, index), Ok(serial(scenario.seed, index)));
        // A recording of this simulator keeps its identities; anything else never does.
        if let Some(recorded) = recorded {
            if recorded.uuid.starts_with("GPU-51515151-") {
                own.0.clone_from(&recorded.uuid);
            }
            if recorded.serial.starts_with("SIM") {
                own.1 = Ok(recorded.serial.clone());
            }
        }
        if let Err(code) = texts[Text::Serial as usize] {
            own.1 = Err(code);
        }
        texts[Text::Serial as usize] = own.1;
        let numa = profile.numa_nodes.get(index).or(profile.numa_nodes.last());
        Fixed {
            texts,
            uuid: own.0,
            pci_address: recorded
                .and_then(|recorded| recorded.pci_address.clone())
                .unwrap_or_else(|| pci_address(&profile.pci_addresses, index)),
            numa_node: numa.copied().unwrap_or(0),
            seed: scenario.seed,
            index,
        }
    }

    /// One of the texts.
    ///
    /// # Errors
    /// The return code in its place.
    pub fn text(&self, text: Text) -> Result<&str, Ret> {
        match &self.texts[text as usize] {
            Ok(text) => Ok(text),
            Err(code) => Err(*code),
        }
    }

    /// UUID of a MIG device.
    pub fn mig_uuid(&self, mig: usize) -> String {
        format!("MIG-51515151-0000-0000-{:04x}-{:08x}{:04x}", self.seed & 0xFFFF, self.index + 1, mig + 1)
    }

    /// Domain, bus and device number.
    pub fn pci_numbers(&self) -> (u32, u32, u32) {
        let part = |range| {
            self.pci_address.get(range).and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0)
        };
        (part(0..8), part(9..11), part(12..14))
    }
}

/// One NVLink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// Taken down by a command.
    pub down: bool,
    /// CRC errors, replays, recoveries.
    pub errors: [u32; 3],
}

/// The moving side of a GPU.
#[derive(Debug)]
pub struct State {
    /// What holds now, counters at the start of the present second.
    pub cells: Cells,
    /// Processes.
    pub processes: Vec<Process>,
    /// MIG devices.
    pub mig: Vec<Mig>,
    /// NVLinks.
    pub links: [Link; MAX_LINKS],
    /// Field ids that answer with a code.
    pub field_returns: Vec<(u32, Ret)>,
    /// The motion.
    pub motion: Motion,
    idle: Cells,
    load: Cells,
    key: u64,
    initial_bytes: u64,
    /// Figures that a command set.
    pub(crate) sets: Vec<(Field, Cell)>,
    offsets: Vec<(Field, i64)>,
    recording: Option<&'static Recording>,
    index: usize,
    limit_celsius: Option<i64>,
    next_change_ms: u64,
    ms: u64,
}

impl State {
    /// GPU `index` at the start of the timeline.
    pub fn new(
        scenario: &Scenario,
        index: usize,
        fixed: &Fixed,
        recording: Option<&'static Recording>,
    ) -> State {
        let profile = &scenario.profile;
        let (mut idle, mut load) = (profile.idle.cells, profile.load.cells);
        let own =
            profile.overrides.iter().filter(|(gpus, _)| covers(gpus, index)).flat_map(|(_, cells)| cells);
        let recorded =
            scenario.recorded.get(index).map(|recorded| recorded.cells.as_slice()).unwrap_or_default();
        let (_, bus, device) = fixed.pci_numbers();
        for cells in [&mut idle, &mut load] {
            let first = &mut cells[Field::MINOR_NUMBER.position()];
            *first = Cell::value(first.ok().unwrap_or(0) + index as i64);
            if index > 0 || cells[Field::BOARD_ID.position()].ok().is_none() {
                cells[Field::BOARD_ID.position()] = Cell::value(i64::from(bus << 8 | device));
            }
            for module in [Field::MODULE_ID, Field::PLATFORM_MODULE] {
                if let Some(first) = cells[module.position()].ok() {
                    cells[module.position()] = Cell::value(first + index as i64);
                }
            }
            for (field, cell) in own.clone().chain(recorded) {
                cells[field.position()] = *cell;
            }
        }
        let curve = scenario.curve(index);
        let phase = match curve {
            Curve::Idle => &profile.idle,
            Curve::Captured | Curve::Replay if !scenario.load_phase => &profile.idle,
            _ => &profile.load,
        };
        let held = matches!(curve, Curve::Captured | Curve::Replay).then_some(if scenario.load_phase {
            &load
        } else {
            &idle
        });
        let key = mix(scenario.seed, 1000, index as u64);
        let constants = Constants::new(key, scenario.seed, &idle, &load, &profile.model, held);
        let spread = |process: &Process| Process {
            // A model has one entry for all GPUs: each GPU shows its own process.
            pid: if profile.captured { process.pid } else { process.pid.saturating_add(index as u32) },
            ..process.clone()
        };
        let mut processes: Vec<Process> = phase
            .processes
            .iter()
            .filter(|(gpus, _)| covers(gpus, index))
            .map(|(_, process)| spread(process))
            .collect();
        let initial_bytes = processes.iter().map(|process| process.memory_bytes).sum();
        processes.extend(
            scenario
                .processes
                .iter()
                .filter(|(gpus, _)| covers(gpus, index))
                .map(|(_, process)| spread(process)),
        );
        let limit_celsius = idle[Field::TEMPERATURE_MARGIN.position()]
            .ok()
            .zip(idle[Field::TEMPERATURE_GPU.position()].ok())
            .map(|(margin, now)| margin + now);
        let mut state = State {
            cells: *held.unwrap_or(&idle),
            processes,
            mig: phase
                .mig
                .iter()
                .filter(|(gpus, _)| covers(gpus, index))
                .map(|(_, mig)| mig.clone())
                .collect(),
            links: [Link::default(); MAX_LINKS],
            field_returns: Vec::new(),
            motion: Motion::new(constants, curve),
            idle,
            load: if held.is_some() && !scenario.load_phase { idle } else { load },
            key,
            initial_bytes,
            sets: Vec::new(),
            offsets: Vec::new(),
            recording: recording.filter(|_| curve == Curve::Replay),
            index,
            limit_celsius,
            next_change_ms: 0,
            ms: 0,
        };
        state.refresh(0);
        state
    }

    /// Brings the figures to `now_ms`.
    pub fn refresh(&mut self, now_ms: u64) {
        if now_ms >= self.next_change_ms {
            self.motion.advance(now_ms / 1000);
            self.recompute(now_ms);
            self.next_change_ms = (now_ms / 1000 + 1) * 1000;
            if let Some(recording) = self.recording {
                self.next_change_ms = self.next_change_ms.min(recording.next_change_ms(self.index, now_ms));
            }
        }
        // A call that took its time before another one must not turn counters back.
        self.ms = now_ms.saturating_sub(self.motion.second() * 1000).min(999);
    }

    /// Figures change at the next look.
    pub(crate) fn touch(&mut self) {
        self.next_change_ms = 0;
    }

    /// A figure now, counters to the millisecond.
    ///
    /// # Errors
    /// The return code in its place.
    pub fn get(&self, field: Field) -> Result<i64, Ret> {
        let value = self.cells[field.position()].get()?;
        let counter = COUNTERS.iter().position(|known| *known == field);
        match counter.filter(|_| self.recording.is_none() && !self.is_set(field)) {
            Some(counter) => Ok(value + i64::try_from(self.motion.gained(counter, self.ms)).unwrap_or(0)),
            None => Ok(value),
        }
    }

    fn is_set(&self, field: Field) -> bool {
        self.sets.iter().any(|(set, _)| *set == field)
    }

    fn recompute(&mut self, now_ms: u64) {
        let now = *self.motion.now();
        if self.motion.held() {
            self.cells = self.load;
            let delta = self.process_bytes() as i64 - self.initial_bytes as i64;
            self.move_memory(delta);
            if now.reasons != 0 {
                self.replace(Field::CLOCK_EVENT_REASONS, now.reasons as i64);
            }
        } else {
            self.cells = if now.load > 0.0 { self.load } else { self.idle };
            self.compute(now_ms / 1000);
        }
        let counts = |select: fn(&Process) -> bool| {
            self.processes.iter().filter(|process| select(process)).count() as i64
        };
        let counts = [counts(|process| process.compute), counts(|process| process.graphics)];
        self.replace(Field::PROCESSES_COMPUTE, counts[0]);
        self.replace(Field::PROCESSES_GRAPHICS, counts[1]);
        for (counter, field) in COUNTERS.into_iter().enumerate() {
            if let Some(base) = self.cells[field.position()].ok() {
                let base = if self.motion.was_reset() { 0 } else { base };
                let total = i64::try_from(self.motion.total(counter)).unwrap_or(i64::MAX);
                self.cells[field.position()] = Cell::value(base.saturating_add(total));
            }
        }
        if let Some(recording) = self.recording {
            for (position, cell) in recording.figures(self.index, now_ms).into_iter().enumerate().take(FAST) {
                if cell.get() != Err(NOT_SAMPLED) {
                    self.cells[position] = cell;
                }
            }
            self.recorded_processes();
        }
        for (field, by) in &self.offsets {
            if let Some(value) = self.cells[field.position()].ok() {
                self.cells[field.position()] = Cell::value(value.saturating_add(*by));
            }
        }
        for (field, cell) in &self.sets {
            self.cells[field.position()] = *cell;
        }
        let core = self.cells[Field::TEMPERATURE_GPU.position()].ok();
        if self.is_set(Field::TEMPERATURE_GPU)
            && !self.is_set(Field::TEMPERATURE_MARGIN)
            && let Some((limit, core)) = self.limit_celsius.zip(core)
        {
            self.replace(Field::TEMPERATURE_MARGIN, limit - core);
        }
    }

    /// A recording counts processes but does not name them: as many made-up ones stand in.
    fn recorded_processes(&mut self) {
        let wanted = |field: Field, cells: &Cells| {
            cells[field.position()].ok().unwrap_or(0).clamp(0, MAX_PROCESSES as i64) as usize
        };
        let compute = wanted(Field::PROCESSES_COMPUTE, &self.cells);
        let graphics = wanted(Field::PROCESSES_GRAPHICS, &self.cells);
        let count =
            |select: fn(&Process) -> bool| self.processes.iter().filter(|process| select(process)).count();
        if (count(|process| process.compute), count(|process| process.graphics)) != (compute, graphics) {
            self.processes = (0..compute.max(graphics))
                .map(|at| Process {
                    pid: 900_000 + at as u32,
                    name: "recorded".to_owned(),
                    compute: at < compute,
                    graphics: at < graphics,
                    memory_bytes: 0,
                    gpu_instance: u32::MAX,
                    compute_instance: u32::MAX,
                })
                .collect();
        }
    }

    /// Writes a figure where the profile has one.
    fn replace(&mut self, field: Field, value: i64) {
        if self.cells[field.position()].ok().is_some() {
            self.cells[field.position()] = Cell::value(value);
        }
    }

    fn process_bytes(&self) -> u64 {
        self.processes.iter().map(|process| process.memory_bytes).sum()
    }

    fn move_memory(&mut self, bytes: i64) {
        let free = self.cells[Field::MEMORY_FREE.position()].ok().unwrap_or(0);
        let bytes = bytes.min(free);
        for (field, by) in [(Field::MEMORY_USED, bytes), (Field::MEMORY_FREE, -bytes)] {
            if let Some(value) = self.cells[field.position()].ok() {
                self.replace(field, (value + by).max(0));
            }
        }
    }

    fn compute(&mut self, second: u64) {
        let now = *self.motion.now();
        let active = now.load > 0.0;
        let wobble =
            |channel, width: f64| if active { width * noise(self.key, channel, second) } else { 0.0 };
        let ends = |field: Field| (self.idle[field.position()], self.load[field.position()]);
        let clock_share = {
            let (low, high) =
                (self.idle[Field::CLOCK_SM.position()], self.load[Field::CLOCK_SM_MAX.position()]);
            let (low, high) = (low.ok().unwrap_or(0) as f64, high.ok().unwrap_or(1) as f64);
            ((now.clock_megahertz as f64 - low) / (high - low).max(1.0)).clamp(0.0, 1.0)
        };
        let mut moved: [(Field, Cell); 14] = [(Field::UTILIZATION_GPU, Cell::NOT_SUPPORTED); 14];
        for (channel, (slot, (field, width))) in moved
            .iter_mut()
            .zip([
                (Field::UTILIZATION_GPU, 1.4),
                (Field::UTILIZATION_MEMORY, 1.2),
                (Field::UTILIZATION_ENCODER, 0.0),
                (Field::UTILIZATION_DECODER, 0.0),
                (Field::UTILIZATION_JPEG, 0.0),
                (Field::UTILIZATION_OFA, 0.0),
                (Field::SM_ACTIVE, 9.0),
                (Field::TENSOR_ACTIVE, 12.0),
                (Field::DRAM_ACTIVE, 9.0),
            ])
            .enumerate()
        {
            let (idle, load) = ends(field);
            let top = if field.position() < 6 { 100 } else { 1000 };
            let cell = between(idle, load, now.load, wobble(30 + channel as u64, width));
            *slot = (field, cell.ok().map_or(cell, |value| Cell::value(value.clamp(0, top))));
        }
        for (slot, (channel, field)) in
            moved[9..].iter_mut().zip([(40, Field::PCIE_TRANSMIT), (41, Field::PCIE_RECEIVE)])
        {
            let (idle, load) = ends(field);
            let cell = between(idle, load, now.load, 0.0);
            *slot = (
                field,
                cell.ok()
                    .map_or(cell, |value| Cell::value((value as f64 * (1.0 + wobble(channel, 0.2))) as i64)),
            );
        }
        let (idle, load) = ends(Field::CLOCK_VIDEO);
        let video = between(idle, load, clock_share, 0.0);
        moved[11] = (Field::CLOCK_VIDEO, video.ok().map_or(video, |clock| Cell::value(clock / 15 * 15)));
        let (idle, load) = ends(Field::FAN_SPEED);
        moved[12] = (Field::FAN_SPEED, between(idle, load, now.load, 0.0));
        let instant = now.power_milliwatts as f64 * (1.0 + wobble(42, 0.02));
        moved[13] = (Field::POWER_INSTANT, Cell::value(instant as i64));
        for (field, cell) in moved {
            self.cells[field.position()] = cell;
        }
        let core = now.core_celsius.round() as i64;
        self.replace(Field::POWER_DRAW, now.power_milliwatts as i64);
        self.replace(Field::CLOCK_GRAPHICS, now.clock_megahertz as i64);
        self.replace(Field::CLOCK_SM, now.clock_megahertz as i64);
        self.replace(Field::TEMPERATURE_GPU, core);
        self.replace(Field::TEMPERATURE_MEMORY, now.memory_celsius.round() as i64);
        self.replace(Field::CLOCK_EVENT_REASONS, now.reasons as i64);
        if let Some(limit) = self.limit_celsius {
            self.replace(Field::TEMPERATURE_MARGIN, limit - core);
        }
        // Memory: what the profile needs at idle, and what the processes hold.
        for field in [Field::MEMORY_USED, Field::MEMORY_FREE] {
            self.cells[field.position()] = self.idle[field.position()];
        }
        let held = self.process_bytes() as i64;
        let breath = if active {
            (held as f64 * 0.003 * noise(self.key, 43, second / 5)) as i64 >> 21 << 21
        } else {
            0
        };
        self.move_memory(held + breath);
    }

    /// The driver was loaded anew at `at_ms`: volatile counters start again.
    pub fn driver_loaded(&mut self, at_ms: u64) {
        self.motion.order(at_ms, Change::Reset);
        let volatile = Field::ECC_COR_VOL_L1.position()..=Field::ECC_UNC_VOL_SRAM.position();
        self.offsets.retain(|(field, _)| {
            !volatile.contains(&field.position()) && !(28..=41).contains(&field.position())
        });
        self.touch();
    }

    pub(crate) fn set(&mut self, field: Field, cell: Cell) {
        match self.sets.iter_mut().find(|(set, _)| *set == field) {
            Some((_, old)) => *old = cell,
            None => self.sets.push((field, cell)),
        }
        self.touch();
    }

    pub(crate) fn offset(&mut self, field: Field, by: i64) {
        match self.offsets.iter_mut().find(|(known, _)| *known == field) {
            Some((_, total)) => *total = total.saturating_add(by),
            None => self.offsets.push((field, by)),
        }
        self.touch();
    }
}

/// Return code of a field id, if a command set one.
pub(crate) fn field_return(state: &State, id: u32) -> Result<(), Ret> {
    match state.field_returns.iter().find(|(known, _)| *known == id) {
        Some((_, code)) if *code != abi::SUCCESS => Err(*code),
        _ => Ok(()),
    }
}
