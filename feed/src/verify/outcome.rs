//! Results: what was checked, what came of it, and why. Three values, since "not shown" is neither true nor fraud.

use std::fmt;

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It is shown.
    Verified,
    /// It is not shown; nothing speaks against it.
    NotEstablished,
    /// Something speaks against it.
    Contradicted,
}

impl Outcome {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NotEstablished => "not_established",
            Self::Contradicted => "contradicted",
        }
    }
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The session record and the frames that it signs.
    Session,
    /// That the machine was another node before.
    Succession,
    /// That the evidence is not an old one.
    Freshness,
    /// The TPM's endorsement key: whose it is.
    EndorsementKey,
    /// The TPM's attestation key: that it can sign nothing but what the TPM says, and sits beside the endorsement key.
    AttestationKey,
    /// The quote.
    Quote,
    /// The measured-boot event log.
    BootLog,
    /// The inventory.
    Inventory,
    /// A device, by its position in the evidence.
    Device(u8),
    /// What the verifier remembers of the node.
    History,
}

impl Subject {
    /// Stable name; devices share one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Succession => "succession",
            Self::Freshness => "freshness",
            Self::EndorsementKey => "endorsement_key",
            Self::AttestationKey => "attestation_key",
            Self::Quote => "quote",
            Self::BootLog => "boot_log",
            Self::Inventory => "inventory",
            Self::Device(_) => "device",
            Self::History => "history",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(at) => write!(f, "device {at}"),
            other => f.write_str(other.name()),
        }
    }
}

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident $text:literal,)+) => {
        /// Why a check came out as it did. Names are stable; the list grows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$meta])* $variant,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

reasons! {
    /// All is as it should be.
    Fits "fits",
    /// A structure does not parse or is over a limit.
    Malformed "malformed",
    /// A signature does not fit.
    SignatureMismatch "signature_mismatch",
    /// The signature uses an algorithm that is not taken.
    AlgorithmRefused "algorithm_refused",
    /// The node id does not belong to the key.
    NodeIdMismatch "node_id_mismatch",
    /// Evidence and session record name different keys, boots or nodes.
    SessionMismatch "session_mismatch",
    /// A node of class TPM shows nothing of a TPM.
    NoTpmEvidence "no_tpm_evidence",
    /// There is no TPM: a software key signs, and whoever copies it is the node.
    SoftwareKey "software_key",
    /// A node of class software shows a TPM.
    UnexpectedTpm "unexpected_tpm",
    /// An operator who is trusted says that the machine was that node.
    Succeeded "succeeded",
    /// An operator who is not trusted says so, or who says so of a later step is not trusted.
    OperatorUntrusted "operator_untrusted",
    /// The successions do not lead to this node step by step.
    SuccessionMismatch "succession_mismatch",
    /// The nonce is the one that was asked with.
    NonceFits "nonce_fits",
    /// The nonce is another one.
    NonceMismatch "nonce_mismatch",
    /// The epoch is one that the verifier issued and that is in force.
    EpochFits "epoch_fits",
    /// The epoch is not in force.
    EpochMismatch "epoch_mismatch",
    /// Nobody asked for it, or the verifier was not told what was asked: it may be an old one.
    NotFresh "not_fresh",
    /// The quote signs other qualifying data.
    QualifyingDataMismatch "qualifying_data_mismatch",
    /// What was signed is no quote of a TPM.
    NotAQuote "not_a_quote",
    /// The quote covers other registers than it should.
    SelectionMismatch "selection_mismatch",
    /// The selection has a register that anybody can reset (16, 23).
    ResettablePcr "resettable_pcr",
    /// The bank's hash is not taken.
    BankRefused "bank_refused",
    /// The register values do not hash to what the quote signs.
    PcrDigestMismatch "pcr_digest_mismatch",
    /// The attestation key could sign what is not from the TPM, or leave it.
    AttributesRefused "attributes_refused",
    /// This verifier, or one that is trusted, saw the TPM open a credential for the key.
    Activated "activated",
    /// Nobody who is trusted saw that.
    NotActivated "not_activated",
    /// The TPM's clock may have stepped back; ask again in a few seconds. No fraud.
    ClockNotSafe "clock_not_safe",
    /// The certificate chains to a trusted maker.
    ChainTrusted "chain_trusted",
    /// There is no certificate.
    NoCertificate "no_certificate",
    /// The chain ends at nobody who is trusted.
    ChainUntrusted "chain_untrusted",
    /// The certificate is for another key.
    CertificateKeyMismatch "certificate_key_mismatch",
    /// The certificate is not valid at the time.
    CertificateExpired "certificate_expired",
    /// The certificate is for another purpose.
    CertificatePurpose "certificate_purpose",
    /// The issuer took the certificate back.
    CertificateRevoked "certificate_revoked",
    /// The issuer has suspended the certificate.
    CertificateOnHold "certificate_on_hold",
    /// The answer about revocation is too old, or for another certificate, or not signed by the issuer.
    RevocationUnknown "revocation_unknown",
    /// There are more signatures than are checked for one bundle.
    TooManySignatures "too_many_signatures",
    /// The part that the evidence names is not in the bundle.
    PartMissing "part_missing",
    /// The log replays to other register values.
    ReplayMismatch "replay_mismatch",
    /// The log is replayed and nothing in it breaks the policy.
    LogFits "log_fits",
    /// An event after the separator is of a kind that the policy does not allow there.
    EventAfterSeparator "event_after_separator",
    /// A register has another value than the policy wants.
    PolicyMismatch "policy_mismatch",
    /// Nothing was reported by the device itself.
    HostReported "host_reported",
    /// The device signed the report, for the nonce of this evidence, under a trusted root.
    DeviceSigned "device_signed",
    /// The management controller had the component sign.
    BmcSigned "bmc_signed",
    /// Report and certificate name different firmware, or the certificate names none.
    FirmwareIdMismatch "firmware_id_mismatch",
    /// The device signs another version of its firmware or driver than the inventory says. Inventories lag behind.
    FirmwareDiffers "firmware_differs",
    /// The report is written in a way that this verifier does not know.
    FormatUnknown "format_unknown",
    /// What signed is of another kind than the host says.
    OtherKindOfDevice "other_kind_of_device",
    /// One device signed for two slots.
    DeviceTwice "device_twice",
    /// Sources of the inventory contradict each other.
    InventoryFinding "inventory_finding",
    /// The library is a simulation.
    Simulated "simulated",
    /// Nothing that is remembered speaks against it.
    HistoryFits "history_fits",
    /// What is remembered speaks against it.
    HistoryContradicts "history_contradicts",
    /// Something changed that a person should look at.
    HistoryChanged "history_changed",
}

/// Longest detail in bytes.
const DETAIL_BYTES: usize = 256;

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub subject: Subject,
    /// What came of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The same for people, at most 256 bytes, without control characters; may be empty.
    pub detail: String,
}

