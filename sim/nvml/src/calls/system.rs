//! Start, end, versions and names of the machine.

use super::{answer, system_calls};
use crate::abi::{
    self, Device, DriverBranch, Ret, fixed_text, put, put_text, take_text, take_version, version_word,
};
use crate::world::{Handle, init, ready, shutdown};
use std::ffi::{c_char, c_int, c_uint};

/// NVML's `nvmlInit_v2`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Ret {
    answer(init())
}

/// NVML's `nvmlInit`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit() -> Ret {
    answer(init())
}

/// NVML's `nvmlInitWithFlags`. `NO_GPUS` and `NO_ATTACH` are accepted; nothing attaches here before it is asked for.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(flags: c_uint) -> Ret {
    if flags > 3 { abi::INVALID_ARGUMENT } else { answer(init()) }
}

/// NVML's `nvmlShutdown`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Ret {
    answer(shutdown())
}

/// NVML's `nvmlErrorString`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(result: Ret) -> *const c_char {
    let text = match result {
        abi::SUCCESS => c"The operation was successful",
        abi::UNINITIALIZED => c"NVML was not first initialized with nvmlInit()",
        abi::INVALID_ARGUMENT => c"A supplied argument is invalid",
        abi::NOT_SUPPORTED => c"The requested operation is not available on target device",
        abi::NO_PERMISSION => c"The current user does not have permission for operation",
        abi::NOT_FOUND => c"A query to find an object was unsuccessful",
        abi::INSUFFICIENT_SIZE => c"An input argument is not large enough",
        abi::DRIVER_NOT_LOADED => c"NVIDIA driver is not loaded",
        abi::TIMEOUT => c"User provided timeout passed",
        abi::CORRUPTED_INFOROM => c"infoROM is corrupted",
        abi::GPU_IS_LOST => c"The GPU has fallen off the bus or has otherwise become inaccessible",
        abi::NO_DATA => c"No data",
        abi::INSUFFICIENT_RESOURCES => c"Ran out of critical resources, other than memory",
        abi::ARGUMENT_VERSION_MISMATCH => c"The provided version is invalid/unsupported",
        abi::DEPRECATED => c"The requested functionality has been deprecated",
        _ => c"Unknown error (simulated NVML)",
    };
    text.as_ptr()
}

/// NVML's `nvmlSystemGetNVMLVersion`: answers before initialisation too.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> Ret {
    answer(match ready() {
        Ok(world) => put_text(version, length, &world.profile.system.nvml_version),
        Err(_) => put_text(version, length, "simulated"),
    })
}

