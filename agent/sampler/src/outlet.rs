//! What goes out over the socket.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use rackmark_model::ipc::{self, SamplerReport};
use rustix::io::{Errno, write};
use rustix::stdio::stdin;

use crate::process;

/// Reports leave here, one frame at a time, from whichever thread has one. A
/// reader that falls behind holds the writers up: nothing is buffered beyond
/// the socket, and ticks that pass meanwhile are skipped.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    frame: Mutex<Vec<u8>>,
}

impl Outlet {
    /// Sends one report. Where the other side is gone the process ends.
    pub(crate) fn send(&self, report: &SamplerReport) {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = ipc::encode(report, &mut frame) {
            complain(&format!("a report was dropped: {error}"));
            return;
        }
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match write(stdin(), rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(_) => process::end(0),
            }
        }
    }
}

/// One line for the journal.
pub(crate) fn complain(line: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "rackmark-sampler: {line}");
}
