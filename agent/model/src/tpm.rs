//! The frames between the daemon and the process with the TPM. One order, one answer, in turn, until the stream
//! ends. TPM structures travel as the TPM made them.

use serde::{Deserialize, Serialize};

/// Hash algorithm of SHA-256 (`TPM_ALG_SHA256`): the bank that is quoted.
pub const BANK_SHA256: u16 = 0x000b;

/// An attestation key as it is kept on disk: it loads into the one TPM that made it, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptKey {
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// The private part, wrapped by the TPM.
    pub private: Vec<u8>,
}

/// Daemon to the TPM's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TpmOrder {
    /// Find the keys. First on the stream, and again where the TPM was cleared.
    Open {
        /// The key of earlier runs.
        kept: Option<KeptKey>,
    },
    /// Sign these 32 bytes together with registers.
    Quote {
        /// `qualifyingData`.
        qualifying: [u8; 32],
        /// Registers of the SHA-256 bank: bit n is register n.
        registers: u32,
    },
    /// Recover the secret of a credential.
    Activate {
        /// `TPM2B_ID_OBJECT`.
        credential_blob: Vec<u8>,
        /// `TPM2B_ENCRYPTED_SECRET`.
        encrypted_secret: Vec<u8>,
    },
}

/// Keys that were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmKeys {
    /// Endorsement key, `TPMT_PUBLIC`.
    pub endorsement: Vec<u8>,
    /// Its certificate, DER, where the TPM has one.
    pub certificate: Option<Vec<u8>>,
    /// Attestation key, `TPMT_PUBLIC`.
    pub attestation: Vec<u8>,
    /// The same to be kept.
    pub kept: KeptKey,
    /// The attestation key was made now: there was none, or the kept one no longer loads.
    pub is_new: bool,
    /// What the TPM says of itself, for people: maker and firmware.
    pub description: String,
    /// It refuses keys with passwords for a time (`TPMA_PERMANENT.inLockout`): too many failed tries, or unclean
    /// resets. The two keys are exempt and work on.
    pub in_lockout: bool,
}

/// A quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmQuote {
    /// `TPMS_ATTEST`.
    pub quoted: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// The registers, by rising index.
    pub values: Vec<(u8, Vec<u8>)>,
    /// How long the TPM took for all of it, in milliseconds.
    pub took_ms: u32,
}

/// Why the TPM did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TpmFault {
    /// There is none at the place that is named, or it stopped answering.
    Absent,
    /// It may not be used by this user.
    NoPermission,
    /// Too many failed tries, or unclean resets: it refuses for a time.
    Lockout,
    /// It stayed busy, or had no room for a key, over several tries.
    Busy,
    /// It was cleared, or is another one: what was kept does not load.
    Cleared,
    /// The credential is for another key or another TPM.
    WrongCredential,
    /// Anything else, with its words.
    Other,
}

/// The TPM's process to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TpmReport {
    /// Answers [`TpmOrder::Open`].
    Opened(Box<TpmKeys>),
    /// Answers [`TpmOrder::Quote`].
    Quoted(Box<TpmQuote>),
    /// Answers [`TpmOrder::Activate`]: the secret.
    Activated(Vec<u8>),
    /// It did not work.
    Failed {
        /// Why.
        fault: TpmFault,
        /// The same in words.
        words: String,
    },
}

impl TpmFault {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::NoPermission => "no_permission",
            Self::Lockout => "lockout",
            Self::Busy => "busy",
            Self::Cleared => "cleared",
            Self::WrongCredential => "wrong_credential",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipc::{self, FRAME_BYTES_MAX, LENGTH_BYTES};

    #[test]
    fn orders_and_reports_survive_the_frame() {
        let kept = KeptKey { public: vec![1; 280], private: vec![2; 222] };
        let orders = [
            TpmOrder::Open { kept: None },
            TpmOrder::Open { kept: Some(kept.clone()) },
            TpmOrder::Quote { qualifying: [7; 32], registers: 0xff },
            TpmOrder::Activate { credential_blob: vec![3; 80], encrypted_secret: vec![4; 258] },
        ];
        let mut frame = Vec::new();
        for order in orders {
            ipc::encode(&order, &mut frame).expect("frame");
            assert_eq!(ipc::decode::<TpmOrder>(&frame[LENGTH_BYTES..]), Ok(order));
        }
        let keys = TpmKeys {
            endorsement: vec![1; 314],
            certificate: Some(vec![2; 1016]),
            attestation: vec![3; 280],
            kept,
            is_new: true,
            description: "IBM SW TPM firmware 8217.4131".to_owned(),
            in_lockout: false,
        };
        let values = (0..24).map(|index| (index, vec![index; 32])).collect();
        let quote = TpmQuote { quoted: vec![4; 145], signature: vec![5; 262], values, took_ms: 17 };
        let reports = [
            TpmReport::Opened(Box::new(keys)),
            TpmReport::Quoted(Box::new(quote)),
            TpmReport::Activated(vec![6; 64]),
            TpmReport::Failed { fault: TpmFault::Lockout, words: "x".repeat(400) },
        ];
        for report in reports {
            ipc::encode(&report, &mut frame).expect("frame");
            assert!(frame.len() < FRAME_BYTES_MAX / 100);
            assert_eq!(ipc::decode::<TpmReport>(&frame[LENGTH_BYTES..]), Ok(report));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = ipc::decode::<TpmOrder>(&bytes);
            let _ = ipc::decode::<TpmReport>(&bytes);
        }
    }
}
