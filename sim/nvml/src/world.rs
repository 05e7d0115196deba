//! The simulated machine of this process: loaded once from the folder, moved by the clock and by the control log.

use crate::abi::{self, Ret};
use crate::control::{Command, MAX_GPUS};
use crate::events::Sets;
use crate::faults::Faults;
use crate::generation::Generation;
use crate::gpu::{Fixed, State};
use crate::profile::Profile;
use crate::replay::Recording;
use crate::scenario::Scenario;
use std::ffi::c_void;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A file cannot be read.
    #[error("cannot use `{path}`")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `scenario.toml` is not TOML.
    #[error("`scenario.toml` is not TOML: {0}")]
    Toml(String),
    /// `scenario.toml` has a mistake.
    #[error(transparent)]
    Table(#[from] crate::tables::TableError),
}

/// One simulated GPU.
#[derive(Debug)]
pub struct Gpu {
    /// What never changes.
    pub fixed: Fixed,
    /// Lost, blocked, failing calls.
    pub faults: Faults,
    state: Mutex<State>,
}

impl Gpu {
    /// Locks the state without moving it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Control {
    log: File,
    offset: u64,
    events: Vec<(u64, Command)>,
    next_event: usize,
}

/// The simulated machine.
#[derive(Debug)]
pub struct World {
    /// GPUs by index.
    pub gpus: Vec<Gpu>,
    /// Event sets of this process.
    pub sets: Sets,
    /// The profile.
    pub profile: Profile,
    /// The simulation folder.
    pub dir: std::path::PathBuf,
    start_unix_ms: u64,
    clock_offset_ns: i64,
    generation: Generation,
    seen: AtomicU32,
    next_due_ms: AtomicU64,
    control: Mutex<Control>,
    driver_loaded: AtomicBool,
    incarnation: AtomicU32,
    driver_version: Mutex<String>,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generation({})", self.now())
    }
}

/// Nanoseconds of a clock. One vdso read, no system call.
fn clock_ns(clock: libc::clockid_t) -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec that lives on this stack.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// What to add to the monotonic clock to get Unix time. Both coarse clocks move in the same tick, so that two processes
/// that look in different ticks find the same difference.
fn clock_offset_ns() -> i64 {
    loop {
        let before = clock_ns(libc::CLOCK_MONOTONIC_COARSE);
        let unix = clock_ns(libc::CLOCK_REALTIME_COARSE);
        if clock_ns(libc::CLOCK_MONOTONIC_COARSE) == before {
            return unix - before;
        }
    }
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// What a device handle says: never an address, so that any value can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    /// Which driver load it belongs to.
    pub incarnation: u32,
    /// GPU index.
    pub gpu: usize,
    /// Position among the GPU's MIG devices.
    pub mig: Option<usize>,
}

const HANDLE_MARK: usize = 0x51D0;

impl Handle {
    /// The value handed to callers.
    pub fn to_device(self) -> abi::Device {
        let mig = self.mig.map_or(0, |mig| mig + 1);
        ((HANDLE_MARK << 32) | ((self.incarnation as usize & 0xFFFF) << 16) | (self.gpu << 8) | mig)
            as *mut c_void
    }

    fn from_device(device: abi::Device) -> Option<Handle> {
        let bits = device as usize;
        (bits >> 32 == HANDLE_MARK).then_some(Handle {
            incarnation: (bits >> 16 & 0xFFFF) as u32,
            gpu: bits >> 8 & 0xFF,
            mig: (bits & 0xFF).checked_sub(1),
        })
    }
}

