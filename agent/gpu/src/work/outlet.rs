//! The stream to the daemon, on standard input: one order in, steps of a proof after it, reports out.

use std::cell::RefCell;
use std::io;

use rackmark_model::gpu_work::GpuReport;
use rackmark_model::ipc::{self, LENGTH_BYTES};
use rustix::io::{Errno, read, write};
use rustix::stdio::stdin;
use serde::de::DeserializeOwned;

use super::process;

/// Reads the next frame: an order, or a step.
///
/// # Errors
/// The stream ended or broke, or what came is something else.
pub fn frame<T: DeserializeOwned>() -> io::Result<T> {
    let mut prefix = [0; LENGTH_BYTES];
    fill(&mut prefix)?;
    let mut body = vec![0; ipc::body_length(prefix).map_err(io::Error::other)?];
    fill(&mut body)?;
    ipc::decode(&body).map_err(io::Error::other)
}

fn fill(mut rest: &mut [u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match read(stdin(), &mut *rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => rest = &mut rest[got..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reports leave here.
#[derive(Debug, Default)]
pub struct Outlet {
    frame: RefCell<Vec<u8>>,
}

impl Outlet {
    /// Sends one report. Where the other side is gone the process ends.
    pub fn send(&self, report: &GpuReport) {
        let mut frame = self.frame.borrow_mut();
        if let Err(error) = ipc::encode(report, &mut frame) {
            process::complain(&format!("a report was dropped: {error}"));
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