system_calls! {
    nvmlSystemGetDriverVersion |world| (version: *mut c_char, length: c_uint) {
        put_text(version, length, &world.driver_version())
    }
    nvmlSystemGetCudaDriverVersion |world| (version: *mut c_int) {
        put(version, world.profile.system.cuda_version)
    }
    nvmlSystemGetCudaDriverVersion_v2 |world| (version: *mut c_int) {
        put(version, world.profile.system.cuda_version)
    }
    nvmlSystemGetDriverBranch |world| (info: *mut DriverBranch, length: c_uint) {
        let version = take_version(info)?;
        if version != version_word::<DriverBranch>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let branch = world.profile.system.driver_branch.as_ref().map_err(|code| *code)?;
        if (length as usize) <= branch.len() {
            return Err(abi::INSUFFICIENT_SIZE);
        }
        put(info, DriverBranch { version, branch: fixed_text(branch) })
    }
    nvmlSystemGetProcessName |world| (pid: c_uint, name: *mut c_char, length: c_uint) {
        let found = world.gpus.iter().find_map(|gpu| {
            gpu.state().processes.iter().find(|process| process.pid == pid).map(|process| process.name.clone())
        });
        put_text(name, length, &found.ok_or(abi::NOT_FOUND)?)
    }
    nvmlDeviceGetCount_v2 |world| (count: *mut c_uint) {
        put(count, world.gpus.len() as c_uint)
    }
    nvmlDeviceGetCount |world| (count: *mut c_uint) {
        put(count, world.gpus.len() as c_uint)
    }
    nvmlDeviceGetHandleByUUID |world| (uuid: *const c_char, device: *mut Device) {
        let uuid = take_text(uuid)?;
        // Like the driver, this looks at one GPU after the other: one that blocks stops the search.
        for (gpu, at) in world.gpus.iter().enumerate() {
            let met = at.faults.pass(world, "nvmlDeviceGetHandleByUUID", true);
            let incarnation = world.incarnation();
            if at.fixed.uuid == uuid {
                met?;
                return put(device, Handle { incarnation, gpu, mig: None }.to_device());
            }
            let mig = (0..at.state().mig.len()).find(|mig| at.fixed.mig_uuid(*mig) == uuid);
            if mig.is_some() {
                met?;
                return put(device, Handle { incarnation, gpu, mig }.to_device());
            }
        }
        Err(abi::NOT_FOUND)
    }
    nvmlDeviceGetHandleBySerial |world| (serial: *const c_char, device: *mut Device) {
        let serial = take_text(serial)?;
        for (gpu, at) in world.gpus.iter().enumerate() {
            let met = at.faults.pass(world, "nvmlDeviceGetHandleBySerial", true);
            if at.fixed.text(crate::profile::Text::Serial) == Ok(serial) {
                met?;
                return put(device, Handle { incarnation: world.incarnation(), gpu, mig: None }.to_device());
            }
        }
        Err(abi::NOT_FOUND)
    }
    nvmlDeviceGetHandleByIndex_v2 |world| (index: c_uint, device: *mut Device) {
        by_index(world, "nvmlDeviceGetHandleByIndex_v2", index as usize, device)
    }
    nvmlDeviceGetHandleByIndex |world| (index: c_uint, device: *mut Device) {
        by_index(world, "nvmlDeviceGetHandleByIndex", index as usize, device)
    }
    nvmlDeviceGetHandleByPciBusId_v2 |world| (address: *const c_char, device: *mut Device) {
        let gpu = by_address(world, take_text(address)?)?;
        open(world, "nvmlDeviceGetHandleByPciBusId_v2", gpu, device)
    }
    nvmlDeviceGetHandleByPciBusId |world| (address: *const c_char, device: *mut Device) {
        let gpu = by_address(world, take_text(address)?)?;
        open(world, "nvmlDeviceGetHandleByPciBusId", gpu, device)
    }
}

type World = &'static crate::world::World;

fn open(world: World, function: &str, gpu: usize, device: *mut Device) -> Result<(), Ret> {
    world.gpus[gpu].faults.pass(world, function, true)?;
    put(device, Handle { incarnation: world.incarnation(), gpu, mig: None }.to_device())
}

fn by_index(world: World, function: &str, gpu: usize, device: *mut Device) -> Result<(), Ret> {
    if gpu >= world.gpus.len() {
        return Err(abi::INVALID_ARGUMENT);
    }
    open(world, function, gpu, device)
}

/// Accepts `dddddddd:bb:dd.f`, `dddd:bb:dd.f` and `bb:dd.f`, in either case.
fn by_address(world: World, text: &str) -> Result<usize, Ret> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let mut parts = text.rsplit(':');
    let (slot, bus, domain) = (parts.next(), parts.next(), parts.next());
    let device = slot.and_then(|slot| number(slot.split('.').next()?));
    let wanted =
        domain.map_or(Some(0), number).zip(bus.and_then(number)).zip(device).ok_or(abi::INVALID_ARGUMENT)?;
    let ((domain, bus), device) = wanted;
    world.gpus.iter().position(|gpu| gpu.fixed.pci_numbers() == (domain, bus, device)).ok_or(abi::NOT_FOUND)
}
