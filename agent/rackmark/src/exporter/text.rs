//! The classic text format 0.0.4, which `promtool check metrics` reads.

use super::{Decimal, Kind, Sink};

/// Writes families into a text.
pub struct ClassicText {
    out: String,
    /// Name of the present family as its points carry it.
    name: String,
}

impl ClassicText {
    /// Starts with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: String::with_capacity(bytes), name: String::new() }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }
}

impl Sink for ClassicText {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.name.clear();
        self.name.push_str(name);
        if kind == Kind::Counter {
            self.name.push_str("_total");
        }
        write_head(&mut self.out, &self.name, kind, help);
    }

    fn point(&mut self, labels: &[(&str, &str)], value: Decimal) {
        self.out.push_str(&self.name);
        for (at, (name, text)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            write_label(&mut self.out, name, text);
        }
        self.out.push_str(if labels.is_empty() { " " } else { "} " });
        write_decimal(&mut self.out, value);
        self.out.push('\n');
    }
}

/// Writes families under names that are taken as they are, with label sets that
/// were written before: another exporter's counters may have no `_total`.
pub struct RawText {
    out: String,
    name: &'static str,
    /// Type and help of a family that has no point yet.
    begun: Option<(Kind, &'static str)>,
}

impl RawText {
    /// Starts with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: String::with_capacity(bytes), name: "", begun: None }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    /// Begins a family; nothing is said of one that gets no point.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        self.name = name;
        self.begun = Some((kind, help));
    }

    /// One point of the family begun last: `written` is a label set without its
    /// braces and not empty, `more` follow it.
    pub fn point(&mut self, written: &str, more: &[(&str, &str)], value: Decimal) {
        if let Some((kind, help)) = self.begun.take() {
            write_head(&mut self.out, self.name, kind, help);
        }
        self.out.push_str(self.name);
        self.out.push('{');
        self.out.push_str(written);
        for (name, text) in more {
            self.out.push(',');
            write_label(&mut self.out, name, text);
        }
        self.out.push_str("} ");
        write_decimal(&mut self.out, value);
        self.out.push('\n');
    }
}

fn write_head(out: &mut String, name: &str, kind: Kind, help: &str) {
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(out, help, false);
    out.push_str("\n# TYPE ");
    out.push_str(name);
    out.push_str(if kind == Kind::Counter { " counter\n" } else { " gauge\n" });
}

/// Writes `name="text"`.
pub(super) fn write_label(out: &mut String, name: &str, text: &str) {
    out.push_str(name);
    out.push_str("=\"");
    escape(out, text, true);
    out.push('"');
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'\n' | b'"')) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// Writes digits and point directly: no float formatting, no rounding.
fn write_decimal(out: &mut String, value: Decimal) {
    let mut buffer = [b'0'; 64];
    let mut at = buffer.len();
    let mut digits = value.digits;
    let mut place = i32::from(value.decimals);
    // Trailing zeros behind the point say nothing.
    while place > 0 && digits.is_multiple_of(10) {
        digits /= 10;
        place -= 1;
    }
    let mut zeros = (-place).max(0);
    loop {
        at -= 1;
        if zeros > 0 && digits != 0 {
            zeros -= 1;
            continue;
        }
        buffer[at] = b'0' + (digits % 10) as u8;
        digits /= 10;
        place -= 1;
        if place == 0 {
            at -= 1;
            buffer[at] = b'.';
        }
        if digits == 0 && place < 0 {
            break;
        }
    }
    if value.negative {
        at -= 1;
        buffer[at] = b'-';
    }
    out.push_str(std::str::from_utf8(&buffer[at..]).unwrap_or("NaN"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(digits: i128, decimals: i8) -> String {
        let mut out = String::new();
        let digits = Decimal { negative: digits < 0, digits: digits.unsigned_abs() as u64, decimals };
        write_decimal(&mut out, digits);
        out
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(written(627_400, 3), "627.4");
        assert_eq!(written(1980, -6), "1980000000");
        assert_eq!(written(0, 3), "0");
        assert_eq!(written(0, -6), "0");
        assert_eq!(written(7, 2), "0.07");
        assert_eq!(written(100, 2), "1");
        assert_eq!(written(-8, 0), "-8");
        assert_eq!(written(-5, 3), "-0.005");
        assert_eq!(written(i128::from(u64::MAX), 0), "18446744073709551615");
    }

    #[test]
    fn label_values_are_escaped() {
        let mut text = ClassicText::with_capacity(64);
        text.family("x", Kind::Gauge, "a\nb");
        text.point(&[("l", "a\"b\\c\nd")], Decimal::whole(1));
        assert_eq!(text.finish(), "# HELP x a\\nb\n# TYPE x gauge\nx{l=\"a\\\"b\\\\c\\nd\"} 1\n");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(digits in any::<i64>(), decimals in -6i8..=9) {
            let text = written(i128::from(digits), decimals);
            let read: f64 = text.parse().expect("a number");
            let meant = Decimal { negative: digits < 0, digits: digits.unsigned_abs(), decimals }.as_f64();
            prop_assert!((read - meant).abs() <= meant.abs() * 1e-15, "{} {}", text, meant);
        }
    }
}
