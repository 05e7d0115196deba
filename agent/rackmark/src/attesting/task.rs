//! The task that makes evidence. It alone waits for the TPM.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rackmark_feed::body::evidence::{ACTIVATION, activation_proof};
use rackmark_feed::inventory::{Claim, Fact, Inventory};
use rackmark_feed::{
    ArtefactRef, Body, ClaimClass, Evidence, EvidenceCause, Extension, Freshness, FreshnessSource,
    IdentityClass, NodeId, Refusal, Verb, limits,
};
use rackmark_model::tpm::{TpmFault, TpmKeys, TpmQuote};
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::accepted::AcceptedBy;
use super::artefacts::Artefacts;
use super::asked::Ask;
use super::changes::Changes;
use super::counts::Counts;
use super::due::{Due, Wanted};
use super::identity::node_of;
use super::making::{self, Occasion, Parts, REGISTERS, Speaker};
use super::tpm_link::{TpmLink, TpmLinkError};
use super::waiting::{Signed, Waiter, Waiting};
use super::{components, gpus};
use crate::bmc::Turn;
use crate::clock;
use crate::config::Config;
use crate::exit::chain;
use crate::inventory::{FirstLook, SharedInventory, document};
use crate::publish::feed::SharedFeed;
use crate::publish::identity::StateDir;
use crate::publish::inbox::Refused;
use crate::sampling::task::SharedRoster;
use crate::tls::{key_digest, shown};

/// How long evidence at the start waits for the first look at the machine.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// What evidence is made from.
pub struct Sources {
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Signs and sends.
    pub feed: SharedFeed,
    /// What is known of the GPUs.
    pub roster: SharedRoster,
    /// What is known of the machine.
    pub inventory: SharedInventory,
    /// The first look of this run.
    pub first_look: oneshot::Receiver<FirstLook>,
    /// Whose turn it is to ask the BMC.
    pub bmc: Turn,
    /// What is another than before.
    pub changes: Changes,
    /// How it goes.
    pub counts: Counts,
    /// What outlives a restart.
    pub state: StateDir,
}

/// Makes evidence and answers who asks for it.
pub struct Attester {
    sources: Sources,
    speaker: Speaker,
    tpm: Option<(TpmLink, Option<TpmKeys>)>,
    artefacts: Artefacts,
    accepted: AcceptedBy,
    boot_log: Option<ArtefactRef>,
    /// The certificate for the broker that the newest evidence speaks of.
    shown: Option<CertificateDer<'static>>,
}

/// An epoch that a verifier began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The verifier's name.
    pub verifier: String,
    /// The epoch id.
    pub value: [u8; 32],
    /// When it is over, milliseconds since 1970.
    pub expires_unix_ms: u64,
}

impl Attester {
    /// Nothing is asked of the TPM yet.
    pub fn new(sources: Sources, speaker: Speaker) -> Self {
        let settings = sources.config.borrow().attest.clone();
        let tpm = (speaker.node.class() == IdentityClass::Tpm).then(|| (TpmLink::new(settings), None));
        if tpm.is_some() {
            sources.counts.tpm_is_there();
        }
        let accepted = sources.state.accepted();
        Self { sources, speaker, tpm, artefacts: Artefacts::default(), accepted, boot_log: None, shown: None }
    }

