//! The certificate chain of a device: leaf first, each issued by the next, to a maker who is trusted.
//!
//! The chain comes from a stranger, so issuers are not searched for: each certificate stands for the one before it, and
//! a chain costs one signature per certificate. Chains of one machine share their upper part, which is checked once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::certificate::{CERTIFICATE_BYTES, Certificate, CertificateError, DEPTH};
use super::signatures::Checked;

/// Longest chain in bytes, as PEM. NVML's buffer has 5,120.
pub const CHAIN_BYTES: usize = 64 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Reads a chain: PEM or DER, one certificate after the other, leaf first; zero bytes may follow, as NVML's buffer has
/// them.
///
/// # Errors
/// [`CertificateError::Malformed`] where something is no certificate or nothing is there, [`CertificateError::TooLong`]
/// above [`DEPTH`] certificates.
pub fn parse(bytes: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    if bytes.len() > CHAIN_BYTES {
        return Err(CertificateError::TooLong);
    }
    let ders = match bytes.first() {
        Some(&super::der::SEQUENCE) => from_der(bytes),
        _ => from_pem(bytes),
    };
    let ders = ders.filter(|ders| !ders.is_empty()).ok_or(CertificateError::Malformed)?;
    if ders.len() > DEPTH {
        return Err(CertificateError::TooLong);
    }
    ders.iter().map(|der| Certificate::parse(der)).collect()
}

fn from_der(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = super::der::Der(bytes);
    let mut ders = Vec::new();
    while rest.0.iter().any(|byte| *byte != 0) && ders.len() <= DEPTH {
        ders.push(rest.take(super::der::SEQUENCE)?.whole.to_vec());
    }
    Some(ders)
}

fn from_pem(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let mut ders = Vec::new();
    while let Some((_, after)) = rest.split_once(BEGIN).filter(|_| ders.len() <= DEPTH) {
        let (body, after) = after.split_once(END)?;
        let body: String = body.split_ascii_whitespace().collect();
        // More would be refused later; this saves the memory.
        if body.len() > CERTIFICATE_BYTES * 2 {
            return None;
        }
        ders.push(STANDARD.decode(body).ok()?);
        rest = after;
    }
    Some(ders)
}

/// Walks a chain in its order to one of the `anchors`. Gives the issuers, the leaf's first, the anchor last; what the
/// chain has above the anchor is not looked at.
///
/// # Errors
/// Where the walk ends, and why.
pub fn walk_in_order<'a>(
    chain: &'a [Certificate],
    anchors: &'a [Certificate],
    unix_ms: u64,
    checked: &mut Checked,
) -> Result<Vec<&'a Certificate>, CertificateError> {
    if chain.len() > DEPTH {
        return Err(CertificateError::TooLong);
    }
    let mut issuers = Vec::new();
    for (at, current) in chain.iter().enumerate() {
        if !current.is_valid_at(unix_ms) {
            return Err(CertificateError::Expired { at });
        }
        let mut issues = |candidate: &Certificate| {
            candidate.is_named_as_issuer_of(current)
                && candidate.may_issue(at)
                && checked.is_signed_by(current, candidate)
        };
        if let Some(anchor) = anchors.iter().find(|anchor| issues(anchor)) {
            if !anchor.is_valid_at(unix_ms) {
                return Err(CertificateError::Expired { at: at + 1 });
            }
            issuers.push(anchor);
            return Ok(issuers);
        }
        match chain.get(at + 1).filter(|next| issues(next)) {
            Some(next) => issuers.push(next),
            None if checked.is_exhausted() => return Err(CertificateError::TooManySignatures),
            None => return Err(CertificateError::Untrusted { at }),
        }
    }
    Err(CertificateError::Untrusted { at: chain.len().saturating_sub(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_chain_is_refused() {
        let malformed = Err(CertificateError::Malformed);
        for bytes in [&b""[..], b"\0\0", b"nothing", b"\x30\x01", b"\x30\x00", BEGIN.as_bytes()] {
            assert_eq!(parse(bytes), malformed, "{bytes:02x?}");
        }
        assert_eq!(parse(format!("{BEGIN}\n!!\n{END}\n").as_bytes()), malformed);
        assert_eq!(parse(&vec![b' '; CHAIN_BYTES + 1]), Err(CertificateError::TooLong));
        let many = format!("{BEGIN}\nMAA=\n{END}\n").repeat(DEPTH + 1);
        assert_eq!(parse(many.as_bytes()), Err(CertificateError::TooLong));
        assert_eq!(parse(&[0x30, 0].repeat(DEPTH + 1)), Err(CertificateError::TooLong));
    }

    #[test]
    fn an_empty_chain_leads_nowhere() {
        let found = walk_in_order(&[], &[], 0, &mut Checked::default());
        assert_eq!(found, Err(CertificateError::Untrusted { at: 0 }));
    }
}
