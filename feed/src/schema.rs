//! Schema texts and ids.
//!
//! The text of a released schema is never edited: its hash is on the wire.
//! Code lists and field ids are registries outside the texts, so appending to
//! them does not change an id; everything that moves a byte does.

use std::fmt;
use std::sync::OnceLock;

use crate::body::Body;
use crate::ids::{sha256, write_hex};

/// Prefix of the hash that makes a schema id.
pub const SCHEMA_DOMAIN: &[u8] = b"rackmark/feed/v1/schema\0";

/// Identity of a schema: the first 8 bytes of SHA-256 over [`SCHEMA_DOMAIN`] and the schema text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SchemaId(pub [u8; 8]);

impl SchemaId {
    /// The id of a text.
    pub fn of(text: &str) -> Self {
        let hash = sha256(SCHEMA_DOMAIN, text.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self(id)
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One message kind in one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Name of the kind, as [`Body::name`].
    pub name: &'static str,
    /// Number of the body variant on the wire.
    pub body: u32,
    /// The canonical text.
    pub text: &'static str,
    /// The id.
    pub id: SchemaId,
}

/// Session record, version 1.
pub const SESSION: &str = include_str!("schema/session.txt");
/// Event, version 1.
pub const EVENT: &str = include_str!("schema/event.txt");
/// Fast telemetry, version 1.
pub const TELEMETRY: &str = include_str!("schema/telemetry.txt");
/// Slow telemetry, version 1.
pub const TELEMETRY_SLOW: &str = include_str!("schema/telemetry_slow.txt");
/// Status, version 1.
pub const STATUS: &str = include_str!("schema/status.txt");
/// Capacity, version 1.
pub const CAPACITY: &str = include_str!("schema/capacity.txt");

/// Reply to a command, version 1.
pub const REPLY: &str = include_str!("schema/reply.txt");

/// Evidence, version 1.
pub const EVIDENCE: &str = include_str!("schema/evidence.txt");

/// Piece of an artefact, version 1.
pub const ARTEFACT: &str = include_str!("schema/artefact.txt");

/// Every schema, by body number.
pub fn all() -> &'static [Schema] {
    static ALL: OnceLock<Vec<Schema>> = OnceLock::new();
    ALL.get_or_init(|| {
        [
            ("session", SESSION),
            ("event", EVENT),
            ("telemetry", TELEMETRY),
            ("telemetry_slow", TELEMETRY_SLOW),
            ("status", STATUS),
            ("capacity", CAPACITY),
            ("reply", REPLY),
            ("evidence", EVIDENCE),
            ("artefact", ARTEFACT),
        ]
        .into_iter()
        .zip(0..)
        .map(|((name, text), body)| Schema { name, body, text, id: SchemaId::of(text) })
        .collect()
    })
}

/// The schema with this id.
pub fn by_id(id: SchemaId) -> Option<&'static Schema> {
    all().iter().find(|s| s.id == id)
}

/// The schema of a body.
pub(crate) fn of(body: &Body) -> &'static Schema {
    &all()[match body {
        Body::Session(_) => 0,
        Body::Event(_) => 1,
        Body::Telemetry(_) => 2,
        Body::TelemetrySlow(_) => 3,
        Body::Status(_) => 4,
        Body::Capacity(_) => 5,
        Body::Reply(_) => 6,
        Body::Evidence(_) => 7,
        Body::Artefact(_) => 8,
    }]
}
