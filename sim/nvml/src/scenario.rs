//! Scenarios: which profile, how many GPUs, what they do, and what happens when.

use crate::control::{Command, MAX_GPUS};
use crate::curve::Curve;
use crate::profile::{Process, Profile, cells, gpu_list, is_pci_address, process, shipped};
use crate::replay::Recorded;
use crate::tables::{Reader, TableError};
use toml::{Table, Value};

/// The shipped scenarios: name and TOML text.
pub const SHIPPED: &[(&str, &str)] = &[
    ("load", include_str!("../scenarios/load.toml")),
    ("idle", include_str!("../scenarios/idle.toml")),
    ("faults", include_str!("../scenarios/faults.toml")),
];

/// A scenario with its profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The profile.
    pub profile: Profile,
    /// Number of GPUs.
    pub gpus: usize,
    /// Seed of everything random, and part of the UUIDs and serial numbers.
    pub seed: u64,
    /// True: figures of the load phase are the ones held by the curve `captured`.
    pub load_phase: bool,
    /// Start of the timeline.
    pub start_unix_ms: u64,
    /// Curves with the GPUs they are for; the last that covers a GPU counts.
    pub curves: Vec<(Vec<usize>, Curve)>,
    /// Further processes.
    pub processes: Vec<(Vec<usize>, Process)>,
    /// Commands by milliseconds after the start, sorted.
    pub events: Vec<(u64, Command)>,
    /// A recording lies beside the scenario.
    pub replay: bool,
    /// What the recording says about its GPUs, by index.
    pub recorded: Vec<Recorded>,
}

impl Scenario {
    /// Reads a resolved scenario: `profile` is a table.
    ///
    /// # Errors
    /// The first key that is unknown, missing or wrong.
    pub fn read(table: Table) -> Result<Scenario, TableError> {
        let mut reader = Reader::root("scenario", table);
        let Some(Value::Table(profile)) = reader.any("profile") else {
            return Err(reader.error("profile", "is not a table; `nvml-sim prepare` resolves names"));
        };
        let profile = Profile::read(profile)?;
        let mut curves = Vec::new();
        for mut load in reader.tables("load")? {
            let gpus = gpu_list(&mut load, "gpus")?;
            curves.push((gpus, Curve::read(&mut load)?));
            load.finish()?;
        }
        let mut processes = Vec::new();
        for table in reader.tables("process")? {
            processes.push(process(table)?);
        }
        let mut events = Vec::new();
        for mut event in reader.tables("event")? {
            let at =
                event.number("at_secs", 0.0..=1e9)?.ok_or_else(|| event.error("at_secs", "is missing"))?;
            let line = event.text("command")?.ok_or_else(|| event.error("command", "is missing"))?;
            let command = Command::parse(&line).map_err(|error| event.error("command", error.to_string()))?;
            event.finish()?;
            events.push(((at * 1000.0) as u64, command));
        }
        let mut recorded = Vec::new();
        for mut gpu in reader.tables("recorded")? {
            recorded.push(Recorded {
                name: gpu.text("name")?,
                uuid: gpu.text("uuid")?.unwrap_or_default(),
                serial: gpu.text("serial")?.unwrap_or_default(),
                pci_address: gpu.text("pci_address")?.filter(|address| is_pci_address(address)),
                cells: cells(gpu)?,
            });
        }
        events.sort_by_key(|(at, _)| *at);
        let scenario = Scenario {
            gpus: reader.whole("gpus", 0..=MAX_GPUS as i64)?.map_or(profile.gpus, |gpus| gpus as usize),
            seed: reader.whole("seed", 0..=i64::MAX)?.unwrap_or(0) as u64,
            load_phase: match reader.text("phase")?.as_deref() {
                None | Some("load") => true,
                Some("idle") => false,
                Some(_) => return Err(reader.error("phase", "is not `load` or `idle`")),
            },
            start_unix_ms: reader.whole("start_unix_ms", 0..=i64::MAX)?.unwrap_or(0) as u64,
            replay: reader.any("replay").is_some_and(|value| value.as_bool() == Some(true)),
            profile,
            curves,
            processes,
            events,
            recorded,
        };
        reader.text("description")?;
        reader.finish()?;
        Ok(scenario)
    }

    /// The curve of a GPU: the last that covers it; else a profile that was captured holds its figures, another idles.
    pub fn curve(&self, gpu: usize) -> Curve {
        if self.replay && self.curves.is_empty() {
            return Curve::Replay;
        }
        let found = self
            .curves
            .iter()
            .rev()
            .find(|(gpus, _)| crate::profile::covers(gpus, gpu))
            .map(|(_, curve)| *curve);
        found.unwrap_or(if self.profile.captured { Curve::Captured } else { Curve::Idle })
    }
}

/// Puts the shipped profile that a scenario names in place of the name. `read` supplies a profile that is a file.
///
/// # Errors
/// The scenario names no profile, or one that nobody knows.
pub fn resolve(mut table: Table, read: impl Fn(&str) -> Option<String>) -> Result<Table, TableError> {
    let wrong = |problem: String| TableError { place: "scenario.profile".to_owned(), problem };
    let name = match table.get("profile") {
        Some(Value::Table(_)) => return Ok(table),
        Some(Value::String(name)) => name.clone(),
        _ => return Err(wrong("is missing".to_owned())),
    };
    let text = match shipped(&name) {
        Some(text) => text.to_owned(),
        None => read(&name)
            .ok_or_else(|| wrong(format!("`{name}` is neither a shipped profile nor a readable file")))?,
    };
    let profile = text.parse::<Table>().map_err(|error| wrong(error.message().to_owned()))?;
    table.insert("profile".to_owned(), Value::Table(profile));
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scenario, TableError> {
        Scenario::read(resolve(text.parse::<Table>().unwrap(), |_| None)?)
    }

    #[test]
    fn every_shipped_scenario_reads() {
        for (name, text) in SHIPPED {
            let scenario = read(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(scenario.gpus > 0, "{name}");
        }
    }

    #[test]
    fn the_last_curve_that_covers_a_gpu_counts() {
        let scenario = read(
            "profile = 'h100-sxm-8'\n[[load]]\ncurve = 'idle'\n[[load]]\ngpus = [1, 2]\ncurve = 'steady'\npercent = 50",
        )
        .unwrap();
        assert_eq!(scenario.curve(0), Curve::Idle);
        assert_eq!(scenario.curve(2), Curve::Steady { load: 0.5 });
        assert_eq!(scenario.gpus, 8);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, message) in [
            (
                "profile = 'nothing'",
                "scenario.profile: `nothing` is neither a shipped profile nor a readable file",
            ),
            ("profile = 'h200'\nfoo = 1", "scenario.foo: is not a known key"),
            (
                "profile = 'h200'\n[[event]]\nat_secs = 1\ncommand = 'lost'",
                "scenario.event[0].command: command `lost` needs a GPU index or `all`",
            ),
            (
                "profile = 'h200'\n[[load]]\ncurve = 'steady'\npercent = 101",
                "scenario.load[0].percent: is 101, outside 0..=100",
            ),
        ] {
            assert_eq!(read(text).map_err(|error| error.to_string()).err().as_deref(), Some(message));
        }
    }
}
