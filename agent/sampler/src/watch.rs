//! Which driver call a thread is in, readable by others while it hangs there.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rackmark_model::InCall;

use crate::clock;

/// Published by one thread around every driver call, read by the ticker.
///
/// Two plain stores enter a call and one leaves it, so that watching costs
/// nothing next to the call.
#[derive(Debug, Default)]
pub(crate) struct CallWatch {
    function: AtomicPtr<&'static str>,
    entered_ms: AtomicU64,
}

impl CallWatch {
    /// The calling thread is about to enter `function`.
    pub(crate) fn enter(&self, function: &'static &'static str) {
        self.entered_ms.store(clock::coarse_ms(), Ordering::Relaxed);
        self.function.store(std::ptr::from_ref(function).cast_mut(), Ordering::Release);
    }

    /// The call came back.
    pub(crate) fn leave(&self) {
        self.function.store(std::ptr::null_mut(), Ordering::Release);
    }

    /// The call the thread is in, and for how long.
    pub(crate) fn now(&self) -> Option<InCall> {
        let function = self.function.load(Ordering::Acquire);
        if function.is_null() {
            return None;
        }
        // SAFETY: `enter` is the only writer of a pointer that is not null, and
        // it stores references to statics, which live for ever and never change.
        #[expect(unsafe_code, reason = "an atomic cannot hold a reference")]
        let name: &'static str = unsafe { *function };
        let for_ms = clock::coarse_ms().saturating_sub(self.entered_ms.load(Ordering::Relaxed));
        Some(InCall { function: name.to_owned(), for_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_visible_from_entry_to_return() {
        static NAME: &str = "nvmlDeviceGetPowerUsage";
        let watch = CallWatch::default();
        assert_eq!(watch.now(), None);
        watch.enter(&NAME);
        std::thread::sleep(std::time::Duration::from_millis(30));
        let seen = watch.now().expect("in call");
        assert_eq!(seen.function, NAME);
        assert!((20..2_000).contains(&seen.for_ms), "{seen:?}");
        watch.leave();
        assert_eq!(watch.now(), None);
    }
}
