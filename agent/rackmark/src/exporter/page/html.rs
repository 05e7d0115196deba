//! Text that becomes HTML. What is not written in this program is always escaped: markup can come
//! from literals only.

use std::fmt::{self, Display, Write};

/// HTML that grows.
pub struct Html(String);

impl Html {
    /// With room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Markup.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text or the value of a quoted attribute.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a String does not fail, and what is shown here has no failing Display.
        let _ = write!(Escaping(&mut self.0), "{text}");
        self
    }

    /// A number, which needs no escaping.
    pub fn integer(&mut self, number: impl Into<i64>) -> &mut Self {
        let _ = write!(self.0, "{}", number.into());
        self
    }

    /// Markup with texts between its pieces.
    pub fn put<const N: usize>(
        &mut self,
        pieces: [(&'static str, &dyn Display); N],
        end: &'static str,
    ) -> &mut Self {
        for (markup, text) in pieces {
            self.raw(markup).text(text);
        }
        self.raw(end)
    }

    /// The whole.
    pub fn finish(self) -> String {
        self.0
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(special) {
            self.0.push_str(&rest[..at]);
            let mut characters = rest[at..].chars();
            match characters.next() {
                Some('&') => self.0.push_str("&amp;"),
                Some('<') => self.0.push_str("&lt;"),
                Some('>') => self.0.push_str("&gt;"),
                Some('"') => self.0.push_str("&quot;"),
                Some('\'') => self.0.push_str("&#39;"),
                _ => self.0.push(char::REPLACEMENT_CHARACTER),
            }
            rest = characters.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

/// What must not stand in a page as it is: markup, and control characters, of which those that
/// turn the direction of writing could make one name look like another.
fn special(character: char) -> bool {
    match character {
        '&' | '<' | '>' | '"' | '\'' => true,
        '\n' | '\t' => false,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut html = Html::with_capacity(0);
        html.text(text);
        html.finish()
    }

    #[test]
    fn markup_and_control_characters_do_not_pass() {
        assert_eq!(escaped("<b a=\"x\" c='y'>&"), "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;");
        assert_eq!(escaped("a\0b\u{202e}c\u{85}d\r\n"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}\n");
        assert_eq!(escaped("H100 80GB – ä"), "H100 80GB – ä");
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_written(text in "\\PC*") {
            let html = escaped(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            let read = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&");
            let shown: String = text.chars().map(|c| if special(c) && !"&<>\"'".contains(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
            prop_assert_eq!(read, shown);
        }
    }
}
