//! Makes a profile of a capture: a text file with the answers of `nvidia-smi`, idle and under load.
//!
//! Sections begin with a title line `# PHASE :: WHAT` between two lines of `#`. For each phase the CSV answer of
//! `--query-gpu` and the tree of `-q` are read; where both have a figure the CSV wins (they are taken milliseconds
//! apart). A figure that the capture gives as N/A stays without one. Masked identifiers are not carried. Only the first
//! GPU of a capture is read.

mod emit;
mod figures;

use crate::abi::{self, Ret};
use std::collections::HashMap;

/// Largest capture in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// Why a capture cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    /// More than [`MAX_BYTES`].
    #[error("capture is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// A section is missing.
    #[error("capture has no section `{0}`")]
    Missing(String),
    /// A figure is not as it must be.
    #[error("`{key}` of the capture reads `{text}`, which is not {wanted}")]
    Figure {
        /// Its name in the capture.
        key: String,
        /// What the capture says.
        text: String,
        /// What was expected.
        wanted: &'static str,
    },
}

/// The answers of one phase.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By CSV name, without unit.
    csv: HashMap<String, String>,
    /// By path in the `-q` tree, joined with `/`; the first of several counts.
    tree: HashMap<String, String>,
    /// Repeated groups in order: path and value.
    lines: Vec<(String, String)>,
}

/// A capture, taken apart.
#[derive(Debug)]
pub(crate) struct Capture {
    sections: HashMap<String, String>,
    pub(crate) idle: Answers,
    pub(crate) load: Answers,
}

fn sections(text: &str) -> HashMap<String, String> {
    let is_rule = |line: &str| line.len() >= 40 && line.bytes().all(|byte| byte == b'#');
    let mut sections: HashMap<String, String> = HashMap::new();
    let mut title = String::new();
    let mut in_head = false;
    for line in text.lines() {
        if is_rule(line) {
            in_head = !in_head;
        } else if in_head {
            if let Some(name) = line.strip_prefix("# ").filter(|name| name.contains(" :: ")) {
                name.trim().clone_into(&mut title);
            }
        } else if !title.is_empty() {
            let body = sections.entry(title.clone()).or_default();
            body.push_str(line);
            body.push('\n');
        }
    }
    sections
}

/// The first GPU's answers by name: `power.draw [W]` becomes `power.draw`.
fn csv(body: &str) -> HashMap<String, String> {
    let mut lines = body.lines().filter(|line| !line.trim().is_empty());
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return HashMap::new() };
    let names = names.split(',').map(|name| name.split('[').next().unwrap_or_default().trim().to_owned());
    names.zip(values.split(',').map(|value| value.trim().to_owned())).collect()
}

/// The `-q` tree of the first GPU: paths below `GPU <address>`, joined with `/`.
fn tree(body: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut gpus = 0;
    for line in body.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        if indent == 0 {
            gpus += usize::from(text.starts_with("GPU "));
            path.clear();
        }
        let (key, value) =
            match text.split_once(" : ").or_else(|| text.strip_suffix(" :").map(|key| (key, ""))) {
                Some((key, value)) => (key.trim(), Some(value.trim())),
                None => (text, None),
            };
        path.retain(|(at, _)| *at < indent);
        if let Some(value) = value {
            let mut full: Vec<&str> = path.iter().filter(|(at, _)| *at > 0).map(|(_, key)| *key).collect();
            full.push(key);
            if gpus <= 1 {
                found.push((full.join("/"), value.to_owned()));
            }
        }
        path.push((indent, key));
    }
    found
}

impl Answers {
    fn new(csv_body: &str, tree_body: &str) -> Answers {
        let lines = tree(tree_body);
        let mut first = HashMap::new();
        for (path, value) in &lines {
            first.entry(path.clone()).or_insert_with(|| value.clone());
        }
        Answers { csv: csv(csv_body), tree: first, lines }
    }

    /// What the capture says about a figure: the CSV answer, else the tree's; empty names are skipped.
    fn text(&self, csv: &str, tree: &str) -> Option<&str> {
        self.csv.get(csv).or_else(|| self.tree.get(tree)).map(String::as_str)
    }
}

impl Capture {
    pub(crate) fn read(text: &str) -> Result<Capture, ImportError> {
        if text.len() > MAX_BYTES {
            return Err(ImportError::TooLarge);
        }
        let sections = sections(text);
        let find = |prefix: String| {
            let found =
                sections.iter().find(|(title, _)| title.starts_with(&prefix)).map(|(_, body)| body.clone());
            found.ok_or(ImportError::Missing(prefix))
        };
        let phase = |phase: &str| -> Result<Answers, ImportError> {
            Ok(Answers::new(
                &find(format!("{phase} :: query-gpu (csv"))?,
                &find(format!("{phase} :: query (-q)"))?,
            ))
        };
        let (idle, load) = (phase("idle")?, phase("load")?);
        Ok(Capture { idle, load, sections })
    }

