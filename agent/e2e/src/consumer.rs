//! A consumer: mosquitto's own subscriber brings the bytes, the public feed
//! crate judges them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rackmark_feed::consumer::{Accepted, Refusal};
use rackmark_feed::{Audience, Body, Capacity, Consumer, TelemetryBatch};

use crate::Outcome;
use crate::process::Process;

/// One message with what became of it.
pub struct Judged {
    /// Topic.
    pub topic: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// The retain flag, which only stored messages have.
    pub retained: bool,
    /// The consumer's judgement.
    pub outcome: Result<Accepted, Refusal>,
}

/// A subscriber of everything on one broker.
pub struct Buyer {
    _process: Process,
    lines: Receiver<String>,
    consumer: Consumer,
}

impl Buyer {
    /// Subscribes.
    ///
    /// # Errors
    /// Where mosquitto's clients are missing.
    pub fn subscribe(port: u16) -> Outcome<Self> {
        Self::subscribe_as(port, Consumer::default())
    }

    /// Subscribes with a consumer of one's own bounds.
    ///
    /// # Errors
    /// Where mosquitto's clients are missing.
    pub fn subscribe_as(port: u16, consumer: Consumer) -> Outcome<Self> {
        let mut command = Command::new("mosquitto_sub");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-V",
            "mqttv5",
            "-q",
            "1",
            "-t",
            "rackmark/v1/#",
        ]);
        command.args(["-F", "%t %r %x"]);
        Self::over(&mut command, consumer)
    }

    /// Reads what a subscriber of another kind prints: topic, retain flag, payload in hex.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn over(command: &mut Command, consumer: Consumer) -> Outcome<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start(command)?;
        let output = process.child().stdout.take().ok_or("no output of mosquitto_sub")?;
        let (send, lines) = channel();
        Builder::new().name("buyer".to_owned()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { _process: process, lines, consumer })
    }

    /// The next message, if one comes in time.
    pub fn next(&mut self, longest: Duration) -> Option<Judged> {
        match self.lines.recv_timeout(longest) {
            Ok(line) => {
                let mut parts = line.split(' ');
                let topic = parts.next()?.to_owned();
                let retained = parts.next()? == "1";
                let payload = from_hex(parts.next().unwrap_or(""))?;
                let now =
                    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
                let outcome = self.consumer.accept(&topic, &payload, now);
                Some(Judged { topic, payload, retained, outcome })
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Every accepted body that arrives in time, until `want` picks one.
    ///
    /// # Errors
    /// Where none is picked in time.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        longest: Duration,
        mut want: impl FnMut(&Judged, &Body) -> Option<T>,
    ) -> Outcome<T> {
        let end = Instant::now() + longest;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Some(judged) = self.next(left) else { break };
            if let Ok(accepted) = &judged.outcome {
                let released = accepted.released.iter().flatten();
                let bodies =
                    std::iter::once(accepted).chain(released).filter_map(|accepted| accepted.body.as_ref());
                for body in bodies {
                    if let Some(found) = want(&judged, body) {
                        return Ok(found);
                    }
                }
            }
        }
        Err(format!("{what}: not within {longest:?}").into())
    }

    /// The next verified telemetry batch.
    ///
    /// # Errors
    /// Where none comes in time.
    pub fn telemetry(&mut self, longest: Duration) -> Outcome<TelemetryBatch> {
        self.wait_for("verified telemetry", longest, |_, body| match body {
            Body::Telemetry(batch) => Some(batch.clone()),
            _ => None,
        })
    }

    /// The next verified capacity document for an audience that `want` likes.
    ///
    /// # Errors
    /// Where none comes in time.
    pub fn capacity(
        &mut self,
        audience: Audience,
        longest: Duration,
        mut want: impl FnMut(&Capacity) -> bool,
    ) -> Outcome<Capacity> {
        self.wait_for("capacity", longest, |_, body| match body {
            Body::Capacity(capacity) if capacity.audience == audience && want(capacity) => {
                Some(capacity.clone())
            }
            _ => None,
        })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.bytes().map(|c| char::from(c).to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
