//! What doctor is at, on a terminal, as some checks take seconds.

use std::io::{IsTerminal, Write, stderr};

/// A line on standard error that is written over and gone at the end; nothing
/// where that is no terminal.
pub(super) struct Progress {
    on_terminal: bool,
}

/// Back to the first column and clear the line (ECMA-48: CR, EL).
const CLEAR: &str = "\r\u{1b}[K";

impl Progress {
    pub fn new() -> Self {
        Self { on_terminal: stderr().is_terminal() }
    }

    /// From here on it is at `what`.
    pub fn step(&mut self, what: &str) {
        self.write(&format!("{CLEAR}checking {what} ..."));
    }

    fn write(&self, text: &str) {
        if self.on_terminal {
            let mut out = stderr().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.write(CLEAR);
    }
}
