//! The state of the library: which GPUs there are, which of them is current, what is wrong with them.

use std::cell::Cell as ThreadCell;
use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::codes::{self, Code};
use crate::device::Device;
use crate::faults::{self, Fault, Ordered};
use crate::folder::{self, Gpu};

/// The environment variable that names the folder.
const FOLDER: &str = "RACKMARK_SIM_DIR";

/// A device as the process sees it: what it is, and what is open of it.
pub(crate) struct Seen {
    pub(crate) gpu: Gpu,
    pub(crate) position: usize,
    pub(crate) open: Option<Device>,
}

pub(crate) struct Driver {
    folder: PathBuf,
    pub(crate) seen: Vec<Seen>,
    /// Text of the faults when it was last read, and what it says.
    text: String,
    faults: Vec<Ordered>,
    /// Faults that happen once and did.
    happened: HashSet<u64>,
    /// Times of events, by their handle less 1; none before it is recorded.
    pub(crate) events: Vec<Option<f64>>,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    static CURRENT: ThreadCell<Option<usize>> = const { ThreadCell::new(None) };
}

/// The device whose context is current in this thread, by its ordinal.
pub(crate) fn current() -> Option<usize> {
    CURRENT.get()
}

pub(crate) fn set_current(ordinal: Option<usize>) {
    CURRENT.set(ordinal);
}

fn lock() -> MutexGuard<'static, Option<Driver>> {
    // A call that panicked left nothing half done that another one relies on.
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `cuInit` does.
pub(crate) fn init() -> Result<(), Code> {
    let mut driver = lock();
    if driver.is_none() {
        let folder = PathBuf::from(std::env::var_os(FOLDER).ok_or(codes::NO_DEVICE)?);
        let text = fs::read_to_string(folder.join(folder::FILE)).map_err(|_| codes::NO_DEVICE)?;
        let chosen = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let gpus = folder::visible(text.lines().filter_map(Gpu::parse).collect(), chosen.as_deref());
        let seen: Vec<Seen> =
            gpus.into_iter().map(|(position, gpu)| Seen { gpu, position, open: None }).collect();
        let mut made = Driver {
            folder,
            seen,
            text: String::new(),
            faults: Vec::new(),
            happened: HashSet::new(),
            events: Vec::new(),
        };
        made.read_faults();
        let refused = made.faults.iter().find_map(|ordered| match ordered.fault {
            Fault::Init(code) => Some(code),
            _ => None,
        });
        if let Some(code) = refused {
            return Err(code);
        }
        if made.seen.is_empty() {
            return Err(codes::NO_DEVICE);
        }
        *driver = Some(made);
    }
    Ok(())
}

/// A call's result as the code that it returns.
pub(crate) fn answer(call: impl FnOnce() -> Result<(), Code>) -> Code {
    call().err().unwrap_or(codes::SUCCESS)
}

/// With the driver, once `cuInit` was called.
pub(crate) fn with_driver<T>(act: impl FnOnce(&mut Driver) -> Result<T, Code>) -> Result<T, Code> {
    act(lock().as_mut().ok_or(codes::NOT_INITIALIZED)?)
}

/// With the device that is current and the faults that it has, unless an earlier error sticks to it.
pub(crate) fn with_current<T>(
    act: impl FnOnce(&mut Device, &[Ordered], &mut Events<'_>) -> Result<T, Code>,
) -> Result<T, Code> {
    with_driver(|driver| {
        let ordinal = current().ok_or(codes::INVALID_CONTEXT)?;
        driver.read_faults();
        let Driver { seen, faults, happened, events, .. } = driver;
        let device =
            seen.get_mut(ordinal).and_then(|seen| seen.open.as_mut()).ok_or(codes::INVALID_CONTEXT)?;
        if let Some(code) = device.sticky {
            return Err(code);
        }
        let of_device: Vec<Ordered> = faults
            .iter()
            .filter(|ordered| ordered.gpu.is_none_or(|gpu| gpu == device.position))
            .filter(|ordered| !happened.contains(&ordered.number))
            .cloned()
            .collect();
        act(device, &of_device, &mut Events { times: events, happened })
    })
}

/// What calls about a device note beside it.
pub(crate) struct Events<'a> {
    /// Times of events.
    pub(crate) times: &'a mut Vec<Option<f64>>,
    /// Faults that happened.
    pub(crate) happened: &'a mut HashSet<u64>,
}

/// The thousandths of its memory that a device has left.
pub(crate) fn permille_left(faults: &[Ordered]) -> u32 {
    let left = |ordered: &Ordered| match ordered.fault {
        Fault::Left(permille) => Some(permille),
        _ => None,
    };
    faults.iter().filter_map(left).min().unwrap_or(1000)
}

impl Driver {
    fn read_faults(&mut self) {
        // Without the file nothing is wrong with any GPU.
        let text = fs::read_to_string(self.folder.join(faults::FILE)).unwrap_or_default();
        if text != self.text {
            self.faults = faults::read(&text);
            self.text = text;
        }
    }
}
