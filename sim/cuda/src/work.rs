//! Launches: the compiled kernels, and the faults that act in them.

use std::ffi::{CStr, c_char, c_void};

use crate::device::Device;
use crate::faults::{Cell, Fault, Ordered, Spoiled, When};

/// "Whichever" and "every time" of a [`ProductFault`], and no block.
const ANY: u32 = u32::MAX;

/// Largest parameter of a kernel: two tensor maps and a product.
const PARAMETER_BYTES_MAX: usize = 384;

#[repr(C)]
#[derive(Clone, Copy)]
struct ProductFault {
    tile: u32,
    row: u32,
    column: u32,
    sm: u32,
    set: u32,
    remaining: u32,
    bits: u64,
}

unsafe extern "C" {
    fn simulated_entry(entry: u32) -> *const c_char;
    fn simulated_parameter_bytes(entry: u32) -> u32;
    fn simulated_special(entry: u32, infinity: u32) -> u64;
    fn simulated_launch(
        entry: u32,
        parameter: *const c_void,
        blocks: u32,
        threads: u32,
        sms: u32,
        skipped_block: u32,
        faults: *mut ProductFault,
        fault_count: u32,
    );
}

/// The name of a kernel, by its number.
fn name_of(entry: u32) -> Option<&'static CStr> {
    // SAFETY: any number may be asked for; the name is a constant of the compiled kernels.
    unsafe {
        let name = simulated_entry(entry);
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }
}

/// The number of a kernel, by its name.
pub(crate) fn entry(name: &CStr) -> Option<u32> {
    (0..)
        .map_while(|entry| name_of(entry).map(|known| (entry, known)))
        .find(|(_, known)| *known == name)
        .map(|(entry, _)| entry)
}

/// A launch as it was asked for.
pub(crate) struct Launch {
    pub(crate) entry: u32,
    pub(crate) parameter: *const c_void,
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
}

/// Seconds of a processor that this thread had so far: what else runs on this machine makes no simulated GPU slower.
pub(crate) fn spent() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[repr(C, align(64))]
struct Parameter([u8; PARAMETER_BYTES_MAX]);

/// Runs a launch under these faults. Returns the numbers of those that happen once and did.
///
/// # Safety
/// `parameter` points to the struct that the kernel takes, and its addresses are those of a device of this process, as
/// `cuLaunchKernel` demands.
pub(crate) unsafe fn run(device: &mut Device, launch: &Launch, faults: &[Ordered]) -> Vec<u64> {
    let name = name_of(launch.entry).and_then(|name| name.to_str().ok()).unwrap_or_default();
    let launched = device.count_launch(launch.entry);
    let mut happened = Vec::new();
    let (mut of_products, mut numbers) = (Vec::new(), Vec::new());
    let (mut slow, mut skipped) = (1.0, ANY);
    for Ordered { number, fault, .. } in faults {
        match fault {
            Fault::Idle => return happened,
            Fault::Slow(factor) => slow = *factor,
            Fault::Skip(block) => skipped = *block,
            Fault::Word { offset, bit, cell: Cell::Once(before) }
                if before == name && device.flip(*offset, *bit) =>
            {
                happened.push(*number);
            }
            Fault::Product { entry, tile, row, column, spoiled, when }
                if entry.as_deref().is_none_or(|entry| entry == name)
                    && !matches!(when, When::Launch(number) if *number != launched) =>
            {
                // SAFETY: the entry is one of the table's.
                let special = |infinity| unsafe { simulated_special(launch.entry, infinity) };
                let (set, bits) = match spoiled {
                    Spoiled::Bit(bit) => (0, 1 << bit),
                    Spoiled::Nan => (1, special(0)),
                    Spoiled::Infinity => (1, special(1)),
                };
                let remaining = if *when == When::Always { ANY } else { 1 };
                let (tile, row, column) = (*tile, *row, *column);
                of_products.push(ProductFault { tile, row, column, sm: ANY, set, remaining, bits });
                numbers.push(*number);
            }
            Fault::Multiprocessor(sm, bit) => {
                let bits = 1 << bit;
                of_products.push(ProductFault {
                    tile: ANY,
                    row: 0,
                    column: 0,
                    sm: *sm,
                    set: 0,
                    remaining: ANY,
                    bits,
                });
                numbers.push(*number);
            }
            _ => {}
        }
        device.hold_stuck(fault);
    }
    let mut parameter = Parameter([0; PARAMETER_BYTES_MAX]);
    let began = spent();
    // SAFETY: the caller vouches for the parameter, which is as large as the table says and not larger than the copy. The
    // kernel reads and writes the addresses in it, which are the caller's as well.
    unsafe {
        let bytes = simulated_parameter_bytes(launch.entry) as usize;
        std::ptr::copy_nonoverlapping(launch.parameter.cast::<u8>(), parameter.0.as_mut_ptr(), bytes);
        simulated_launch(
            launch.entry,
            parameter.0.as_ptr().cast(),
            launch.blocks,
            launch.threads,
            device.gpu.multiprocessors,
            skipped,
            of_products.as_mut_ptr(),
            of_products.len() as u32,
        );
    }
    device.clock += (spent() - began) * slow;
    for Ordered { fault, .. } in faults {
        device.hold_stuck(fault);
    }
    happened.extend(
        of_products.iter().zip(numbers).filter(|(fault, _)| fault.remaining == 0).map(|(_, number)| number),
    );
    happened
}

/// Whether a kernel has this name.
pub(crate) fn is_named(entry: u32, name: &str) -> bool {
    name_of(entry).is_some_and(|known| known.to_bytes() == name.as_bytes())
}
