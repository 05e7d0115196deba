//! Bytes of one sample of eight GPUs on the telemetry topic, beside JSON and
//! zstd of the same samples, over the seeded load scenario.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Body, Frame, TelemetryBatch, json};

use super::figure;

/// Telemetry messages of ten samples that are measured.
const MESSAGES: usize = 9;

pub(crate) fn measure() -> Outcome<()> {
    let (sim, broker) = (Sim::scenario("load")?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let _agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    let (mut samples, mut framed, mut as_json, mut compressed) = (0, 0, 0, 0);
    for _ in 0..MESSAGES {
        let (batch, frame) =
            buyer.wait_for("telemetry", Duration::from_secs(40), |judged, body| match body {
                Body::Telemetry(batch) => Some((batch.clone(), judged.payload.clone())),
                _ => None,
            })?;
        if batch.slots().len() != 8 {
            return Err("a batch without all eight GPUs".into());
        }
        samples += batch.samples().len();
        framed += frame.len();
        as_json += json::to_json(&Frame::parse(&frame)?)?.to_string().len();
        compressed += zstd(&columns(&batch))?;
    }
    figure("telemetry_bytes_per_sample", framed as f64 / samples as f64, "bytes")?;
    figure("telemetry_json_bytes_per_sample", as_json as f64 / samples as f64, "bytes")?;
    figure("telemetry_zstd_bytes_per_sample", compressed as f64 / samples as f64, "bytes")
}

/// The columns as numbers of eight bytes, column by column and GPU by GPU,
/// which is how zstd does best on them.
fn columns(batch: &TelemetryBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    for column in 0..batch.columns().len() {
        for gpu in 0..batch.slots().len() {
            for sample in 0..batch.samples().len() {
                let number = batch.cell(sample, gpu, column).and_then(Result::ok);
                bytes.extend(number.unwrap_or(u64::MAX).to_le_bytes());
            }
        }
    }
    bytes
}

fn zstd(bytes: &[u8]) -> Outcome<usize> {
    let mut child = Command::new("zstd")
        .args(["-19", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("stdin")?;
    input.write_all(bytes)?;
    drop(input);
    Ok(child.wait_with_output()?.stdout.len())
}
