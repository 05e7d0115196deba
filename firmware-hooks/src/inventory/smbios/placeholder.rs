//! What stands in a string where its maker wrote nothing.

/// Texts that identify nothing, in lower case: those of AMI's and Insyde's reference firmware, of board makers
/// that ship them, and of the specification's examples.
const TEXTS: [&str; 27] = [
    "asset tag",
    "base board serial number",
    "board serial number",
    "chassis serial number",
    "default string",
    "empty",
    "invalid",
    "module serial number",
    "n/a",
    "na",
    "no dimm",
    "no module installed",
    "none",
    "not applicable",
    "not available",
    "not present",
    "not specified",
    "null",
    "o.e.m.",
    "oem",
    "serial number",
    "system manufacturer",
    "system product name",
    "system serial number",
    "system version",
    "unknown",
    "unspecified",
];

/// Beginnings of such texts: `To be filled by O.E.M.` is written with and without its last point.
const BEGINNINGS: [&str; 2] = ["to be filled by", "<bad index>"];

/// UUIDs that firmware ships with, on many machines at once.
const UUIDS: [&str; 3] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
];

/// Whether a text stands for nothing.
pub(in crate::inventory) fn is_placeholder(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let one = |c: char| text.chars().all(|other| other == c);
    TEXTS.contains(&text.as_str())
        || BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
        || text.chars().next().is_some_and(|first| "0fx.-_* ".contains(first) && one(first))
        || counts(&text)
}

/// Whether a UUID, as it is written, stands for none.
pub(in crate::inventory) fn is_placeholder_uuid(uuid: &str) -> bool {
    let digits: String = uuid.chars().filter(|c| *c != '-').collect();
    digits.chars().all(|c| c == '0') || digits.chars().all(|c| c == 'f') || UUIDS.contains(&uuid)
}

/// `0123456789`, `1234567890` and their beginnings from five digits on, and their repetitions.
fn counts(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().map_while(|c| c.to_digit(10)).collect();
    digits.len() == text.chars().count()
        && digits.len() >= 5
        && digits.first().is_some_and(|first| *first <= 1)
        && digits.windows(2).all(|pair| matches!(pair, [one, next] if *next == (one + 1) % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_identifies_nothing_is_known() {
        for text in [
            "To Be Filled By O.E.M.",
            "To be filled by O.E.M",
            "Not Specified",
            "0123456789",
            "123456789",
            "01234567890123456789",
            "00000000",
            "0",
            "FFFFFFFF",
            "xxxxxxxxxx",
            "............",
            "Default string",
            "System Serial Number",
            "NO DIMM",
            " None ",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["S482914X", "1234", "J1020304", "00000001", "2M2543", "CZJ1230", "98765", "F", "X0"] {
            let short = ["F"].contains(&text);
            assert_eq!(is_placeholder(text), short, "{text}");
        }
        for uuid in ["00000000-0000-0000-0000-000000000000", "03000200-0400-0500-0006-000700080009"] {
            assert!(is_placeholder_uuid(uuid), "{uuid}");
        }
        assert!(is_placeholder_uuid("ffffffff-ffff-ffff-ffff-ffffffffffff"));
        assert!(!is_placeholder_uuid("4c4c4544-0042-3510-8056-b4c04f463233"));
    }
}
