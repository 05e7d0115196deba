//! What this process does to itself.
#![allow(unsafe_code, reason = "two calls of the C library that Rust has no safe form of")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::net::{Shutdown, shutdown};
use rustix::stdio::stdin;

/// Some thread is ending the process, with its own exit code.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Ends the process now, without waiting for anybody.
///
/// Destructors of the driver's library are not run: they could wait for a call
/// that hangs. The socket is shut down first, because a thread stuck in the
/// kernel keeps the process and its descriptors alive, and the other side
/// should see the end of the stream all the same.
pub(crate) fn end(code: i32) -> ! {
    // Shutting the socket down wakes the thread that waits for its end, which
    // would end the process with another code.
    while ENDING.swap(true, Ordering::AcqRel) {
        thread::park();
    }
    // Where standard input is no socket there is no other side to tell.
    let _ = shutdown(stdin(), Shutdown::Both);
    // SAFETY: `_exit` takes no pointer and does not return; nothing of this
    // process is used afterwards.
    unsafe { libc::_exit(code) }
}

/// Makes all threads share one heap. glibc would give each its own, and eight
/// GPUs would pay for nine heaps that hold next to nothing.
pub(crate) fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` takes two numbers and is called before any other
    // thread exists, as its manual asks.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