    /// Works until `stop` is set.
    pub async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut epochs: mpsc::Receiver<Begun>,
        mut stop: watch::Receiver<bool>,
    ) {
        // The same end, for what is waited for within a turn.
        let mut stopping = stop.clone();
        tokio::select! {
            () = self.prepare() => {}
            () = ended(&mut stopping) => return,
        }
        let mut due = Due::at_start(Instant::now());
        let mut waiting = Waiting::default();
        loop {
            while let Some(wanted) = due.take(Instant::now()) {
                let wanted = match wanted {
                    Wanted::Epoch(begun) => match self.has_to_wait(&mut waiting, Waiter::Epoch(begun)) {
                        Some(Waiter::Epoch(begun)) => Wanted::Epoch(begun),
                        _ => continue,
                    },
                    wanted => wanted,
                };
                tokio::select! {
                    () = self.wanted(wanted, Signed::default(), &mut due) => {}
                    () = ended(&mut stopping) => return,
                }
            }
            let changes = self.sources.changes.clone();
            let next = due.next();
            tokio::select! {
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                cause = changes.heard() => {
                    if cause != EvidenceCause::CertificateChanged || self.shows_another() {
                        due.changed(cause, Instant::now());
                    }
                }
                Some(begun) = epochs.recv() => due.began(begun, clock::unix_ms(), Instant::now()),
                Some(ask) = asks.recv() => {
                    if let Some(Waiter::Ask(ask)) = self.has_to_wait(&mut waiting, Waiter::Ask(ask)) {
                        tokio::select! {
                            () = self.answer(&ask, Signed::default()) => {}
                            () = ended(&mut stopping) => return,
                        }
                    }
                }
                Some((waiter, signed)) = waiting.next() => {
                    let served = async {
                        match waiter {
                            Waiter::Ask(ask) => self.answer(&ask, signed).await,
                            Waiter::Epoch(begun) => self.wanted(Wanted::Epoch(begun), signed, &mut due).await,
                        }
                    };
                    tokio::select! {
                        () = served => {}
                        () = ended(&mut stopping) => return,
                    }
                }
                () = ended(&mut stop) => return,
            }
        }
    }

    /// Waits for the first look, and keeps the boot log that it found, which stays the same until the next boot.
    async fn prepare(&mut self) {
        match tokio::time::timeout(FIRST_LOOK, &mut self.sources.first_look).await {
            Ok(Ok(FirstLook { boot_log: Some(log) })) => self.boot_log = self.artefacts.keep(&log),
            // Most machines without a TPM have none; where the collector does not answer the inventory says so.
            Ok(Ok(FirstLook { boot_log: None })) => tracing::debug!("no boot event log"),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    "evidence is made before the machine was looked at, without the boot event log"
                );
            }
        }
    }

    /// Lets devices sign first where any are to. Who need not wait for them comes back: slow devices keep only those
    /// waiting who want to hear them.
    fn has_to_wait(&self, waiting: &mut Waiting, waiter: Waiter) -> Option<Waiter> {
        let Sources { config, roster, bmc, .. } = &self.sources;
        let config = config.borrow().clone();
        waiting.begin(waiter, &config, roster, bmc, &self.speaker).err().map(|waiter| *waiter)
    }

    /// Makes what is due, or puts it off where the TPM does not do it.
    async fn wanted(&mut self, wanted: Wanted, signed: Signed, due: &mut Due) {
        let made = self.level(self.occasion(&wanted), signed).await;
        self.sources.counts.evidence(wanted.cause(), made.is_ok());
        match made {
            Ok(()) => due.made(),
            Err(error) => {
                let retry_secs = due.failed(wanted, Instant::now()).as_secs();
                tracing::warn!(error = chain(&error), retry_secs, "no evidence is made");
            }
        }
    }

    fn occasion(&self, wanted: &Wanted) -> Occasion {
        match wanted {
            Wanted::Anyone(cause) => Occasion { cause: *cause, freshness: Freshness::none(), previous: None },
            Wanted::Epoch(begun) => {
                let verifier = begun.verifier.clone();
                let previous = self.accepted.last(&verifier);
                let freshness = Freshness { source: FreshnessSource::Epoch, verifier, value: begun.value };
                Occasion { cause: EvidenceCause::Epoch, freshness, previous }
            }
        }
    }

    /// True where the broker is shown another certificate than the newest evidence for anyone speaks of.
    fn shows_another(&self) -> bool {
        shown(&self.sources.config.borrow().broker_tls) != self.shown
    }

    /// Makes evidence for everybody, with what devices signed for it.
    async fn level(&mut self, occasion: Occasion, signed: Signed) -> Result<(), TpmLinkError> {
        let cause = occasion.cause;
        let verifier = occasion.freshness.verifier.clone();
        let certificate = shown(&self.sources.config.borrow().broker_tls);
        let evidence = self.make(occasion, signed).await?;
        self.shown = certificate;
        let signed_by = if evidence.tpm.is_some() { "tpm" } else { "software-key" };
        let sent = self
            .sources
            .feed
            .with(&self.sources.roster, |feed, roster| feed.evidence(evidence, cause, signed_by, roster));
        if let Some(digest) = sent.filter(|_| !verifier.is_empty()) {
            self.accepted.sent(&verifier, digest);
        }
        Ok(())
    }

    /// Puts the claim together, with what devices signed for it, and has the TPM sign it.
    async fn make(&mut self, occasion: Occasion, signed: Signed) -> Result<Evidence, TpmLinkError> {
        // Components first: what is kept last is there longest, whatever a BMC sends.
        let components: Vec<_> =
            signed.components.iter().map(|signed| components::device(signed, &mut self.artefacts)).collect();
        let mut parts = self.parts();
        gpus::put(signed.gpus, &mut parts.devices, &mut self.artefacts);
        let room = limits::DEVICES.saturating_sub(parts.devices.len());
        parts.devices.extend(components.into_iter().take(room));
        let claim = making::claim(&self.speaker, occasion, parts, clock::unix_ms());
        let qualifying = claim.qualifying_data(&self.speaker.node);
        let quote = self.quote(qualifying).await?;
        let keys = self.tpm.as_ref().and_then(|(_, keys)| keys.as_ref());
        Ok(making::evidence(claim, keys.zip(quote)))
    }

    fn parts(&mut self) -> Parts {
        let document = {
            let kept = self.sources.inventory.read().unwrap_or_else(PoisonError::into_inner);
            kept.as_ref().map(|kept| document(&kept.inventory)).unwrap_or_default()
        };
        let document = self.honest(document);
        let bytes = document.to_bytes().unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "the inventory is over a limit and is left out");
            Vec::new()
        });
        let inventory = self.artefacts.keep(&bytes).unwrap_or_else(|| ArtefactRef::of(&[]));
        if let Some(log) = &self.boot_log {
            self.artefacts.still_used(log);
        }
        let roster = self.sources.roster.read().unwrap_or_else(PoisonError::into_inner);
        let certificate = shown(&self.sources.config.borrow().broker_tls);
        Parts {
            inventory,
            boot_log: self.boot_log,
            mqtt_key: certificate.as_ref().and_then(key_digest),
            devices: making::devices(&roster),
        }
    }

    /// A library that is a simulation is said to be one.
    fn honest(&self, mut document: Inventory) -> Inventory {
        if !self.sources.roster.read().unwrap_or_else(PoisonError::into_inner).simulated() {
            return document;
        }
        document.facts.push(Fact {
            component: "driver".to_owned(),
            instance: String::new(),
            field: "simulated".to_owned(),
            value: "true".to_owned(),
            claim: Claim(ClaimClass::Reported),
        });
        Inventory::new(document.facts, document.findings)
    }

    /// A quote; none without a TPM. A TPM that was cleared meanwhile gets a new attestation key.
    async fn quote(&mut self, qualifying: [u8; 32]) -> Result<Option<TpmQuote>, TpmLinkError> {
        if self.tpm.is_none() {
            return Ok(None);
        }
        self.open().await?;
        let Some((link, _)) = &mut self.tpm else { return Ok(None) };
        let quote = link.quote(qualifying, REGISTERS).await;
        self.sources.counts.tpm(&quote);
        let quote = match quote {
            Err(error) if matches!(error.fault(), Some(TpmFault::Cleared | TpmFault::Other)) => {
                if let Some((_, keys)) = &mut self.tpm {
                    *keys = None;
                }
                self.open().await?;
                let Some((link, _)) = &mut self.tpm else { return Ok(None) };
                let again = link.quote(qualifying, REGISTERS).await;
                self.sources.counts.tpm(&again);
                again?
            }
            quote => quote?,
        };
        self.sources.counts.quoted(quote.took_ms);
        Ok(Some(quote))
    }

    /// Opens the TPM where it is not open.
    async fn open(&mut self) -> Result<(), TpmLinkError> {
        let state = &self.sources.state;
        let Some((link, keys)) = &mut self.tpm else { return Ok(()) };
        if link.is_open() && keys.is_some() {
            return Ok(());
        }
        *keys = None;
        let opened = link.open(state.attestation_key()).await;
        self.sources.counts.tpm(&opened);
        let opened = opened?;
        self.sources.counts.opened(&opened);
        let found = node_of(&opened.endorsement);
        if found != self.speaker.node {
            return Err(another(state, &found));
        }
        if opened.is_new {
            tracing::warn!("the TPM has a new attestation key: verifiers will enrol this node again");
            if let Err(error) = state.keep_attestation_key(&opened.kept) {
                tracing::warn!(error = chain(&error), "the attestation key is not kept");
            }
        }
        tracing::info!(tpm = opened.description, certified = opened.certificate.is_some(), "the TPM is open");
        *keys = Some(opened);
        Ok(())
    }

    /// Answers; `signed` is what devices signed for this ask.
    async fn answer(&mut self, ask: &Ask, signed: Signed) {
        match &ask.verb {
            Verb::Attest { nonce, .. } => self.attest(ask, *nonce, signed).await,
            Verb::Activate { credential_blob, encrypted_secret } => {
                let outcome = self.activate(credential_blob, encrypted_secret).await;
                ask.answer(outcome.map(|secret| {
                    let proof = activation_proof(&ask.nonce, &secret);
                    vec![Extension { tag: ACTIVATION, bytes: proof.to_vec() }]
                }));
            }
            Verb::Fetch { digest } => match self.artefacts.pieces(digest) {
                Some(pieces) => {
                    ask.answer(Ok(Vec::new()));
                    for piece in pieces {
                        ask.way_back.send(Body::Artefact(piece));
                    }
                }
                None => ask.answer(Err(Refused::new(
                    Refusal::NotKept,
                    "asks for a part that is not kept; ask for new evidence",
                ))),
            },
            Verb::Accepted { digest } => {
                let outcome = match self.accepted.accept(&ask.consumer, *digest) {
                    true => {
                        if let Err(error) = self.sources.state.keep_accepted(&self.accepted) {
                            tracing::warn!(error = chain(&error), "what verifiers accepted is not kept");
                        }
                        Ok(Vec::new())
                    }
                    false => Err(Refused::new(
                        Refusal::NotPossible,
                        "names evidence that was not the last one sent to you",
                    )),
                };
                ask.answer(outcome);
            }
            other => ask.answer(Err(Refused::new(
                Refusal::NotPossible,
                format!("asks for {}, which is no evidence", other.name()),
            ))),
        }
    }

    async fn attest(&mut self, ask: &Ask, nonce: [u8; 32], signed: Signed) {
        let freshness =
            Freshness { source: FreshnessSource::Nonce, verifier: ask.consumer.clone(), value: nonce };
        let previous = self.accepted.last(&ask.consumer);
        let occasion = Occasion { cause: EvidenceCause::Request, freshness, previous };
        let made = self.make(occasion, signed).await;
        self.sources.counts.evidence(EvidenceCause::Request, made.is_ok());
        match made {
            Ok(evidence) => {
                ask.answer(Ok(Vec::new()));
                if let Some(frame) = ask.way_back.send(Body::Evidence(evidence)) {
                    self.accepted.sent(&ask.consumer, Evidence::digest(&frame));
                }
            }
            Err(error) => {
                let why = format!("gets no evidence: {}", chain(&error));
                ask.answer(Err(Refused::new(Refusal::TpmFailed, why)));
            }
        }
    }

    async fn activate(&mut self, blob: &[u8], secret: &[u8]) -> Result<Vec<u8>, Refused> {
        let no_tpm = || Refused::new(Refusal::NoTpm, "asks a node without a TPM");
        let refused =
            |error: TpmLinkError| Refused::new(Refusal::TpmFailed, format!("is not done: {}", chain(&error)));
        self.open().await.map_err(refused)?;
        let Some((link, _)) = &mut self.tpm else { return Err(no_tpm()) };
        let secret = link.activate(blob.to_vec(), secret.to_vec()).await;
        self.sources.counts.tpm(&secret);
        secret.map_err(refused)
    }
}

/// Waits for the end, and keeps no lock that a guard would.
async fn ended(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The TPM is another one than the node's: another node, from the next start on.
fn another(state: &StateDir, found: &NodeId) -> TpmLinkError {
    if let Err(error) = state.keep_node(found) {
        tracing::error!(error = chain(&error), "the new identity is not kept");
    }
    let words = format!("it is another TPM: this machine is {found} from its next start on");
    TpmLinkError::Refused { fault: TpmFault::Cleared, words }
}

#[cfg(test)]
mod tests;