impl Check {
    /// A check; the detail is cut and made printable, since it may quote a stranger.
    pub fn new(subject: Subject, outcome: Outcome, reason: Reason, detail: impl AsRef<str>) -> Self {
        let mut clean = String::new();
        for c in detail.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if clean.len() + c.len_utf8() > DETAIL_BYTES {
                break;
            }
            clean.push(c);
        }
        Self { subject, outcome, reason, detail: clean }
    }

    /// It is shown.
    pub fn verified(subject: Subject, reason: Reason, detail: impl AsRef<str>) -> Self {
        Self::new(subject, Outcome::Verified, reason, detail)
    }

    /// It is not shown.
    pub fn not_established(subject: Subject, reason: Reason, detail: impl AsRef<str>) -> Self {
        Self::new(subject, Outcome::NotEstablished, reason, detail)
    }

    /// Something speaks against it.
    pub fn contradicted(subject: Subject, reason: Reason, detail: impl AsRef<str>) -> Self {
        Self::new(subject, Outcome::Contradicted, reason, detail)
    }
}

/// The worst of several outcomes; verified where there is none.
pub fn worst<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Outcome {
    checks.into_iter().map(|check| check.outcome).max().unwrap_or(Outcome::Verified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_short_and_printable() {
        let check = Check::verified(Subject::Quote, Reason::Fits, "a\u{1b}[31m\n".repeat(100));
        assert!(check.detail.len() <= DETAIL_BYTES);
        assert!(!check.detail.chars().any(char::is_control));
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn a_contradiction_outweighs_everything() {
        let check = |outcome| Check::new(Subject::Quote, outcome, Reason::Fits, "");
        let all = [check(Outcome::Verified), check(Outcome::Contradicted), check(Outcome::NotEstablished)];
        assert_eq!(worst(&all), Outcome::Contradicted);
        assert_eq!(worst(&[]), Outcome::Verified);
    }
}
