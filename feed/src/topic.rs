//! Topics: where each message goes, and what a topic says.

use crate::ids::Stream;
use crate::limits::NAME_BYTES;

/// First levels of every topic.
pub const ROOT: &str = "rackmark/v1";

/// A name that breaks the naming rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} breaks the naming rule (1 to 64 of a-z 0-9 - _ .)")]
pub struct NameError {
    /// The name, shortened to 64 characters.
    pub name: String,
}

/// True for a site, node, verb, consumer or verifier name: 1 to 64 of `a-z 0-9 - _ .`.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

/// What a topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic<'a> {
    /// A message of a node.
    Node {
        /// Site name.
        site: &'a str,
        /// Node name.
        node: &'a str,
        /// Stream or level.
        stream: Stream,
    },
    /// A command to a node.
    Command {
        /// Site name.
        site: &'a str,
        /// Node name.
        node: &'a str,
        /// What to do.
        verb: &'a str,
    },
    /// A consumer's watermark to a node.
    Watermark {
        /// Site name.
        site: &'a str,
        /// Node name.
        node: &'a str,
        /// Name of the consumer.
        consumer: &'a str,
    },
    /// A node's replies to the commands of a consumer.
    Reply {
        /// Site name.
        site: &'a str,
        /// Node name.
        node: &'a str,
        /// Name of the consumer that asked.
        consumer: &'a str,
    },
    /// A verifier's epoch for the whole fleet.
    Epoch {
        /// Name of the verifier.
        verifier: &'a str,
    },
}

/// The last levels of the topic of a stream; `None` for replies, which have one topic per consumer
/// ([`reply`]), and for a stream that this version does not know.
pub const fn suffix(stream: Stream) -> Option<&'static str> {
    Some(match stream {
        Stream::Session => "session",
        Stream::Event => "event",
        Stream::Telemetry => "telemetry",
        Stream::TelemetrySlow => "telemetry/operator",
        Stream::Status => "status",
        Stream::CapacityPublic => "capacity/public",
        Stream::CapacityBuyer => "capacity/buyer",
        Stream::CapacityOperator => "capacity/operator",
        Stream::Evidence => "evidence",
        Stream::Reply | Stream::Unrecognised(_) => return None,
    })
}

impl<'a> Topic<'a> {
    /// Reads a topic. `None` when it is none of ours or a name breaks the rule (so no wildcard passes).
    pub fn parse(topic: &'a str) -> Option<Self> {
        let rest = topic.strip_prefix(ROOT)?.strip_prefix('/')?;
        let (site, rest) = rest.split_once('/')?;
        if !is_name(site) {
            return None;
        }
        let Some((node, rest)) = rest.split_once('/') else {
            return (site == "epoch" && is_name(rest)).then_some(Self::Epoch { verifier: rest });
        };
        if !is_name(node) {
            return None;
        }
        if let Some(verb) = rest.strip_prefix("cmd/") {
            return is_name(verb).then_some(Self::Command { site, node, verb });
        }
        if let Some(consumer) = rest.strip_prefix("watermark/") {
            return is_name(consumer).then_some(Self::Watermark { site, node, consumer });
        }
        if let Some(consumer) = rest.strip_prefix("reply/") {
            return is_name(consumer).then_some(Self::Reply { site, node, consumer });
        }
        let stream = *Stream::ALL.iter().find(|s| suffix(**s) == Some(rest))?;
        Some(Self::Node { site, node, stream })
    }
}

fn checked(name: &str) -> Result<&str, NameError> {
    if is_name(name) { Ok(name) } else { Err(NameError { name: name.chars().take(NAME_BYTES).collect() }) }
}

fn node(site: &str, node: &str, rest: &str) -> Result<String, NameError> {
    Ok(format!("{ROOT}/{}/{}/{rest}", checked(site)?, checked(node)?))
}

/// Topic of a stream or level of a node.
///
/// # Errors
/// A name that breaks the rule; a stream without a topic of its own ([`suffix`]) counts as one.
pub fn of(stream: Stream, site: &str, node_name: &str) -> Result<String, NameError> {
    let suffix = suffix(stream).ok_or_else(|| NameError { name: stream.to_string() })?;
    node(site, node_name, suffix)
}

/// Topic of the status level, and of the will.
///
/// # Errors
/// A name that breaks the rule.
pub fn status(site: &str, node: &str) -> Result<String, NameError> {
    of(Stream::Status, site, node)
}

/// Topic of commands with this verb.
///
/// # Errors
/// A name that breaks the rule.
pub fn command(site: &str, node_name: &str, verb: &str) -> Result<String, NameError> {
    node(site, node_name, &format!("cmd/{}", checked(verb)?))
}

/// Topic of a consumer's watermarks.
///
/// # Errors
/// A name that breaks the rule.
pub fn watermark(site: &str, node_name: &str, consumer: &str) -> Result<String, NameError> {
    node(site, node_name, &format!("watermark/{}", checked(consumer)?))
}

/// Topic of a node's replies to a consumer: the response topic of that consumer's commands.
///
/// # Errors
/// A name that breaks the rule.
pub fn reply(site: &str, node_name: &str, consumer: &str) -> Result<String, NameError> {
    node(site, node_name, &format!("reply/{}", checked(consumer)?))
}

/// Topic of a verifier's epoch.
///
/// # Errors
/// A name that breaks the rule.
pub fn epoch(verifier: &str) -> Result<String, NameError> {
    Ok(format!("{ROOT}/epoch/{}", checked(verifier)?))
}

/// Subscription filter for everything that a node sends.
///
/// # Errors
/// A name that breaks the rule.
pub fn everything_of(site: &str, node_name: &str) -> Result<String, NameError> {
    node(site, node_name, "#")
}
