//! NVML behind a safe surface: the only code that calls the driver's library.
//!
//! Every call goes through [`call`], which publishes the function's name for
//! the time of the call, treats a function that the library lacks as
//! `FUNCTION_NOT_FOUND`, and hands back the code as [`Status`]. Loading,
//! initialising and shutting down are left to `nvml-wrapper`; the readings use
//! its bindings directly, since a tick makes some forty calls and the wrapper
//! has no scope ids, event bits or MIG ids (and no in-call watch).
#![allow(unsafe_code, reason = "NVML is a C library; each block states why it is sound")]

mod device;
mod events;
mod fields;
mod gpm;
mod library;
mod lists;
mod records;
mod status;

pub(crate) use device::{Clock, Counter, Device, EccKind, Location, Threshold};
pub(crate) use events::EventSet;
pub(crate) use fields::{FieldQuery, SCOPE_ALL_LINKS, SCOPE_GPU, SCOPE_MEMORY, SCOPE_MODULE};
pub(crate) use gpm::Gpm;
pub(crate) use library::{Library, LoadError};
pub(crate) use lists::RawProcess;
pub(crate) use records::{Fabric, Platform};
pub(crate) use status::Status;

/// Calls one bound function: `call!(bindings, watch, function(arguments…))`.
///
/// What makes the call sound is the same at every place that uses it, and is
/// stated here once: the binding has the C signature of NVML's header, so the
/// arguments have the right types; every pointer argument comes from a
/// reference to a local (or from a buffer whose length is passed next to it)
/// that outlives the call; handles come from this library, which stays loaded
/// and initialised as long as a `Library` exists. NVML is safe to call from
/// several threads.
macro_rules! call {
    ($bindings:expr, $watch:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        static NAME: &str = stringify!($function);
        match &$bindings.$function {
            Ok(function) => {
                $watch.enter(&NAME);
                // SAFETY: see the documentation of this macro.
                let code = unsafe { function($($argument),*) };
                $watch.leave();
                $crate::nvml::Status::check(code)
            }
            Err(_) => Err($crate::nvml::Status::FUNCTION_NOT_FOUND),
        }
    }};
}
pub(crate) use call;

/// A version word as NVML wants it: size of the struct, version in the top byte.
const fn version_word<T>(version: u32) -> u32 {
    // Every NVML struct is far below 16 MB, the most the lower bytes can say.
    size_of::<T>() as u32 | version << 24
}

/// The text in a C buffer up to its terminator; NVML texts are ASCII, anything
/// else is replaced. An empty text says nothing and counts as not supported.
fn text(buffer: &[std::ffi::c_char]) -> Result<String, Status> {
    let bytes: Vec<u8> =
        buffer.iter().map(|unit| unit.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if text.is_empty() { Err(Status::NOT_SUPPORTED) } else { Ok(text) }
}
