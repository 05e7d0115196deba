//! Writes to the simulated kernel log as the kernel does: one record a line.

use std::fs::File;
use std::io::Write;

use crate::Outcome;
use crate::sim::Sim;

/// Addresses of the simulated GPUs as the driver prints them, domain and all, without the function.
pub const H100_ADDRESSES: [&str; 8] = [
    "0000:1b:00",
    "0000:43:00",
    "0000:52:00",
    "0000:61:00",
    "0000:9d:00",
    "0000:c3:00",
    "0000:d1:00",
    "0000:df:00",
];

/// The writing end of the simulated kernel log.
pub struct KernelLog {
    file: File,
    seq: u64,
}

impl KernelLog {
    /// Opens the FIFO of a simulation; it stays open, so that nothing that is written is lost while nobody reads.
    ///
    /// # Errors
    /// Where there is none.
    pub fn of(sim: &Sim) -> Outcome<Self> {
        let path = sim.path().join("kmsg");
        Ok(Self { file: File::options().read(true).write(true).open(path)?, seq: 1_000_000 })
    }

    /// Writes one record of the kernel itself, now.
    ///
    /// # Errors
    /// Where the FIFO does not take it.
    pub fn write(&mut self, text: &str) -> Outcome<()> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        let record = format!("4,{},{microseconds},-;{text}\n", self.seq);
        self.seq += 1;
        self.file.write_all(record.as_bytes())?;
        Ok(())
    }

    /// Writes any bytes.
    ///
    /// # Errors
    /// Where the FIFO does not take them.
    pub fn raw(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.file.write_all(bytes)?;
        Ok(())
    }

    /// Writes an XID of a GPU in the plainest form.
    ///
    /// # Errors
    /// Where the FIFO does not take it.
    pub fn xid(&mut self, gpu: usize, code: u32) -> Outcome<()> {
        self.write(&format!(
            "NVRM: Xid (PCI:{}): {code}, pid=4242, name=python3, something",
            H100_ADDRESSES[gpu]
        ))
    }
}
