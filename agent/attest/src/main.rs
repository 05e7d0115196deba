//! `rackmark-attest`: the one process that talks to the TPM.
//!
//! It talks over standard input, a Unix stream socket: [`rackmark_model::tpm::TpmOrder`] frames come in, one
//! [`rackmark_model::tpm::TpmReport`] goes out for each, until the stream ends. Which TPM it is stands on the
//! command line, never in an order: whoever takes over the daemon must not be able to choose whom it listens to. It
//! knows no network and no other key, and a TPM that takes its time delays nobody but itself.

#![forbid(unsafe_code)]

mod stream;
mod tpm;

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use rackmark_model::tpm::{TpmFault, TpmOrder, TpmReport};
use thiserror::Error as ThisError;

use tpm::{Failed, Tpm};

/// Exit code of a command line or an order that cannot be followed.
const EXIT_USAGE: u8 = 64;

/// A command line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
enum ArgumentError {
    /// Not the one option.
    #[error("{0:?} is not known; usage: rackmark-attest [--tpm TCTI]")]
    Unknown(OsString),
    /// The option at the end of the line.
    #[error("--tpm needs a TCTI, such as device:/dev/tpmrm0")]
    Missing,
}

fn main() -> ExitCode {
    let outcome = arguments(std::env::args_os().skip(1))
        .map_err(|error| Box::new(error) as Box<dyn Error>)
        .and_then(|tcti| Ok(serve(&tcti)?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "rackmark-attest: {error}{cause}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// The resource manager in the kernel: it swaps objects, so that nobody runs out of the TPM's few slots.
const DEFAULT_TCTI: &str = "device:/dev/tpmrm0";

fn arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<String, ArgumentError> {
    let mut tcti = DEFAULT_TCTI.to_owned();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument != "--tpm" {
            return Err(ArgumentError::Unknown(argument));
        }
        tcti = arguments.next().and_then(|text| text.into_string().ok()).ok_or(ArgumentError::Missing)?;
    }
    Ok(tcti)
}

fn serve(tcti: &str) -> Result<(), stream::StreamError> {
    let mut daemon =
        File::from(rustix::io::dup(rustix::stdio::stdin()).map_err(stream::StreamError::Standard)?);
    stream::end_with_the_stream()?;
    let mut tpm: Option<Tpm> = None;
    while let Some(order) = stream::read_order(&mut daemon)? {
        let report = match order {
            TpmOrder::Open { kept } => {
                // The old connection goes first: without a resource manager there is one at a time.
                drop(tpm.take());
                match Tpm::open(tcti, kept.as_ref()) {
                    Ok((opened, keys)) => {
                        tpm = Some(opened);
                        TpmReport::Opened(Box::new(keys))
                    }
                    Err(failed) => failed.into(),
                }
            }
            TpmOrder::Quote { qualifying, registers } => with_open(&mut tpm, |tpm| {
                tpm.quote(qualifying, registers).map(|quote| TpmReport::Quoted(Box::new(quote)))
            }),
            TpmOrder::Activate { credential_blob, encrypted_secret } => with_open(&mut tpm, |tpm| {
                tpm.activate(&credential_blob, &encrypted_secret).map(TpmReport::Activated)
            }),
        };
        if !stream::send(&mut daemon, &report)? {
            break;
        }
    }
    Ok(())
}

/// Has an open TPM do something. One that the way to is broken is closed: tpm2-tss does not find back by itself.
fn with_open(tpm: &mut Option<Tpm>, act: impl FnOnce(&mut Tpm) -> Result<TpmReport, Failed>) -> TpmReport {
    let Some(open) = tpm else {
        return Failed::refused(TpmFault::Other, "the TPM is not open").into();
    };
    match act(open) {
        Ok(report) => report,
        Err(failed) => {
            if failed.is_of_the_way() {
                *tpm = None;
            }
            failed.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tpm_is_named_on_the_command_line() {
        let parse = |words: &[&str]| arguments(words.iter().map(OsString::from));
        assert_eq!(parse(&[]), Ok(DEFAULT_TCTI.to_owned()));
        assert_eq!(parse(&["--tpm", "device:/dev/tpm0"]), Ok("device:/dev/tpm0".to_owned()));
        assert_eq!(parse(&["--tpm"]), Err(ArgumentError::Missing));
        assert_eq!(parse(&["/dev/tpm0"]), Err(ArgumentError::Unknown("/dev/tpm0".into())));
    }
}
