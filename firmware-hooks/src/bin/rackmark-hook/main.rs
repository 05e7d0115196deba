//! `rackmark-hook`: runs the hooks of a site with the rights that the site gives it.
//!
//! It talks over standard input, a Unix stream socket: one [`rackmark_model::hook::HookOrder`] comes in, a
//! [`HookReport`] for each file goes out as it ends, then [`HookReport::Done`]. Where the hooks are stands on the
//! command line, never in the order: whoever takes over the daemon can have the site's hooks run, and nothing else.
//! The end of the stream ends the hook that runs, and this process.

#![forbid(unsafe_code)]

mod arguments;
mod descriptors;
mod stream;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rackmark_firmware_hooks::hooks::find::{Found, find};
use rackmark_firmware_hooks::hooks::run::{Gone, run};
use rackmark_model::hook::{HookOrder, HookReport, HookTask, Skip, TIMEOUT_MS};
use rustix::stdio::stdin;

use arguments::Arguments;
use stream::{StreamError, send};

/// Exit code of a command line or an order that cannot be followed.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let outcome = Arguments::parse(std::env::args_os().skip(1))
        .map_err(|error| Box::new(error) as Box<dyn Error>)
        .and_then(|arguments| Ok(serve(&arguments.folder)?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "rackmark-hook: {error}{cause}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn serve(folder: &Path) -> Result<(), StreamError> {
    let Some(HookOrder { event, task }) = stream::read_order(stdin())? else { return Ok(()) };
    let found = match find(folder, event, rustix::process::geteuid().as_raw()) {
        Ok(found) => found,
        Err(refused) => {
            let folder = refused.folder.display().to_string();
            send(stdin(), &HookReport::Refused { folder, reason: refused.reason })?;
            return send(stdin(), &HookReport::Done);
        }
    };
    let done = match task {
        HookTask::List => {
            skipped(&found, true)?;
            for hook in found.hooks {
                send(stdin(), &HookReport::Would { name: hook.name })?;
            }
            true
        }
        HookTask::Run { document, timeout_ms, only } => {
            for number in descriptors::passed_on() {
                let _ = writeln!(io::stderr(), "rackmark-hook: hooks inherit descriptor {number}");
            }
            skipped(&found, false)?;
            let timeout_ms = timeout_ms.clamp(*TIMEOUT_MS.start(), *TIMEOUT_MS.end());
            run_all(&found, &document, Duration::from_millis(u64::from(timeout_ms)), only.as_deref())?
        }
    };
    if done { send(stdin(), &HookReport::Done) } else { Ok(()) }
}

/// Tells what is left alone. What is no hook by its name is of interest in a list only.
fn skipped(found: &Found, with_names: bool) -> Result<(), StreamError> {
    for (name, reason) in &found.skipped {
        if with_names || *reason != Skip::Name {
            send(stdin(), &HookReport::Skipped { name: name.clone(), reason: *reason })?;
        }
    }
    Ok(())
}

/// Runs one after the other, also after one that failed: they do not know of each other. False where the daemon went
/// away.
fn run_all(
    found: &Found,
    document: &[u8],
    timeout: Duration,
    only: Option<&[String]>,
) -> Result<bool, StreamError> {
    for hook in found.hooks.iter().filter(|hook| only.is_none_or(|only| only.contains(&hook.name))) {
        match run(hook, document, timeout, stdin()) {
            Ok(ran) => send(stdin(), &HookReport::Ran(Box::new(ran)))?,
            Err(Gone) => return Ok(false),
        }
    }
    Ok(true)
}
