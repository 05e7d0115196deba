//! `/metrics/dcgm`: what was made for dcgm-exporter works on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::http;
use rackmark_e2e::process::wait_for;
use rackmark_e2e::prometheus::{Prometheus, check_metrics};
use rackmark_e2e::sim::Sim;
use serde_json::Value as Json;

/// dcgm-exporter's default counters with their types.
const DEFAULT: [(&str, &str); 25] = [
    ("DCGM_FI_DEV_SM_CLOCK", "gauge"),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge"),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge"),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge"),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge"),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter"),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter"),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge"),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge"),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge"),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge"),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge"),
    ("DCGM_FI_DEV_FB_FREE", "gauge"),
    ("DCGM_FI_DEV_FB_USED", "gauge"),
    ("DCGM_FI_DEV_FB_RESERVED", "gauge"),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "counter"),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", "gauge"),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter"),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter"),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge"),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge"),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "gauge"),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "gauge"),
    ("DCGM_FI_PROF_PCIE_TX_BYTES", "gauge"),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", "gauge"),
];

/// Absent unless `sampling.pcie_throughput` is on.
const PCIE: [&str; 2] = ["DCGM_FI_PROF_PCIE_TX_BYTES", "DCGM_FI_PROF_PCIE_RX_BYTES"];

/// Waits for a text that is as wanted.
fn wait(agent: &Agent, what: &str, mut want: impl FnMut(&str) -> bool) -> Outcome<String> {
    wait_for(what, Duration::from_secs(15), || {
        http::get(agent.metrics, "/metrics/dcgm", "*/*")
            .ok()
            .map(|answer| answer.body)
            .filter(|text| want(text))
    })
    .map_err(|error| format!("{error}; log:\n{}", agent.log()).into())
}

/// Series of each family.
fn series(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        families.entry(line.split('{').next().unwrap_or("")).or_default().push(line);
    }
    families
}

#[test]
fn every_default_family_has_one_series_per_gpu() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    // Activity is measured between two samples, so it comes last.
    let text = wait(&agent, "activity of all GPUs", |text| {
        series(text).get("DCGM_FI_PROF_DRAM_ACTIVE").is_some_and(|of| of.len() == 8)
            && series(text).get("DCGM_FI_DEV_ROW_REMAP_FAILURE").is_some_and(|of| of.len() == 8)
    })?;
    let found = series(&text);
    for (family, kind) in DEFAULT.iter().filter(|(family, _)| !PCIE.contains(family)) {
        let of = found.get(family).ok_or(*family)?;
        assert_eq!(of.len(), 8, "{family}");
        for (gpu, address) in ["1B", "43", "52", "61", "9D", "C3", "D1", "DF"].iter().enumerate() {
            let labels = format!(
                "{family}{{gpu=\"{gpu}\",UUID=\"GPU-51515151-0000-0000-0000-00000000000{}\",pci_bus_id=\"00000000:{address}:00.0\",device=\"nvidia{gpu}\",modelName=\"NVIDIA H100 80GB HBM3\",Hostname=\"node\",DCGM_FI_DRIVER_VERSION=\"570.124.06\"",
                gpu + 1
            );
            assert!(of[gpu].starts_with(&labels), "{}\nis not of {labels}", of[gpu]);
        }
        assert!(text.contains(&format!("# TYPE {family} {kind}\n")), "{family} is a {kind}");
    }
    let expected: BTreeSet<&str> = DEFAULT.iter().map(|(family, _)| *family).collect();
    let unexpected: Vec<_> = found.keys().filter(|family| !expected.contains(*family)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    for family in PCIE {
        assert!(!text.contains(family), "{family} is not measured by default");
    }
    Ok(())
}

#[test]
fn promtool_finds_fault_with_names_only() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let agent = Agent::sampling(&Setup::on(&sim).line("metrics", "dcgm_extra = true"))?;
    let text = wait(&agent, "families that are left out by default", |text| {
        ["DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL"]
            .iter()
            .all(|family| series(text).get(family).is_some_and(|of| of.len() == 8))
    })?;
    let (status, said) = check_metrics(&text)?;
    assert_eq!(status.code(), Some(3), "3 is lint only, 1 would be what cannot be read: {said}");
    let about_names = [
        "label names should be written in 'snake_case' not 'camelCase'",
        "counter metrics should have \"_total\" suffix",
        "metric name should not include type 'counter'",
    ];
    let others: Vec<_> =
        said.lines().filter(|line| !about_names.iter().any(|fault| line.ends_with(fault))).collect();
    assert!(others.is_empty(), "{others:?}");
    Ok(())
}

