//! What operators are given: rules, runbooks and dashboards. Judged by Prometheus itself wherever it can.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::http;
use rackmark_e2e::process::{Process, free_port, wait_for};
use rackmark_e2e::prometheus::{Prometheus, Rule};
use rackmark_e2e::sim::Sim;
use serde_json::Value as Json;

const DASHBOARDS: [&str; 2] = ["rackmark-fleet.json", "rackmark-node.json"];

/// Conditions of a GPU, by code.
const GPU_CONDITIONS: [&str; 38] = [
    "burn_in_failed",
    "card_untested",
    "worker_stuck",
    "gpu_lost",
    "gpu_unresponsive",
    "xid",
    "recovery_action",
    "row_remap_pending",
    "row_remap_failed",
    "row_remap_exhausted",
    "row_remap_spares_low",
    "retired_pages_pending",
    "retired_pages_limit",
    "retired_pages_rate",
    "ecc_uncorrected",
    "ecc_corrected_rate",
    "sram_threshold",
    "repair_pending",
    "mode_pending",
    "nvlink_down",
    "nvlink_errors",
    "nvlink_crc",
    "nvlink_crc_high",
    "pcie_replays",
    "pcie_link_degraded",
    "throttle_hw_thermal",
    "throttle_power_brake",
    "throttle_sw_thermal",
    "temperature_high",
    "memory_temperature_high",
    "power_unreadable",
    "inforom_invalid",
    "fabric_not_ready",
    "fabric_unhealthy",
    "ghost_utilization",
    "foreign_process",
    "implausible_reading",
    "persistence_off",
];

/// Conditions of a node, by code.
const NODE_CONDITIONS: [&str; 13] = [
    "driver_gone",
    "sampling_stale",
    "gpu_count",
    "persistenced_down",
    "fabric_manager_down",
    "clock_unsynchronised",
    "clock_stepped",
    "disk_low",
    "spool_trouble",
    "blocked_processes",
    "kernel_log_unavailable",
    "kernel_log_lost",
    "sxid",
];

const ACTIONS: [&str; 8] = [
    "none",
    "restart_application",
    "contact_support",
    "drain",
    "reset_gpu",
    "reboot_node",
    "inspect_hardware",
    "replace_hardware",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rules_file() -> PathBuf {
    root().join("packaging/prometheus/rackmark.rules.yml").canonicalize().unwrap_or_default()
}

/// The rules as Prometheus reads them.
fn rules() -> Outcome<Vec<Rule>> {
    let rules = Prometheus::start(&[], Some(&rules_file()))?.rules()?;
    assert!(rules.len() > 50, "{} rules", rules.len());
    Ok(rules)
}

fn dashboard(name: &str) -> Outcome<Json> {
    Ok(serde_json::from_str(&fs::read_to_string(root().join("packaging/grafana").join(name))?)?)
}

fn panels(dashboard: &Json) -> Vec<&Json> {
    dashboard["panels"].as_array().map(|panels| panels.iter().collect()).unwrap_or_default()
}

/// Title and expression of every target.
fn expressions(dashboard: &Json) -> Vec<(String, String)> {
    let of = |panel: &Json| -> Vec<(String, String)> {
        let title = panel["title"].as_str().unwrap_or("").to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (title.clone(), target["expr"].as_str().unwrap_or("").to_owned())).collect()
    };
    panels(dashboard).into_iter().flat_map(of).collect()
}

