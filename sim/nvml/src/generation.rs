//! The generation word: one shared page that tells every process that the control log has grown.
//!
//! A call costs one atomic load; a waiter sleeps on the word in the kernel (futex), so nothing polls.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Size of `control.gen` in bytes: one page.
pub const FILE_BYTES: usize = 4096;

/// A shared mapping of `control.gen`; the generation is the `u32` at offset 0. Never unmapped.
#[derive(Clone, Copy)]
pub struct Generation {
    word: &'static AtomicU32,
}

impl Generation {
    /// Maps the file for reading only: enough to look at the word and to wait for it.
    ///
    /// # Errors
    /// The file is missing, not readable or smaller than a page.
    pub fn watch(path: &Path) -> std::io::Result<Generation> {
        Generation::map(&File::open(path)?, libc::PROT_READ)
    }

    /// Maps the file for [`Generation::bump`] as well.
    ///
    /// # Errors
    /// The file is missing, not writable or smaller than a page.
    pub fn open(path: &Path) -> std::io::Result<Generation> {
        Generation::map(
            &File::options().read(true).write(true).open(path)?,
            libc::PROT_READ | libc::PROT_WRITE,
        )
    }

    fn map(file: &File, protection: libc::c_int) -> std::io::Result<Generation> {
        if file.metadata()?.len() < FILE_BYTES as u64 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the generation file is shorter than a page",
            ));
        }
        // SAFETY: a fresh shared mapping of a file at least that long; no other memory is touched. The file is only
        // ever written in place by this crate, never truncated.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), FILE_BYTES, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the mapping is page-aligned, at least four bytes long and never unmapped; all access is atomic.
        Ok(Generation { word: unsafe { &*at.cast::<AtomicU32>() } })
    }

    /// The present generation.
    pub fn now(self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    /// Counts one up and wakes every waiter in every process. Only for a word from [`Generation::open`].
    pub fn bump(self) {
        self.word.fetch_add(1, Ordering::Release);
        // SAFETY: FUTEX_WAKE on a live, aligned word; the kernel reads no other argument.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE, i32::MAX, 0, 0, 0) };
    }

    /// Sleeps until the generation differs from `seen`, or for `limit` (`None`: for ever). May return early.
    pub fn wait(self, seen: u32, limit: Option<Duration>) {
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let pointer = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: FUTEX_WAIT on a live, aligned word; the timespec lives until the call returns. Not the private form,
        // because the word is shared between processes.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAIT, seen, pointer, 0, 0) };
    }
}