    fn section(&self, prefix: &str) -> &str {
        let found = self.sections.iter().find(|(title, _)| title.starts_with(prefix));
        found.map_or("", |(_, body)| body.as_str())
    }
}

/// The return code behind a text that stands for no figure; `None` for any other text.
pub(crate) fn absence(text: &str) -> Option<Ret> {
    match text.trim_start_matches('[').trim_end_matches(']') {
        "N/A" | "Not Supported" | "" => Some(abi::NOT_SUPPORTED),
        "Requested functionality has been deprecated" => Some(abi::DEPRECATED),
        "Insufficient Permissions" => Some(abi::NO_PERMISSION),
        "GPU is lost" => Some(abi::GPU_IS_LOST),
        "Unknown Error" => Some(abi::UNKNOWN),
        _ => None,
    }
}

/// Makes the TOML text of a profile called `name` from the text of a capture.
///
/// # Errors
/// Too large, a section is missing, or a figure does not read.
pub fn import(capture: &str, name: &str) -> Result<String, ImportError> {
    emit::profile(&Capture::read(capture)?, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Field;
    use crate::profile::{Profile, Text};
    use proptest::prelude::*;

    fn small() -> String {
        let rule = "#".repeat(80);
        let head = "name, serial, uuid, pci.bus_id, power.draw [W], temperature.memory, memory.total [MiB], clocks.applications.graphics [MHz], fan.speed [%]";
        let mut text = format!(
            "{rule}\n# capabilities :: version\n# $ x\n{rule}\nNVML version        : 555.1\nDRIVER version      : 555.1.2\nCUDA Version        : 12.5\n"
        );
        for (phase, draw, celsius) in [("idle", "70.5 W", "30"), ("load", "627.40 W", "40")] {
            text += &format!(
                "{rule}\n# {phase} :: query (-q)\n# $ x\n{rule}\n\nAttached GPUs : 1\nGPU 00000000:83:00.0\n    Product Name     : Made Up\n    Minor Number     : 0\n    Temperature\n        Memory Current Temp : 41 C\n        GPU Slowdown T.Limit Temp : -2 C\n    Processes\n        GPU instance ID : N/A\n        Compute instance ID : N/A\n        Process ID : 77\n            Type : C+G\n            Name : a b\n            Used GPU Memory : 5 MiB\n"
            );
            text += &format!(
                "{rule}\n# {phase} :: query-gpu (csv, x)\n# $ x\n{rule}\n{head}\nMade Up, 0000, GPU-0, 00000000:83:00.0, {draw}, {celsius}, 3 MiB, [Requested functionality has been deprecated], [N/A]\n"
            );
        }
        text
    }

    #[test]
    fn figures_are_exact_and_the_csv_wins() {
        let profile = Profile::parse(&import(&small(), "made-up").unwrap()).unwrap();
        let load = |field: Field| profile.load.cells[field.position()].get();
        assert_eq!(load(Field::POWER_DRAW), Ok(627_400));
        assert_eq!(profile.idle.cells[Field::POWER_DRAW.position()].get(), Ok(70_500));
        assert_eq!(load(Field::TEMPERATURE_MEMORY), Ok(40));
        assert_eq!(load(Field::TLIMIT_SLOWDOWN), Ok(-2));
        assert_eq!(load(Field::MEMORY_TOTAL), Ok(3 << 20));
        assert_eq!(load(Field::CLOCK_APPLICATION), Err(abi::DEPRECATED));
        assert_eq!(load(Field::FAN_SPEED), Err(abi::NOT_SUPPORTED));
        assert_eq!(profile.texts[Text::Serial as usize].as_deref(), Ok("sim"));
        let (_, process) = &profile.load.processes[0];
        assert_eq!((process.pid, process.name.as_str(), process.memory_bytes), (77, "a b", 5 << 20));
        assert!(process.compute && process.graphics && process.gpu_instance == u32::MAX);
        assert_eq!(profile.system.cuda_version, 12050);
    }

    #[test]
    fn a_missing_section_is_named() {
        assert_eq!(import("", "x"), Err(ImportError::Missing("idle :: query-gpu (csv".to_owned())));
    }

    #[test]
    fn a_figure_that_does_not_read_is_named() {
        let text = small().replace("627.40 W", "lots");
        assert_eq!(
            import(&text, "x").unwrap_err().to_string(),
            "`power.draw` of the capture reads `lots`, which is not a number of watts"
        );
    }

    proptest! {
        #[test]
        fn the_importer_is_total(cut in 0usize..3000, noise in "[ -~\\n]{0,40}") {
            let text = small();
            let at = cut.min(text.len());
            let _ = import(&format!("{}{noise}{}", &text[..at], &text[at..]), "x");
        }
    }
}
