//! What comes in over the socket: one order, then the end of the stream.

use std::ffi::c_int;
use std::io;

use rackmark_model::ipc::{self, FrameError, GPUS_MAX, LENGTH_BYTES, SamplePlan, SamplerOrder};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::stdio::stdin;
use thiserror::Error;

/// Largest order: [`GPUS_MAX`] addresses and reasons take less than a quarter of it.
const ORDER_BYTES_MAX: usize = 4096;

/// Accepted periods, in milliseconds.
const PERIOD_MS_MIN: u32 = 100;
const PERIOD_MS_MAX: u32 = 60_000;

/// Why there is nothing to do.
#[derive(Debug, Error)]
pub(crate) enum OrderError {
    /// The other side went away without an order: no error, just the end.
    #[error("the stream ended before an order came")]
    Ended,
    #[error("cannot read the order from standard input")]
    Read(#[source] io::Error),
    #[error("the order is not a valid frame")]
    Frame(#[source] FrameError),
    #[error("the order has {0} bytes, more than {ORDER_BYTES_MAX}")]
    TooLarge(usize),
    #[error("the ordered period of {0} ms is outside {PERIOD_MS_MIN} to {PERIOD_MS_MAX} ms")]
    Period(u32),
    #[error("slow readings every 0 ticks were ordered")]
    SlowEvery,
    #[error("{0} GPUs to leave alone were ordered, more than {GPUS_MAX}")]
    LeaveAlone(usize),
    #[error("{0} GPUs to sign were ordered, more than {GPUS_MAX}")]
    Questions(usize),
}

/// Reads the one order from standard input and checks it.
pub(crate) fn read_order() -> Result<SamplerOrder, OrderError> {
    // A descriptor that was made for an event loop may be non-blocking.
    let _ = rustix::io::ioctl_fionbio(stdin(), false);
    let mut prefix = [0; LENGTH_BYTES];
    match fill(&mut prefix)? {
        0 => return Err(OrderError::Ended),
        LENGTH_BYTES => {}
        short => return Err(OrderError::Frame(FrameError::Length(short))),
    }
    let length = ipc::body_length(prefix).map_err(OrderError::Frame)?;
    if length > ORDER_BYTES_MAX {
        return Err(OrderError::TooLarge(length));
    }
    let mut body = vec![0; length];
    if fill(&mut body)? < length {
        return Err(OrderError::Frame(FrameError::Length(length)));
    }
    checked(ipc::decode(&body).map_err(OrderError::Frame)?)
}

/// Waits for the end of the stream. Anything that comes instead is a mistake of
/// the other side.
pub(crate) fn wait_for_end() -> Result<(), OrderError> {
    // A blocking read would be woken each time the other side takes a report
    // and makes room in the socket; a poll for input is not.
    while let Err(Errno::INTR) = poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], None) {}
    match fill(&mut [0])? {
        0 => Ok(()),
        more => Err(OrderError::Frame(FrameError::Trailing(more))),
    }
}

fn checked(order: SamplerOrder) -> Result<SamplerOrder, OrderError> {
    match &order {
        SamplerOrder::Sample(plan) => check(plan)?,
        SamplerOrder::Attest(questions) if questions.len() > GPUS_MAX => {
            return Err(OrderError::Questions(questions.len()));
        }
        SamplerOrder::Attest(_) => {}
    }
    Ok(order)
}

fn check(order: &SamplePlan) -> Result<(), OrderError> {
    if !(PERIOD_MS_MIN..=PERIOD_MS_MAX).contains(&order.period_ms) {
        return Err(OrderError::Period(order.period_ms));
    }
    if order.slow_every_ticks == 0 {
        return Err(OrderError::SlowEvery);
    }
    if order.leave_alone.len() > GPUS_MAX {
        return Err(OrderError::LeaveAlone(order.leave_alone.len()));
    }
    Ok(())
}

/// Fills `buffer`, or as much of it as comes before the end of the stream.
fn fill(buffer: &mut [u8]) -> Result<usize, OrderError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(stdin(), &mut buffer[filled..]) {
            Ok(0) | Err(Errno::CONNRESET) => break,
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(OrderError::Read(errno.into())),
        }
    }
    Ok(filled)
}

impl OrderError {
    /// The exit code that goes with it: 0 where the other side left, 64 (usage)
    /// for an order that cannot be followed.
    pub(crate) fn exit_code(&self) -> c_int {
        match self {
            Self::Ended => 0,
            _ => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> SamplePlan {
        SamplePlan { period_ms: 1000, slow_every_ticks: 60, pcie_throughput: false, leave_alone: Vec::new() }
    }

    #[test]
    fn orders_outside_their_bounds_are_refused() {
        assert!(check(&plan()).is_ok());
        assert!(matches!(check(&SamplePlan { period_ms: 99, ..plan() }), Err(OrderError::Period(99))));
        assert!(matches!(check(&SamplePlan { period_ms: 60_001, ..plan() }), Err(OrderError::Period(_))));
        assert!(matches!(check(&SamplePlan { slow_every_ticks: 0, ..plan() }), Err(OrderError::SlowEvery)));
        let address = "0000:1b:00.0".parse().expect("address");
        let questions = vec![ipc::GpuQuestion { address, nonce: [0; 32] }; GPUS_MAX + 1];
        assert!(matches!(checked(SamplerOrder::Attest(questions)), Err(OrderError::Questions(65))));
        let many = vec![(address, rackmark_model::NoData::Paused); GPUS_MAX + 1];
        assert!(matches!(
            check(&SamplePlan { leave_alone: many, ..plan() }),
            Err(OrderError::LeaveAlone(65))
        ));
    }
}