impl World {
    /// Loads a folder that `nvml-sim prepare` made and brings it to the present.
    ///
    /// # Errors
    /// A file is missing or `scenario.toml` has a mistake.
    pub fn load(dir: &Path) -> Result<World, WorldError> {
        let file = |name: &str| {
            let path = dir.join(name).display().to_string();
            move |source| WorldError::File { path, source }
        };
        let text = std::fs::read_to_string(dir.join("scenario.toml")).map_err(file("scenario.toml"))?;
        let table =
            text.parse::<toml::Table>().map_err(|error| WorldError::Toml(error.message().to_owned()))?;
        let scenario = Scenario::read(table)?;
        let recording = match scenario.replay {
            // The mapping lives as long as the process; so may the few bytes that describe it.
            true => Some(&*Box::leak(Box::new(
                Recording::open(&dir.join("trace.bin")).map_err(file("trace.bin"))?,
            ))),
            false => None,
        };
        let generation = Generation::watch(&dir.join("control.gen")).map_err(file("control.gen"))?;
        let log = File::open(dir.join("control.log")).map_err(file("control.log"))?;
        let gpus = (0..scenario.gpus.min(MAX_GPUS))
            .map(|index| {
                let fixed = Fixed::new(&scenario, index);
                let state = Mutex::new(State::new(&scenario, index, &fixed, recording));
                Gpu { fixed, faults: Faults::default(), state }
            })
            .collect();
        let world = World {
            gpus,
            dir: dir.to_owned(),
            sets: Sets::default(),
            start_unix_ms: scenario.start_unix_ms,
            clock_offset_ns: clock_offset_ns(),
            generation,
            seen: AtomicU32::new(generation.now().wrapping_sub(1)),
            next_due_ms: AtomicU64::new(0),
            control: Mutex::new(Control { log, offset: 0, events: scenario.events, next_event: 0 }),
            driver_loaded: AtomicBool::new(true),
            incarnation: AtomicU32::new(1),
            driver_version: Mutex::new(scenario.profile.system.driver_version.clone()),
            profile: scenario.profile,
        };
        world.sync();
        Ok(world)
    }

    /// The shared generation word.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Milliseconds since the start of the timeline, to the tick of the coarse clock. Monotonic within a process.
    pub fn now_ms(&self) -> u64 {
        let unix = (clock_ns(libc::CLOCK_MONOTONIC_COARSE) + self.clock_offset_ns) / 1_000_000;
        u64::try_from(unix).unwrap_or(0).saturating_sub(self.start_unix_ms)
    }

    /// Milliseconds since the Unix epoch on the same clock as [`World::now_ms`].
    pub fn now_unix_ms(&self) -> u64 {
        self.start_unix_ms + self.now_ms()
    }

    /// Milliseconds until the next timeline event, if there is one.
    pub fn next_due_ms(&self) -> Option<u64> {
        Some(self.next_due_ms.load(Ordering::Acquire)).filter(|due| *due != u64::MAX)
    }

