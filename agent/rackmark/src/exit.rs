//! How a command ends: exit codes and the one place where errors are printed.

use std::error::Error;
use std::fmt::Write as _;

/// Exit codes of every `rackmark` command, after `sysexits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It worked.
    Ok = 0,
    /// Checks ran and found something to look at (`doctor`), or a node is draining (`check`).
    Odd = 1,
    /// Checks ran and found something wrong (`doctor`), or nothing can be placed (`check`).
    Wrong = 2,
    /// Wrong usage or configuration; trying again changes nothing.
    Usage = 64,
    /// Something it needs is not there: driver, GPU, broker, daemon.
    Unavailable = 69,
    /// A fault of the program.
    Internal = 70,
    /// It may work later.
    TryAgain = 75,
    /// Not allowed.
    NoPermission = 77,
}

/// A command that failed: its code, the error, and what a person can do.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub code: Code,
    /// What went wrong.
    pub error: Box<dyn Error + Send + Sync>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with its error.
    pub fn new(code: Code, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { code, error: error.into(), hint: None }
    }

    /// Adds what a person can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The error and its causes in one line, each once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(line, ": {inner}");
        cause = inner.source();
    }
    line
}

/// The error as shown to a person: a sentence, its causes, a hint.
pub fn report(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", failure.error);
    let mut cause = failure.error.source();
    while let Some(inner) = cause {
        let _ = writeln!(text, "  because: {inner}");
        cause = inner.source();
    }
    if let Some(hint) = &failure.hint {
        let _ = write!(text, "\nhint: {hint}\n");
    }
    text
}
