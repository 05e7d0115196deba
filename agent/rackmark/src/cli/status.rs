//! `rackmark status`.

use clap::Args;
use serde_json::Value as Json;

use super::ConfigPath;
use super::conditions::{standing, table};
use super::one_shot::print;
use super::pause::failure;
use super::table::{Cell, Tone, colour, painted, render};
use crate::control::client::ask;
use crate::control::verbs::Verb;
use crate::exit::{Code, Failure};
use crate::utc::{Span, Utc};

#[derive(Debug, Args)]
pub struct Options {
    /// Everything as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let status = ask(&config.control_socket, &Verb::Status).map_err(failure)?;
    if options.json {
        print(&format!("{status:#}\n"));
    } else {
        print(&page(&status, colour()));
    }
    Ok(Code::Ok)
}

/// The page for people.
fn page(status: &Json, colour: bool) -> String {
    let text = |path: &str| status.pointer(path).and_then(Json::as_str).unwrap_or("-").to_owned();
    let mut out = format!("{} at {}   {}\n", text("/node/name"), text("/node/site"), text("/node/id"));
    if status["simulated"] == true {
        out.push_str(&painted("SIMULATED GPUs: no figure on this page is real.\n", Tone::Odd, colour));
    }
    if status.pointer("/driver/up") == Some(&Json::Bool(true)) {
        out.push_str(&format!(
            "driver {}, CUDA {}",
            text("/driver/driver_version"),
            text("/driver/cuda_driver_version")
        ));
    } else {
        out.push_str(&painted(&format!("no driver: {}", text("/driver/cause")), Tone::Bad, colour));
    }
    match status.pointer("/sample/age_ms").and_then(Json::as_u64) {
        Some(age) => out.push_str(&format!(", sampled {:.1} s ago", age as f64 / 1000.0)),
        None => out.push_str(", no sample yet"),
    }
    out.push_str(match status.pointer("/mqtt/connected") {
        Some(Json::Bool(true)) => ", broker connected\n\n",
        Some(_) => ", broker not connected\n\n",
        None => ", feed off\n\n",
    });
    let waiting: u64 = ["/spool/records/series", "/spool/records/edge"]
        .iter()
        .filter_map(|path| status.pointer(path).and_then(Json::as_u64))
        .sum();
    let trouble = status.pointer("/spool/trouble").and_then(Json::as_str).unwrap_or("");
    if !trouble.is_empty() {
        out.push_str(&painted(&format!("spool: {trouble}\n\n"), Tone::Bad, colour));
    } else if waiting > 1 {
        out.push_str(&format!("{waiting} records wait for delivery\n\n"));
    }
    let gpus = status["gpus"].as_array().map_or(&[][..], Vec::as_slice);
    let now_unix_ms = status["now_unix_ms"].as_u64().unwrap_or_default();
    out.push_str(&format!("{}\n\n", verdict_line(&status["node"], colour)));
    out.push_str(&gpu_table(gpus, now_unix_ms, colour));
    let held = held(status, gpus);
    let conditions = table(&standing(&status["node"], gpus), now_unix_ms, colour);
    for part in [held, conditions].iter().filter(|part| !part.is_empty()) {
        out.push('\n');
        out.push_str(part);
    }
    out
}

/// The node's verdict and its reason.
pub fn verdict_line(node: &Json, colour: bool) -> String {
    let verdict = node["verdict"].as_str().unwrap_or("unknown");
    let shown = painted(verdict, verdict_tone(verdict), colour);
    match node["reason"].as_str() {
        None | Some("") => format!("node is {shown}"),
        Some(reason) => format!("node is {shown}: {reason}"),
    }
}

