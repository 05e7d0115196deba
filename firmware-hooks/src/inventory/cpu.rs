//! Processors, as the kernel runs them.

use std::collections::BTreeSet;
use std::path::Path;

use super::fact::{Component, Facts};
use super::file;
use super::finding::{Finding, FindingCode};

/// `/proc/cpuinfo` has about 1.5 KB for each logical CPU.
const CPUINFO_BYTES_MAX: u64 = 4 << 20;

/// The instance of what is the same for all processors.
const ALL: &str = "all";

pub(super) fn read(proc_root: &Path, facts: &mut Facts, findings: &mut Vec<Finding>) {
    let Some(text) = file::long_text(&proc_root.join("cpuinfo"), CPUINFO_BYTES_MAX) else { return };
    let values = |wanted: &str| -> BTreeSet<&str> {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| key.trim() == wanted).map(|(_, value)| value.trim()).collect()
    };
    let logical =
        text.lines().filter(|line| line.split(':').next().map(str::trim) == Some("processor")).count();
    let joined = |wanted: &str| {
        let values = values(wanted);
        (!values.is_empty()).then(|| values.into_iter().collect::<Vec<_>>().join(" "))
    };
    let mut put = |field, value: Option<String>| facts.put_some(Component::Cpu, ALL, field, value);
    put("model", joined("model name"));
    put("stepping", joined("stepping"));
    put("microcode", joined("microcode"));
    put("logical", (logical > 0).then(|| logical.to_string()));
    let sockets = values("physical id").len();
    put("sockets", (sockets > 0).then(|| sockets.to_string()));
    let microcode = values("microcode");
    if microcode.len() > 1 {
        let detail = format!("microcode {}", microcode.into_iter().collect::<Vec<_>>().join(" and "));
        findings.push(Finding::new(FindingCode::MicrocodeMixed, ALL, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, shown};
    use super::*;

    fn processor(socket: u8, microcode: &str) -> String {
        format!(
            "processor\t: 0\nmodel name\t: Example 9654\nstepping\t: 1\nmicrocode\t: {microcode}\nphysical id\t: {socket}\n\n"
        )
    }

    #[test]
    fn two_sockets_with_one_microcode() {
        let tree = Tree::new();
        tree.write("cpuinfo", &(processor(0, "0xa1") + &processor(0, "0xa1") + &processor(1, "0xa1")));
        let (mut facts, mut findings) = (Facts::default(), Vec::new());
        read(tree.path(), &mut facts, &mut findings);
        assert_eq!(
            shown(facts),
            [
                "cpu all logical=3",
                "cpu all microcode=0xa1",
                "cpu all model=Example 9654",
                "cpu all sockets=2",
                "cpu all stepping=1"
            ]
        );
        assert_eq!(findings, []);
    }

    #[test]
    fn mixed_microcode_is_found() {
        let tree = Tree::new();
        tree.write("cpuinfo", &(processor(0, "0xa1") + &processor(1, "0xa2")));
        let mut findings = Vec::new();
        read(tree.path(), &mut Facts::default(), &mut findings);
        let codes: Vec<_> = findings.iter().map(|finding| (finding.code, finding.detail.as_str())).collect();
        assert_eq!(codes, [(FindingCode::MicrocodeMixed, "microcode 0xa1 and 0xa2")]);
    }
}
