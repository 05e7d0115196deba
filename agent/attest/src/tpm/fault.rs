//! What went wrong, in terms that the daemon acts on.

use rackmark_model::tpm::{TpmFault, TpmReport};
use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind;

/// Something that the TPM did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) fault: TpmFault,
    pub(crate) words: String,
}

impl Failed {
    /// A call that gave nothing where it should have given something.
    pub(crate) fn nothing() -> Self {
        Self { fault: TpmFault::Other, words: "the TPM gave no session".to_owned() }
    }

    /// A TPM that could not be opened.
    pub(crate) fn at_open(error: &Error, tcti: &str) -> Self {
        let readable = tcti.strip_prefix("device:").map(|path| {
            std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(|error| error.kind())
        });
        let fault = match readable {
            Some(Err(std::io::ErrorKind::PermissionDenied)) => TpmFault::NoPermission,
            Some(Err(std::io::ErrorKind::ResourceBusy)) => TpmFault::Busy,
            _ => TpmFault::Absent,
        };
        Self { fault, words: format!("{tcti} cannot be opened: {error}") }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let fault = match &error {
            Error::Tss2Error(code) => match code.kind() {
                Some(Tss2ResponseCodeKind::Lockout) => TpmFault::Lockout,
                Some(
                    Tss2ResponseCodeKind::Retry
                    | Tss2ResponseCodeKind::Yielded
                    | Tss2ResponseCodeKind::Testing
                    | Tss2ResponseCodeKind::NvRate
                    | Tss2ResponseCodeKind::NvUnavailable,
                ) => TpmFault::Busy,
                // What is loaded or opened was protected by another TPM, or by this one before it was cleared.
                Some(Tss2ResponseCodeKind::Integrity) => TpmFault::Cleared,
                _ => TpmFault::Other,
            },
            Error::WrapperError(_) => TpmFault::Other,
        };
        Self { fault, words: error.to_string() }
    }
}

impl From<Failed> for TpmReport {
    fn from(failed: Failed) -> Self {
        Self::Failed { fault: failed.fault, words: failed.words.chars().take(400).collect() }
    }
}
