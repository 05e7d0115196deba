//! The functions, as `libcuda.so.1` exports them. All of them are called as CUDA's documentation says; what that
//! guarantees of pointers is what the safety of every block rests on: a pointer for an answer can be written, a handle
//! is one that this library gave.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::thread;
use std::time::Duration;

use crate::codes::{self, Code};
use crate::device::Device;
use crate::driver::{self, answer, permille_left, with_current, with_driver};
use crate::faults::{Fault, Ordered};
use crate::work::{self, Launch};

/// CUDA 12.0.
const VERSION: c_int = 12_000;

/// What stands for the one stream that every handle means: work is done when it is launched.
const STREAM: usize = 0x5151;

/// Level-2 cache, in bytes: less than real, as the memory is.
const L2_BYTES: c_int = 1 << 20;

/// Blocks of a kernel that a multiprocessor holds at a time.
const RESIDENT_BLOCKS: c_int = 2;

type Address = u64;
type Handle = *mut c_void;

fn write<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(codes::INVALID_VALUE);
    }
    // SAFETY: not null, and the caller's to be written.
    unsafe { to.write(value) };
    Ok(())
}

/// Writes a text with its final zero, cut to `length`.
fn write_text(to: *mut c_char, length: c_int, text: &str) -> Result<(), Code> {
    let length = usize::try_from(length).map_err(|_| codes::INVALID_VALUE)?;
    if to.is_null() || length == 0 {
        return Err(codes::INVALID_VALUE);
    }
    let taken = text.len().min(length - 1);
    // SAFETY: the caller's buffer has `length` bytes.
    unsafe {
        to.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), taken);
        to.add(taken).write(0);
    }
    Ok(())
}

fn ordinal(device: c_int) -> Result<usize, Code> {
    let ordinal = usize::try_from(device).map_err(|_| codes::INVALID_DEVICE)?;
    with_driver(|driver| if ordinal < driver.seen.len() { Ok(ordinal) } else { Err(codes::INVALID_DEVICE) })
}

/// Contexts are handles of their device's ordinal, never null.
fn context_of(ordinal: usize) -> Handle {
    std::ptr::without_provenance_mut(ordinal + 1)
}

/// Waits as long as a device hangs. Not under the lock, so that other threads go on.
fn wait() -> Result<(), Code> {
    let file = |faults: &[Ordered]| {
        faults.iter().find_map(|ordered| match &ordered.fault {
            Fault::ReadFile(file) => Some(file.clone()),
            _ => None,
        })
    };
    if let Some(file) = with_current(|_, faults, _| Ok(file(faults)))? {
        // Only the waiting counts.
        let _ = std::fs::read(file);
    }
    while with_current(|_, faults, _| Ok(faults.iter().any(|ordered| ordered.fault == Fault::Hang)))? {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A copy of bytes, under the faults of memory.
fn copy(device: &mut Device, faults: &[Ordered], to: *mut u8, from: *const u8, bytes: usize) {
    let hold = |device: &mut Device| faults.iter().for_each(|ordered| device.hold_stuck(&ordered.fault));
    hold(device);
    // SAFETY: one side was checked to be allocated on a device, the other is the caller's; ranges may overlap.
    unsafe { std::ptr::copy(from, to, bytes) };
    hold(device);
}

/// How many times as long as it should everything takes.
fn slowness(faults: &[Ordered]) -> f64 {
    let factor = |ordered: &Ordered| match ordered.fault {
        Fault::Slow(factor) => Some(factor),
        _ => None,
    };
    faults.iter().find_map(factor).unwrap_or(1.0)
}

fn on_any_device(address: Address, bytes: usize) -> Result<bool, Code> {
    with_driver(|driver| {
        Ok(driver
            .seen
            .iter()
            .filter_map(|seen| seen.open.as_ref())
            .any(|device| device.holds(address, bytes)))
    })
}

/// Copies where every side that is a device's is allocated there.
fn checked_copy(to: Address, from: Address, bytes: usize, on_device: &[Address]) -> Result<(), Code> {
    for address in on_device {
        if !on_any_device(*address, bytes)? {
            return Err(codes::INVALID_VALUE);
        }
    }
    with_current(|device, faults, _| {
        let began = work::spent();
        let (to, from) = (to as usize, from as usize);
        copy(
            device,
            faults,
            std::ptr::with_exposed_provenance_mut(to),
            std::ptr::with_exposed_provenance(from),
            bytes,
        );
        device.clock += (work::spent() - began) * slowness(faults);
        Ok(())
    })
}

macro_rules! calls {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $type),*) -> Code {
                answer(|| $body)
            }
        )*
    };
}

