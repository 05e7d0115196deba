//! Cards are swapped while the server is off: what was declared, what was not, and who vouches for the new ones.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::process::wait_for;
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Body, EventKind};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::stranger::{Stranger, is, keys, setup};

fn name(status: &Json, gpu: usize, field: &str) -> Option<String> {
    status["gpus"][gpu][field].as_str().map(str::to_owned)
}

#[test]
fn a_swapped_card_is_unknown_until_somebody_vouches_and_buyers_are_told_under_which_ticket() -> Outcome<()> {
    let (old, new, broker) =
        (Sim::with_cards("h100-sxm-8", 2, 1)?, Sim::with_cards("h100-sxm-8", 2, 2)?, Mosquitto::start()?);
    let mut agent = Agent::sampling(&Setup::on(&old).broker(broker.port))?;
    let schedulable =
        |scrape: &str| scrape.contains("rackmark_gpu_verdict{gpu=\"1\",verdict=\"schedulable\"} 1");
    agent.wait("both GPUs", Duration::from_secs(20), schedulable)?;
    let before = agent.status()?;
    let output = agent.cli(&["swap", "0", "--ticket", "WO-17"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let inventory = || {
        let output = agent.cli(&["inventory", "--json"]).ok()?;
        let all: Json = serde_json::from_slice(&output.stdout).ok()?;
        let facts = all["facts"].as_array()?.clone();
        facts.into_iter().find(|fact| fact["component"] == "swap" && fact["field"] == "ticket")
    };
    let fact = wait_for("the fact that evidence names", Duration::from_secs(10), inventory)?;
    assert_eq!(
        (fact["value"].as_str(), fact["instance"].as_str()),
        (Some("WO-17"), before["gpus"][0]["uuid"].as_str())
    );
    agent.process.terminate(Duration::from_secs(5))?;

    let mut buyer = Buyer::subscribe(broker.port)?;
    let agent = agent.again(&Setup::on(&new).broker(broker.port))?;
    let mut tickets = [None, None];
    buyer.wait_for("both swaps", Duration::from_secs(20), |_, body| {
        let Body::Event(event) = body else { return None };
        let EventKind::CardReplaced { old_uuid, new_serial, ticket, .. } = &event.kind else { return None };
        let slot = usize::from(event.gpu.as_ref()?.slot);
        assert_eq!(*old_uuid, name(&before, slot, "uuid"));
        assert_ne!(*new_serial, name(&before, slot, "serial"));
        tickets[slot] = Some(ticket.clone());
        tickets.iter().all(Option::is_some).then_some(())
    })?;
    assert_eq!(tickets, [Some(Some("WO-17".to_owned())), Some(None)]);
    let untested = |scrape: &str| {
        [0, 1].iter().all(|gpu| {
            scrape.contains(&format!("rackmark_gpu_condition{{gpu=\"{gpu}\",condition=\"card_untested\""))
                && scrape.contains(&format!("rackmark_gpu_verdict{{gpu=\"{gpu}\",verdict=\"unknown\"}} 1"))
        })
    };
    agent.wait("unknown cards", Duration::from_secs(20), untested)?;

    let output = agent.cli(&["swap", "1", "--ticket", "WO-18", "--tested-by", "the night shift"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (scrape, _) = agent.wait("the word on it", Duration::from_secs(5), schedulable)?;
    assert!(
        scrape.contains("rackmark_gpu_verdict{gpu=\"0\",verdict=\"unknown\"} 1"),
        "the other was not tested"
    );
    let output = agent.cli(&["swap", "0", "--ticket", "WO-18", "--tested-by", "the night shift"])?;
    assert!(!output.status.success(), "it came under another ticket");
    let log = agent.log();
    assert!(log.contains("ticket WO-17") && log.contains("nobody declared it"), "{log}");
    Ok(())
}

#[test]
fn a_verifier_tells_a_declared_move_from_a_card_at_two_nodes() -> Outcome<()> {
    let (old, new) = (Sim::with_cards("h100-sxm-8", 1, 1)?, Sim::with_cards("h100-sxm-8", 1, 2)?);
    let (here, there) = (Mosquitto::start()?, Mosquitto::start()?);
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    std::fs::create_dir_all(keys(folder.path()))?;
    let allowed = format!("allowed = [\"acme={}\"]", stranger.public);
    let node = |sim: &Sim, port: u16| setup(sim, port, folder.path()).line("consumers", allowed.clone());
    let flags = |document: &Json| document["flags"].as_array().cloned().unwrap_or_default();

    let mut giving = Agent::sampling(&node(&old, here.port))?;
    let card = giving.status()?["gpus"][0]["uuid"].as_str().ok_or("uuid")?.to_owned();
    for memory in ["blind", "declared"] {
        let (_, first) = stranger.ask(here.port, memory, &[])?;
        is(&first, "history", "verified", "history_fits");
    }
    let _taking = Agent::sampling(&node(&old, there.port))?;
    let (_, twice) = stranger.ask(there.port, "blind", &[])?;
    is(&twice, "history", "contradicted", "history_contradicts");
    assert_eq!(flags(&twice)[0]["flag"], "device_at_two_nodes", "{twice:#}");

    let output = giving.cli(&["swap", "0", "--ticket", "WO-21"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    giving.process.terminate(Duration::from_secs(5))?;
    let giving = giving.again(&node(&new, here.port))?;
    wait_for("the other card", Duration::from_secs(15), || {
        let uuid = giving.status().ok()?["gpus"][0]["uuid"].as_str()?.to_owned();
        (uuid != card).then_some(())
    })?;
    let (_, gave) = stranger.ask(here.port, "declared", &[])?;
    assert_ne!(gave["outcome"], "contradicted", "{gave:#}");
    let (_, moved) = stranger.ask(there.port, "declared", &[])?;
    let flag = flags(&moved).first().cloned().unwrap_or_default();
    assert_eq!(flag["flag"], "declared_move", "{moved:#}");
    assert_eq!(
        (flag["ticket"].as_str(), flag["device"].as_str()),
        (Some("WO-21"), Some(&*format!("uuid:{card}")))
    );
    Ok(())
}
