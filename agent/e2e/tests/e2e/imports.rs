//! Who may import whom. The table is ARCHITECTURE.md's; a crossed edge fails
//! with its reason.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use rackmark_e2e::Outcome;

struct Rule {
    krate: &'static str,
    /// Crates of ours it may use.
    may: &'static [&'static str],
    /// Crates it must not use directly, whoever made them.
    never: &'static [&'static str],
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        krate: "rackmark-feed",
        may: &[],
        never: &["tokio", "rumqttc", "rumqttc-next", "hyper"],
        reason: "the feed is a public contract: no agent crate, no client in the wire format",
    },
    Rule {
        krate: "rackmark-model",
        may: &[],
        never: &["tokio", "rustix", "libc", "rumqttc-next"],
        reason: "the model is plain data: no I/O, no clock, no runtime",
    },
    Rule {
        krate: "rackmark-spool",
        may: &[],
        never: &["tokio", "rumqttc", "rumqttc-next", "serde", "rustix"],
        reason: "the spool is bytes in, bytes out: std and a checksum",
    },
    Rule {
        krate: "rackmark-hardware",
        may: &["rackmark-model"],
        never: &["nvml-wrapper", "nvml-wrapper-sys", "rumqttc-next", "hyper", "tokio"],
        reason: "readers of sysfs and procfs know neither NVML nor networks",
    },
    Rule {
        krate: "rackmark-health",
        may: &["rackmark-model"],
        never: &["tokio", "rustix", "libc", "rackmark-hardware", "rackmark-feed"],
        reason: "the verdict is a pure function: no I/O, no clock, replayable from a recording",
    },
    Rule {
        krate: "rackmark-sampler",
        may: &["rackmark-model", "rackmark-hardware"],
        never: &["tokio", "rumqttc-next", "hyper", "rackmark-feed"],
        reason: "the sampler may hang in the driver; it holds no network and no runtime",
    },
    Rule {
        krate: "rackmark-collect",
        may: &["rackmark-model"],
        never: &["tokio", "rumqttc-next", "hyper", "rackmark-feed", "rackmark-hardware"],
        reason: "the collector runs as root: it opens, hands over and ends, and parses nothing but its order",
    },
    Rule {
        krate: "rackmark-firmware-hooks",
        may: &["rackmark-model", "rackmark-hardware"],
        never: &["tss-esapi", "nvml-wrapper", "nvml-wrapper-sys", "rumqttc-next", "hyper", "tokio"],
        reason: "readers of firmware and runners of hooks know neither TPM, NVML nor networks; names of slots, sleep and the driver's version they have from the readers of sysfs and procfs",
    },
    Rule {
        krate: "rackmark-gpu",
        may: &["rackmark-model", "rackmark-feed"],
        never: &["tokio", "rumqttc-next", "hyper", "tss-esapi", "nvml-wrapper", "nvml-wrapper-sys"],
        reason: "the process with a GPU may hang in the driver; it holds no network, no runtime and no key; the game of a proof it has from the feed, since two writings of one layout would drift",
    },
    Rule {
        krate: "rackmark-attest",
        may: &["rackmark-model"],
        never: &["tokio", "rumqttc-next", "hyper", "rackmark-feed"],
        reason: "the process with the TPM holds no network, no runtime and no other key",
    },
    Rule {
        krate: "rackmark-sim-nvml",
        may: &[],
        never: &["nvml-wrapper", "nvml-wrapper-sys", "rackmark-model"],
        reason: "the simulator shares only the C ABI with what it tests",
    },
    Rule {
        krate: "rackmark-sim-cuda",
        may: &["rackmark-sim-nvml"],
        never: &["rackmark-model", "rackmark-gpu", "cudarc"],
        reason: "the simulator shares only the C ABI and the kernels' source with what it tests; its tool reads which GPUs a folder has",
    },
    Rule {
        krate: "rackmark-sim-broker",
        may: &[],
        never: &["rackmark-model", "rackmark-feed"],
        reason: "the demo's broker is a stranger to the agent, and never packaged",
    },
    Rule {
        krate: "rackmark",
        may: &[
            "rackmark-model",
            "rackmark-hardware",
            "rackmark-health",
            "rackmark-feed",
            "rackmark-firmware-hooks",
            "rackmark-spool",
        ],
        never: &["nvml-wrapper", "nvml-wrapper-sys", "cudarc", "libloading", "rumqttd", "tss-esapi"],
        reason: "the daemon never maps an NVIDIA library",
    },
    Rule {
        krate: "rackmark-e2e",
        may: &["rackmark-feed", "rackmark-spool", "rackmark-sim-nvml"],
        never: &["nvml-wrapper", "nvml-wrapper-sys", "rackmark-model"],
        reason: "tests from outside know what a stranger knows",
    },
];

fn workspace() -> Outcome<Metadata> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    Ok(MetadataCommand::new()
        .manifest_path(root)
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()?)
}

#[test]
fn no_edge_of_the_import_table_is_crossed() -> Outcome<()> {
    let metadata = workspace()?;
    let ours: BTreeSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let ruled: BTreeSet<String> = RULES.iter().map(|rule| rule.krate.to_owned()).collect();
    assert_eq!(ours, ruled, "every crate of the workspace has a rule");
    let mut crossed = Vec::new();
    for package in &metadata.packages {
        let Some(rule) = RULES.iter().find(|rule| package.name.as_str() == rule.krate) else { continue };
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development)
        {
            let name = dependency.name.as_str();
            let foreign_of_ours = ours.contains(name) && !rule.may.contains(&name);
            if foreign_of_ours || rule.never.contains(&name) {
                crossed.push(format!("{} uses {name}: {}", rule.krate, rule.reason));
            }
        }
    }
    assert!(crossed.is_empty(), "{}", crossed.join("\n"));
    Ok(())
}

#[test]
fn every_crate_inherits_the_lints_and_unsafe_stays_behind_its_walls() -> Outcome<()> {
    let metadata = workspace()?;
    for package in &metadata.packages {
        let manifest = std::fs::read_to_string(&package.manifest_path)?;
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not inherit the lints",
            package.name
        );
        let walled = ["rackmark-sampler", "rackmark-gpu", "rackmark-sim-nvml", "rackmark-sim-cuda"]
            .contains(&package.name.as_str());
        let folder = package.manifest_path.parent().ok_or("folder")?;
        let mut folders = vec![folder.join("src").into_std_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let allows = std::fs::read_to_string(&path)?.contains("allow(unsafe_code");
                    // The one module of calls into the kernel that have no safe wrapper.
                    let walled = walled || path.ends_with("agent/hardware/src/ethtool.rs");
                    assert!(walled || !allows, "{} allows unsafe code", path.display());
                }
            }
        }
    }
    Ok(())
}