calls! {
    fn cuInit(_flags: c_uint) { driver::init() }

    fn cuDriverGetVersion(version: *mut c_int) { write(version, VERSION) }

    fn cuGetErrorName(code: Code, name: *mut *const c_char) {
        write(name, codes::name(code).ok_or(codes::INVALID_VALUE)?.as_ptr().cast())
    }

    fn cuGetErrorString(code: Code, text: *mut *const c_char) {
        write(text, codes::name(code).ok_or(codes::INVALID_VALUE)?.as_ptr().cast())
    }

    fn cuDeviceGetCount(count: *mut c_int) {
        write(count, with_driver(|driver| Ok(driver.seen.len()))? as c_int)
    }

    fn cuDeviceGet(device: *mut c_int, number: c_int) {
        ordinal(number)?;
        write(device, number)
    }

    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) {
        let ordinal = ordinal(device)?;
        write_text(name, length, &with_driver(|driver| Ok(driver.seen[ordinal].gpu.name.clone()))?)
    }

    fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) {
        let ordinal = ordinal(device)?;
        write(uuid, with_driver(|driver| Ok(driver.seen[ordinal].gpu.uuid_bytes()))?)
    }

    fn cuDeviceGetPCIBusId(address: *mut c_char, length: c_int, device: c_int) {
        let ordinal = ordinal(device)?;
        write_text(address, length, &with_driver(|driver| Ok(driver.seen[ordinal].gpu.address.clone()))?)
    }

    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) {
        let ordinal = ordinal(device)?;
        write(bytes, with_driver(|driver| Ok(driver.seen[ordinal].gpu.memory_bytes))? as usize)
    }

    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int) {
        let ordinal = ordinal(device)?;
        let gpu = with_driver(|driver| Ok(driver.seen[ordinal].gpu.clone()))?;
        write(value, match attribute {
            1 => 1024,                              // threads of a block
            10 => 32,                               // threads of a warp
            16 => gpu.multiprocessors as c_int,
            38 => L2_BYTES,
            75 => gpu.capability.0.into(),
            76 => gpu.capability.1.into(),
            97 => 227 << 10,                        // shared memory of a block, if asked for
            _ => 0,
        })
    }

    fn cuDeviceCanAccessPeer(can: *mut c_int, device: c_int, peer: c_int) {
        let (one, other) = (ordinal(device)?, ordinal(peer)?);
        write(can, (one != other).into())
    }

    fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) {
        let ordinal = ordinal(device)?;
        with_driver(|driver| {
            let seen = &mut driver.seen[ordinal];
            if seen.open.is_none() {
                let opened = Device::open(seen.position, seen.gpu.clone());
                seen.open = Some(opened.map_err(|_| codes::OUT_OF_MEMORY)?);
            }
            Ok(())
        })?;
        write(context, context_of(ordinal))
    }

    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        let ordinal = ordinal(device)?;
        with_driver(|driver| {
            driver.seen[ordinal].open = None;
            Ok(())
        })
    }

    fn cuCtxSetCurrent(context: Handle) {
        driver::set_current(context.addr().checked_sub(1));
        Ok(())
    }

    fn cuCtxSynchronize() { wait() }

    fn cuCtxEnablePeerAccess(_context: Handle, _flags: c_uint) { with_current(|_, _, _| Ok(())) }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let (left, all) = with_current(|device, faults, _| Ok(device.memory_left(permille_left(faults))))?;
        write(free, left)?;
        write(total, all)
    }

    fn cuMemAlloc_v2(address: *mut Address, bytes: usize) {
        let allocated = with_current(|device, faults, _| {
            device.allocate(bytes, permille_left(faults)).ok_or(codes::OUT_OF_MEMORY)
        })?;
        write(address, allocated)
    }

    fn cuMemFree_v2(address: Address) {
        with_current(|device, _, _| if device.free(address) { Ok(()) } else { Err(codes::INVALID_VALUE) })
    }

    fn cuMemHostAlloc(memory: *mut Handle, bytes: usize, _flags: c_uint) {
        with_current(|_, _, _| Ok(()))?;
        // SAFETY: `malloc` takes any size.
        let allocated = unsafe { libc::malloc(bytes) };
        if allocated.is_null() {
            return Err(codes::OUT_OF_MEMORY);
        }
        write(memory, allocated)
    }

    fn cuMemFreeHost(memory: Handle) {
        // SAFETY: what `cuMemHostAlloc` gave.
        unsafe { libc::free(memory) };
        Ok(())
    }

    fn cuMemsetD8Async(address: Address, value: u8, bytes: usize, _stream: Handle) {
        with_current(|device, faults, _| {
            if !device.holds(address, bytes) {
                return Err(codes::INVALID_VALUE);
            }
            let memory: *mut u8 = std::ptr::with_exposed_provenance_mut(address as usize);
            // SAFETY: the range is allocated on this device.
            unsafe { memory.write_bytes(value, bytes) };
            faults.iter().for_each(|ordered| device.hold_stuck(&ordered.fault));
            Ok(())
        })
    }

    fn cuMemcpyHtoDAsync_v2(to: Address, from: *const c_void, bytes: usize, _stream: Handle) {
        checked_copy(to, from.expose_provenance() as u64, bytes, &[to])
    }

    fn cuMemcpyDtoHAsync_v2(to: Handle, from: Address, bytes: usize, _stream: Handle) {
        checked_copy(to.expose_provenance() as u64, from, bytes, &[from])
    }

    fn cuMemcpyDtoDAsync_v2(to: Address, from: Address, bytes: usize, _stream: Handle) {
        checked_copy(to, from, bytes, &[to, from])
    }

    fn cuMemcpyPeerAsync(
        to: Address, _to_context: Handle, from: Address, _from_context: Handle, bytes: usize, _stream: Handle,
    ) {
        checked_copy(to, from, bytes, &[to, from])
    }

    fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) {
        with_current(|_, _, _| Ok(()))?;
        write(stream, std::ptr::without_provenance_mut(STREAM))
    }

    fn cuStreamSynchronize(_stream: Handle) { wait() }

    fn cuStreamDestroy_v2(_stream: Handle) { Ok(()) }

    fn cuStreamWaitEvent(_stream: Handle, _event: Handle, _flags: c_uint) { with_current(|_, _, _| Ok(())) }

    fn cuEventCreate(event: *mut Handle, _flags: c_uint) {
        let number = with_current(|_, _, events| {
            events.times.push(None);
            Ok(events.times.len())
        })?;
        write(event, std::ptr::without_provenance_mut(number))
    }

    fn cuEventDestroy_v2(_event: Handle) { Ok(()) }

    fn cuEventRecord(event: Handle, _stream: Handle) {
        with_current(|device, _, events| {
            let time = event.addr().checked_sub(1).and_then(|number| events.times.get_mut(number));
            *time.ok_or(codes::INVALID_VALUE)? = Some(device.clock);
            Ok(())
        })
    }

    fn cuEventSynchronize(_event: Handle) { wait() }

    fn cuEventQuery(_event: Handle) { with_current(|_, _, _| Ok(())) }

    fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) {
        let seconds = with_current(|_, _, events| {
            let time = |event: Handle| {
                let time = event.addr().checked_sub(1).and_then(|number| events.times.get(number));
                time.copied().flatten().ok_or(codes::INVALID_VALUE)
            };
            Ok(time(end)? - time(start)?)
        })?;
        write(milliseconds, (seconds * 1e3) as f32)
    }

    fn cuModuleLoadData(module: *mut Handle, image: *const c_void) {
        let refused = with_current(|_, faults, _| {
            Ok(faults.iter().find_map(|ordered| match ordered.fault {
                Fault::Module(code) => Some(code),
                _ => None,
            }))
        })?;
        if let Some(code) = refused {
            return Err(code);
        }
        if image.is_null() {
            return Err(codes::INVALID_IMAGE);
        }
        // SAFETY: an image is an ELF file or text that ends with a zero; both have four bytes, or end before.
        let is_elf = (0..4).all(|at| unsafe { image.cast::<u8>().add(at).read() } == b"\x7fELF"[at]);
        if !is_elf {
            // SAFETY: text, then, with its zero.
            let text = unsafe { CStr::from_ptr(image.cast()) };
            if !text.to_bytes().windows(8).any(|words| words == b".version") {
                return Err(codes::INVALID_IMAGE);
            }
        }
        write(module, image.cast_mut())
    }

    fn cuModuleGetFunction(function: *mut Handle, _module: Handle, name: *const c_char) {
        with_current(|_, _, _| Ok(()))?;
        if name.is_null() {
            return Err(codes::INVALID_VALUE);
        }
        // SAFETY: a text with its zero.
        let entry = work::entry(unsafe { CStr::from_ptr(name) }).ok_or(codes::NOT_FOUND)?;
        write(function, std::ptr::without_provenance_mut(entry as usize + 1))
    }

    fn cuModuleUnload(_module: Handle) { Ok(()) }

    fn cuFuncSetAttribute(_function: Handle, _attribute: c_uint, _value: c_int) { with_current(|_, _, _| Ok(())) }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: *mut c_int, _function: Handle, _threads: c_int, _shared_bytes: usize,
    ) {
        with_current(|_, _, _| Ok(()))?;
        write(blocks, RESIDENT_BLOCKS)
    }

    fn cuLaunchKernel(
        function: Handle, grid_x: c_uint, _grid_y: c_uint, _grid_z: c_uint, block_x: c_uint, _block_y: c_uint,
        _block_z: c_uint, _shared_bytes: c_uint, _stream: Handle, parameters: *mut *mut c_void,
        _extra: *mut *mut c_void,
    ) {
        let entry = function.addr().checked_sub(1).ok_or(codes::INVALID_VALUE)? as u32;
        if grid_x == 0 || block_x == 0 || parameters.is_null() {
            return Err(codes::INVALID_VALUE);
        }
        // SAFETY: an array of one pointer for each parameter; a kernel has one.
        let parameter = unsafe { parameters.read() };
        with_current(|device, faults, events| {
            let fails = faults.iter().find_map(|ordered| match &ordered.fault {
                Fault::Sticky(code, of) if of.as_deref().is_none_or(|of| work::is_named(entry, of)) => Some(*code),
                _ => None,
            });
            if let Some(code) = fails {
                device.sticky = Some(code);
                return Err(code);
            }
            let launch = Launch { entry, parameter, blocks: grid_x, threads: block_x };
            // SAFETY: what `cuLaunchKernel` demands of its caller.
            events.happened.extend(unsafe { work::run(device, &launch, faults) });
            Ok(())
        })
    }

    /// The CPU reads operands by their plain addresses: of the map only that is kept.
    fn cuTensorMapEncodeTiled(
        map: *mut [u64; 16], _type: c_uint, rank: c_uint, address: Handle, _dimensions: *const u64,
        _strides: *const u64, _box: *const u32, _element_strides: *const u32, _interleave: c_uint, _swizzle: c_uint,
        _promotion: c_uint, _fill: c_uint,
    ) {
        if !map.addr().is_multiple_of(64) || !address.addr().is_multiple_of(16) || !(1..=5).contains(&rank) {
            return Err(codes::INVALID_VALUE);
        }
        let mut words = [0; 16];
        words[0] = address.addr() as u64;
        write(map, words)
    }
}
