//! Successions as a verifier judges them: forged, foreign, untrusted and replayed ones, and memory behind the report.

mod messages;

use messages::identity::{operator_key, software_evidence};
use messages::{NOW, SITE};
use rackmark_feed::body::succession::successions_extension;
use rackmark_feed::inventory::Inventory;
use rackmark_feed::verify::bundle::Bundle;
use rackmark_feed::verify::outcome::{Outcome, Reason, Subject};
use rackmark_feed::verify::report::{NodeReport, Question, Trust, verify_bundle};
use rackmark_feed::verify::store::{Flag, Store};
use rackmark_feed::*;

/// A machine under one id: its identity key, from one byte.
struct Machine(SigningKey);

impl Machine {
    fn new(byte: u8) -> Self {
        Self(SigningKey::from_seed(&[byte; 32]))
    }

    fn id(&self) -> NodeId {
        NodeId::software(&self.0.public())
    }

    /// What it shows, with these successions in its session record.
    fn shows(&self, successions: &[Succession], previous: Option<[u8; 32]>) -> Bundle {
        let key = messages::session_key();
        let claim = SessionClaim {
            node: self.id(),
            identity_public_key: self.0.public(),
            extensions: vec![successions_extension(successions).expect("fits")],
            ..messages::claim(&key, None)
        };
        let record = claim.sign(&self.0).expect("its own key");
        let inventory = Inventory::new(Vec::new(), Vec::new()).to_bytes().expect("small");
        let mut evidence = software_evidence();
        evidence.claim.identity_public_key = self.0.public();
        evidence.claim.inventory = ArtefactRef::of(&inventory);
        evidence.claim.previous = previous;
        let seal_as = |body: Body, seq| {
            let header = Header { node: self.id(), ..messages::header(&key, body.stream(), Some(seq)) };
            seal(&Message { header, body }, &key).expect("sealed")
        };
        Bundle {
            session: seal_as(Body::Session(record), 0),
            evidence: seal_as(Body::Evidence(evidence), 1),
            artefacts: vec![inventory],
            ..Bundle::default()
        }
    }
}

fn step(old: &Machine, new: &Machine, operator: &SigningKey) -> Succession {
    Succession::sign(old.id(), new.id(), SuccessionReason::Mainboard, "RMA 1".into(), NOW, operator)
}

fn judged(bundle: &Bundle) -> NodeReport {
    let operators = [operator_key().public()];
    let trust = Trust { operators: &operators, ..Trust::default() };
    verify_bundle(&bundle.view(), &trust, &Question { now_unix_ms: NOW, ..Question::default() })
}

/// What is said of successions.
fn said(report: &NodeReport) -> Vec<(Outcome, Reason)> {
    let of = report.checks.iter().filter(|check| check.subject == Subject::Succession);
    of.map(|check| (check.outcome, check.reason)).collect()
}

/// Takes a bundle into memory, a day after the one before; what it shows.
fn remembered(store: &mut Store, bundle: &Bundle, day: u64) -> Option<Vec<&'static str>> {
    let report = judged(bundle);
    let flags = store.observe(report.observation.as_ref()?, NOW + day * 100_000_000);
    Some(flags.iter().map(Flag::name).collect())
}

#[test]
fn a_succession_by_a_trusted_operator_keeps_the_history() {
    let (old, between, new) = (Machine::new(1), Machine::new(2), Machine::new(3));
    let mut store = Store::default();
    assert_eq!(remembered(&mut store, &old.shows(&[], None), 0), Some(Vec::new()));
    let row = [step(&old, &between, &operator_key()), step(&between, &new, &operator_key())];
    let report = judged(&new.shows(&row, None));
    assert_eq!(said(&report), [(Outcome::Verified, Reason::Succeeded); 2], "{:?}", report.checks);
    assert_eq!(report.successions, row);
    // On the same day: without the succession one GPU would be at two nodes.
    assert_eq!(remembered(&mut store, &new.shows(&row, None), 0), Some(Vec::new()));
    assert_eq!(store.successor(&old.id()), Some(&*between.id().to_string()));
    assert_eq!(said(&judged(&old.shows(&[], None))), []);
}

#[test]
fn attack_forged_succession() {
    let (old, new) = (Machine::new(1), Machine::new(3));
    // The operator signed it for another old id; the new node writes its own victim into it.
    let forged = Succession { old: old.id(), ..step(&Machine::new(9), &new, &operator_key()) };
    let report = judged(&new.shows(&[forged], None));
    assert_eq!(said(&report), [(Outcome::Contradicted, Reason::SignatureMismatch)]);
    assert!(report.successions.is_empty() && report.observation.is_none());
}

