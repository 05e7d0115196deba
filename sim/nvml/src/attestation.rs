//! Simulated GPUs that sign: what `prepare --attestation` leaves in the folder, and what the library answers with it.
//!
//! A maker of its own is made for each folder. Its root is named in the folder, so that a verifier can be told to
//! trust it; nobody trusts it otherwise.

use crate::device_maker::{Key, Make, Maker, Report, pem};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the part of the folder.
const FOLDER: &str = "attestation";

/// The root of the simulated maker, DER: what `devices/roots` of a trust folder takes.
pub fn root(dir: &Path) -> PathBuf {
    dir.join(FOLDER).join("root.der")
}

fn part(dir: &Path, gpu: usize, kind: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("{gpu}.{kind}"))
}

/// Makes a maker and this many devices.
///
/// # Errors
/// A file that cannot be written, or no randomness.
pub fn prepare(dir: &Path, gpus: usize) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(dir.join(FOLDER))?;
    let maker = Maker::new()?;
    fs::write(root(dir), &maker.root.der)?;
    for gpu in 0..gpus {
        let serial = format!("4151{gpu:014X}");
        let device = maker.device(&Make { serial: &serial, ..Make::default() })?;
        fs::write(part(dir, gpu, "pem"), pem(&device.chain))?;
        fs::write(part(dir, gpu, "key"), device.alias().pkcs8())?;
    }
    Ok(())
}

/// True where the GPUs of a folder sign.
pub(crate) fn is_prepared(dir: &Path) -> bool {
    root(dir).is_file()
}

/// The certificates of a GPU, PEM, leaf first; none where it does not sign.
pub(crate) fn chain(dir: &Path, gpu: usize) -> Option<Vec<u8>> {
    fs::read(part(dir, gpu, "pem")).ok()
}

/// A report of a GPU; none where it does not sign.
pub(crate) fn report(dir: &Path, gpu: usize, nonce: [u8; 32], driver: &str, vbios: &str) -> Option<Vec<u8>> {
    let key = Key::kept(&fs::read(part(dir, gpu, "key")).ok()?).ok()?;
    Report { nonce, driver, vbios, ..Report::default() }.signed_by(&key).ok()
}
