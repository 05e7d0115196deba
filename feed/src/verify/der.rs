//! A reader of DER for the few structures that `x509-cert` does not know: definite, minimal lengths below 16 MiB and
//! tags of one byte.

/// Tags, X.690.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// Tag `[number]` of a primitive type.
pub(super) const fn primitive(number: u8) -> u8 {
    0x80 | number
}

/// Tag `[number]` of a constructed type, or of an explicit tag.
pub(super) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// What it holds.
    pub content: &'a [u8],
    /// With tag and length.
    pub whole: &'a [u8],
}

/// Elements, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// The next element; none at the end, and where there is no element.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                let shortest = length >= 0x80 && bytes.first() != Some(&0);
                (shortest.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element where it has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.next()
    }

    /// The elements of the next element, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(|element| Self(element.content))
    }

    /// The elements of the only element, which must have this tag.
    pub(super) fn only(bytes: &'a [u8], tag: u8) -> Option<Self> {
        let mut outer = Self(bytes);
        let inner = outer.enter(tag)?;
        outer.is_empty().then_some(inner)
    }

    /// True at the end.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_order() {
        let mut der = Der(&[2, 1, 5, 0x30, 3, 4, 1, 9]);
        assert_eq!(der.take(SEQUENCE), None);
        assert_eq!(der.take(INTEGER).map(|element| element.content), Some(&[5][..]));
        let mut inner = der.enter(SEQUENCE).expect("sequence");
        assert_eq!(inner.next().map(|element| element.whole), Some(&[4, 1, 9][..]));
        assert!(inner.is_empty() && der.is_empty());
        assert_eq!(der.next(), None);
    }

    #[test]
    fn lengths_that_are_not_the_shortest_or_too_long_are_refused() {
        for bytes in [&[4, 0x81, 1, 9][..], &[4, 0x80, 0, 0], &[4, 0x82, 0, 0x80], &[4, 2, 1], &[0x1f, 1, 1]]
        {
            assert_eq!(Der(bytes).next(), None, "{bytes:02x?}");
        }
        let long = [&[4, 0x81, 0x80][..], &[7; 0x80]].concat();
        assert_eq!(Der(&long).next().map(|element| element.content.len()), Some(0x80));
    }
}
