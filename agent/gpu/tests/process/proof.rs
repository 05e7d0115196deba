//! A proof of capacity on a simulated GPU: byte for byte what the CPU's prover gives, and what its faults become.

use std::time::Duration;

use rackmark_feed::verify::outcome::Outcome;
use rackmark_feed::verify::proof::judge::{Issued, Limits, Measured, Verdict, judge, places};
use rackmark_feed::verify::proof::memory::ends;
use rackmark_feed::verify::proof::messages::{Challenge, Commitment};
use rackmark_feed::verify::proof::parameters::{Parameters, Set};
use rackmark_feed::verify::proof::prover::Work;
use rackmark_feed::verify::proof::tiles::folded;
use rackmark_feed::verify::proof::{Digest, seed};
use rackmark_model::gpu_proof::{ProveOrder, ProveReport, ProveStep};
use rackmark_model::gpu_work::{GpuOrder, GpuReport};
use rackmark_model::ipc;

use super::support::{Machine, Worker, uuid};

const PROBE_NONCE: Digest = [4; 32];
const OPENING_NONCE: Digest = [5; 32];
const LIMITS: Limits = Limits { tiles_p99_ms: 1, chains_p99_ms: 1, tolerance_percent: 0 };
const PATIENCE: Duration = Duration::from_secs(60);

fn issued(round: u32) -> Issued {
    let challenge = Challenge {
        set: Set::Test,
        memory_bytes: 0,
        nonce: [1; 32],
        beacon: [2; 32],
        gpu: uuid(0),
        node_key: [3; 32],
        round,
    };
    Issued { challenge, probe_nonce: PROBE_NONCE, opening_nonce: OPENING_NONCE, test: true }
}

fn parameters() -> Parameters {
    Set::Test.on(0).expect("tests have one size")
}

fn send<T: serde::Serialize>(worker: &mut Worker, what: &T) {
    let mut frame = Vec::new();
    ipc::encode(what, &mut frame).expect("fits");
    worker.send(&frame);
}

fn ordered(machine: &Machine, issued: &Issued, allow_test: bool) -> Worker {
    let mut worker = Worker::spawn(machine.path());
    let challenge = postcard::to_allocvec(&issued.challenge).expect("fits");
    send(&mut worker, &GpuOrder::Prove(ProveOrder { gpu_uuid: uuid(0), challenge, allow_test }));
    worker
}

fn said(worker: &mut Worker) -> ProveReport {
    loop {
        match worker.next(PATIENCE).expect("the stream goes on") {
            GpuReport::Proof(report) => return report,
            GpuReport::Failed(failure) => panic!("{failure:?}"),
            _ => {}
        }
    }
}

/// The whole game: commitment and opening.
fn played(worker: &mut Worker, issued: &Issued) -> (Commitment, Vec<u8>) {
    let ProveReport::Tiles { roots, .. } = said(worker) else { panic!("tiles come first") };
    send(worker, &ProveStep::Fill);
    let ProveReport::Filled { bytes, .. } = said(worker) else { panic!("then the memory is filled") };
    assert_eq!(bytes, parameters().memory_bytes());
    send(worker, &ProveStep::Probe { nonce: issued.probe_nonce });
    let ProveReport::Chains { root, .. } = said(worker) else { panic!("then chains are walked") };
    send(worker, &ProveStep::Open { nonce: issued.opening_nonce });
    let ProveReport::Opening(opening) = said(worker) else { panic!("then it is opened") };
    (Commitment { challenge: issued.challenge.digest(), tiles: roots, chains: root }, opening)
}

fn judged(issued: &Issued, commitment: &Commitment, opening: &[u8]) -> Verdict {
    let commitment = postcard::to_allocvec(commitment).expect("fits");
    judge(issued, &commitment, opening, Measured { tiles_ms: 1, chains_ms: 1 }, Some(&LIMITS))
}

#[test]
fn roots_and_opening_are_those_of_the_cpu_and_the_verifier_takes_them() {
    let (machine, parameters) = (Machine::one(), parameters());
    for round in [1, 2] {
        let issued = issued(round);
        let challenge = issued.challenge.digest();
        let (fill, probe) = (seed::fill(&challenge), seed::probe(&challenge, &PROBE_NONCE));
        let by_cpu = Work::new(
            &issued.challenge,
            &parameters,
            &PROBE_NONCE,
            |seed, at| folded(seed, &parameters, at),
            |chain| ends::<1>(&fill, &probe, &parameters, &[chain])[0],
        )
        .expect("there is work");
        let mut worker = ordered(&machine, &issued, true);
        let (commitment, opening) = played(&mut worker, &issued);
        assert_eq!(commitment, by_cpu.commitment);
        let opened = by_cpu.open(&places(&parameters, &commitment, &OPENING_NONCE));
        assert_eq!(opening, postcard::to_allocvec(&opened).expect("fits"));
        assert_eq!(judged(&issued, &commitment, &opening).outcome(), Outcome::Verified);
        assert!(worker.reports().done());
    }
}

