//! What this process does to itself, and how it hears that it is to end.
#![allow(unsafe_code, reason = "ending at once is a call of the C library that Rust has no safe form of")]

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rackmark_model::gpu_proof::ProveStep;
use rustix::io::{Errno, read};
use rustix::net::{Shutdown, shutdown};
use rustix::stdio::stdin;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::outlet;

/// How long the queue may take to run empty after the end of the stream. A customer is waiting for the memory.
const GRACE: Duration = Duration::from_millis(500);

/// Set once the other side closed the stream.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// No further launch.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Ends the process now. What the driver registered for an orderly end is not run: it could wait for a GPU that hangs,
/// and the kernel gives everything back in any case.
pub fn end(code: i32) -> ! {
    // Where standard input is no socket there is no other side to tell.
    let _ = shutdown(stdin(), Shutdown::Both);
    // SAFETY: `_exit` takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

/// Waits for the end of the stream in a thread of its own, and ends the process itself where the work does not come to
/// an end soon after.
pub fn watch_for_the_end() -> Stop {
    listen(|| {
        let mut byte = [0];
        // Nothing is sent after the order; whatever comes is ignored.
        while !matches!(read(stdin(), &mut byte), Ok(0) | Err(Errno::BADF | Errno::CONNRESET)) {}
    })
}

/// The same, where steps follow the order. Anything that is none ends the stream, too.
pub fn watch_for_steps() -> (Stop, Receiver<ProveStep>) {
    let (steps, received) = channel();
    let stop = listen(move || {
        while let Ok(step) = outlet::frame::<ProveStep>() {
            // Where nobody waits for one any more, the end is what is left to wait for.
            let _ = steps.send(step);
        }
    });
    (stop, received)
}

fn listen(until_the_end: impl FnOnce() + Send + 'static) -> Stop {
    let stop = Stop::default();
    let told = stop.clone();
    let listening = thread::Builder::new().name("end-of-stream".to_owned()).spawn(move || {
        until_the_end();
        told.0.store(true, Ordering::Release);
        thread::sleep(GRACE);
        end(0)
    });
    if let Err(error) = listening {
        complain(&format!("there is no thread to hear the end of the stream: {error}"));
        end(1);
    }
    stop
}

/// One line for the journal.
pub fn complain(line: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "rackmark-gpu: {line}");
}

/// Keeps this process on the processors of a NUMA node, so that memory of the host is allocated there.
pub fn stay_near(node: u16) {
    let list =
        std::fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
    let mut near = CpuSet::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            (first..=last.min(CpuSet::MAX_CPU - 1)).for_each(|cpu| near.set(cpu));
        }
    }
    // Without a list, or where only other processors are allowed, it stays where it is: the link is tested all the same.
    if near.count() > 0 {
        let _ = sched_setaffinity(None, &near);
    }
}
