//! JSON form of downlink frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::{code, extensions, hex};
use crate::downlink::{Command, Downlink, DownlinkBody, Verb, Watermark};

/// The JSON form of a downlink frame: `kind`, `body` and `signed_bytes`, as in [`super::to_json`].
/// [`super::from_json`] gives the bytes back.
pub fn downlink_to_json(downlink: &Downlink<'_>) -> Json {
    json!({
        "kind": downlink.body().name(),
        "body": match downlink.body() {
            DownlinkBody::Watermark(body) => watermark(body),
            DownlinkBody::Command(body) => command(body),
            DownlinkBody::Epoch(body) => json!({
                "verifier": body.verifier,
                "value": hex(&body.value),
                "issued_unix_ms": body.issued_unix_ms,
                "expires_unix_ms": body.expires_unix_ms,
                "extensions": extensions(&body.extensions),
            }),
        },
        "signed_bytes": STANDARD.encode(downlink.bytes()),
    })
}

fn watermark(watermark: &Watermark) -> Json {
    let below: Json = watermark
        .below
        .iter()
        .map(|entry| {
            json!({
                "stream": code(entry.stream.name(), entry.stream.code()),
                "below_seq": entry.below_seq,
            })
        })
        .collect();
    json!({
        "node": watermark.node.to_string(),
        "consumer": watermark.consumer,
        "epoch": watermark.epoch.to_string(),
        "issued_unix_ms": watermark.issued_unix_ms,
        "below": below,
        "extensions": extensions(&watermark.extensions),
    })
}

fn command(command: &Command) -> Json {
    let details = match &command.verb {
        Verb::Resend { stream, epoch, from_seq, to_seq } => json!({
            "stream": code(stream.name(), stream.code()),
            "epoch": epoch.to_string(),
            "from_seq": from_seq,
            "to_seq": to_seq,
        }),
        Verb::Acknowledge { gpu, code, key } => json!({ "gpu": gpu, "code": code, "key": key }),
        Verb::MaintenanceStart { gpu, until_unix_ms, reason } => {
            json!({ "gpu": gpu, "until_unix_ms": until_unix_ms, "reason": reason })
        }
        Verb::MaintenanceEnd { gpu }
        | Verb::Undrain { gpu }
        | Verb::Resume { gpu }
        | Verb::BurnInStop { gpu } => json!({ "gpu": gpu }),
        Verb::LeaseStart { gpu, lease, until_unix_ms } => {
            json!({ "gpu": gpu, "lease": lease, "until_unix_ms": until_unix_ms })
        }
        Verb::LeaseEnd { lease } => json!({ "lease": lease }),
        Verb::Drain { gpu, reason } => json!({ "gpu": gpu, "reason": reason }),
        Verb::Pause { gpu, for_ms } => json!({ "gpu": gpu, "for_ms": for_ms }),
        Verb::Attest { nonce, devices } => json!({ "nonce": hex(nonce), "devices": devices }),
        Verb::Activate { credential_blob, encrypted_secret } => json!({
            "credential_blob": STANDARD.encode(credential_blob),
            "encrypted_secret": STANDARD.encode(encrypted_secret),
        }),
        Verb::Fetch { digest } | Verb::Accepted { digest } => json!({ "digest": hex(digest) }),
        Verb::Swap { gpu, ticket, for_ms, tested_by } => {
            json!({ "gpu": gpu, "ticket": ticket, "for_ms": for_ms, "tested_by": tested_by })
        }
        Verb::BurnInStart { gpu, mode, hours, one_by_one } => {
            json!({ "gpu": gpu, "mode": mode, "hours": hours, "one_by_one": one_by_one })
        }
        Verb::Unrecognised { payload, .. } => json!({ "payload": STANDARD.encode(payload) }),
    };
    json!({
        "node": command.node.to_string(),
        "session": command.session.to_string(),
        "consumer": command.consumer,
        "expires_unix_ms": command.expires_unix_ms,
        "nonce": hex(&command.nonce),
        "verb": code(command.verb.name(), command.verb.code()),
        "details": details,
        "extensions": extensions(&command.extensions),
    })
}
