//! The thread of one GPU: reads it at every tick and waits for its events in
//! between. It lives as long as the GPU stays open; whoever finds the GPU
//! without a thread later starts a new one.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rackmark_hardware::pci;
use rackmark_model::ipc::SamplerReport;
use rackmark_model::readings::Fast;
use rackmark_model::{GpuEvent, GpuInventory, NoData, Presence};

use crate::Shared;
use crate::board::{Permission, Vacancy};
use crate::clock;
use crate::nvml::{Device, EventSet};
use crate::read::{FastReader, read_inventory, read_slow};

/// Most events passed on between two ticks; the rest waits in the driver, so
/// that a storm cannot keep a core busy.
const EVENTS_PER_TICK_MAX: u32 = 256;

/// Stack of the thread. The driver's library puts its request structures there,
/// some kilobytes each; only pages that are used count as memory.
const STACK_BYTES: usize = 256 << 10;

/// Starts a thread for every GPU that may be touched and has none.
pub(crate) fn staff(shared: &Arc<Shared>) {
    for vacancy in shared.board.take_vacancies() {
        let address = vacancy.address;
        if let Err(error) = start(Arc::clone(shared), vacancy) {
            shared.board.leave(address, Some(NoData::Error(error.raw_os_error().unwrap_or(-1))));
        }
    }
}

fn start(shared: Arc<Shared>, vacancy: Vacancy) -> io::Result<()> {
    // A thread name has room for 15 bytes.
    let name = format!(
        "gpu-{:02x}:{:02x}.{:x}",
        vacancy.address.bus, vacancy.address.device, vacancy.address.function
    );
    let body = move || {
        let mut tenancy = Tenancy { shared: &shared, vacancy: &vacancy, why: None };
        tenancy.why = work(&shared, &vacancy);
    };
    thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(body).map(drop)
}

/// Gives the GPU back when the thread ends, however it ends.
struct Tenancy<'a> {
    shared: &'a Shared,
    vacancy: &'a Vacancy,
    why: Option<NoData>,
}

impl Drop for Tenancy<'_> {
    fn drop(&mut self) {
        if self.why == Some(NoData::DriverGone) {
            self.shared.board.report_driver_gone(&self.vacancy.library);
        }
        self.shared.board.leave(self.vacancy.address, self.why);
    }
}

/// One open GPU.
struct Work<'a> {
    shared: &'a Shared,
    vacancy: &'a Vacancy,
    device: Device,
    fast: FastReader,
    events: Option<EventSet>,
    told: Option<Box<GpuInventory>>,
    slow_due: u64,
}

fn work(shared: &Shared, vacancy: &Vacancy) -> Option<NoData> {
    let device = match Device::open(Arc::clone(&vacancy.library), Arc::clone(&vacancy.watch), vacancy.address)
    {
        Ok(device) => device,
        Err(why) => return Some(why),
    };
    let fast = FastReader::new(&device, shared.order.pcie_throughput);
    let mut work = Work { shared, vacancy, device, fast, events: None, told: None, slow_due: 0 };
    let status_path = pci::runtime_status_path(&shared.sysfs_root, vacancy.address);
    let mut tick = shared.beat.latest(Instant::now());
    loop {
        if vacancy.library.is_gone() {
            return Some(NoData::DriverGone);
        }
        let Permission::Read { may_suspend } = shared.board.permission(vacancy.address) else { return None };
        let until = if may_suspend && pci::is_suspended(&status_path) {
            let why = NoData::Suspended;
            shared.board.answer(vacancy.address, tick, Presence::Absent(why), Fast::absent(why));
            let next = shared.beat.after(tick, Instant::now());
            thread::sleep(shared.beat.due(next).saturating_duration_since(Instant::now()));
            tick = next;
            continue;
        } else {
            if let Err(why) = work.tick(tick) {
                return Some(why);
            }
            tick = shared.beat.after(tick, Instant::now());
            shared.beat.due(tick)
        };
        work.wait(until);
    }
}

impl Work<'_> {
    fn tick(&mut self, tick: u64) -> Result<(), NoData> {
        if let Some(fast) = self.fast.read(&self.device) {
            self.shared.board.answer(self.vacancy.address, tick, Presence::Open, fast);
        }
        self.still_there()?;
        if tick >= self.slow_due {
            self.slow_due = self.next_slow(tick);
            self.read_slow();
            self.still_there()?;
        }
        Ok(())
    }

    fn still_there(&self) -> Result<(), NoData> {
        self.device.fatal().map_or(Ok(()), |status| Err(status.into()))
    }

    /// The slow tick after `tick`. GPUs take turns, so that their slow readings
    /// do not fall on the same tick.
    fn next_slow(&self, tick: u64) -> u64 {
        let every = u64::from(self.shared.order.slow_every_ticks);
        let turn = self.vacancy.position % every;
        tick + every - (tick + turn) % every
    }

    fn read_slow(&mut self) {
        if self.events.is_none() {
            self.events = EventSet::open(&self.device).ok();
        }
        let inventory = Box::new(read_inventory(&self.device, self.vacancy.address));
        let slow = read_slow(&self.device, self.vacancy.address, clock::unix_ms());
        if self.device.fatal().is_some() {
            return;
        }
        if self.told.as_ref() != Some(&inventory) {
            let report = SamplerReport::Inventory(inventory);
            self.shared.outlet.send(&report);
            if let SamplerReport::Inventory(inventory) = report {
                self.told = Some(inventory);
            }
        }
        self.shared.outlet.send(&SamplerReport::Slow(Box::new(slow)));
    }

    /// Passes events on as they come, until `until`.
    fn wait(&mut self, until: Instant) {
        for _ in 0..EVENTS_PER_TICK_MAX {
            let Some(events) = &self.events else { break };
            match events.wait(milliseconds(until.saturating_duration_since(Instant::now()))) {
                Ok(Some(event)) => self.shared.outlet.send(&SamplerReport::Event(GpuEvent {
                    address: self.vacancy.address,
                    seen_unix_ms: clock::unix_ms(),
                    kind: event.kind,
                    gpu_instance_id: event.gpu_instance_id,
                    compute_instance_id: event.compute_instance_id,
                })),
                Ok(None) if Instant::now() >= until => return,
                Ok(None) => {}
                // The readings of the next tick tell why; events are tried
                // again with the next slow reading.
                Err(_) => self.events = None,
            }
        }
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// Rounded up: a thread that wakes early would have to wait again.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
