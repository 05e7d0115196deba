//! Plain tables: columns as wide as their content, colour only on a terminal.

use std::io::IsTerminal;

/// A colour that says how something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing to say.
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// A person is needed.
    Bad,
    /// Of minor interest.
    Faint,
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain, right: false }
    }

    /// A number: stands at the right of its column.
    pub fn number(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain, right: true }
    }

    /// The same cell in another tone.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// Whether to colour: on a terminal, unless `NO_COLOR` is set.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The table as text.
pub fn render(header: &[&str], rows: &[Vec<Cell>], colour: bool) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    let mut right = vec![false; header.len()];
    for row in rows {
        for (at, cell) in row.iter().enumerate().take(widths.len()) {
            widths[at] = widths[at].max(cell.text.chars().count());
            right[at] |= cell.right;
        }
    }
    let mut out = String::new();
    let titles: Vec<Cell> = header
        .iter()
        .zip(&right)
        .map(|(title, right)| Cell { text: (*title).to_owned(), tone: Tone::Faint, right: *right })
        .collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate().take(widths.len()) {
            if at > 0 {
                line.push_str("  ");
            }
            let gap = " ".repeat(widths[at] - cell.text.chars().count());
            if cell.right {
                line.push_str(&gap);
            }
            line.push_str(&painted(&cell.text, cell.tone, colour));
            if !cell.right {
                line.push_str(&gap);
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A text in a tone.
pub fn painted(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => 32,
        Tone::Odd => 33,
        Tone::Bad => 31,
        Tone::Faint => 2,
    };
    if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let rows = vec![
            vec![Cell::number("0"), Cell::text("H200").tone(Tone::Good), Cell::number("627.4")],
            vec![Cell::number("10"), Cell::text("RTX 4080 SUPER"), Cell::number("-")],
        ];
        let text = render(&["GPU", "NAME", "WATTS"], &rows, false);
        assert_eq!(
            text,
            "GPU  NAME            WATTS\n  0  H200            627.4\n 10  RTX 4080 SUPER      -\n"
        );
        let coloured = render(&["GPU", "NAME", "WATTS"], &rows, true);
        assert!(coloured.contains("\u{1b}[32mH200\u{1b}[0m          "));
    }
}