#[test]
fn memory_of_mig_instances_is_told_apart() -> Outcome<()> {
    let sim = Sim::profile("h100-mig", None)?;
    let agent = Agent::sampling(&Setup::on(&sim).line("metrics", "dcgm_hostname_label = \"hostname\""))?;
    let text = wait(&agent, "MIG instances", |text| text.contains("GPU_I_ID"))?;
    let found = series(&text);
    let used = &found["DCGM_FI_DEV_FB_USED"];
    assert!(
        used.iter().all(|line| line.contains(",GPU_I_PROFILE=\"") && line.contains(",hostname=\"node\""))
    );
    // What the capture says of its first two instances: 11629756416 and 17825792 bytes.
    for (profile, id, mebibytes) in [("3g.40gb", 2, 11091), ("2g.20gb", 3, 17)] {
        let labels = format!("GPU_I_PROFILE=\"{profile}\",GPU_I_ID=\"{id}\",");
        let line = used.iter().find(|line| line.contains(&labels)).ok_or(labels)?;
        assert!(line.ends_with(&format!("}} {mebibytes}")), "{line}");
    }
    assert_eq!(found["DCGM_FI_DEV_POWER_USAGE"].len(), 1, "power is of the GPU");
    Ok(())
}

/// A dashboard as Grafana would ask it, with *All* chosen for every variable.
struct Dashboard {
    json: Json,
    /// What stands for each variable.
    chosen: Vec<(String, String)>,
}

impl Dashboard {
    fn load(prometheus: &Prometheus) -> Outcome<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dcgm-dashboard.json");
        let json: Json = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        // Four scrapes, as Grafana has it at the least; more, for a machine that is busy.
        let mut dashboard = Self { json, chosen: vec![("__rate_interval".to_owned(), "10s".to_owned())] };
        let variables = dashboard.json["templating"]["list"].as_array().ok_or("variables")?.clone();
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            let name = variable["name"].as_str().ok_or("name")?;
            let query = dashboard.substituted(variable["query"].as_str().ok_or("query")?);
            let (metric, label) = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')')?.rsplit_once(", "))
                .ok_or("label_values")?;
            let values = prometheus.label_values(metric, label)?;
            assert!(!values.is_empty(), "{query} has values");
            // Inside a string of PromQL the backslash of a regular expression is doubled.
            let escaped: Vec<String> = values.iter().map(|value| value.replace('.', "\\\\.")).collect();
            dashboard.chosen.push((name.to_owned(), format!("({})", escaped.join("|"))));
        }
        Ok(dashboard)
    }

    fn substituted(&self, text: &str) -> String {
        self.chosen
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    /// Panel type, title, expression and legend of each query.
    fn targets(&self) -> Vec<(String, String, String, String)> {
        let list = |json: &Json| json.as_array().cloned().unwrap_or_default();
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        list(&self.json["panels"])
            .iter()
            .flat_map(|panel| list(&panel["targets"]).into_iter().map(move |target| (panel.clone(), target)))
            .map(|(panel, target)| {
                let expression = self.substituted(&text(&target["expr"]));
                (text(&panel["type"]), text(&panel["title"]), expression, text(&target["legendFormat"]))
            })
            .collect()
    }
}

/// The label `gpu` of each series.
fn gpus(series: &[Json]) -> Vec<&str> {
    let mut gpus: Vec<_> = series.iter().filter_map(|series| series["metric"]["gpu"].as_str()).collect();
    gpus.sort_unstable();
    gpus
}

fn number(series: &Json) -> Option<f64> {
    series["value"][1].as_str()?.parse().ok()
}