#[test]
fn attack_succession_for_another_node() {
    let (old, new, thief) = (Machine::new(1), Machine::new(3), Machine::new(5));
    let good = step(&old, &new, &operator_key());
    let own = step(&new, &thief, &SigningKey::from_seed(&[6; 32]));
    let report = judged(&thief.shows(std::slice::from_ref(&good), None));
    assert_eq!(said(&report), [(Outcome::Contradicted, Reason::SuccessionMismatch)]);
    assert!(report.successions.is_empty() && report.observation.is_none());
    // With a step of its own behind it the row leads here, and is worth as much as its worst step.
    let report = judged(&thief.shows(&[good.clone(), own.clone()], None));
    assert_eq!(said(&report), [(Outcome::NotEstablished, Reason::OperatorUntrusted); 2]);
    assert!(report.successions.is_empty());
    // Nor is a good step between two of its own worth anything.
    let first = step(&Machine::new(7), &old, &SigningKey::from_seed(&[6; 32]));
    let report = judged(&thief.shows(&[first.clone(), good.clone(), own], None));
    assert_eq!(said(&report), [(Outcome::NotEstablished, Reason::OperatorUntrusted); 3]);
    assert!(report.successions.is_empty());
    // What comes after the last step of a stranger counts.
    let report = judged(&new.shows(&[first, good.clone()], None));
    let not_shown = (Outcome::NotEstablished, Reason::OperatorUntrusted);
    assert_eq!(said(&report), [not_shown, (Outcome::Verified, Reason::Succeeded)]);
    assert_eq!(report.successions, [good]);
}

#[test]
fn attack_succession_by_an_untrusted_operator() {
    let (old, new) = (Machine::new(1), Machine::new(3));
    let mut store = Store::default();
    remembered(&mut store, &old.shows(&[], None), 0);
    let claimed = new.shows(&[step(&old, &new, &new.0)], None);
    assert_eq!(said(&judged(&claimed)), [(Outcome::NotEstablished, Reason::OperatorUntrusted)]);
    assert_eq!(remembered(&mut store, &claimed, 0), Some(vec!["device_at_two_nodes"]), "no effect");
    assert_eq!(store.successor(&old.id()), None);
    assert!(store.accepted(&old.id()).is_some() && store.accepted(&new.id()).is_none());
}

/// The old node shows the succession itself, to be believed as the new one.
#[test]
fn attack_succession_replayed_by_the_old_node() {
    let (old, new) = (Machine::new(1), Machine::new(3));
    let mut store = Store::default();
    remembered(&mut store, &old.shows(&[], None), 0);
    let good = step(&old, &new, &operator_key());
    let report = judged(&old.shows(std::slice::from_ref(&good), None));
    assert_eq!(said(&report), [(Outcome::Contradicted, Reason::SuccessionMismatch)]);
    // Nor can it take the new node's record for its own: another identity key speaks in it.
    let mut stolen = old.shows(&[], None);
    stolen.session = new.shows(std::slice::from_ref(&good), None).session;
    let report = judged(&stolen);
    assert_eq!((report.outcome(), report.observation), (Outcome::Contradicted, None));
}

#[test]
fn attack_old_id_comes_back_after_its_succession() {
    let (old, new) = (Machine::new(1), Machine::new(3));
    let mut store = Store::default();
    remembered(&mut store, &old.shows(&[], None), 0);
    let row = [step(&old, &new, &operator_key())];
    assert_eq!(remembered(&mut store, &new.shows(&row, None), 1), Some(Vec::new()));
    let accepted = store.accepted(&new.id());
    assert_eq!(
        remembered(&mut store, &old.shows(&[], None), 9),
        Some(vec!["superseded_node", "undeclared_move"])
    );
    assert_eq!((store.accepted(&old.id()), store.accepted(&new.id())), (None, accepted));
}

/// What does not parse is a contradiction, and nothing else of the report suffers from having none.
#[test]
fn successions_that_do_not_parse_are_contradicted() {
    let machine = Machine::new(1);
    assert_eq!(said(&judged(&machine.shows(&[], None))), []);
    let key = messages::session_key();
    let claim = SessionClaim {
        node: machine.id(),
        identity_public_key: machine.0.public(),
        extensions: vec![Extension { tag: 16, bytes: vec![1, 2, 3] }],
        ..messages::claim(&key, None)
    };
    let body = Body::Session(claim.sign(&machine.0).expect("its own key"));
    let header = Header { node: machine.id(), ..messages::header(&key, Stream::Session, Some(0)) };
    let mut bundle = machine.shows(&[], None);
    bundle.session = seal(&Message { header, body }, &key).expect("sealed");
    let report = judged(&bundle);
    assert_eq!(said(&report), [(Outcome::Contradicted, Reason::Malformed)]);
    assert_eq!(report.names.map(|names| names.0).as_deref(), Some(SITE));
}
