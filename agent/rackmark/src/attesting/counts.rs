//! How evidence and the TPM fare, for the metrics.

use std::sync::{Arc, Mutex, PoisonError};

use rackmark_feed::EvidenceCause;
use rackmark_model::tpm::{TpmFault, TpmKeys};

use super::tpm_link::{REASONS, TpmLinkError};

/// Labels of `cause`.
const CAUSES: &[EvidenceCause] = EvidenceCause::ALL;

/// The figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Evidence made and not made, by the place of its cause in the feed's list.
    evidence: [[u64; 2]; CAUSES.len()],
    /// The TPM; absent where the node has a software key.
    pub tpm: Option<TpmFigures>,
}

/// How the TPM fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TpmFigures {
    /// The newest order was carried out, or refused for what it asks; none was given yet where absent.
    pub up: Option<bool>,
    /// It said that it refuses keys with passwords for a time.
    pub lockout: bool,
    /// Maker and firmware, as it says them, and whether it has a certificate; absent until it was opened.
    pub described: Option<(String, bool)>,
    /// Why the newest order failed, of [`REASONS`]; absent where it did not.
    pub trouble: Option<&'static str>,
    /// Orders that failed, by the place in [`REASONS`].
    pub failures: [u64; REASONS.len()],
    /// How long the newest quote took in the TPM, milliseconds.
    pub quote_ms: Option<u32>,
}

impl Figures {
    /// Evidence by cause and outcome, `made` or `failed`.
    pub fn evidence(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        CAUSES.iter().zip(self.evidence).flat_map(|(cause, [made, failed])| {
            [(cause.name(), "made", made), (cause.name(), "failed", failed)]
        })
    }
}

/// The figures as the attester keeps them.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Mutex<Figures>>);

impl Counts {
    /// The figures now.
    pub fn snapshot(&self) -> Figures {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The node has a TPM.
    pub(super) fn tpm_is_there(&self) {
        self.change(|figures| figures.tpm = Some(TpmFigures::default()));
    }

    /// Evidence was made, or was not.
    pub(super) fn evidence(&self, cause: EvidenceCause, made: bool) {
        self.change(|figures| {
            if let Some(at) = CAUSES.iter().position(|one| *one == cause) {
                figures.evidence[at][usize::from(!made)] += 1;
            }
        });
    }

    /// The TPM was asked something.
    pub(super) fn tpm<T>(&self, result: &Result<T, TpmLinkError>) {
        self.change(|figures| {
            let tpm = figures.tpm.get_or_insert_default();
            let Err(error) = result else {
                tpm.up = Some(true);
                tpm.trouble = None;
                return;
            };
            if let Some(at) = REASONS.iter().position(|reason| *reason == error.reason()) {
                tpm.failures[at] += 1;
            }
            tpm.trouble = Some(error.reason());
            let fault = error.fault();
            tpm.up = Some(fault == Some(TpmFault::WrongCredential));
            tpm.lockout |= fault == Some(TpmFault::Lockout);
        });
    }

    /// What the TPM said of itself when it was opened.
    pub(super) fn opened(&self, keys: &TpmKeys) {
        self.change(|figures| {
            let tpm = figures.tpm.get_or_insert_default();
            tpm.lockout = keys.in_lockout;
            tpm.described = Some((keys.description.clone(), keys.certificate.is_some()));
        });
    }

    /// A quote was made in so many milliseconds.
    pub(super) fn quoted(&self, took_ms: u32) {
        self.change(|figures| figures.tpm.get_or_insert_default().quote_ms = Some(took_ms));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rackmark_model::tpm::KeptKey;

    use super::*;

    #[test]
    fn trouble_is_told_by_its_reason_and_ends() {
        let counts = Counts::default();
        counts.tpm_is_there();
        assert_eq!(counts.snapshot().tpm, Some(TpmFigures::default()));
        let refused = |fault| Err::<(), _>(TpmLinkError::Refused { fault, words: String::new() });
        let tpm = || counts.snapshot().tpm.expect("a TPM");
        counts.tpm(&refused(TpmFault::Lockout));
        assert_eq!((tpm().up, tpm().lockout), (Some(false), true));
        counts.tpm(&Err::<(), _>(TpmLinkError::Late(Duration::ZERO)));
        assert!(tpm().lockout, "silence says nothing about it");
        counts.tpm(&Ok(()));
        assert_eq!(tpm().trouble, None);
        counts.opened(&TpmKeys {
            endorsement: Vec::new(),
            certificate: None,
            attestation: Vec::new(),
            kept: KeptKey { public: Vec::new(), private: Vec::new() },
            is_new: false,
            description: "maker 1.2".to_owned(),
            in_lockout: false,
        });
        assert_eq!((tpm().up, tpm().lockout), (Some(true), false));
        assert_eq!(tpm().described, Some(("maker 1.2".to_owned(), false)));
        counts.tpm(&refused(TpmFault::WrongCredential));
        assert_eq!(tpm().up, Some(true), "that is about who asks");
        let failed: Vec<_> =
            REASONS.iter().zip(tpm().failures).filter(|(_, count)| *count > 0).map(|(one, _)| *one).collect();
        assert_eq!(failed, ["late", "lockout", "wrong_credential"]);
    }

    #[test]
    fn evidence_counts_by_cause_and_outcome() {
        let counts = Counts::default();
        counts.evidence(EvidenceCause::Epoch, true);
        counts.evidence(EvidenceCause::Epoch, false);
        counts.evidence(EvidenceCause::Epoch, true);
        let some: Vec<_> = counts.snapshot().evidence().filter(|(.., count)| *count > 0).collect();
        assert_eq!(some, [("epoch", "made", 2), ("epoch", "failed", 1)]);
        assert_eq!(counts.snapshot().evidence().count(), 2 * CAUSES.len());
    }
}
