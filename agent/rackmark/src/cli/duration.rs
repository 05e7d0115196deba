//! Durations on the command line: a number and its unit, always both.

use std::time::Duration;

/// Reads `30s`, `5m`, `2h` or `1500ms`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let number: u64 = digits.parse().map_err(|_| WANTED.to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(WANTED.to_owned()),
    };
    let whole = number.checked_mul(milliseconds).filter(|whole| *whole > 0);
    whole.map(Duration::from_millis).ok_or_else(|| WANTED.to_owned())
}

const WANTED: &str = "a whole number above zero and its unit, such as 90s, 30m or 2h";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_required() {
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        for wrong in
            ["", "30", "s", "0s", "1.5h", "-1s", "10 s", "99999999999999999999h", "18446744073709551615h"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
