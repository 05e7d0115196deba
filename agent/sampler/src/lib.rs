//! The sampler: the only process that loads `libnvidia-ml.so.1`.
//!
//! It talks over standard input, a Unix stream socket. One
//! [`rackmark_model::ipc::SamplerOrder`] comes in, then
//! [`rackmark_model::ipc::SamplerReport`] frames go out until the
//! stream ends, which ends the process at once, whatever hangs.
//!
//! Threads, and who may call the driver:
//!
//! | thread | does | calls the driver |
//! |---|---|---|
//! | main (`ticker`) | looks at sysfs every 5 s, collects and reports every tick | never |
//! | `driver` | loads the library, checks every 5 s that the driver is the same | yes |
//! | `gpu-BB:DD.F`, one for each open GPU | reads at every tick, waits for events in between | yes |
//! | `end` | waits for the end of the stream | never |
//!
//! A GPU that does not answer by the deadline of a tick is reported as a
//! timeout with the name of the call it hangs in; the others are not held up.
//! Before any call, sysfs decides whether a GPU may be touched: not one that is
//! ordered to be left alone, bound to another driver, without a driver, or
//! asleep. A GPU that is not open is looked at again every 5 s. One that is
//! open is looked at before every tick only where the kernel may put it to
//! sleep (`power/control` is `auto`): server GPUs have `on`, and for them the
//! question would cost a file each tick and always get the same answer.
//!
//! When the driver goes away, the threads leave, the library is shut down and
//! unloaded, and loading it is tried every 5 s. Where that cannot be done in
//! this process, because a thread hangs in the library or the library of the
//! old driver cannot be unloaded, the process ends with [`EXIT_TRY_AGAIN`], so
//! that a fresh one takes over.

mod arguments;
mod attest;
mod board;
mod clock;
mod driver;
mod gpu;
mod nvml;
mod order;
mod outlet;
mod process;
mod read;
mod ticker;
mod watch;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rackmark_model::ipc::{SamplePlan, SamplerOrder, SamplerReport};

pub use arguments::{ArgumentError, Arguments};

use board::Board;
use clock::Beat;
use outlet::{Outlet, complain};
use ticker::Ticker;

/// Exit code of a command line or an order that cannot be followed.
pub const EXIT_USAGE: i32 = 64;

/// Exit code where a thread could not be started.
pub const EXIT_INTERNAL: i32 = 70;

/// Exit code where only a fresh process can go on.
pub const EXIT_TRY_AGAIN: i32 = 75;

/// How often what is not there is looked for again: sleeping, lost and handed
/// over GPUs, new ones, and the driver itself.
const RETRY: Duration = Duration::from_secs(5);

/// Stack of the thread that waits for the end of the stream.
const END_STACK_BYTES: usize = 64 << 10;

/// Stack of the thread that loads the library: the dynamic loader and the
/// library's initialisation run on it. Only pages that are used count as memory.
const DRIVER_STACK_BYTES: usize = 1 << 20;

/// What all threads share.
struct Shared {
    nvml_library: OsString,
    sysfs_root: PathBuf,
    order: SamplePlan,
    beat: Beat,
    board: Board,
    outlet: Outlet,
}

/// Takes the order from standard input and samples until the stream ends, or has
/// GPUs sign and ends. Does not return: the process ends with 0 at the end of the stream,
/// [`EXIT_USAGE`] for an order that cannot be followed, [`EXIT_INTERNAL`] or
/// [`EXIT_TRY_AGAIN`].
pub fn run(arguments: Arguments) -> ! {
    process::share_one_heap();
    let order = match order::read_order() {
        Ok(SamplerOrder::Sample(plan)) => plan,
        Ok(SamplerOrder::Attest(questions)) => attest::run(&arguments.nvml_library, &questions),
        Err(error) => refuse(&error),
    };
    let shared = Arc::new(Shared {
        nvml_library: arguments.nvml_library,
        sysfs_root: arguments.sysfs_root,
        beat: Beat::new(Instant::now(), Duration::from_millis(u64::from(order.period_ms))),
        board: Board::new(order.leave_alone.clone()),
        outlet: Outlet::default(),
        order,
    });
    shared.outlet.send(&SamplerReport::Hello { pid: std::process::id() });
    // Sysfs comes first: it says which GPUs the driver may be asked for.
    let ticker = Ticker::new(Arc::clone(&shared));
    let started = end_with_the_stream()
        .and_then(|()| start_thread("driver", DRIVER_STACK_BYTES, move || driver::run(&shared)));
    if let Err(error) = started {
        complain(&format!("cannot start a thread: {error}"));
        process::end(EXIT_INTERNAL);
    }
    ticker.run()
}

/// From now on the process ends with the stream, whatever hangs.
fn end_with_the_stream() -> io::Result<()> {
    start_thread("end", END_STACK_BYTES, || match order::wait_for_end() {
        Ok(()) => process::end(0),
        Err(error) => refuse(&error),
    })
}

fn start_thread(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(body).map(drop)
}

fn refuse(error: &order::OrderError) -> ! {
    if error.exit_code() != 0 {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        complain(&format!("{error}{cause}"));
    }
    process::end(error.exit_code())
}