    /// Applies what is new in the control log and what is due on the timeline. Costs two loads when there is nothing.
    pub fn sync(&self) {
        let generation = self.generation.now();
        if generation == self.seen.load(Ordering::Acquire)
            && self.now_ms() < self.next_due_ms.load(Ordering::Acquire)
        {
            return;
        }
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Control { log, offset, .. } = &mut *control;
            let lines = crate::control::read_new(log, offset);
            if lines.is_empty() {
                break;
            }
            for (stamp, command) in lines {
                let at = stamp.saturating_sub(self.start_unix_ms);
                self.apply_timeline(&mut control, at);
                self.apply(&command, at);
            }
        }
        self.apply_timeline(&mut control, self.now_ms());
        let due = control.events.get(control.next_event).map_or(u64::MAX, |(at, _)| *at);
        self.next_due_ms.store(due, Ordering::Release);
        self.seen.store(generation, Ordering::Release);
    }

    fn apply_timeline(&self, control: &mut Control, until_ms: u64) {
        while let Some((at, command)) =
            control.events.get(control.next_event).filter(|(at, _)| *at <= until_ms)
        {
            self.apply(command, *at);
            control.next_event += 1;
        }
    }

    fn apply(&self, command: &Command, at_ms: u64) {
        match command {
            Command::DriverUnload => self.driver_loaded.store(false, Ordering::Release),
            Command::DriverLoad(version) => {
                if let Some(version) = version {
                    *self.driver_version.lock().unwrap_or_else(PoisonError::into_inner) = version.clone();
                }
                self.incarnation.fetch_add(1, Ordering::AcqRel);
                for gpu in &self.gpus {
                    gpu.state().driver_loaded(at_ms);
                }
                self.driver_loaded.store(true, Ordering::Release);
            }
            command => {
                for (index, gpu) in self.gpus.iter().enumerate() {
                    crate::orders::apply(gpu, index, command, at_ms, &mut |event| {
                        self.sets.deliver(event);
                    });
                }
            }
        }
    }

    /// True while the driver is loaded.
    pub fn driver_loaded(&self) -> bool {
        self.driver_loaded.load(Ordering::Acquire)
    }

    /// Counts the loads of the driver.
    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Whether the loaded driver is of this major and minor version or a later one.
    pub fn driver_is_at_least(&self, wanted: (u32, u32)) -> bool {
        let version = self.driver_version.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= wanted
    }

    /// The loaded driver's version.
    pub fn driver_version(&self) -> String {
        self.driver_version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

static WORLD: OnceLock<World> = OnceLock::new();
static INITS: Mutex<u32> = Mutex::new(0);
static READY_FOR: AtomicU32 = AtomicU32::new(0);

/// `nvmlInit`: loads the folder on first use and counts one more user.
///
/// # Errors
/// No folder, or the driver is not loaded.
pub(crate) fn init() -> Result<(), Ret> {
    let mut inits = INITS.lock().unwrap_or_else(PoisonError::into_inner);
    let world = match WORLD.get() {
        Some(world) => world,
        None => {
            let dir = std::env::var_os("RACKMARK_SIM_DIR").ok_or(abi::DRIVER_NOT_LOADED)?;
            let world = World::load(Path::new(&dir)).map_err(|_| abi::DRIVER_NOT_LOADED)?;
            // SAFETY: gives memory that only parsing needed back to the system; touches no live allocation.
            unsafe { libc::malloc_trim(0) };
            WORLD.get_or_init(|| world)
        }
    };
    world.sync();
    if !world.driver_loaded() {
        return Err(abi::DRIVER_NOT_LOADED);
    }
    for gpu in &world.gpus {
        gpu.faults
            .pass(world, "nvmlInit_v2", false)
            .or_else(|code| if code == abi::GPU_IS_LOST { Ok(()) } else { Err(code) })?;
    }
    *inits += 1;
    READY_FOR.store(world.incarnation(), Ordering::Release);
    Ok(())
}

/// `nvmlShutdown`: one user less.
///
/// # Errors
/// There is no user.
pub(crate) fn shutdown() -> Result<(), Ret> {
    let mut inits = INITS.lock().unwrap_or_else(PoisonError::into_inner);
    *inits = inits.checked_sub(1).ok_or(abi::UNINITIALIZED)?;
    if *inits == 0 {
        READY_FOR.store(0, Ordering::Release);
    }
    Ok(())
}

/// The machine, when it is initialised and its driver is loaded.
///
/// # Errors
/// Not initialised (also since the driver was loaded anew), or the driver is gone.
pub(crate) fn ready() -> Result<&'static World, Ret> {
    let ready_for = READY_FOR.load(Ordering::Acquire);
    let world = WORLD.get().filter(|_| ready_for != 0).ok_or(abi::UNINITIALIZED)?;
    world.sync();
    if !world.driver_loaded() {
        Err(abi::DRIVER_NOT_LOADED)
    } else if ready_for == world.incarnation() {
        Ok(world)
    } else {
        Err(abi::UNINITIALIZED)
    }
}

/// A GPU in the middle of a call: its state is locked and holds the present figures.
pub(crate) struct Here {
    pub(crate) world: &'static World,
    pub(crate) gpu: &'static Gpu,
    pub(crate) index: usize,
    pub(crate) mig: Option<usize>,
    pub(crate) state: MutexGuard<'static, State>,
    pub(crate) now_ms: u64,
}

/// Checks a device handle, meets the GPU's faults and brings its figures to the present.
///
/// # Errors
/// The return code that the call must answer with.
pub(crate) fn enter(function: &str, device: abi::Device) -> Result<Here, Ret> {
    let world = ready()?;
    let handle = Handle::from_device(device).ok_or(abi::INVALID_ARGUMENT)?;
    if handle.incarnation != world.incarnation() & 0xFFFF {
        return Err(abi::INVALID_ARGUMENT);
    }
    let gpu = world.gpus.get(handle.gpu).ok_or(abi::INVALID_ARGUMENT)?;
    gpu.faults.pass(world, function, true)?;
    let mut state = gpu.state();
    if handle.mig.is_some_and(|mig| mig >= state.mig.len()) {
        return Err(abi::INVALID_ARGUMENT);
    }
    let now_ms = world.now_ms();
    state.refresh(now_ms);
    Ok(Here { world, gpu, index: handle.gpu, mig: handle.mig, state, now_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn handles_go_both_ways_and_any_value_is_safe(incarnation in 0u32..0x1_0000, gpu in 0usize..64, mig in prop::option::of(0usize..7), any: usize) {
            let handle = Handle { incarnation, gpu, mig };
            prop_assert_eq!(Handle::from_device(handle.to_device()), Some(handle));
            let _ = Handle::from_device(any as *mut c_void);
        }
    }
}