/// Runs a checker in the folder of the rules; it must succeed.
fn passes(program: &str, arguments: &[&str]) -> Outcome<()> {
    let output =
        Command::new(program).args(arguments).current_dir(root().join("packaging/prometheus")).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

#[test]
fn rules_and_examples_are_valid() -> Outcome<()> {
    passes("promtool", &["check", "rules", "rackmark.rules.yml"])?;
    passes("promtool", &["check", "config", "prometheus.example.yml"])?;
    passes("amtool", &["check-config", "alertmanager.example.yml"])?;
    for (labels, receiver) in [
        ("severity=critical", "pager"),
        ("severity=warning", "tickets"),
        ("severity=info", "log"),
        ("severity=critical maintenance=true", "nobody"),
    ] {
        let verify = format!("--verify.receivers={receiver}");
        let file = "--config.file=alertmanager.example.yml";
        let mut arguments = vec!["config", "routes", "test", file, &verify];
        arguments.extend(labels.split(' '));
        passes("amtool", &arguments)?;
    }
    Ok(())
}

#[test]
fn what_explains_hides_what_follows_from_it() -> Outcome<()> {
    let folder = tempfile::TempDir::new()?;
    let port = free_port()?;
    let mut command = Command::new("prometheus-alertmanager");
    command
        .arg(format!(
            "--config.file={}",
            root().join("packaging/prometheus/alertmanager.example.yml").display()
        ))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _alertmanager = Process::start(&mut command)?;
    wait_for("Alertmanager", Duration::from_secs(20), || http::get(port, "/-/ready", "*/*").ok())?;
    let url = format!("--alertmanager.url=http://127.0.0.1:{port}");
    // By node: what fires there, scope and severity after each name, and what is left to be told.
    type Case = (&'static str, &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 5] = [
        (
            "down",
            &["RackmarkDown node critical", "GpuLost gpu critical", "RackmarkSimulatedGpus agent critical"],
            &["RackmarkDown"],
        ),
        (
            "driver",
            &["NodeDriverGone node critical", "NodeUnusable node critical", "GpuVerdictUnknown gpu critical"],
            &["NodeDriverGone"],
        ),
        (
            "lost",
            &["GpuLost gpu critical", "GpuXidRebootNeeded gpu critical", "NodeDiskLow node warning"],
            &["GpuLost", "NodeDiskLow"],
        ),
        (
            "rows",
            &["GpuRowRemapFailed gpu critical", "GpuEccUncorrected gpu critical"],
            &["GpuRowRemapFailed"],
        ),
        (
            "apart",
            &["GpuPowerBrake gpu critical", "GpuXidReported gpu info"],
            &["GpuPowerBrake", "GpuXidReported"],
        ),
    ];
    for (node, alerts, _) in cases {
        for alert in alerts {
            let [name, scope, severity] = alert.split(' ').collect::<Vec<_>>()[..] else {
                return Err("alert".into());
            };
            let labels = [
                format!("alertname={name}"),
                format!("scope={scope}"),
                format!("severity={severity}"),
                format!("instance={node}"),
            ];
            let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            labels.push("job=rackmark");
            labels.extend((scope == "gpu").then_some("gpu=3"));
            let mut arguments = vec!["alert", "add", &url];
            arguments.extend(labels);
            passes("amtool", &arguments)?;
        }
    }
    for (node, _, told) in cases {
        let told: BTreeSet<&str> = told.iter().copied().collect();
        let path = format!("/api/v2/alerts?inhibited=false&filter=instance%3D%22{node}%22");
        wait_for(&format!("{node}: {told:?} and nothing else"), Duration::from_secs(10), || {
            let answer: Json = serde_json::from_str(&http::get(port, &path, "*/*").ok()?.body).ok()?;
            let names = answer.as_array()?.iter().filter_map(|alert| alert["labels"]["alertname"].as_str());
            (names.collect::<BTreeSet<_>>() == told).then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn every_alert_fires_when_it_should_and_not_before() -> Outcome<()> {
    passes("promtool", &["test", "rules", "rackmark.rules.test.yml"])?;
    let cases = fs::read_to_string(root().join("packaging/prometheus/rackmark.rules.test.yml"))?;
    for alert in rules()?.iter().filter(|rule| rule.alerts) {
        let fires = format!("alertname: {}\n        exp_alerts:\n          - exp_labels:", alert.name);
        let waits = format!("alertname: {}, exp_alerts: [] }}", alert.name);
        assert!(cases.contains(&fires), "no case in which {} fires", alert.name);
        assert!(cases.contains(&waits), "no case in which {} does not fire yet", alert.name);
    }
    Ok(())
}

#[test]
fn every_alert_says_how_bad_it_is_where_it_is_and_why_it_waits() -> Outcome<()> {
    let file = fs::read_to_string(rules_file())?;
    for alert in rules()?.iter().filter(|rule| rule.alerts) {
        let name = &alert.name;
        let severity = alert.labels["severity"].as_str().unwrap_or("");
        // On conditions the agent's own word counts.
        let known = ["critical", "warning", "info", "{{ $labels.severity }}"].contains(&severity);
        assert!(known, "{name}: severity {severity:?}");
        let scope = alert.labels["scope"].as_str().unwrap_or("");
        assert!(["gpu", "node", "agent"].contains(&scope), "{name}: scope {scope:?}");
        let [summary, description, runbook] = ["summary", "description", "runbook_url"]
            .map(|annotation| alert.annotations[annotation].as_str().unwrap_or(""));
        assert!(summary.contains("{{ $labels.instance }}"), "{name}: {summary}");
        assert!(!description.is_empty(), "{name} has no description");
        assert_eq!(runbook, format!("docs/runbooks/{name}.md"));
        let names = ["instance", "gpu", "serial", "physical_slot", "pci_address"];
        for label in names.iter().filter(|_| scope == "gpu") {
            assert!(description.contains(&format!("{{{{ $labels.{label} }}}}")), "{name}: no {label}");
        }
        let before = file.split(&format!("      - alert: {name}\n")).next().unwrap_or("");
        let reason = before.trim_end().rsplit('\n').next().unwrap_or("").trim_start();
        assert!(reason.starts_with("# "), "{name}: why it waits stands in no comment before it");
    }
    Ok(())
}

/// A selector on conditions: what its matchers demand.
struct Selector(Vec<(String, bool, Vec<String>)>);

impl Selector {
    /// From an expression that begins with a condition of this scope.
    fn of(query: &str, scope: &str) -> Option<Self> {
        let inside = query.strip_prefix(&format!("rackmark:{scope}_condition:actionable{{"))?;
        let matchers = inside.split_once('}')?.0.split("\",");
        let read = |matcher: &str| -> Option<(String, bool, Vec<String>)> {
            let (left, values) = matcher.trim_end_matches('"').split_once('"')?;
            let label = left.trim_end_matches(['=', '!', '~']);
            let values = values.split('|').map(str::to_owned).collect();
            Some((label.trim().to_owned(), !left.contains('!'), values))
        };
        matchers.map(read).collect::<Option<_>>().map(Self)
    }

    fn takes(&self, labels: &[(&str, &str)]) -> bool {
        self.0.iter().all(|(label, wanted, values)| {
            let value = labels.iter().find(|(name, _)| name == label).map_or("", |(_, value)| *value);
            values.iter().any(|accepted| accepted == value) == *wanted
        })
    }
}

#[test]
fn every_condition_has_exactly_one_alert() -> Outcome<()> {
    let rules = rules()?;
    let gpu: Vec<&str> = GPU_CONDITIONS.into_iter().chain(["a_code_of_the_future"]).collect();
    let node: Vec<&str> = NODE_CONDITIONS.into_iter().chain(["a_code_of_the_future"]).collect();
    for (scope, codes) in [("gpu", gpu), ("node", node)] {
        let selectors: Vec<(&str, Selector)> = rules
            .iter()
            .filter(|rule| rule.alerts)
            .filter_map(|rule| Some((rule.name.as_str(), Selector::of(&rule.query, scope)?)))
            .collect();
        for code in &codes {
            for severity in ["critical", "warning", "info"] {
                for action in ACTIONS {
                    let labels = [("condition", *code), ("severity", severity), ("action", action)];
                    let taken: Vec<&str> = selectors
                        .iter()
                        .filter(|(_, selector)| selector.takes(&labels))
                        .map(|(name, _)| *name)
                        .collect();
                    // The generic alerts leave out what is merely worth knowing.
                    let least = usize::from(severity != "info");
                    assert!((least..=1).contains(&taken.len()), "{scope} {labels:?}: {taken:?}");
                }
            }
        }
        // A rule on a condition that does not exist would never fire.
        for (name, Selector(matchers)) in &selectors {
            for (_, _, values) in matchers.iter().filter(|(label, ..)| label == "condition") {
                for value in values {
                    assert!(codes.contains(&value.as_str()), "{name}: no condition is called {value}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() -> Outcome<()> {
    let folder = root().join("docs/runbooks");
    let alerts: BTreeSet<String> =
        rules()?.into_iter().filter(|rule| rule.alerts).map(|rule| format!("{}.md", rule.name)).collect();
    let pages: BTreeSet<String> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Outcome<_>>()?;
    let expected: BTreeSet<String> = alerts.iter().cloned().chain(["README.md".to_owned()]).collect();
    assert_eq!(pages, expected);
    let index = fs::read_to_string(folder.join("README.md"))?;
    let wanted =
        ["## What it means", "## What the agent saw", "## What to do now", "## When it clears", "## Do not"];
    for page in alerts {
        let text = fs::read_to_string(folder.join(&page))?;
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, wanted, "{page}");
        assert!(text.starts_with(&format!("# {}\n", page.trim_end_matches(".md"))), "{page}");
        let parts: Vec<&str> = text.split("\n## ").skip(1).collect();
        assert!(
            parts.iter().all(|part| part.split_once('\n').is_some_and(|(_, body)| body.trim().len() > 3)),
            "{page}"
        );
        let commands = parts.get(2).ok_or("what to do")?;
        assert!(commands.contains("```sh\n"), "{page}: no command to run");
        assert!(index.contains(&format!("]({page})")), "{page} is not in the index");
    }
    Ok(())
}

#[test]
fn dashboards_are_well_formed() -> Outcome<()> {
    let script = root().join("packaging/grafana/dashboards.py");
    let python = std::env::var("RACKMARK_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python).arg("-B").arg(script).arg("--check").output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in DASHBOARDS {
        let dashboard = dashboard(name)?;
        assert_eq!(dashboard["schemaVersion"], 39);
        let variables: Vec<&Json> =
            dashboard["templating"]["list"].as_array().ok_or("variables")?.iter().collect();
        assert!(variables.iter().any(|variable| variable["type"] == "datasource"), "{name}");
        let panels = panels(&dashboard);
        let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}: ids are not unique");
        let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
        for panel in &panels {
            let title = panel["title"].as_str().filter(|title| !title.is_empty()).ok_or("a title")?;
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or(u64::MAX / 4));
            assert!(w > 0 && h > 0 && h < 100 && x + w <= 24, "{name}, {title}: {x} + {w}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{name}, {title} covers another panel at {cell:?}");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_ne!(panel["type"], "text", "{name}, {title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}, {title}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(
                defaults["unit"].as_str().is_some_and(|unit| !unit.is_empty()),
                "{name}, {title}: no unit"
            );
            assert!(
                defaults["thresholds"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()),
                "{title}"
            );
            let targets = panel["targets"].as_array().ok_or("targets")?;
            assert!(!targets.is_empty(), "{name}, {title}: nothing is asked");
            let letters: BTreeSet<&str> =
                targets.iter().filter_map(|target| target["refId"].as_str()).collect();
            assert_eq!(letters.len(), targets.len(), "{name}, {title}: refIds");
        }
        let all = expressions(&dashboard);
        assert!(all.len() > 20 && all.iter().all(|(_, expression)| !expression.is_empty()), "{name}");
        // A variable that nothing uses, or a use of one that does not exist, is a mistake.
        let text = dashboard.to_string();
        for variable in &variables {
            let called = variable["name"].as_str().ok_or("name")?;
            let used = text.contains(&format!("${called}")) || text.contains(&format!("${{{called}}}"));
            assert!(used, "{name}: {called} is not used");
        }
        let known = |expression: &str| {
            ["job", "instance", "gpu", "__rate_interval"]
                .iter()
                .fold(expression.to_owned(), |text, name| text.replace(&format!("${name}"), ""))
        };
        for (title, expression) in &all {
            assert!(!known(expression).contains('$'), "{name}, {title}: {expression}");
        }
    }
    Ok(())
}

/// Names of metrics of ours in an expression; what stands in quotes is a value.
fn metrics(expression: &str) -> BTreeSet<String> {
    let outside: String = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    outside
        .split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_' && sign != ':')
        .filter(|word| word.starts_with("rackmark_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_in_rules_and_dashboards_is_documented() -> Outcome<()> {
    let reference = fs::read_to_string(root().join("docs/metrics.md"))?;
    let known: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert!(known.len() > 100);
    let mut used: BTreeSet<String> = rules()?.iter().flat_map(|rule| metrics(&rule.query)).collect();
    for name in DASHBOARDS {
        used.extend(expressions(&dashboard(name)?).iter().flat_map(|(_, expression)| metrics(expression)));
    }
    let unknown: Vec<&String> = used.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "docs/metrics.md does not know {unknown:#?}");
    Ok(())
}

/// As Grafana does it with one job and one node chosen, and all GPUs.
fn substituted(expression: &str, instance: &str) -> String {
    expression
        .replace("$__rate_interval", "10s")
        .replace("$job", "rackmark")
        .replace("$instance", instance)
        .replace("$gpu", ".*")
}

#[test]
fn every_expression_answers_on_a_running_agent() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h100-sxm-8", None)?, Mosquitto::start()?);
    let setup = Setup::on(&sim)
        .broker(broker.port)
        // One less is there than declared: the node has a condition too.
        .line("node", "expected_gpus = 9")
        .line("sampling", "pcie_throughput = true\nslow_every_secs = 1");
    let agent = Agent::sampling(&setup)?;
    for fault in ["xid 0 79", "remap 1 failure on", "throttle 2 0x48", "ecc 3 uncorrected +1"] {
        sim.command(fault)?;
    }
    let prometheus = Prometheus::start(&[agent.metrics], Some(&rules_file()))?;
    let instance = format!("127.0.0.1:{}", agent.metrics);
    let mut waiting: Vec<(String, String)> = Vec::new();
    for (name, chosen) in DASHBOARDS.into_iter().zip([".*", &instance]) {
        let dashboard = dashboard(name)?;
        for (title, expression) in expressions(&dashboard) {
            waiting.push((format!("{name}: {title}"), substituted(&expression, chosen)));
        }
    }
    assert!(waiting.len() > 60, "{} expressions", waiting.len());
    let end = Instant::now() + Duration::from_secs(60);
    while !waiting.is_empty() && Instant::now() < end {
        let mut empty = Vec::new();
        for (place, expression) in waiting {
            if prometheus.query(&expression)?.is_empty() {
                empty.push((place, expression));
            }
        }
        waiting = empty;
        std::thread::sleep(Duration::from_millis(500));
    }
    // What the variables offer.
    for name in DASHBOARDS {
        let dashboard = dashboard(name)?;
        for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
            let Some(query) = variable["definition"].as_str() else { continue };
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (series, label) = inside.and_then(|inside| inside.rsplit_once(", ")).ok_or("label_values")?;
            let offered = prometheus.label_values(&substituted(series, &instance), label)?;
            assert!(!offered.is_empty(), "{name}: {query}");
        }
    }
    // Rules need not give anything on a healthy part of a node, but every one must evaluate on real series: joins included.
    for rule in prometheus.rules()? {
        assert!(["ok", "unknown"].contains(&rule.health.as_str()), "{}: {}", rule.name, rule.error);
        prometheus.query(&rule.query)?;
    }
    assert!(waiting.is_empty(), "{} expressions are empty after a minute: {waiting:#?}", waiting.len());
    // From the fault to the alert, with the serial number of the board that has it.
    let labels = wait_for("an alert for the failed remapping", Duration::from_secs(10), || {
        let alerts = prometheus.query("ALERTS{alertname=\"GpuRowRemapFailed\"}").ok()?;
        Some(alerts.first()?["metric"].clone())
    })?;
    assert_eq!((&labels["gpu"], &labels["serial"]), (&Json::from("1"), &Json::from("SIM0000000002")));
    Ok(())
}
