//! The way that leads to a real TPM: a device file, read and written by tpm2-tss. A terminal in raw mode stands in for
//! it, with a software TPM at its other end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::Builder;

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_feed::verify::outcome::{Outcome as Result3, worst};
use rackmark_feed::verify::tpm::Public;
use rackmark_model::tpm::{TpmFault, TpmOrder, TpmReport};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::attester::{Attester, activate, judge};

/// A file that a TPM answers behind.
struct Device {
    path: String,
    /// As long as it is open the file works.
    _far: File,
}

impl Device {
    fn before(tpm: &Swtpm<'_>) -> Outcome<Self> {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let path = ptsname(&near, Vec::new())?.into_string()?;
        let far = File::options().read(true).write(true).open(&path)?;
        let mut settings = tcgetattr(&far)?;
        settings.make_raw();
        tcsetattr(&far, OptionalActions::Now, &settings)?;
        let mut near = File::from(near);
        let mut tpm = TcpStream::connect((Ipv4Addr::LOCALHOST, tpm.port()))?;
        let relay = move || -> io::Result<()> {
            loop {
                let command = message(&mut near)?;
                tpm.write_all(&command)?;
                near.write_all(&message(&mut tpm)?)?;
            }
        };
        Builder::new().name("tpm device".to_owned()).spawn(relay)?;
        Ok(Self { path, _far: far })
    }
}

/// One command or response.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 10];
    from.read_exact(&mut message)?;
    let size = u32::from_be_bytes([message[2], message[3], message[4], message[5]]) as usize;
    message.resize(size.clamp(10, 8192), 0);
    from.read_exact(&mut message[10..])?;
    Ok(message)
}

#[test]
fn a_tpm_behind_a_device_file_answers_as_any_other() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let device = Device::before(&tpm)?;
    let mut attester = Attester::start(&format!("device:{}", device.path))?;
    let keys = attester.open(None)?;
    assert!(keys.certificate.is_some());
    let quote = attester.quote([1; 32])?;
    assert_eq!(worst(&judge(&keys, &quote, &[1; 32]).checks), Result3::Verified);
    let name = Public::parse(&keys.attestation)?.name();
    assert_eq!(activate(&mut attester, &keys, &name, b"s")?, TpmReport::Activated(b"s".to_vec()));
    Ok(())
}

#[test]
fn a_device_that_is_no_tpm_is_none() -> Outcome<()> {
    for path in ["/dev/null", "/dev/zero", "/dev/full"] {
        let mut attester = Attester::start(&format!("device:{path}"))?;
        match attester.ask(&TpmOrder::Open { kept: None })? {
            TpmReport::Failed { fault, .. } => assert_eq!(fault, TpmFault::Absent, "{path}"),
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}
