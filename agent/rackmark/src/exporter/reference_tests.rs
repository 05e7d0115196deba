//! `docs/metrics.md` names every metric; this keeps it in step.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rackmark_health::{Input, Now, Verb};
use rackmark_model::ipc::SamplerReport;
use rackmark_model::readings::{Fast, Inventory};
use rackmark_model::{
    GpuEvent, GpuEventKind, GpuInventory, GpuSample, GpuSlow, NoData, PciAddress, Presence, Sample,
};

use super::collect::{Around, Certificate, collect_live, collect_settled};
use super::names::Names;
use super::server::Counters;
use super::{Decimal, Kind, Sink};
use crate::attesting::{Figures, TpmFigures};
use crate::bmc::BmcState;
use crate::burn_in::Board;
use crate::publish::mqtt::{BrokerInUse, StatsSnapshot};
use crate::publish::spool::Health;
use crate::sampling::roster::Roster;

#[derive(Default)]
struct Families(BTreeMap<String, (Kind, String)>);

impl Sink for Families {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        self.0.insert(format!("{name}{suffix}"), (kind, help.to_owned()));
    }

    fn point(&mut self, _: &[(&str, &str)], _: Decimal) {}
}

/// A TPM that was asked.
fn attesting() -> Figures {
    let mut figures = Figures::default();
    figures.tpm = Some(TpmFigures { up: Some(true), quote_ms: Some(1), ..TpmFigures::default() });
    figures
}

/// A node on which everything that is not a reading has something to say.
fn everything(sink: &mut Families) {
    let address = PciAddress { domain: 0, bus: 1, device: 0, function: 0 };
    let mut roster = Roster::default();
    let now = Now { boot_ms: 3_600_000, unix_ms: 1_790_000_000_000 };
    let gpu =
        |presence| GpuSample { address, presence, in_call: None, fast: Fast::absent(NoData::NotSupported) };
    let sample = |presence| {
        SamplerReport::Sample(Sample {
            seq: 1,
            taken_boot_ms: 1,
            taken_unix_ms: 1,
            took_us: 1,
            gpus: vec![gpu(presence)],
        })
    };
    roster.take(&sample(Presence::Open), now);
    roster.take(
        &SamplerReport::Event(GpuEvent {
            address,
            seen_unix_ms: 1,
            kind: GpuEventKind::Xid { code: 79 },
            gpu_instance_id: None,
            compute_instance_id: None,
        }),
        now,
    );
    let slow = GpuSlow {
        address,
        taken_unix_ms: 1,
        slow: rackmark_model::readings::Slow::absent(NoData::NotSupported),
        nvlinks: Vec::new(),
        processes: Vec::new(),
    };
    roster.take(&SamplerReport::Slow(Box::new(slow)), now);
    let inventory = GpuInventory {
        address,
        inventory: Inventory::absent(NoData::NotSupported),
        mig: vec![super::mig::tests::instance(0)],
    };
    roster.take(&SamplerReport::Inventory(Box::new(inventory)), now);
    collect_settled(&roster, &Names::new(), sink);
    roster.take(&sample(Presence::Absent(NoData::GpuLost)), now);
    let mut changes = Vec::new();
    let sxid = Input::SxId { pci_text: "0000:05:00.0", code: 12028, fatal: Some(false), text: "" };
    roster.tell(sxid, now, &mut changes);
    let until_unix_ms = now.unix_ms + 1000;
    let work = Verb::MaintenanceStart { slot: None, until_unix_ms, reason: "reason" };
    roster.carry_out(&work, "root", now, &mut changes).expect("maintenance");
    roster.around.kernel_log_trouble = Some(String::new());
    let usage = rackmark_hardware::process::ProcessUsage::read("/proc".as_ref(), "self").expect("own usage");
    let around = Around {
        now_boot_ms: 2,
        now_unix_ms: 2,
        mqtt: Some(StatsSnapshot {
            connected: 1,
            last_ack_unix_ms: 1,
            certificate_not_after_unix_s: 1,
            broker: Some(BrokerInUse { place: 0, address: String::new() }),
            ..StatsSnapshot::default()
        }),
        spool: Some(Health { confirmed: vec![("consumer".to_owned(), [Some(1); 4])], ..Health::default() }),
        expected_gpus: Some(1),
        process: Some(usage),
        node: "node",
        site: "site",
        http: Counters::default().snapshot(),
        hooks: vec![(rackmark_model::hook::HookEvent::LeaseEnd, crate::hooks::EventCounts::default())],
        attesting: Some(attesting()),
        burn_ins: Board::sample(),
        commands: vec![("drain", "accepted", 1)],
        certificates: vec![Certificate { used_for: "metrics", not_after_unix_s: 1 }],
        bmc: Some(BmcState { configured: true, facts: Some([].into()), ..BmcState::default() }),
    };
    collect_live(&roster, &Names::new(), &around, sink);
    collect_settled(&roster, &Names::new(), sink);
}

#[test]
fn the_metric_reference_is_complete() {
    let mut families = Families::default();
    everything(&mut families);
    let names = Names::new();
    for family in names.fast.iter().chain(&names.slow).chain(&names.inventory) {
        families.family(&family.name, family.kind, family.help);
    }
    let mut page = String::from(
        "# Metrics\n\nEvery metric of `/metrics`, in base units. The label `gpu` is the slot; `rackmark_gpu_info` joins it to\nUUID, serial number, PCI address, index and name. A reading without data is not exported:\n`rackmark_gpu_up` and `rackmark_gpu_no_data` say so for whole GPUs. What a reading is read with\nstands in `feed/FIELDS.md`.\n\n| Metric | Type | Meaning |\n|---|---|---|\n",
    );
    for (name, (kind, help)) in &families.0 {
        let kind = if *kind == Kind::Counter { "counter" } else { "gauge" };
        let _ = writeln!(page, "| `{name}` | {kind} | {help} |");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("docs/metrics.md");
    }
    let written = std::fs::read_to_string(path).expect("docs/metrics.md");
    assert!(written == page, "docs/metrics.md is out of date: run `make docs`");
}
