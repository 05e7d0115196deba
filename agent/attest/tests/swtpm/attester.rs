//! The process, spoken to as the daemon speaks to it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::Swtpm;
use rackmark_feed::verify::credential::make_credential;
use rackmark_feed::verify::quote::{QuoteInput, QuoteReport, verify_quote};
use rackmark_feed::verify::tpm::{ALG_SHA256, Public, Selection};
use rackmark_model::ipc;
use rackmark_model::tpm::{KeptKey, TpmKeys, TpmOrder, TpmQuote, TpmReport};
use ring::rand::SystemRandom;

/// The registers that tests quote.
pub const REGISTERS: u32 = 0xff;

/// A running process with the TPM; killed when dropped.
pub struct Attester {
    pub child: Child,
    pub stream: UnixStream,
}

impl Drop for Attester {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Attester {
    pub fn start(tcti: &str) -> Outcome<Self> {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_rackmark-attest")), tcti)
    }

    pub fn start_as(mut command: Command, tcti: &str) -> Outcome<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let child = command
            .args(["--tpm", tcti])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .env("TSS2_LOG", "all+NONE")
            .spawn()?;
        Ok(Self { child, stream })
    }

    pub fn ask(&mut self, order: &TpmOrder) -> Outcome<TpmReport> {
        let mut frame = Vec::new();
        ipc::encode(order, &mut frame)?;
        self.stream.write_all(&frame)?;
        let mut prefix = [0; ipc::LENGTH_BYTES];
        self.stream.read_exact(&mut prefix)?;
        let mut body = vec![0; ipc::body_length(prefix)?];
        self.stream.read_exact(&mut body)?;
        Ok(ipc::decode(&body)?)
    }

    pub fn open(&mut self, kept: Option<KeptKey>) -> Outcome<TpmKeys> {
        match self.ask(&TpmOrder::Open { kept })? {
            TpmReport::Opened(keys) => Ok(*keys),
            other => Err(format!("{other:?}").into()),
        }
    }

    pub fn quote(&mut self, qualifying: [u8; 32]) -> Outcome<TpmQuote> {
        match self.ask(&TpmOrder::Quote { qualifying, registers: REGISTERS })? {
            TpmReport::Quoted(quote) => Ok(*quote),
            other => Err(format!("{other:?}").into()),
        }
    }
}

pub fn opened(tpm: &Swtpm<'_>, kept: Option<KeptKey>) -> Outcome<(Attester, TpmKeys)> {
    let mut attester = Attester::start(&tpm.tcti())?;
    let keys = attester.open(kept)?;
    Ok((attester, keys))
}

pub fn judge(keys: &TpmKeys, quote: &TpmQuote, qualifying: &[u8; 32]) -> QuoteReport {
    judge_of(REGISTERS, keys, quote, qualifying)
}

pub fn judge_of(mask: u32, keys: &TpmKeys, quote: &TpmQuote, qualifying: &[u8; 32]) -> QuoteReport {
    let values: Vec<(u8, &[u8])> = quote.values.iter().map(|(index, value)| (*index, &value[..])).collect();
    verify_quote(&QuoteInput {
        attestation_key: &keys.attestation,
        quoted: &quote.quoted,
        signature: &quote.signature,
        qualifying,
        wanted: Selection { bank: ALG_SHA256, mask },
        values: &values,
    })
}

pub fn activate(attester: &mut Attester, keys: &TpmKeys, name: &[u8], secret: &[u8]) -> Outcome<TpmReport> {
    let credential = make_credential(&Public::parse(&keys.endorsement)?, name, secret, &SystemRandom::new())?;
    attester
        .ask(&TpmOrder::Activate { credential_blob: credential.blob, encrypted_secret: credential.secret })
}
