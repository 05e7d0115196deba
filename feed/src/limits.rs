//! Limits of the format. A count or length is checked before memory is taken for it.

use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::LimitError;

/// Longest frame in bytes, signature included.
pub const FRAME_BYTES: usize = 64 * 1024;
/// Longest text in bytes (values, versions, reasons).
pub const TEXT_BYTES: usize = 512;
/// Longest site, node, verb or consumer name in bytes.
pub const NAME_BYTES: usize = 64;
/// Most GPUs of one node.
pub const GPUS: usize = 64;
/// Most field groups of one node or GPU.
pub const GROUPS: usize = 16;
/// Most fields in one group.
pub const FIELDS: usize = 512;
/// Most MIG instances of one GPU.
pub const MIG_INSTANCES: usize = 64;
/// Most NVLinks of one GPU.
pub const NVLINKS: usize = 64;
/// Most processes of one GPU.
pub const PROCESSES: usize = 1024;
/// Most streams named in a session record.
pub const STREAMS: usize = 32;
/// Most samples in one telemetry batch.
pub const SAMPLES: usize = 120;
/// Most columns in one telemetry batch.
pub const COLUMNS: usize = 256;
/// Most runs of column ids in one telemetry batch.
pub const COLUMN_RUNS: usize = 16;
/// Most cells (samples × GPUs × columns) in one telemetry batch.
pub const CELLS: usize = 1 << 19;
/// Most extensions at the end of one body.
pub const EXTENSIONS: usize = 16;
/// Longest extension in bytes.
pub const EXTENSION_BYTES: usize = 4096;
/// Most entries of the list in one extension. A condition takes 8 bytes or more, so no more fit.
pub const EXTENSION_ENTRIES: usize = 512;
/// Longest payload of an event kind in bytes.
pub const EVENT_BYTES: usize = 2048;
/// Longest downlink frame in bytes, signature included. A node parses these from senders that it has not
/// verified yet, and a watermark over all streams is far below.
pub const DOWNLINK_BYTES: usize = 8 * 1024;
/// Longest payload of a verb in bytes.
pub const VERB_BYTES: usize = 2048;

/// Most devices in evidence: 64 GPUs, and components that a BMC speaks for.
pub const DEVICES: usize = 96;
/// Longest TPM structure in bytes: the public area of a 4096-bit RSA key has about 560.
pub const TPM_BYTES: usize = 1024;
/// Longest certificate in bytes; endorsement certificates have about 1,000.
pub const CERTIFICATE_BYTES: usize = 4096;
/// Longest artefact in bytes: twice the boot event log of any known machine, four times a full inventory.
pub const ARTEFACT_BYTES: usize = 512 * 1024;
/// Longest piece of an artefact in bytes, so that its frame stays below [`FRAME_BYTES`].
pub const PIECE_BYTES: usize = 48 * 1024;
/// Most successions in a session record: older ones were heard of when they were new. Four with the longest tickets
/// fit an extension.
pub const SUCCESSIONS: usize = 4;
/// Most facts of an inventory.
pub const FACTS: usize = 4096;
/// Most findings of an inventory.
pub const FINDINGS: usize = 256;
/// Longest credential blob or encrypted secret of a TPM credential in bytes.
pub const CREDENTIAL_BYTES: usize = 768;

/// Refuses `found` above `limit`.
pub(crate) fn check(what: &'static str, found: usize, limit: usize) -> Result<(), LimitError> {
    if found > limit { Err(LimitError { what, found, limit }) } else { Ok(()) }
}

/// Deserializes a list of at most `MAX` elements; the count is checked first.
pub(crate) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            // Both are needed: the hint stops a hostile count before allocation,
            // the loop stops a format that gives no hint.
            let hint = seq.size_hint().unwrap_or(0);
            if hint > MAX {
                return Err(A::Error::custom("list too long"));
            }
            let mut out = Vec::with_capacity(hint);
            while let Some(element) = seq.next_element()? {
                if out.len() == MAX {
                    return Err(A::Error::custom("list too long"));
                }
                out.push(element);
            }
            Ok(out)
        }
    }

    deserializer.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

/// Deserializes a text of at most `MAX` bytes; the length is checked before it is copied.
pub(crate) fn text<'de, D: Deserializer<'de>, const MAX: usize>(deserializer: D) -> Result<String, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    if text.len() > MAX {
        return Err(D::Error::custom("text too long"));
    }
    Ok(text.to_owned())
}

/// Deserializes bytes of at most `MAX`; the length is checked before they are copied.
pub(crate) fn bytes<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<u8>, D::Error> {
    let bytes = <&[u8]>::deserialize(deserializer)?;
    if bytes.len() > MAX {
        return Err(D::Error::custom("byte string too long"));
    }
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, SeqDeserializer};

    /// Without the check the room asked for would be 2^64 elements.
    #[test]
    fn a_hostile_count_is_refused_before_room_is_made() {
        let hostile = SeqDeserializer::<_, Error>::new(0..u64::MAX);
        assert!(super::list::<_, u64, 4>(hostile).is_err());
        let fits = SeqDeserializer::<_, Error>::new(0..4_u64);
        assert_eq!(super::list::<_, u64, 4>(fits), Ok(vec![0, 1, 2, 3]));
    }
}
