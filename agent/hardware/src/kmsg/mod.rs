//! The kernel log, record by record ([`KernelLog`]), and what the NVIDIA driver
//! writes there ([`nvidia_report`]).
//!
//! The format is that of `Documentation/ABI/testing/dev-kmsg` in the kernel.

mod report;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub use report::{KernelReport, RecoveryAction, SxidLine, XidLine, nvidia_report};

use crate::ReadError;

/// Where Linux shows its log.
pub const KERNEL_LOG: &str = "/dev/kmsg";

/// Longest record in bytes. No kernel makes a longer one: `CONSOLE_EXT_LOG_MAX`
/// in its `kernel/printk` was 8192, its successor `PRINTK_MESSAGE_MAX` is 2048.
pub const RECORD_BYTES_MAX: usize = 8192;

/// Most reads for one record. Only a source that is not a kernel log, or one
/// that is overwritten faster than it is read, needs more than a few.
const READS_MAX: u32 = 1000;

/// An open kernel log. Reading starts with the oldest record that is left and
/// takes nothing away from other readers.
///
/// The kernel gives one whole record to each read. A FIFO, which stands in for
/// it in simulations, gives any number of them or a part of one; both are cut
/// into lines here. A line that begins with a space belongs to the record before.
#[derive(Debug)]
pub struct KernelLog<S = File> {
    source: S,
    path: PathBuf,
    /// What was read and not yet used is `buffer[start..end]`.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// No line ends in `buffer[start..searched]`.
    searched: usize,
    /// Inside a line that was already found too long.
    overlong: bool,
    ended: bool,
    overruns: u64,
    unreadable: u64,
    lost: u64,
    /// The `seq` that comes next if nothing was lost.
    expected_seq: Option<u64>,
    /// Lines left out since the last record: the numbers they take up in `seq` are not lost ones.
    unreadable_since: u64,
}

impl KernelLog {
    /// Opens the log at `path`, on a real machine [`KERNEL_LOG`], to be read
    /// without waiting.
    ///
    /// # Errors
    /// [`ReadError::Io`] where it cannot be opened. With the sysctl
    /// `kernel.dmesg_restrict` on, that takes `CAP_SYSLOG`; it is asked for here
    /// and not again while reading.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let source = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Self::new(source, path))
    }

    /// A log that somebody else opened at `path`; it is made to be read without
    /// waiting. `path` is for messages only.
    ///
    /// # Errors
    /// [`ReadError::Io`] where the descriptor does not take that.
    pub fn from_fd(log: OwnedFd, path: &Path) -> Result<Self, ReadError> {
        rustix::io::ioctl_fionbio(&log, true)
            .map_err(|source| ReadError::Io { path: path.to_owned(), source: source.into() })?;
        Ok(Self::new(File::from(log), path))
    }
}

impl<S> KernelLog<S> {
    fn new(source: S, path: &Path) -> Self {
        Self {
            source,
            path: path.to_owned(),
            // The kernel refuses a read into less room than its record needs.
            buffer: vec![0; 2 * RECORD_BYTES_MAX].into(),
            start: 0,
            end: 0,
            searched: 0,
            overlong: false,
            ended: false,
            overruns: 0,
            unreadable: 0,
            lost: 0,
            expected_seq: None,
            unreadable_since: 0,
        }
    }

    /// How often records were overwritten before they were read; [`Self::lost`]
    /// says how many.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// How many lines were left out: not of the format, cut off by the end of
    /// the source, or longer than [`RECORD_BYTES_MAX`].
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// How many records are missing between those that were read, by the gaps in
    /// [`Record::seq`]. One that was left out as unreadable is not counted again,
    /// and what was overwritten before the log was opened not at all.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// True once the source has come to its end. A kernel log never does.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Says that records up to `seq` were read from this log before it was
    /// opened again, so that a gap after them counts as lost.
    pub fn read_before(&mut self, seq: u64) {
        self.expected_seq = Some(seq.saturating_add(1));
    }

    /// The next line in the buffer, without its end, as a range of it.
    fn line(&mut self) -> Option<(usize, usize)> {
        let at = self.buffer[self.searched..self.end].iter().position(|byte| *byte == b'\n');
        let Some(at) = at.map(|at| self.searched + at) else {
            self.searched = self.end;
            if self.end - self.start > RECORD_BYTES_MAX {
                self.drop_part(true);
            }
            return None;
        };
        let line = (self.start, at);
        self.start = at + 1;
        self.searched = self.start;
        Some(line)
    }

    /// Drops the line in the buffer that has no end yet. With `more` the rest of
    /// it is still to come.
    fn drop_part(&mut self, more: bool) {
        if self.start < self.end && !self.overlong {
            self.leave_out();
        }
        (self.start, self.end, self.searched) = (0, 0, 0);
        self.overlong = more;
    }

    fn leave_out(&mut self) {
        self.unreadable += 1;
        self.unreadable_since += 1;
    }

