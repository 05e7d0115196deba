//! What is kept for whom: the spool's limits, and the consumers who may
//! confirm records and ask for them again.

use std::path::PathBuf;

use rackmark_feed::PublicKey;
use rackmark_feed::topic::is_name;
use rackmark_spool::Limits;

use super::keys_dir;
use super::reader::Reader;
use crate::exit::chain;

const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;
/// Trimming frees whole segments: small enough for a budget of a few megabytes, large enough that there are few files.
const SERIES_SEGMENT_BYTES: u64 = MIB;
/// Preallocated twice per stream of events, and half a thousand events each.
const EDGE_SEGMENT_BYTES: u64 = MIB / 4;

/// A consumer of the feed that this node listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name in topics.
    pub name: String,
    /// Signs its watermarks and commands.
    pub key: PublicKey,
    /// Records are kept until it has confirmed them, as long as the budget allows.
    pub required: bool,
    /// It may send every verb.
    pub operator: bool,
    /// It may begin and end leases.
    pub lessor: bool,
}

/// Most consumers: each is a subscription.
const CONSUMERS: usize = 16;

/// The limits of the spool.
pub fn spool(r: &mut Reader) -> Option<Limits> {
    let series_mib = r.number("spool", "series_mb", 4..=1_000_000);
    let series_days = r.number("spool", "series_days", 1..=3650);
    let edges_mib = r.number("spool", "edges_mb", 2..=1_000_000);
    let edges_days = r.number("spool", "edges_days", 1..=3650);
    let keep_series_minutes = r.number("spool", "keep_series_minutes", 0..=1_000_000);
    let keep_edges_hours = r.number("spool", "keep_edges_hours", 0..=100_000);
    Some(Limits {
        series_bytes: u64::from(series_mib?) * MIB,
        series_age_ms: u64::from(series_days?) * 24 * HOUR_MS,
        edge_bytes: u64::from(edges_mib?) * MIB,
        edge_age_ms: u64::from(edges_days?) * 24 * HOUR_MS,
        series_segment_bytes: SERIES_SEGMENT_BYTES,
        edge_segment_bytes: EDGE_SEGMENT_BYTES,
        keep_series_ms: u64::from(keep_series_minutes?) * 60_000,
        keep_edges_ms: u64::from(keep_edges_hours?) * HOUR_MS,
    })
}

/// The folder of further consumers, with what it holds.
pub fn keys_dir(r: &mut Reader, consumers: &mut Vec<Consumer>) -> Option<PathBuf> {
    let folder = PathBuf::from(r.text("consumers", "keys_dir")?);
    match keys_dir::consumers(&folder) {
        Err(error) => r.wrong("consumers", "keys_dir", format!("{folder:?}"), chain(&error)),
        Ok(found) => {
            for consumer in found {
                let twin =
                    consumers.iter().find(|known| known.name == consumer.name || known.key == consumer.key);
                if let Some(twin) = twin {
                    let problem = format!(
                        "has {}, whose name or key is in `consumers.allowed` ({})",
                        consumer.name, twin.name
                    );
                    r.wrong("consumers", "keys_dir", format!("{folder:?}"), problem);
                } else {
                    consumers.push(consumer);
                }
            }
        }
    }
    Some(folder)
}

/// A key that names consumers, and what it makes of them.
type Role = (&'static str, fn(&mut Consumer) -> &mut bool);

/// The consumers this node listens to.
pub fn consumers(r: &mut Reader) -> Vec<Consumer> {
    let mut consumers: Vec<Consumer> = Vec::new();
    for text in r.texts("consumers", "allowed", 0..=CONSUMERS) {
        let parsed = text.split_once('=').and_then(|(name, key)| {
            let key = PublicKey::from_hex(key.trim())?;
            let name = name.trim();
            is_name(name).then(|| Consumer {
                name: name.to_owned(),
                key,
                required: false,
                operator: false,
                lessor: false,
            })
        });
        match parsed {
            Some(new) if consumers.iter().any(|known| known.name == new.name) => {
                r.wrong("consumers", "allowed", format!("{text:?}"), "names a consumer twice");
            }
            Some(new) => consumers.push(new),
            None => r.wrong("consumers", "allowed", format!("{text:?}"), "is not name=64 hex digits"),
        }
    }
    let roles: [Role; 3] = [
        ("required", |consumer| &mut consumer.required),
        ("operators", |consumer| &mut consumer.operator),
        ("lessors", |consumer| &mut consumer.lessor),
    ];
    for (key, role) in roles {
        for name in r.texts("consumers", key, 0..=CONSUMERS) {
            match consumers.iter_mut().find(|known| known.name == name) {
                Some(known) => *role(known) = true,
                None => r.wrong("consumers", key, format!("{name:?}"), "is not in `consumers.allowed`"),
            }
        }
    }
    consumers
}
