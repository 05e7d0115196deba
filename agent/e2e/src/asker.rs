//! What a consumer says to a node: watermarks and requests, signed by its key
//! and brought to the broker by mosquitto's own client.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rackmark_feed::{
    Command as Request, DownlinkBody, Epoch, Header, SigningKey, SpoolEpoch, Stream, StreamBelow, Verb,
    Watermark, seal_downlink, topic,
};
use tempfile::TempDir;

use crate::Outcome;

/// A consumer by its name and key.
pub struct Asker {
    /// Its name in topics.
    pub name: &'static str,
    key: SigningKey,
    folder: TempDir,
    sent: std::cell::Cell<u8>,
    last: std::cell::RefCell<Vec<u8>>,
}

/// Site and node of every test.
const NAMES: (&str, &str) = ("test", "node");

impl Asker {
    /// A consumer with a fresh key.
    ///
    /// # Errors
    /// Where the system gives no random bytes or no folder.
    pub fn new(name: &'static str) -> Outcome<Self> {
        Ok(Self {
            name,
            key: SigningKey::generate()?,
            folder: TempDir::new()?,
            sent: Default::default(),
            last: Default::default(),
        })
    }

    /// The line of the configuration that allows it.
    pub fn allowed(&self) -> String {
        format!("allowed = [\"{}={}\"]", self.name, self.key.public())
    }

    /// A watermark for the node of `of`; streams in the order of their numbers.
    pub fn watermark(&self, of: &Header, below: &[(Stream, u64)]) -> Watermark {
        Watermark {
            node: of.node,
            consumer: self.name.to_owned(),
            epoch: of.epoch,
            issued_unix_ms: now_unix_ms(),
            below: below.iter().map(|&(stream, below_seq)| StreamBelow { stream, below_seq }).collect(),
            extensions: Vec::new(),
        }
    }

    /// Publishes a watermark under this consumer's name, retained.
    ///
    /// # Errors
    /// Where it cannot be sealed or sent.
    pub fn confirm(&self, port: u16, watermark: Watermark) -> Outcome<()> {
        let topic = topic::watermark(NAMES.0, NAMES.1, self.name)?;
        self.send(port, &topic, &seal_downlink(&DownlinkBody::Watermark(watermark), &self.key)?, &["-r"])
    }

    /// Begins an epoch of this verifier, retained, for a minute.
    ///
    /// # Errors
    /// Where it cannot be sealed or sent.
    pub fn begin_epoch(&self, port: u16, value: [u8; 32]) -> Outcome<()> {
        let epoch = Epoch {
            verifier: self.name.to_owned(),
            value,
            issued_unix_ms: now_unix_ms(),
            expires_unix_ms: now_unix_ms() + 60_000,
            extensions: Vec::new(),
        };
        let topic = topic::epoch(self.name)?;
        self.send(port, &topic, &seal_downlink(&DownlinkBody::Epoch(epoch), &self.key)?, &["-r"])
    }

    /// Asks for a range again, in the session of `of`.
    ///
    /// # Errors
    /// Where it cannot be sealed or sent.
    pub fn ask_again(
        &self,
        port: u16,
        of: &Header,
        stream: Stream,
        epoch: SpoolEpoch,
        from_seq: u64,
        to_seq: u64,
    ) -> Outcome<()> {
        self.command(port, of, Verb::Resend { stream, epoch, from_seq, to_seq })
    }

    /// Asks for something to be done, in the session of `of`.
    ///
    /// # Errors
    /// Where it cannot be sealed or sent.
    pub fn command(&self, port: u16, of: &Header, verb: Verb) -> Outcome<()> {
        self.sent.set(self.sent.get().wrapping_add(1));
        let mut nonce = [self.sent.get(); 16];
        nonce[..8].copy_from_slice(&now_unix_ms().to_le_bytes());
        let topic = topic::command(NAMES.0, NAMES.1, verb.name())?;
        let request = Request {
            node: of.node,
            session: of.session,
            consumer: self.name.to_owned(),
            expires_unix_ms: now_unix_ms() + 60_000,
            nonce,
            verb,
            extensions: Vec::new(),
        };
        let reply = topic::reply(NAMES.0, NAMES.1, self.name)?;
        let bytes = seal_downlink(&DownlinkBody::Command(request), &self.key)?;
        *self.last.borrow_mut() = bytes.clone();
        self.send(port, &topic, &bytes, &["-D", "publish", "response-topic", &reply])
    }

    /// Sends the last request once more, byte for byte, on the topic of a verb.
    ///
    /// # Errors
    /// Where it cannot be sent.
    pub fn repeat(&self, port: u16, verb: &str) -> Outcome<()> {
        let topic = topic::command(NAMES.0, NAMES.1, verb)?;
        let reply = topic::reply(NAMES.0, NAMES.1, self.name)?;
        let bytes = self.last.borrow().clone();
        self.send(port, &topic, &bytes, &["-D", "publish", "response-topic", &reply])
    }

    /// Publishes any bytes.
    ///
    /// # Errors
    /// Where mosquitto's client fails.
    pub fn send(&self, port: u16, topic: &str, bytes: &[u8], more: &[&str]) -> Outcome<()> {
        let file = self.folder.path().join("payload");
        fs::write(&file, bytes)?;
        let port = port.to_string();
        let output = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-q", "1", "-t", topic, "-f"])
            .arg(&file)
            .args(more)
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("mosquitto_pub: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
