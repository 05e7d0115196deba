//! Event sets: queues of driver events that `nvmlEventSetWait_v2` empties.

use crate::abi::{self, Ret};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// `nvmlEventTypeSingleBitEccError`
pub const SINGLE_BIT_ECC: u64 = 0x1;
/// `nvmlEventTypeDoubleBitEccError`
pub const DOUBLE_BIT_ECC: u64 = 0x2;
/// `nvmlEventTypeXidCriticalError`
pub const XID: u64 = 0x8;
/// `nvmlEventTypeGpuRecoveryAction`
pub const RECOVERY_ACTION: u64 = 0x8000;
/// Event types that can be registered: ECC, P-state, XID, clock, power source, and the newer health events.
pub const SUPPORTED: u64 = 0xFF9F;

/// Most sets at a time, and most events waiting in one; the oldest go first.
const MAX_SETS: usize = 256;
const MAX_QUEUE: usize = 128;
/// Marks an event set handle.
const HANDLE_BASE: usize = 0x51E0_0000_0000;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// GPU index.
    pub gpu: usize,
    /// One of the type bits.
    pub kind: u64,
    /// XID code, or 0.
    pub data: u64,
    /// Which part of a divided GPU.
    pub instances: Instances,
}

/// A MIG GPU instance and a compute instance in it, as NVML gives them: `u32::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instances {
    /// GPU instance.
    pub gpu: u32,
    /// Compute instance.
    pub compute: u32,
}

impl Instances {
    /// The whole GPU.
    pub const NONE: Instances = Instances { gpu: u32::MAX, compute: u32::MAX };
}

#[derive(Debug, Default)]
struct Set {
    registered: Vec<(usize, u64)>,
    queue: VecDeque<Event>,
}

/// All event sets of this process.
#[derive(Debug, Default)]
pub struct Sets(Mutex<Vec<Option<Set>>>);

impl Sets {
    fn with<T>(&self, handle: abi::EventSetHandle, act: impl FnOnce(&mut Set) -> T) -> Result<T, Ret> {
        let at = (handle as usize).checked_sub(HANDLE_BASE).ok_or(abi::INVALID_ARGUMENT)?;
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.get_mut(at).and_then(Option::as_mut).map(act).ok_or(abi::INVALID_ARGUMENT)
    }

    /// A new, empty set.
    ///
    /// # Errors
    /// Too many sets exist.
    pub fn create(&self) -> Result<abi::EventSetHandle, Ret> {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match sets.iter().position(Option::is_none) {
            Some(free) => free,
            None if sets.len() < MAX_SETS => {
                sets.push(None);
                sets.len() - 1
            }
            None => return Err(abi::INSUFFICIENT_RESOURCES),
        };
        sets[at] = Some(Set::default());
        Ok((HANDLE_BASE + at) as abi::EventSetHandle)
    }

    /// Ends a set.
    ///
    /// # Errors
    /// The handle is no set.
    pub fn free(&self, handle: abi::EventSetHandle) -> Result<(), Ret> {
        self.with(handle, |_| ())?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[handle as usize - HANDLE_BASE] = None;
        Ok(())
    }

    /// Registers event types of a GPU with a set.
    ///
    /// # Errors
    /// The handle is no set.
    pub fn register(&self, handle: abi::EventSetHandle, gpu: usize, kinds: u64) -> Result<(), Ret> {
        self.with(handle, |set| match set.registered.iter_mut().find(|(known, _)| *known == gpu) {
            Some((_, mask)) => *mask |= kinds,
            None => set.registered.push((gpu, kinds)),
        })
    }

    /// The oldest event of a set and the GPUs registered with it.
    ///
    /// # Errors
    /// The handle is no set.
    pub fn next(&self, handle: abi::EventSetHandle) -> Result<Option<Event>, Ret> {
        self.with(handle, |set| set.queue.pop_front())
    }

    /// The first registered GPU for which `find` holds.
    ///
    /// # Errors
    /// The handle is no set.
    pub fn registered(
        &self,
        handle: abi::EventSetHandle,
        find: impl Fn(usize) -> bool,
    ) -> Result<Option<usize>, Ret> {
        self.with(handle, |set| set.registered.iter().map(|(gpu, _)| *gpu).find(|gpu| find(*gpu)))
    }

    /// Puts an event into every set that registered for it.
    pub fn deliver(&self, event: Event) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for set in sets.iter_mut().flatten() {
            if set.registered.iter().any(|(gpu, mask)| *gpu == event.gpu && mask & event.kind != 0) {
                if set.queue.len() == MAX_QUEUE {
                    set.queue.pop_front();
                }
                set.queue.push_back(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gets_what_it_registered_for() {
        let sets = Sets::default();
        let (one, two) = (sets.create().unwrap(), sets.create().unwrap());
        sets.register(one, 3, XID).unwrap();
        sets.register(two, 3, SINGLE_BIT_ECC).unwrap();
        let event = Event { gpu: 3, kind: XID, data: 79, instances: Instances { gpu: 2, compute: 0 } };
        sets.deliver(event);
        sets.deliver(Event { gpu: 2, ..event });
        assert_eq!(sets.next(one), Ok(Some(event)));
        assert_eq!(sets.next(one), Ok(None));
        assert_eq!(sets.next(two), Ok(None));
        sets.free(one).unwrap();
        assert_eq!(sets.next(one), Err(abi::INVALID_ARGUMENT));
        assert_eq!(sets.next(std::ptr::null_mut()), Err(abi::INVALID_ARGUMENT));
    }
}