#[test]
fn a_dashboard_made_for_dcgm_exporter_works_as_it_is() -> Outcome<()> {
    let sim = Sim::scenario("load")?;
    let agent = Agent::sampling(&Setup::on(&sim).line("sampling", "pcie_throughput = true"))?;
    wait(&agent, "every default family", |text| {
        DEFAULT.iter().all(|(family, _)| series(text).get(family).is_some_and(|of| of.len() == 8))
    })?;
    let prometheus = Prometheus::scraping(agent.metrics, "/metrics/dcgm")?;
    // `rate()` is right where the samples span its window.
    wait_for("ten seconds in Prometheus", Duration::from_secs(40), || {
        let counts = prometheus.query("count_over_time(DCGM_FI_DEV_GPU_TEMP[10s]) >= 10").ok()?;
        (counts.len() == 8).then_some(())
    })?;
    let dashboard = Dashboard::load(&prometheus)?;
    let mut asked = String::new();
    for (kind, title, expression, legend) in dashboard.targets() {
        let series = prometheus.query(&expression).map_err(|error| format!("{title}: {error}"))?;
        match kind.as_str() {
            // Alerts: nothing is wrong yet.
            "table" => assert!(series.is_empty(), "{title}: {expression}: {series:?}"),
            _ if legend.contains("{{gpu}}") => {
                assert_eq!(gpus(&series), ["0", "1", "2", "3", "4", "5", "6", "7"], "{title}: {expression}");
            }
            _ => assert_eq!(series.len(), 1, "{title}: {expression}"),
        }
        for label in legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")) {
            assert!(
                series.iter().all(|series| series["metric"][label.0].is_string()),
                "{title}: {}",
                label.0
            );
        }
        asked.push_str(&expression);
    }
    let not_asked: Vec<_> = DEFAULT.iter().filter(|(family, _)| !asked.contains(family)).collect();
    assert!(not_asked.is_empty(), "the dashboard asks for every family: {not_asked:?}");
    values_mean_what_they_say(&prometheus)?;
    alerts_fire(&sim, &prometheus, &dashboard)
}

/// Two families that state the same in different units agree.
fn values_mean_what_they_say(prometheus: &Prometheus) -> Outcome<()> {
    let one = |query: &str| -> Outcome<f64> {
        let series = prometheus.query(query)?;
        series.first().and_then(number).ok_or_else(|| query.into())
    };
    // The load moves within seconds; sums over the same ten of them stay near each other.
    let by_energy = one("sum(rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION[10s])) / 1000")?;
    let by_power = one("sum(avg_over_time(DCGM_FI_DEV_POWER_USAGE[10s]))")?;
    assert!((by_energy / by_power - 1.0).abs() < 0.25, "{by_energy} W by energy, {by_power} W by power");
    let used = one("avg(DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE + DCGM_FI_DEV_FB_RESERVED)")?;
    // 85520809984 bytes; each of the three is cut to whole MiB.
    assert!((81_556.0..=81_559.0).contains(&used), "{used} MiB");
    let ratio = one("max(DCGM_FI_PROF_GR_ENGINE_ACTIVE)")?;
    assert!(ratio > 0.0 && ratio <= 1.0, "{ratio}");
    Ok(())
}

/// Each alert names the GPU it is about, a lost one too.
fn alerts_fire(sim: &Sim, prometheus: &Prometheus, dashboard: &Dashboard) -> Outcome<()> {
    for order in ["xid 3 79", "set 2 temperature_gpu_celsius 91", "pcie 5 replay +40"] {
        sim.command(order)?;
    }
    let alert = |title: &str| -> Outcome<String> {
        let targets = dashboard.targets();
        let found = targets.iter().find(|(kind, of, ..)| kind == "table" && of == title);
        Ok(found.ok_or(title)?.2.clone())
    };
    for (title, gpu) in [("XIDs", "3"), ("Too hot", "2"), ("Replays", "5")] {
        let expression = alert(title)?;
        wait_for(title, Duration::from_secs(10), || {
            let series = prometheus.query(&expression).ok()?;
            (gpus(&series) == [gpu]).then_some(())
        })?;
    }
    sim.command("lost 3")?;
    // Stale after the next scrape: 3 is gone from the readings, and its XID stays.
    wait_for("seven temperatures", Duration::from_secs(10), || {
        let series = prometheus.query("DCGM_FI_DEV_GPU_TEMP").ok()?;
        (gpus(&series) == ["0", "1", "2", "4", "5", "6", "7"]).then_some(())
    })?;
    let xids = prometheus.query("DCGM_FI_DEV_XID_ERRORS == 79")?;
    assert_eq!(xids.len(), 1);
    assert_eq!(xids[0]["metric"]["err_code"], "79");
    assert_eq!(xids[0]["metric"]["pci_bus_id"], "00000000:61:00.0");
    Ok(())
}
