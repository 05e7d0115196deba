//! `rackmark feed tail`.

mod event;

use std::io::Write;

use clap::Args;
use rackmark_feed::consumer::{Accepted, Identity, Refusal, Settings};
use rackmark_feed::{Body, Consumer, Frame, Topic, json};
use serde_json::json as object;

use super::conversation::broker;
use super::subscriber::{Happening, Message, Subscriber};
use crate::cli::ConfigPath;
use crate::cli::one_shot::{block_on, print};
use crate::cli::table::{Tone, colour, painted};
use crate::clock;
use crate::exit::{Code, Failure, chain};

#[derive(Debug, Args)]
pub struct Options {
    /// One JSON object per message, with the signed bytes.
    #[arg(long)]
    json: bool,
    /// Broker, such as mqtt://127.0.0.1:1883; the first configured one if left out. The files for
    /// mqtts:// are the configured ones.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Only this site and node, as SITE/NODE.
    #[arg(long, value_name = "SITE/NODE")]
    node: Option<String>,
    /// End after this many verified messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let broker = broker(options.broker.as_deref(), &options.config)?;
    let filter = match &options.node {
        Some(node) => node
            .split_once('/')
            .and_then(|(site, node)| rackmark_feed::topic::everything_of(site, node).ok())
            .ok_or_else(|| Failure::new(Code::Usage, format!("{node:?} is not SITE/NODE")))?,
        None => format!("{}/#", rackmark_feed::topic::ROOT),
    };
    let client_id = format!("rackmark-tail-{}", std::process::id());
    block_on(tail(Subscriber::new(broker, client_id, filter), options))
}

async fn tail(mut subscriber: Subscriber, options: &Options) -> Result<Code, Failure> {
    // A TPM's id is established by evidence (`rackmark feed verify`); until then it is what the node says.
    let mut consumer = Consumer::new(Settings { accept_claimed: true, ..Settings::default() });
    let mut verified = 0;
    let mut told = String::new();
    loop {
        match subscriber.next().await {
            Happening::Connected => {
                told.clear();
                note("connected");
            }
            Happening::Disconnected(why) => {
                if told != why {
                    note(&format!("not connected: {why}; trying again"));
                    told = why;
                }
            }
            // What others say to the node is not the node's.
            Happening::Message(message)
                if matches!(
                    Topic::parse(&message.topic),
                    Some(Topic::Command { .. } | Topic::Watermark { .. } | Topic::Epoch { .. })
                ) => {}
            Happening::Message(message) => {
                let outcome = consumer.accept(&message.topic, &message.payload, clock::unix_ms());
                let released =
                    outcome.as_ref().map_or(0, |accepted| accepted.released.iter().flatten().count() as u64);
                verified += u64::from(outcome.is_ok()) + released;
                show(&message, &outcome, options.json);
                if options.count.is_some_and(|count| verified >= count) {
                    return Ok(Code::Ok);
                }
            }
        }
    }
}

fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn show(message: &Message, outcome: &Result<Accepted, Refusal>, as_json: bool) {
    if as_json {
        let mut document = match Frame::parse(&message.payload).and_then(|frame| json::to_json(&frame)) {
            Ok(document) => document,
            Err(error) => object!({ "error": chain(&error) }),
        };
        document["topic"] = object!(message.topic);
        document["verified"] = object!(outcome.is_ok());
        if let Err(refusal) = outcome {
            document["refusal"] = object!(chain(refusal));
        }
        print(&format!("{document}\n"));
        return;
    }
    let mark = match outcome {
        Ok(_) => painted("verified", Tone::Good, colour()),
        Err(Refusal::Held | Refusal::Duplicate) => painted("waiting ", Tone::Faint, colour()),
        Err(_) => painted("REFUSED ", Tone::Bad, colour()),
    };
    print(&format!("{mark}  {:<52} {:>6} B  {}\n", message.topic, message.payload.len(), summary(outcome)));
    if let Ok(accepted) = outcome {
        for gap in &accepted.gaps {
            print(&format!("          missing {} {} to {}\n", gap.stream, gap.from_seq, gap.to_seq));
        }
    }
}

/// What a message says, in a few words.
fn summary(outcome: &Result<Accepted, Refusal>) -> String {
    let accepted = match outcome {
        Ok(accepted) => accepted,
        Err(refusal) => return chain(refusal),
    };
    match &accepted.body {
        Some(Body::Session(record)) => {
            let claimed = if accepted.identity == Identity::Claimed { " (claimed)" } else { "" };
            format!("session of {}{claimed}", record.claim.node)
        }
        Some(Body::Status(status)) => {
            format!(
                "{} with {} of {} GPUs answering{}",
                status.state,
                status.gpus.answering,
                status.gpus.expected,
                simulated(status.simulated)
            )
        }
        Some(Body::Capacity(capacity)) => {
            format!("{} GPUs for {}{}", capacity.gpus.len(), capacity.audience, simulated(capacity.simulated))
        }
        Some(Body::Telemetry(batch)) => {
            format!("{} samples of {} GPUs", batch.samples().len(), batch.slots().len())
        }
        Some(Body::TelemetrySlow(slow)) => format!("slow readings of {} GPUs", slow.gpus.len()),
        Some(Body::Event(event)) => event::line(event),
        Some(Body::Evidence(evidence)) => format!(
            "evidence by {}, {} devices, because of {}",
            if evidence.tpm.is_some() { "a TPM" } else { "a software key" },
            evidence.claim.devices.len(),
            evidence.claim.cause
        ),
        Some(Body::Artefact(piece)) => {
            format!("artefact, bytes from {} of {}", piece.offset, piece.of.length)
        }
        Some(Body::Reply(reply)) => format!("command {}", reply.outcome),
        None => "a later version's message".to_owned(),
    }
}

fn simulated(simulated: bool) -> &'static str {
    if simulated { " (simulated)" } else { "" }
}
