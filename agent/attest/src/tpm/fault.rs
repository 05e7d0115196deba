//! What went wrong, in terms that the daemon acts on.

use std::error::Error as _;
use std::fs::OpenOptions;
use std::io;

use rackmark_model::tpm::{TpmFault, TpmReport};
use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind;

/// Longest explanation that is sent.
const WORDS_MAX: usize = 400;

/// Where a response code comes from stands in its bits 16 to 23; these are an answer of the TPM itself (TSS 2.0
/// Overview and Common Structures, 3.13).
const LAYER_TPM: u32 = 0;
/// The way to the TPM: a socket or a device.
const LAYER_TCTI: u32 = 10;
/// A warning: the same command may work later (TPM 2.0 Part 2, 6.6.2, severity).
const WARNING: u32 = 1 << 11;
/// Format one: an argument of the command is at fault, and which one stands in the rest of the bits.
const FORMAT_ONE: u32 = 1 << 7;

/// Something that the TPM did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) fault: TpmFault,
    pub(crate) words: String,
    /// What was asked is at fault, not the state the TPM is in: it will answer the same next time.
    pub(crate) lasting: bool,
}

impl Failed {
    /// A refusal of ours, which nothing changes.
    pub(crate) fn refused(fault: TpmFault, words: impl Into<String>) -> Self {
        Self { fault, words: words.into(), lasting: true }
    }

    /// Something that may go by itself.
    pub(crate) fn passing(fault: TpmFault, words: impl Into<String>) -> Self {
        Self { fault, words: words.into(), lasting: false }
    }

    /// It went wrong between us and the TPM, which may answer to something else next.
    pub(crate) fn is_of_the_way(&self) -> bool {
        !self.lasting && matches!(self.fault, TpmFault::Absent | TpmFault::Other)
    }

    /// A TPM that could not be opened.
    pub(crate) fn at_open(error: &Error, tcti: &str) -> Self {
        let opened = tcti
            .strip_prefix("device:")
            .map(|path| OpenOptions::new().read(true).write(true).open(path).map_err(|error| error.kind()));
        let fault = match opened {
            Some(Err(io::ErrorKind::PermissionDenied)) => TpmFault::NoPermission,
            // Without the resource manager of the kernel there is one user at a time.
            Some(Err(io::ErrorKind::ResourceBusy)) => TpmFault::Busy,
            _ => TpmFault::Absent,
        };
        Self::passing(fault, format!("{tcti} cannot be opened: {}", words(error)))
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let Error::Tss2Error(code) = error else {
            return Self::passing(TpmFault::Other, error.to_string());
        };
        let number = number(&error);
        let layer = number >> 16;
        let fault = match code.kind() {
            _ if layer == LAYER_TCTI => TpmFault::Absent,
            _ if layer != LAYER_TPM => TpmFault::Other,
            Some(Tss2ResponseCodeKind::Lockout) => TpmFault::Lockout,
            // What is loaded or opened was protected by another TPM, or by this one before it was cleared.
            Some(Tss2ResponseCodeKind::Integrity) => TpmFault::Cleared,
            _ if is_warning(number) => TpmFault::Busy,
            _ => TpmFault::Other,
        };
        let lasting = layer == LAYER_TPM
            && (number & FORMAT_ONE != 0
                || matches!(
                    code.kind(),
                    Some(
                        Tss2ResponseCodeKind::NvUninitialized
                            | Tss2ResponseCodeKind::NvLocked
                            | Tss2ResponseCodeKind::NvAuthorization
                    )
                ));
        Self { fault, words: words(&error), lasting }
    }
}

impl From<Failed> for TpmReport {
    fn from(failed: Failed) -> Self {
        Self::Failed { fault: failed.fault, words: failed.words.chars().take(WORDS_MAX).collect() }
    }
}

const fn is_warning(number: u32) -> bool {
    number & FORMAT_ONE == 0 && number & WARNING != 0
}

/// The code beside its words: it is what manuals are searched for.
fn words(error: &Error) -> String {
    match error {
        Error::Tss2Error(_) => format!("{error} ({:#x})", number(error)),
        Error::WrapperError(_) => error.to_string(),
    }
}

/// The response code. The library shows it in the text of the cause only; all ones where it does not.
fn number(error: &Error) -> u32 {
    let cause = error.source().and_then(|code| code.source()).map(ToString::to_string).unwrap_or_default();
    let hex = cause.rsplit_once("0x").and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok());
    hex.unwrap_or(u32::MAX)
}
