//! One downlink message of every kind, with fixed keys and times.

use rackmark_feed::*;

use super::{EPOCH, NONCE, NOW, identity, session_key};

pub(crate) const CONSUMER: &str = "settlement";

pub(crate) fn consumer_key() -> SigningKey {
    SigningKey::from_seed(&[0x44; 32])
}

pub(crate) fn watermark() -> Watermark {
    Watermark {
        node: NodeId::software(&identity().public()),
        consumer: CONSUMER.into(),
        epoch: EPOCH,
        issued_unix_ms: NOW,
        below: vec![
            StreamBelow { stream: Stream::Session, below_seq: 2 },
            StreamBelow { stream: Stream::Event, below_seq: 17 },
            StreamBelow { stream: Stream::Telemetry, below_seq: 1 << 40 },
        ],
        extensions: Vec::new(),
    }
}

pub(crate) fn command(verb: Verb) -> Command {
    Command {
        node: NodeId::software(&identity().public()),
        session: SessionId::of(&session_key().public()),
        consumer: CONSUMER.into(),
        expires_unix_ms: NOW + 60_000,
        nonce: NONCE,
        verb,
        extensions: Vec::new(),
    }
}

pub(crate) fn resend() -> Verb {
    Verb::Resend { stream: Stream::Telemetry, epoch: EPOCH, from_seq: 100, to_seq: 163 }
}

/// Every golden downlink message by name; [`consumer_key`] seals them.
pub(crate) fn all() -> Vec<(&'static str, DownlinkBody)> {
    let empty = Watermark { below: Vec::new(), ..watermark() };
    let mut later = watermark();
    later.below.push(StreamBelow { stream: Stream::Unrecognised(300), below_seq: 1 });
    later.extensions = vec![Extension { tag: 7, bytes: b"skip me".to_vec() }];
    let verb = Verb::Unrecognised { code: 9_000, payload: b"later".to_vec() };
    let mut messages = vec![
        ("watermark", DownlinkBody::Watermark(watermark())),
        ("watermark_of_nothing", DownlinkBody::Watermark(empty)),
        ("watermark_of_a_later_version", DownlinkBody::Watermark(later)),
        ("command_resend", DownlinkBody::Command(command(resend()))),
        ("command_of_a_later_version", DownlinkBody::Command(command(verb))),
    ];
    let verbs = super::conditions::verbs().into_iter();
    let verbs = verbs.chain(identity::verbs());
    messages.extend(verbs.map(|(name, verb)| (name, DownlinkBody::Command(command(verb)))));
    messages.push(("epoch", DownlinkBody::Epoch(identity::epoch())));
    messages
}
