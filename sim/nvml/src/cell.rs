//! One figure, or the NVML return code that stands in its place.

use crate::abi::{self, Ret};

/// Codes below this are NVML return codes inside a [`Cell`]; NVML itself uses 0..=999.
const CODES: i64 = 4096;

/// Not an NVML code: a recording did not sample this figure, so the base profile answers.
pub const NOT_SAMPLED: Ret = 4000;

/// A 64-bit figure or an NVML return code, in eight bytes: the lowest 4096 values of `i64` carry the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell(i64);

impl Cell {
    /// The figure is not available on this GPU.
    pub const NOT_SUPPORTED: Cell = Cell::error(abi::NOT_SUPPORTED);

    /// A figure. Values in the reserved lowest 4096 are raised to the first free one.
    pub const fn value(value: i64) -> Cell {
        if value < i64::MIN + CODES { Cell(i64::MIN + CODES) } else { Cell(value) }
    }

    /// An NVML return code in place of a figure.
    pub const fn error(code: Ret) -> Cell {
        let code = if code as i64 >= CODES { abi::UNKNOWN } else { code };
        Cell(i64::MIN + code as i64)
    }

    /// The figure, or the return code that stands in its place.
    pub const fn get(self) -> Result<i64, Ret> {
        if self.0 < i64::MIN + CODES { Err((self.0 - i64::MIN) as Ret) } else { Ok(self.0) }
    }

    /// The figure, if there is one.
    pub fn ok(self) -> Option<i64> {
        self.get().ok()
    }

    /// The eight bytes as they stand in a replay file.
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// From the eight bytes of a replay file. Every bit pattern is a valid cell.
    pub const fn from_raw(raw: i64) -> Cell {
        Cell(raw)
    }

    /// A figure in decimal, or `!` and the name of a reason (see [`reason_code`]).
    pub fn parse(text: &str) -> Option<Cell> {
        match text.strip_prefix('!') {
            Some(name) => reason_code(name).map(Cell::error),
            None => text.parse::<i64>().ok().map(Cell::value),
        }
    }
}

/// Reason names, as recordings and profiles spell them, with the NVML return code each becomes.
/// `suspended`, `paused` and `handed_over` are states of the recording agent, not of a driver: they become *no data*.
const REASONS: &[(&str, Ret)] = &[
    ("not_supported", abi::NOT_SUPPORTED),
    ("no_permission", abi::NO_PERMISSION),
    ("deprecated", abi::DEPRECATED),
    ("timeout", abi::TIMEOUT),
    ("gpu_lost", abi::GPU_IS_LOST),
    ("driver_gone", abi::DRIVER_NOT_LOADED),
    ("not_sampled", NOT_SAMPLED),
    ("no_data", abi::NO_DATA),
    ("suspended", abi::NO_DATA),
    ("paused", abi::NO_DATA),
    ("handed_over", abi::NO_DATA),
];

/// The return code for a reason name, or for `error:<code>` with a code below 4096.
pub fn reason_code(name: &str) -> Option<Ret> {
    if let Some(code) = name.strip_prefix("error:") {
        return code.parse::<Ret>().ok().filter(|code| i64::from(*code) < CODES && *code != 0);
    }
    REASONS.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

/// The reason name of a return code, as profiles spell it.
pub fn reason_name(code: Ret) -> String {
    match REASONS.iter().find(|(_, known)| *known == code) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("error:{code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_a_figure_or_a_code() {
        assert_eq!(Cell::value(-8).get(), Ok(-8));
        assert_eq!(Cell::error(26).get(), Err(26));
        assert_eq!(Cell::value(i64::MIN).get(), Ok(i64::MIN + 4096));
        assert_eq!(Cell::parse("!error:7"), Some(Cell::error(7)));
        assert_eq!(Cell::parse("!gpu_lost"), Some(Cell::error(15)));
        assert_eq!(Cell::parse("!error:0"), None);
        assert_eq!(Cell::parse("!nonsense"), None);
        assert_eq!(Cell::parse("12 "), None);
        assert_eq!(Cell::parse("627400"), Some(Cell::value(627_400)));
    }

    #[test]
    fn reason_names_go_both_ways() {
        for code in [3, 4, 26, 10, 15, 9, 21, 7] {
            assert_eq!(reason_code(&reason_name(code)), Some(code));
        }
    }
}
