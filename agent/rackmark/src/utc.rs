//! Times for people: the calendar in UTC, and spans in words.

use std::fmt;

/// Milliseconds in a day.
const DAY_MS: u64 = 86_400_000;
/// Days from 1 March of the year 0 to 1970-01-01 in the Gregorian calendar.
const DAYS_TO_1970: u64 = 719_468;
/// Days in 400 years of that calendar.
const ERA_DAYS: u64 = 146_097;
/// Years of four digits are read, from 1970 on.
const YEARS: std::ops::RangeInclusive<u64> = 1970..=9999;

/// `2026-12-01 10:00:00Z`, of milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0 / DAY_MS);
        write!(f, "{year:04}-{month:02}-{day:02} {}Z", Clock(self.0))
    }
}

/// `10:00:00`, of milliseconds since 1970: the time of the day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock(pub u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0 / 1000 % 86_400;
        write!(f, "{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

/// A span of milliseconds in its two largest units: `4 s`, `3 min`, `2 h 14 min`, `5 d 3 h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min"),
            (0, ..) => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

/// Reads a time of RFC 3339 in UTC, such as `2026-12-01T10:00:00Z`; milliseconds since 1970. A blank in place of
/// the `T` is taken, so that what [`Utc`] shows can be typed.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<u64, String> {
    read(text.as_bytes()).ok_or_else(|| "a time in UTC from 1970 on, such as 2026-12-01T10:00:00Z".to_owned())
}

fn read(text: &[u8]) -> Option<u64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b' ', h1, h2, b':', n1, n2, b':', s1, s2, b'Z'] =
        text
    else {
        return None;
    };
    let year = digits(&[y1, y2, y3, y4]).filter(|year| YEARS.contains(year))?;
    let month = digits(&[m1, m2]).filter(|month| (1..=12).contains(month))?;
    let day = digits(&[d1, d2])?;
    let hour = digits(&[h1, h2]).filter(|hour| *hour < 24)?;
    let minute = digits(&[n1, n2]).filter(|minute| *minute < 60)?;
    let second = digits(&[s1, s2]).filter(|second| *second < 60)?;
    let days = days(year, month, day)?;
    Some(days * DAY_MS + (hour * 3600 + minute * 60 + second) * 1000)
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

/// Year, month and day of a day since 1970-01-01. Counted in years that begin in March, so that a leap day is the
/// last of its year.
fn date(day_since_1970: u64) -> (u64, u64, u64) {
    let days = day_since_1970 + DAYS_TO_1970;
    let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March take 153 days, and so do the next five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// Days since 1970-01-01; none where the month has no such day.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = 365 * march_year + march_year / 4 - march_year / 100 + march_year / 400;
    let days = (before + (153 * march_month + 2) / 5 + day).checked_sub(DAYS_TO_1970 + 1)?;
    (date(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_shown_and_read() {
        // Seconds by `date -u -d … +%s`.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1999-12-31T23:59:59Z", 946_684_799),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-12-01T10:00:00Z", 1_796_119_200),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Ok(seconds * 1000), "{text}");
            assert_eq!(Utc(seconds * 1000 + 999).to_string(), text.replace('T', " "));
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let leap =
            |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for since in 0..200_000 {
            assert_eq!((date(since), days(year, month, day)), ((year, month, day), Some(since)));
            let last = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            assert_eq!(days(year, month, last + 1), None);
            (year, month, day) = match (month, day == last) {
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn what_is_no_time_in_utc_is_refused() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T10:00:00",
            "2026-12-01T10:00:00+01:00",
            "2026-12-01T10:00:00.5Z",
            "2026-02-29T10:00:00Z",
            "2100-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-12-00T10:00:00Z",
            "2026-12-32T10:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T10:60:00Z",
            "2026-12-01T10:00:60Z",
            "1969-12-31T23:59:59Z",
            "2026-12-01T1０:00:00Z",
            "+026-12-01T10:00:00Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let seconds = [0, 59, 60, 3_599, 3_600, 8_040, 86_399, 86_400, 442_800];
        let shown: Vec<_> = seconds.iter().map(|seconds| Span(seconds * 1000).to_string()).collect();
        assert_eq!(
            shown,
            [
                "0 s",
                "59 s",
                "1 min",
                "59 min",
                "1 h 0 min",
                "2 h 14 min",
                "23 h 59 min",
                "1 d 0 h",
                "5 d 3 h"
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(seconds in 0u64..253_402_300_800) {
            prop_assert_eq!(parse(&Utc(seconds * 1000).to_string()), Ok(seconds * 1000));
        }

        #[test]
        fn any_text_is_a_time_or_refused(text in ".{0,24}") {
            let _ = parse(&text);
        }
    }
}
