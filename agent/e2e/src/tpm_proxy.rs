//! Stands between a client and a software TPM: sees every command, and delays, replaces or swallows answers as a
//! slow, busy or dying TPM would.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Outcome;
use crate::swtpm::Swtpm;

/// Length of the header of commands and responses: tag, size, code.
const HEADER: usize = 10;

/// Largest command or response that is passed on.
const LONGEST: usize = 8192;

/// Response code `TPM_RC_FAILURE`.
pub const RC_FAILURE: u32 = 0x101;
/// Response code `TPM_RC_NV_RATE`: too many writes to its memory lately.
pub const RC_NV_RATE: u32 = 0x920;
/// Response code `TPM_RC_LOCKOUT`.
pub const RC_LOCKOUT: u32 = 0x921;
/// Response code `TPM_RC_RETRY`.
pub const RC_RETRY: u32 = 0x922;
/// Command code of `TPM2_NV_Read`.
pub const CC_NV_READ: u32 = 0x14e;
/// Command code of `TPM2_StartAuthSession`.
pub const CC_START_AUTH_SESSION: u32 = 0x176;
/// Command code of `TPM2_Quote`.
pub const CC_QUOTE: u32 = 0x158;
/// Command code of `TPM2_PCR_Read`.
pub const CC_PCR_READ: u32 = 0x17e;
/// Command code of `TPM2_FlushContext`.
pub const CC_FLUSH: u32 = 0x165;

/// What becomes of a command.
#[derive(Debug, Clone)]
pub enum Fate {
    /// The TPM answers.
    Pass,
    /// The TPM answers, and the answer arrives this much later.
    Slow(Duration),
    /// The TPM does not see it, and this code is the answer.
    Code(u32),
    /// The TPM answers, and this arrives instead of what it said.
    Instead(fn(&[u8]) -> Vec<u8>),
    /// Just before the TPM answers, somebody extends this register of its SHA-256 bank.
    AfterExtending(u8),
    /// The connection breaks.
    Break,
    /// No answer ever comes.
    Silence,
}

type Rule = Box<dyn FnMut(u32) -> Fate + Send>;

/// A TPM seen through the rule, which is asked for every command by its command code.
pub struct TpmProxy {
    port: u16,
    rule: Arc<Mutex<Rule>>,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl TpmProxy {
    /// Stands before `tpm`.
    ///
    /// # Errors
    /// Where no two ports in a row are free.
    pub fn before(tpm: &Swtpm<'_>, rule: impl FnMut(u32) -> Fate + Send + 'static) -> Outcome<Self> {
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(rule)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let tpm = tpm.port();
        for _ in 0..20 {
            let data = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = data.local_addr()?.port();
            let Some(next) = port.checked_add(1) else { continue };
            let Ok(control) = TcpListener::bind((Ipv4Addr::LOCALHOST, next)) else { continue };
            let (shared, ear) = (rule.clone(), heard.clone());
            start("tpm data", move || {
                for client in data.incoming().flatten() {
                    let (rule, heard) = (shared.clone(), ear.clone());
                    start("tpm connection", move || {
                        let _ = converse(client, tpm, &rule, &heard);
                    });
                }
            });
            start("tpm control", move || {
                for client in control.incoming().flatten() {
                    start("tpm control connection", move || {
                        let _ = splice(client, tpm + 1);
                    });
                }
            });
            return Ok(Self { port, rule, heard });
        }
        Err("no two free ports in a row for the proxy".into())
    }

    /// Where it is, for tpm2-tss.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// What somebody on the bus of a discrete TPM hears: the commands and answers since the last time, in turn.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another rule from the next command on.
    pub fn rule(&self, rule: impl FnMut(u32) -> Fate + Send + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) {
    // A test that has no thread left fails by what does not answer.
    let _ = thread::Builder::new().name(name.to_owned()).spawn(body);
}

fn converse(
    mut client: TcpStream,
    tpm: u16,
    rule: &Mutex<Rule>,
    heard: &Mutex<Vec<Vec<u8>>>,
) -> io::Result<()> {
    let mut tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, tpm))?;
    loop {
        let command = message(&mut client)?;
        let code = u32::from_be_bytes([command[6], command[7], command[8], command[9]]);
        let fate = {
            let mut rule = rule.lock().unwrap_or_else(PoisonError::into_inner);
            rule(code)
        };
        let mut ask = |command: &[u8]| {
            tpm.write_all(command)?;
            message(&mut tpm)
        };
        let answer = match fate {
            Fate::Pass => ask(&command)?,
            Fate::Slow(delay) => {
                let answer = ask(&command)?;
                thread::sleep(delay);
                answer
            }
            Fate::Code(code) => {
                let mut answer = vec![0x80, 0x01, 0, 0, 0, 10];
                answer.extend_from_slice(&code.to_be_bytes());
                answer
            }
            Fate::Instead(change) => change(&ask(&command)?),
            Fate::AfterExtending(register) => {
                ask(&extend(register))?;
                ask(&command)?
            }
            Fate::Break => return client.shutdown(Shutdown::Both),
            Fate::Silence => {
                // Until the client gives up.
                while client.read(&mut [0; 64])? > 0 {}
                return Ok(());
            }
        };
        heard.lock().unwrap_or_else(PoisonError::into_inner).extend([command, answer.clone()]);
        client.write_all(&answer)?;
    }
}

/// `TPM2_PCR_Extend` of the SHA-256 bank, with the empty password.
fn extend(register: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 65, 0, 0, 0x01, 0x82, 0, 0, 0, register];
    // One session, the password one: handle, no nonce, no attributes, no password.
    command.extend_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
    // One digest of SHA-256.
    command.extend_from_slice(&[0, 0, 0, 1, 0, 0x0b]);
    command.extend_from_slice(&[0x77; 32]);
    command
}

/// One command or response.
fn message(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    from.read_exact(&mut message)?;
    let size = u32::from_be_bytes([message[2], message[3], message[4], message[5]]) as usize;
    if !(HEADER..=LONGEST).contains(&size) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(size, 0);
    from.read_exact(&mut message[HEADER..])?;
    Ok(message)
}

/// Passes everything on in both directions.
fn splice(mut client: TcpStream, tpm: u16) -> io::Result<()> {
    let mut tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, tpm))?;
    let (mut back_from, mut back_to) = (tpm.try_clone()?, client.try_clone()?);
    start("tpm control answers", move || {
        let _ = io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut client, &mut tpm);
    tpm.shutdown(Shutdown::Both)
}