    /// The record in the next lines of the buffer.
    fn buffered(&mut self) -> Option<Record> {
        while let Some((from, to)) = self.line() {
            if std::mem::take(&mut self.overlong) || self.buffer[from..to].first() == Some(&b' ') {
                continue;
            }
            match Record::parse(&self.buffer[from..to]) {
                Some(record) => {
                    self.count(record.seq);
                    return Some(record);
                }
                None => self.leave_out(),
            }
        }
        None
    }

    fn count(&mut self, seq: u64) {
        let accounted = std::mem::take(&mut self.unreadable_since);
        if let Some(expected) = self.expected_seq {
            self.lost = self.lost.saturating_add(seq.saturating_sub(expected).saturating_sub(accounted));
        }
        let next = seq.saturating_add(1);
        self.expected_seq = Some(self.expected_seq.map_or(next, |expected| expected.max(next)));
    }
}

impl<S: Read> KernelLog<S> {
    /// The next record; `None` where there is none now. More may follow later,
    /// unless [`Self::ended`].
    ///
    /// What is no record is left out and counted, see [`Self::unreadable`].
    ///
    /// # Errors
    /// [`ReadError::Io`] where the kernel refuses, [`ReadError::Missing`] where
    /// the source goes on without a record.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end of a kernel log")]
    pub fn next(&mut self) -> Result<Option<Record>, ReadError> {
        for _ in 0..READS_MAX {
            if let Some(record) = self.buffered() {
                return Ok(Some(record));
            }
            self.make_room();
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.drop_part(false);
                    self.ended = true;
                    return Ok(None);
                }
                Ok(length) => {
                    self.end += length;
                    self.ended = false;
                }
                Err(source) => match source.kind() {
                    // EAGAIN
                    ErrorKind::WouldBlock => return Ok(None),
                    ErrorKind::Interrupted => {}
                    // EPIPE: the kernel has moved this reader to its oldest record.
                    ErrorKind::BrokenPipe => {
                        self.drop_part(false);
                        self.overruns += 1;
                    }
                    // EINVAL: longer than the buffer; the kernel has gone past it.
                    ErrorKind::InvalidInput => self.leave_out(),
                    _ => return Err(ReadError::Io { path: self.path.clone(), source }),
                },
            }
        }
        Err(ReadError::Missing { path: self.path.clone(), what: "kernel log record" })
    }

    /// Room for a whole record after what is left in the buffer, which
    /// [`Self::line`] keeps to at most one.
    fn make_room(&mut self) {
        if self.buffer.len() - self.end < RECORD_BYTES_MAX {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.end, self.searched) = (self.end - self.start, self.searched - self.start);
            self.start = 0;
        }
    }
}

impl<S: AsFd> AsFd for KernelLog<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl<S: AsRawFd> AsRawFd for KernelLog<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.source.as_raw_fd()
    }
}

/// One record of the kernel log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Syslog severity, 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// Syslog facility; 0 is the kernel. What a program writes into the log
    /// never has 0: the kernel turns that into 1.
    pub facility: u8,
    /// Counts records from 0 at boot.
    pub seq: u64,
    /// When it was written, on the kernel's log clock: near to
    /// `CLOCK_MONOTONIC`, in microseconds.
    pub monotonic_us: u64,
    /// What was logged, escapes undone. Bytes that are not UTF-8 are replaced.
    /// As anything may be in a log, it can hold control characters.
    pub text: String,
}

impl Record {
    /// Reads `prefix,seq,usec,flags[,more];text`, the text up to the end of the
    /// first line. The flags, which are no digits, fields after them, and the
    /// lines of `key=value` after the text are passed over.
    ///
    /// `None` where the bytes are not of that form, a number is out of its
    /// range, or there are more than [`RECORD_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RECORD_BYTES_MAX {
            return None;
        }
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let (head, text) = line.split_at(line.iter().position(|byte| *byte == b';')?);
        let mut fields = std::str::from_utf8(head).ok()?.split(',');
        let prefix = decimal(fields.next()?)?;
        let seq = decimal(fields.next()?)?;
        let monotonic_us = decimal(fields.next()?)?;
        // Two records that were written into one another have a number here.
        let flags = fields.next()?;
        if flags.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            priority: u8::try_from(prefix & 7).ok()?,
            facility: u8::try_from(prefix >> 3).ok()?,
            seq,
            monotonic_us,
            text: unescape(&text[1..]),
        })
    }
}

/// The kernel writes digits only, `str::parse` also takes a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)?.parse().ok()
}

/// Undoes `\xNN`, which stands for a backslash and for every byte that is not
/// printable ASCII. Any other backslash stays.
fn unescape(mut text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let escaped = match rest {
            [b'x', high, low, ..] if *first == b'\\' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(high << 4 | low);
            text = &rest[3..];
        } else {
            bytes.push(*first);
            text = rest;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