#[test]
fn a_gpu_that_computes_wrongly_proves_nothing() {
    // One element of every tile of one multiprocessor, and one bit of the memory that the chains read.
    for fault in ["sm 0 1 20", "word 0 65536 17 stuck1", "word 0 65536 17 stuck0"] {
        let machine = Machine::with(fault);
        let mut worker = ordered(&machine, &issued(1), true);
        let mut answered = Vec::new();
        let mut failed = None;
        while let Some(report) = worker.next(PATIENCE) {
            match report {
                GpuReport::Proof(ProveReport::Tiles { roots, .. }) => {
                    answered.extend(roots);
                    send(&mut worker, &ProveStep::Fill);
                }
                GpuReport::Proof(ProveReport::Filled { .. }) => {
                    send(&mut worker, &ProveStep::Probe { nonce: PROBE_NONCE });
                }
                GpuReport::Proof(ProveReport::Chains { root, .. }) => {
                    answered.push(root);
                    send(&mut worker, &ProveStep::Open { nonce: OPENING_NONCE });
                }
                GpuReport::Proof(ProveReport::Opening(opening)) => {
                    let chains = answered.pop().expect("a root");
                    let challenge = issued(1).challenge.digest();
                    let commitment = Commitment { challenge, tiles: answered.clone(), chains };
                    assert_ne!(
                        judged(&issued(1), &commitment, &opening).outcome(),
                        Outcome::Verified,
                        "{fault}"
                    );
                }
                GpuReport::Failed(failure) => failed = Some(failure.name),
                _ => {}
            }
        }
        let failed = failed.unwrap_or_default();
        assert!(
            failed.contains("differs from what the CPU computes") || failed.is_empty(),
            "{fault}: {failed}"
        );
        println!("{fault}: {}", if failed.is_empty() { "the verifier refuses it" } else { &failed });
    }
}

#[test]
fn what_is_no_challenge_is_refused_by_name() {
    let machine = Machine::one();
    let mut unsized_card = issued(1);
    unsized_card.challenge.set = Set::Full;
    for (issued, allow_test, why) in
        [(issued(1), false, "for tests only"), (unsized_card, true, "no set is for so much memory")]
    {
        let ended = ordered(&machine, &issued, allow_test).reports();
        let (code, name) = ended.failed().expect("it fails");
        assert!(code.is_none() && name.contains(why), "{name}");
    }
    let mut worker = Worker::spawn(machine.path());
    let order = ProveOrder { gpu_uuid: uuid(0), challenge: vec![0xff; 40], allow_test: true };
    send(&mut worker, &GpuOrder::Prove(order));
    assert!(worker.reports().failed().expect("it fails").1.contains("does not parse"));
}

#[test]
fn steps_out_of_order_end_it_and_so_does_a_memory_that_is_too_small() {
    let machine = Machine::one();
    let mut worker = ordered(&machine, &issued(1), true);
    assert!(matches!(said(&mut worker), ProveReport::Tiles { .. }));
    send(&mut worker, &ProveStep::Open { nonce: OPENING_NONCE });
    assert!(worker.reports().failed().expect("it fails").1.contains("filled first"));
    let small = Machine::with("left 0 1");
    let ended = ordered(&small, &issued(1), true).reports();
    assert_eq!(ended.failed().map(|(code, _)| code), Some(Some(2)), "out of memory: {:?}", ended.reports);
}

#[test]
fn the_end_of_the_stream_gives_the_gpu_back_whatever_it_waits_for() {
    let machine = Machine::one();
    let mut worker = ordered(&machine, &issued(1), true);
    assert!(matches!(said(&mut worker), ProveReport::Tiles { .. }));
    let (status, took) = worker.hang_up();
    assert!(status.success() && took < Duration::from_millis(900), "{status} after {took:?}");
    machine.fault("hang 0");
    let worker = ordered(&machine, &issued(1), true);
    std::thread::sleep(Duration::from_millis(300));
    let (status, took) = worker.hang_up();
    assert!(status.success() && took < Duration::from_millis(900), "{status} after {took:?}");
}