pub fn verdict_tone(verdict: &str) -> Tone {
    match verdict {
        "schedulable" => Tone::Good,
        "draining" => Tone::Odd,
        "unusable" => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// What people and lease sources hold, one line for each: with whom, and until when.
fn held(status: &Json, gpus: &[Json]) -> String {
    let mut out = String::new();
    let until = |of: &Json| {
        let until = of["until_unix_ms"].as_u64();
        until.map_or_else(String::new, |until| format!(" until {}", Utc(until)))
    };
    let text = |of: &Json, name: &str| of[name].as_str().unwrap_or("-").to_owned();
    let work = |whom: &str, of: &Json| {
        format!("{whom} is in maintenance{}, by {}: {}\n", until(of), text(of, "by"), text(of, "reason"))
    };
    let node = &status["node"]["maintenance"];
    if !node.is_null() {
        out.push_str(&work("the node", node));
    }
    for gpu in gpus {
        let whom = format!("GPU {}", gpu["slot"]);
        let (own, drained, lease) = (&gpu["maintenance"], &gpu["drained"], &gpu["lease"]);
        if !own.is_null() && own != node {
            out.push_str(&work(&whom, own));
        }
        if !drained.is_null() {
            out.push_str(&format!(
                "{whom} is drained by {}: {}\n",
                text(drained, "by"),
                text(drained, "reason")
            ));
        }
        if !lease.is_null() {
            let what = if lease["reserved"] == true { "reserved for" } else { "leased to" };
            out.push_str(&format!("{whom} is {what} {}{}\n", text(lease, "id"), until(lease)));
        }
    }
    out
}

/// The GPUs, from the control socket's or `sample --json`'s form.
pub fn gpu_table(gpus: &[Json], now_unix_ms: u64, colour: bool) -> String {
    if gpus.is_empty() {
        return "no GPUs\n".to_owned();
    }
    let header = [
        "GPU",
        "NAME",
        "STATE",
        "VERDICT",
        "UTIL",
        "MEMORY",
        "TEMP",
        "POWER",
        "SM CLOCK",
        "PCI ADDRESS",
        "UUID",
    ];
    let parts = |gpu: &Json| gpu["mig"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<Cell>> = gpus
        .iter()
        .flat_map(|gpu| {
            std::iter::once(row(gpu, now_unix_ms)).chain(parts(gpu).iter().map(mig_row).collect::<Vec<_>>())
        })
        .collect();
    render(&header, &rows, colour)
}

fn row(gpu: &Json, now_unix_ms: u64) -> Vec<Cell> {
    let reading = |name: &str| gpu["readings"][name].as_i64();
    let number = |name: &str, per: f64, unit: &str| {
        reading(name).map_or_else(|| "-".to_owned(), |value| format!("{:.0}{unit}", value as f64 / per))
    };
    let memory = match (reading("memory_used_bytes"), reading("memory_total_bytes")) {
        (Some(used), Some(total)) => format!("{:.0}/{:.0} GiB", used as f64 / GIB, total as f64 / GIB),
        _ => "-".to_owned(),
    };
    let standing = gpu["standing"].as_str().unwrap_or("-");
    let state = match (standing, gpu["hangs_in"].as_str()) {
        ("answering", _) => state(gpu, now_unix_ms),
        ("unresponsive", Some(function)) if !function.is_empty() => format!("unresponsive in {function}"),
        (standing, _) => standing.to_owned(),
    };
    let tone = match standing {
        "answering" => match gpu["state"].as_str() {
            Some("faulted") => Tone::Bad,
            Some("draining" | "maintenance" | "unknown") => Tone::Odd,
            _ => Tone::Good,
        },
        "gpu_lost" | "unresponsive" | "driver_gone" => Tone::Bad,
        _ => Tone::Odd,
    };
    let text = |name: &str| Cell::text(gpu[name].as_str().unwrap_or("-"));
    vec![
        Cell::number(gpu["slot"].to_string()),
        text("name"),
        Cell::text(state).tone(tone),
        text("verdict").tone(verdict_tone(gpu["verdict"].as_str().unwrap_or("-"))),
        Cell::number(number("utilization_gpu_percent", 1.0, " %")),
        Cell::number(memory),
        Cell::number(number("temperature_gpu_celsius", 1.0, " °C")),
        Cell::number(number("power_draw_milliwatts", 1000.0, " W")),
        Cell::number(number("clock_sm_megahertz", 1.0, " MHz")),
        text("pci_address"),
        text("uuid").tone(Tone::Faint),
    ]
}

/// The state of a GPU that answers; with the lease, or the time that is left.
fn state(gpu: &Json, now_unix_ms: u64) -> String {
    let state = gpu["state"].as_str().unwrap_or("-");
    let until = gpu["maintenance"]["until_unix_ms"].as_u64();
    let lease = gpu["lease"]["id"].as_str();
    match (state, until, lease) {
        ("maintenance", Some(until), _) => {
            format!("{state}, {} left", Span(until.saturating_sub(now_unix_ms)))
        }
        ("leased" | "reserved", _, Some(id)) => {
            let short: String = id.chars().take(LEASE_CHARS).collect();
            format!("{state} {short}{}", if short.len() < id.len() { "…" } else { "" })
        }
        _ => state.to_owned(),
    }
}

/// Names of leases are cut to so many characters in the table; below it they stand in full.
const LEASE_CHARS: usize = 16;

/// A MIG instance, below its GPU.
fn mig_row(mig: &Json) -> Vec<Cell> {
    let bytes = |name: &str| mig[name].as_u64().map(|bytes| bytes as f64 / GIB);
    let memory = match (bytes("memory_used_bytes"), bytes("memory_total_bytes")) {
        (Some(used), Some(total)) => format!("{used:.0}/{total:.0} GiB"),
        _ => "-".to_owned(),
    };
    let mut row = vec![Cell::text(""), Cell::text(format!("  MIG {} {}", ids(mig), profile(mig)))];
    // State, verdict and utilisation are the whole GPU's.
    row.extend([""; 3].map(Cell::text));
    row.push(Cell::number(memory));
    // So are temperature, power, clock and PCI address.
    row.extend([""; 4].map(Cell::text));
    row.push(Cell::text(mig["uuid"].as_str().unwrap_or("-")).tone(Tone::Faint));
    row
}

/// GPU instance and compute instance, as XIDs and nvidia-smi name them; the index where the driver names none.
fn ids(mig: &Json) -> String {
    match (mig["gpu_instance"].as_u64(), mig["compute_instance"].as_u64()) {
        (Some(gpu), Some(compute)) => format!("{gpu}/{compute}"),
        _ => mig["index"].to_string(),
    }
}

/// `3g.40gb`, of the name that the driver gives: `NVIDIA H100 80GB HBM3 MIG 3g.40gb`.
fn profile(mig: &Json) -> &str {
    let name = mig["profile"].as_str().unwrap_or("-");
    name.rsplit_once("MIG ").map_or(name, |(_, profile)| profile)
}

const GIB: f64 = (1u64 << 30) as f64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mig_instances_stand_below_their_gpu() {
        let mig = json!({ "index": 1, "gpu_instance": 7, "compute_instance": 0, "profile": "NVIDIA H200 MIG 1g.18gb", "uuid": "MIG-1", "memory_used_bytes": 1u64 << 30, "memory_total_bytes": 18u64 << 30 });
        let whole =
            json!({ "slot": 0, "name": "H200", "standing": "answering", "readings": {}, "mig": [mig] });
        let other = json!({ "slot": 1, "name": "H200", "standing": "answering", "readings": {}, "mig": [] });
        let table = gpu_table(&[whole, other], 0, false);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[2].contains("MIG 7/0 1g.18gb") && lines[2].contains("1/18 GiB"), "{table}");
        assert!(lines[2].ends_with("MIG-1"), "{table}");
        let memory = lines[0].find("MEMORY").expect("column") + "MEMORY".len();
        assert_eq!(lines[2].find("GiB").map(|at| at + 3), Some(memory), "{table}");
    }

    #[test]
    fn the_page_names_verdict_lease_and_maintenance() {
        let at = 1_796_119_200_000u64;
        let gpu = |slot: u8, state: &str, more: Json| {
            let mut gpu = json!({
                "slot": slot, "name": "H200", "standing": "answering", "state": state, "verdict": "schedulable",
                "readings": {}, "mig": [], "maintenance": null, "lease": null, "drained": null, "conditions": [],
            });
            gpu.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
            gpu
        };
        let work = json!({ "until_unix_ms": at + 7_200_000, "reason": "fans", "by": "root" });
        let lease =
            json!({ "id": "a-name-longer-than-its-column", "reserved": false, "until_unix_ms": null });
        let status = json!({
            "node": { "verdict": "draining", "reason": "GPU 0 is draining: in maintenance", "conditions": [], "maintenance": null },
            "now_unix_ms": at,
            "gpus": [
                gpu(0, "maintenance", json!({ "maintenance": work, "verdict": "draining" })),
                gpu(1, "leased", json!({ "lease": lease })),
            ],
        });
        let page = page(&status, false);
        for part in [
            "node is draining: GPU 0 is draining: in maintenance\n",
            "maintenance, 2 h 0 min left  draining",
            "leased a-name-longer-th…     schedulable",
            "GPU 0 is in maintenance until 2026-12-01 12:00:00Z, by root: fans\n",
            "GPU 1 is leased to a-name-longer-than-its-column\n",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }
}
