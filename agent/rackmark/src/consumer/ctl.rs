//! `rackmark ctl`: sends a node a signed command.

use std::time::Duration;

use clap::{Args, Subcommand};
use rackmark_feed::{Refusal, ReplyOutcome, Stream, Verb};
use serde_json::json;

use super::conversation::{Conversation, Target};
use crate::cli::duration;
use crate::cli::one_shot::{block_on, print};
use crate::clock;
use crate::exit::{Code, Failure};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The answer as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    verb: Asked,
}

/// What the node shall do. A GPU is named by slot, UUID, serial number or PCI address; the node if left out.
#[derive(Debug, Clone, Subcommand)]
enum Asked {
    /// A person has seen a condition.
    Ack {
        /// Code of the condition.
        code: String,
        /// Its key, such as the number of an XID.
        #[arg(long, default_value_t = 0)]
        key: u32,
        #[arg(long)]
        gpu: Option<String>,
    },
    /// Work begins.
    MaintenanceStart {
        #[arg(long)]
        gpu: Option<String>,
        /// For how long, such as 30m or 8h.
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        span: Duration,
        #[arg(long)]
        reason: String,
    },
    /// The work is over.
    MaintenanceEnd {
        #[arg(long)]
        gpu: Option<String>,
    },
    /// A lease begins.
    LeaseStart {
        #[arg(long)]
        gpu: String,
        /// Name of the lease.
        #[arg(long)]
        id: String,
        /// For how long, if that is agreed.
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        span: Option<Duration>,
    },
    /// A lease ends.
    LeaseEnd {
        /// Name of the lease.
        #[arg(long)]
        id: String,
    },
    /// Running work may finish, nothing new is placed.
    Drain {
        #[arg(long)]
        gpu: Option<String>,
        #[arg(long)]
        reason: String,
    },
    /// New work may be placed again.
    Undrain {
        #[arg(long)]
        gpu: Option<String>,
    },
    /// The card in a slot is going to be swapped or was, or the new one was tested.
    Swap {
        #[arg(long)]
        gpu: String,
        #[arg(long)]
        ticket: String,
        /// For how long the word counts; the node's default, a week, if left out.
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        span: Option<Duration>,
        /// The card that is there now was tested, by this person or test.
        #[arg(long, value_name = "NAME")]
        tested_by: Option<String>,
    },
    /// Test GPUs; what comes of it is on the feed.
    BurnInStart {
        #[arg(long)]
        gpu: Option<String>,
        /// probe, quick, acceptance or soak.
        #[arg(long, default_value = "quick")]
        mode: String,
        /// Hours of a soak.
        #[arg(long, default_value_t = 1)]
        hours: u16,
        /// One GPU after the other, not all together.
        #[arg(long)]
        one_by_one: bool,
    },
    /// End the test of GPUs, and give them back.
    BurnInStop {
        #[arg(long)]
        gpu: Option<String>,
    },
    /// Close the driver handles.
    Pause {
        #[arg(long)]
        gpu: Option<String>,
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        span: Duration,
    },
    /// Open them again.
    Resume {
        #[arg(long)]
        gpu: Option<String>,
    },
    /// Send records again.
    Resend {
        /// event, session, telemetry or telemetry_slow.
        stream: String,
        /// Spool epoch, 16 hex digits.
        #[arg(long)]
        epoch: String,
        #[arg(long)]
        from: u64,
        #[arg(long)]
        to: u64,
    },
}

impl Asked {
    fn verb(self) -> Result<Verb, Failure> {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let until = |span: Duration| clock::unix_ms().saturating_add(millis(span));
        Ok(match self {
            Self::Ack { code, key, gpu } => Verb::Acknowledge { gpu, code, key },
            Self::MaintenanceStart { gpu, span, reason } => {
                Verb::MaintenanceStart { gpu, until_unix_ms: until(span), reason }
            }
            Self::MaintenanceEnd { gpu } => Verb::MaintenanceEnd { gpu },
            Self::LeaseStart { gpu, id, span } => {
                Verb::LeaseStart { gpu, lease: id, until_unix_ms: span.map(until) }
            }
            Self::LeaseEnd { id } => Verb::LeaseEnd { lease: id },
            Self::Drain { gpu, reason } => Verb::Drain { gpu, reason },
            Self::Undrain { gpu } => Verb::Undrain { gpu },
            Self::Swap { gpu, ticket, span, tested_by } => {
                Verb::Swap { gpu, ticket, for_ms: span.map(millis), tested_by }
            }
            Self::BurnInStart { gpu, mode, hours, one_by_one } => {
                Verb::BurnInStart { gpu, mode, hours, one_by_one }
            }
            Self::BurnInStop { gpu } => Verb::BurnInStop { gpu },
            Self::Pause { gpu, span } => Verb::Pause { gpu, for_ms: millis(span) },
            Self::Resume { gpu } => Verb::Resume { gpu },
            Self::Resend { stream, epoch, from, to } => {
                let known = Stream::ALL.iter().find(|known| known.is_spooled() && known.name() == stream);
                let stream = *known.ok_or_else(|| {
                    Failure::new(Code::Usage, format!("{stream:?} is no stream of records"))
                })?;
                let epoch = u64::from_str_radix(&epoch, 16)
                    .map_err(|_| Failure::new(Code::Usage, format!("{epoch:?} is no spool epoch")))?;
                Verb::Resend { stream, epoch: rackmark_feed::SpoolEpoch(epoch), from_seq: from, to_seq: to }
            }
        })
    }
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let verb = options.verb.clone().verb()?;
    let name = verb.name();
    block_on(async {
        let mut node = Conversation::begin(&options.target).await?;
        let reply = node.command(verb).await?;
        let accepted = reply.outcome == ReplyOutcome::Accepted;
        if options.json {
            let answer = json!({
                "node": node.node().to_string(),
                "verb": name,
                "outcome": reply.outcome.name(),
                "reason": reply.reason,
                "refusal": reply.refusal().map(Refusal::name),
            });
            print(&format!("{answer}\n"));
        } else if accepted {
            print(&format!("{name}: accepted by {}\n", node.node()));
        } else {
            print(&format!("{name}: refused by {}: a command that {}\n", node.node(), reply.reason));
        }
        Ok(if accepted { Code::Ok } else { Code::Odd })
    })
}
