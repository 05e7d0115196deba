//! The thread that opens the driver's library, notices when the driver goes
//! away, and opens it again.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rackmark_model::ipc::SamplerReport;

use crate::nvml::{Library, LoadError};
use crate::{EXIT_TRY_AGAIN, RETRY, Shared, gpu, outlet, process};

/// Longest cause that is reported, in characters.
const CAUSE_CHARS_MAX: usize = 400;

/// Beyond two ticks, how long threads may take to leave a driver that is gone.
const LEAVE: Duration = Duration::from_secs(2);

/// Opens the driver, serves it until it goes away, and starts over, for ever.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut told = None;
    let mut was_up = false;
    loop {
        match Library::open(&shared.nvml_library, &shared.board.driver_watch) {
            Ok(library) => {
                (told, was_up) = (None, true);
                serve(shared, Arc::new(library));
            }
            // The old library is still mapped, and the new driver refuses it.
            Err(error) if was_up && error.is_version_mismatch() => {
                outlet::complain("the driver changed its version under a library that stays loaded");
                process::end(EXIT_TRY_AGAIN);
            }
            Err(error) => {
                shared.board.driver_gone();
                let cause = cause(&error);
                if told.as_ref() != Some(&cause) {
                    shared.outlet.send(&SamplerReport::NoDriver { cause: cause.clone() });
                    told = Some(cause);
                }
                thread::sleep(RETRY);
            }
        }
    }
}

fn serve(shared: &Arc<Shared>, library: Arc<Library>) {
    let watch = &shared.board.driver_watch;
    let info = library.driver_info(watch);
    let version = info.driver_version.clone();
    shared.outlet.send(&SamplerReport::Driver(info));
    list(shared, &library);
    shared.board.driver_up(&library);
    gpu::staff(shared);
    loop {
        shared.board.wait_for_driver_trouble(&library, RETRY);
        if library.is_gone() || library.driver_version(watch).map_err(Into::into) != version {
            break;
        }
        list(shared, &library);
    }
    library.mark_gone();
    shared.board.driver_gone();
    close(shared, library);
}

/// Where sysfs shows no GPU, the driver's own list is all there is.
fn list(shared: &Shared, library: &Library) {
    if shared.board.wants_listing()
        && let Ok(addresses) = library.list(&shared.board.driver_watch)
    {
        shared.board.add_listed(&addresses);
    }
}

/// Unloads the library once the threads of all GPUs have left it. A thread that
/// hangs in it never will; then only a fresh process can open the driver again.
fn close(shared: &Shared, mut library: Arc<Library>) {
    static NAME: &str = "nvmlShutdown";
    let patience = Instant::now() + shared.beat.period() * 2 + LEAVE;
    loop {
        match Arc::try_unwrap(library) {
            Ok(last) => {
                shared.board.driver_watch.enter(&NAME);
                drop(last);
                shared.board.driver_watch.leave();
                return;
            }
            Err(shared_still) => library = shared_still,
        }
        if Instant::now() >= patience {
            outlet::complain("the driver went away and a GPU's thread still hangs in it");
            process::end(EXIT_TRY_AGAIN);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The error and its causes on one line. Some causes repeat their own cause;
/// nothing is said twice.
pub(crate) fn cause(error: &LoadError) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        next = source.source();
    }
    line.chars().map(|unit| if unit.is_control() { ' ' } else { unit }).take(CAUSE_CHARS_MAX).collect()
}
