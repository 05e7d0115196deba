//! A simulated GPU: its memory and its clock.

use std::collections::HashMap;
use std::io;
use std::ptr;

use crate::faults::{Cell, Fault};
use crate::folder::Gpu;

/// Addresses that `cuMemAlloc` gives are multiples of this.
const ALIGNMENT: usize = 512;

/// A GPU that was opened.
pub(crate) struct Device {
    pub(crate) gpu: Gpu,
    /// Position in the folder, by which faults name it.
    pub(crate) position: usize,
    memory: *mut u8,
    bytes: usize,
    /// Offset and length of what is allocated, by offset.
    allocated: Vec<(usize, usize)>,
    /// Seconds that its work took a processor so far.
    pub(crate) clock: f64,
    /// Launches of each kernel.
    launches: HashMap<u32, u64>,
    /// What every call answers from now on.
    pub(crate) sticky: Option<u32>,
}

// SAFETY: the mapping belongs to this value alone and is as large as `bytes` says, whichever thread holds it.
unsafe impl Send for Device {}

impl Device {
    pub(crate) fn open(position: usize, gpu: Gpu) -> io::Result<Self> {
        let bytes = gpu.memory_bytes as usize;
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new anonymous mapping; the address is the kernel's to choose.
        let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = memory.cast();
        Ok(Self {
            gpu,
            position,
            memory,
            bytes,
            allocated: Vec::new(),
            clock: 0.0,
            launches: HashMap::new(),
            sticky: None,
        })
    }

    /// Free and all bytes, where only so many thousandths are left. A context takes 1/32, as one does on a GPU.
    pub(crate) fn memory_left(&self, permille: u32) -> (usize, usize) {
        let taken: usize = self.allocated.iter().map(|(_, length)| length).sum();
        let usable = (self.bytes - self.bytes / 32) / 1000 * permille as usize;
        (usable.saturating_sub(taken), self.bytes)
    }

    pub(crate) fn allocate(&mut self, bytes: usize, permille: u32) -> Option<u64> {
        let length = bytes.checked_next_multiple_of(ALIGNMENT).filter(|length| *length > 0)?;
        if length > self.memory_left(permille).0 {
            return None;
        }
        let mut at = 0;
        let mut place = self.allocated.len();
        for (position, (offset, taken)) in self.allocated.iter().enumerate() {
            if offset - at >= length {
                place = position;
                break;
            }
            at = offset + taken;
        }
        if at + length > self.bytes {
            return None;
        }
        self.allocated.insert(place, (at, length));
        Some(self.memory as u64 + at as u64)
    }

    pub(crate) fn free(&mut self, address: u64) -> bool {
        let found =
            self.allocated.iter().position(|(offset, _)| self.memory as u64 + *offset as u64 == address);
        found.map(|position| self.allocated.remove(position)).is_some()
    }

    /// Whether these bytes are allocated here.
    pub(crate) fn holds(&self, address: u64, bytes: usize) -> bool {
        let Some(start) = address.checked_sub(self.memory as u64) else { return false };
        let (start, Some(end)) = (start as usize, (start as usize).checked_add(bytes)) else { return false };
        self.allocated.iter().any(|(offset, length)| *offset <= start && end <= offset + length)
    }

    /// Counts a launch of a kernel; how many there were before it.
    pub(crate) fn count_launch(&mut self, entry: u32) -> u64 {
        let launches = self.launches.entry(entry).or_default();
        *launches += 1;
        *launches - 1
    }

    /// A word of the largest allocation, by its byte offset there.
    fn word(&mut self, offset: u64) -> Option<&mut u64> {
        let (start, length) = self.allocated.iter().copied().max_by_key(|(_, length)| *length)?;
        let offset = usize::try_from(offset).ok()? & !7;
        if offset + 8 > length {
            return None;
        }
        // SAFETY: the allocation is inside the mapping, the word inside the allocation and aligned; no launch runs
        // meanwhile, because launches hold this device.
        Some(unsafe { &mut *self.memory.add(start + offset).cast::<u64>() })
    }

    /// Lets a bit of memory do what its fault says; stuck ones before and after everything that writes.
    pub(crate) fn hold_stuck(&mut self, fault: &Fault) {
        let Fault::Word { offset, bit, cell: Cell::Stuck(one) } = fault else { return };
        if let Some(word) = self.word(*offset) {
            *word = if *one { *word | 1 << bit } else { *word & !(1 << bit) };
        }
    }

    /// Flips a bit of memory; false where no such word is allocated.
    pub(crate) fn flip(&mut self, offset: u64, bit: u32) -> bool {
        self.word(offset).map(|word| *word ^= 1 << bit).is_some()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made, which nobody uses after its device.
        unsafe { libc::munmap(self.memory.cast(), self.bytes) };
    }
}
