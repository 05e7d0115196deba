//! Captures of real cards: every field that `nvidia-smi` printed is read back
//! through the whole line (sampler → feed → consumer, and → scrape) and
//! compared. What is not carried is listed with its reason, so that nothing is
//! left out in silence.

mod capture;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Audience, Body, Capacity, GpuSlow, Value, fields};

use self::capture::Capture;
use self::table::{Carried, Expected};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_h200_comes_through_whole() -> Outcome<()> {
    compare("h200", "h200__590.48.01.txt")
}

#[test]
fn the_h100_with_mig_comes_through_whole() -> Outcome<()> {
    compare("h100-mig", "h100-mig__590.48.01.txt")
}

#[test]
fn the_rtx_4080_super_comes_through_whole() -> Outcome<()> {
    compare("rtx4080-super", "geforce-rtx-4080-super__595.71.05.txt")
}

/// What arrived for GPU 0.
struct Arrived {
    fields: BTreeMap<&'static str, Value>,
    slow: GpuSlow,
    capacity: Capacity,
    scrape: String,
}

fn arrived(profile: &str) -> Outcome<Arrived> {
    let (sim, broker) = (Sim::profile(profile, Some(1))?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let setup = Setup::on(&sim)
        .broker(broker.port)
        .line("mqtt", "batch_samples = 2")
        .line("sampling", "pcie_throughput = true");
    let agent = Agent::sampling(&setup)?;
    let (mut batch, mut slow, mut capacity) = (None, None, None);
    buyer.wait_for("capacity, slow readings and telemetry", PATIENCE, |_, body| {
        match body {
            Body::Telemetry(new) => batch = Some(new.clone()),
            Body::TelemetrySlow(new) => slow = new.gpus.first().cloned(),
            Body::Capacity(new)
                if new.audience == Audience::Operator
                    && new.gpus.iter().any(|gpu| gpu.groups.iter().any(|group| group.fields.len() > 20)) =>
            {
                capacity = Some(new.clone());
            }
            _ => {}
        }
        (batch.is_some() && slow.is_some() && capacity.is_some()).then_some(())
    })?;
    let (batch, slow, capacity) = (batch.ok_or("batch")?, slow.ok_or("slow")?, capacity.ok_or("capacity")?);
    let mut known = BTreeMap::new();
    let mut keep = |id: u16, value: &Value| {
        if let Some(field) = fields::by_id(id) {
            known.insert(field.name, value.clone());
        }
    };
    for column in 0..batch.columns().len() {
        let value = batch.value(batch.samples().len() - 1, 0, column).ok_or("a cell")?;
        keep(u16::try_from(column)?, &value);
    }
    let gpu = capacity.gpus.first().ok_or("a GPU")?;
    let groups = gpu.groups.iter().chain(&capacity.groups);
    for field in groups.flat_map(|group| &group.fields).chain(&slow.fields) {
        keep(field.id, &field.value);
    }
    Ok(Arrived { fields: known, slow, capacity, scrape: agent.scrape()?.body })
}

fn compare(profile: &str, file: &str) -> Outcome<()> {
    let path =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/nvidia-smi")).join(file);
    if !path.exists() {
        println!("skipped: no vectors");
        return Ok(());
    }
    let capture = Capture::parse(&std::fs::read_to_string(path)?)?;
    let arrived = arrived(profile)?;
    let (mut wrong, mut compared, mut left_out) = (Vec::new(), 0, Vec::new());
    let csv = capture.fields.iter().map(|(key, text)| (key, text, table::csv(key)));
    let query = capture.query.iter().map(|(key, text)| (key, text, table::query(key)));
    for (key, text, carried) in csv.chain(query) {
        match carried {
            Some(Carried::Not(reason)) => left_out.push(format!("{key}: {reason}")),
            Some(Carried::As(name, read)) => {
                let expected = read(text);
                // The feed's own name for what `-q` and the CSV call differently.
                let value = arrived.fields.get(name);
                if !expected.fits(value) {
                    wrong.push(format!("{key} = {text}: the feed has {name} = {value:?}"));
                } else if let Err(found) = in_scrape(&arrived.scrape, name, &expected) {
                    wrong.push(format!("{key} = {text}: the scrape has {found}"));
                } else {
                    compared += 1;
                }
            }
            None => wrong.push(format!("{key} = {text}: nothing says where this goes")),
        }
    }
    processes(&capture, &arrived, &mut wrong);
    mig(&capture, &arrived, &mut wrong);
    println!(
        "{profile}: {compared} fields compared, {} not carried:\n  {}",
        left_out.len(),
        left_out.join("\n  ")
    );
    assert!(wrong.is_empty(), "{} of {profile} differ:\n  {}", wrong.len(), wrong.join("\n  "));
    assert!(compared > 100, "{compared}");
    Ok(())
}

/// A number is exported in base units; texts stand in the info metric.
fn in_scrape(scrape: &str, name: &str, expected: &Expected) -> Result<(), String> {
    let Some(series) = table::series(name) else { return Ok(()) };
    let found = rackmark_e2e::http::value(scrape, &format!("{series}{{gpu=\"0\"}}"));
    match (expected.number(), found) {
        (Some(expected), Some(found)) => {
            let meant = expected * table::scale(name);
            let same = (meant - found).abs() <= meant.abs() * 1e-9;
            if same { Ok(()) } else { Err(format!("{series} {found}, not {meant}")) }
        }
        (None, None) => Ok(()),
        (Some(_), None) => Err(format!("no {series}")),
        (None, Some(found)) => {
            if expected.is_absent() {
                Err(format!("{series} {found}, not absent"))
            } else {
                Ok(())
            }
        }
    }
}

fn processes(capture: &Capture, arrived: &Arrived, wrong: &mut Vec<String>) {
    let found: Vec<(u32, String, u64)> = arrived
        .slow
        .processes
        .iter()
        .map(|process| (process.pid, process.name.clone(), process.memory_used_bytes.unwrap_or(u64::MAX)))
        .collect();
    let expected: Vec<(u32, String, u64)> = capture
        .processes
        .iter()
        .map(|process| (process.pid, process.name.clone(), process.mebibytes << 20))
        .collect();
    for process in &expected {
        if !found.contains(process) {
            wrong.push(format!("process {process:?} is not among {found:?}"));
        }
    }
    if found.len() != expected.len() {
        wrong.push(format!("{} processes, not {}", found.len(), expected.len()));
    }
}

fn mig(capture: &Capture, arrived: &Arrived, wrong: &mut Vec<String>) {
    let instances = arrived.capacity.gpus.first().map_or(&[][..], |gpu| &gpu.mig);
    if instances.len() != capture.mig.len() {
        wrong.push(format!("{} MIG instances, not {}", instances.len(), capture.mig.len()));
    }
    for (expected, instance) in capture.mig.iter().zip(instances) {
        for (key, text) in expected {
            let Some((name, read)) = table::mig(key) else {
                wrong.push(format!("MIG {key} = {text}: nothing says where this goes"));
                continue;
            };
            let id = fields::by_name(name).map(|field| field.id);
            let value =
                instance.fields.iter().find(|field| Some(field.id) == id).map(|field| field.value.clone());
            if !read(text).fits(value.as_ref()) {
                wrong.push(format!("MIG {} {key} = {text}: the feed has {name} = {value:?}", instance.index));
            }
        }
    }
}
