//! The page as text: that nothing breaks out of it, that nothing is left out of it.

use std::sync::LazyLock;

use proptest::prelude::*;
use rackmark_model::readings::Fast;
use rackmark_model::{Bytes, Celsius, Count, Megahertz, MigInstance, Milliwatts, NoData, Percent};

use super::*;
use crate::exporter::page::view::SamplerView;
use crate::sampling::trends::{POINT_MS, POINTS, Trends};

/// 2026-11-27 05:17:11 UTC.
const NOW: u64 = 1_795_756_631_000;
const BOOT: u64 = 40_000_000;

/// A quarter of an hour of work with a gap of a minute in it.
pub fn trends() -> Trends {
    let mut trends = Trends::default();
    for point in 0..POINTS as u64 {
        let wave = point * point * 7 % 23;
        let mut fast = Fast::absent(NoData::Timeout);
        if !(40..46).contains(&point) {
            fast.utilization_gpu = Ok(Percent(if point % 19 < 2 { 40 } else { 96 } + wave as u32 / 8));
            fast.temperature_gpu = Ok(Celsius(58 + (wave / 4) as i32));
            fast.power_draw = Ok(Milliwatts(610_000 + wave as u32 * 3_000));
            fast.memory_used = Ok(Bytes((60 + point / 12) << 30));
        }
        trends.take(BOOT - (POINTS as u64 - 1 - point) * POINT_MS, &fast, Some(Bytes(80 << 30)));
    }
    trends
}

fn gpu(slot: u8, trends: &Trends) -> GpuView<'_> {
    GpuView {
        slot,
        index: Some(slot.into()),
        name: Some("NVIDIA H100 80GB HBM3"),
        uuid: Some("GPU-5a5f1c0e-3b8e-4ad8-9c4e-0c9f5d1f2a77"),
        serial: Some("1650123456789"),
        pci_address: "00000000:1b:00.0",
        physical_slot: Some("5-1".into()),
        state: GpuState::InUse,
        verdict: Verdict::Schedulable,
        reason: "".into(),
        absence: None,
        hangs_in: None,
        utilization: Ok(Percent(97)),
        memory_used: Ok(Bytes(66_214 << 20)),
        memory_total: Ok(Bytes(81_559 << 20)),
        temperature: Ok(Celsius(64)),
        temperature_limit: Ok(Celsius(87)),
        power: Ok(Milliwatts(627_400)),
        power_limit: Ok(Milliwatts(700_000)),
        clock_sm: Ok(Megahertz(1_980)),
        processes: Ok(Count(1)),
        mig_enabled: false,
        mig: &[],
        trends,
    }
}

fn without_readings(gpu: &mut GpuView<'_>, why: NoData) {
    gpu.absence = Some(why);
    gpu.utilization = Err(why);
    gpu.memory_used = Err(why);
    gpu.temperature = Err(why);
    gpu.power = Err(why);
    gpu.power_limit = Err(why);
    gpu.clock_sm = Err(why);
    gpu.processes = Err(why);
}

/// Eight GPUs at work.
pub fn plain(trends: &Trends) -> View<'_> {
    View {
        site: "fra-2",
        node: "gpu-node-017",
        node_id: "b5c1d4e2f6a7488f9b0c1d2e3f405162",
        agent_version: "0.1.0",
        simulated: false,
        now_unix_ms: NOW,
        now_boot_ms: BOOT,
        verdict: Verdict::Schedulable,
        reason: "".into(),
        driver: DriverView::Up { version: Some("590.48.01"), nvml: Some("13.590.48.01"), cuda: Some("13.1") },
        sample_age_ms: Some(412),
        sampler: SamplerView { pid: Some(4321), restarts: 0, stuck: 0 },
        broker: BrokerView::Connected { address: "mq-1.fra-2.example:8883".into() },
        spool: Some(SpoolView { records: 3, bytes: Bytes(41_000), durable: true, trouble: "".into() }),
        kernel_log: KernelLogView::Read,
        expected_gpus: Some(8),
        conditions: Vec::new(),
        gpus: (0..8).map(|slot| gpu(slot, trends)).collect(),
    }
}

fn condition(
    place: Place,
    code: &'static str,
    key: u32,
    severity: Severity,
    action: Action,
) -> ConditionView<'static> {
    ConditionView {
        place,
        code,
        key,
        severity,
        title: "Something is wrong with the memory".into(),
        text: "End the work on this GPU, then reset it.".into(),
        action,
        detail: "NVRM: Xid (PCI:0000:1b:00): 48, pid=4242".into(),
        since_unix_ms: NOW - 8_040_000,
        acknowledged: false,
    }
}

/// The same with much gone wrong.
fn troubled(trends: &Trends) -> View<'_> {
    let mut view = plain(trends);
    view.verdict = Verdict::Draining;
    view.reason = "a reboot is due".into();
    view.expected_gpus = Some(9);
    view.gpus[1].verdict = Verdict::Draining;
    view.gpus[1].reason = "row remapping waits for a reset".into();
    view.gpus[3].verdict = Verdict::Unusable;
    view.gpus[3].state = GpuState::Faulted;
    without_readings(&mut view.gpus[3], NoData::GpuLost);
    view.gpus[5].verdict = Verdict::Unknown;
    view.gpus[5].state = GpuState::Unknown;
    view.gpus[5].hangs_in = Some("nvmlDeviceGetTemperature");
    without_readings(&mut view.gpus[5], NoData::Timeout);
    view.gpus[6].clock_sm = Err(NoData::NotSupported);
    let mut lost = condition(Place::Gpu(3), "xid", 79, Severity::Critical, Action::RebootNode);
    lost.title = "XID 79: the GPU has fallen off the bus".into();
    lost.text = "Drain the node and reboot it. If it comes back without the GPU, look at its seating and power; if it happens again, replace it.".into();
    lost.detail = "NVRM: Xid (PCI:0000:61:00): 79, GPU has fallen off the bus.".into();
    let mut remap = condition(Place::Gpu(1), "row_remap_pending", 0, Severity::Warning, Action::ResetGpu);
    remap.title = "A row of memory waits to be remapped".into();
    let mut hot =
        condition(Place::Gpu(1), "throttle_hw_thermal", 0, Severity::Warning, Action::InspectHardware);
    hot.title = "The hardware slows down for heat".into();
    hot.text = "Look at fans, filters and the temperature of the inlet.".into();
    hot.detail = "".into();
    hot.acknowledged = true;
    let mut clock = condition(Place::Node, "clock_unsynchronised", 0, Severity::Info, Action::None);
    clock.title = "The clock is not synchronised".into();
    clock.text = "Times on the feed may be off.".into();
    clock.detail = "".into();
    view.conditions = vec![clock, hot, remap, lost];
    view.conditions.sort_by(|one, other| one.order().cmp(&other.order()));
    view.broker = BrokerView::Away { last: Some("mq-1.fra-2.example:8883".into()) };
    view.spool = Some(SpoolView {
        records: 18_211,
        bytes: Bytes(93 << 20),
        durable: false,
        trouble: "no space left on device".into(),
    });
    view.kernel_log = KernelLogView::Unavailable { why: "the collector is not installed".into() };
    view
}

fn instances() -> Vec<MigInstance> {
    let none = || Err(NoData::NotSupported);
    let instance = |index: u32| MigInstance {
        index,
        gpu_instance_id: Ok(index + 7),
        compute_instance_id: Ok(0),
        uuid: none(),
        name: Ok("NVIDIA H100 80GB HBM3 MIG 1g.10gb".to_owned()),
        multiprocessors: Err(NoData::NotSupported),
        copy_engines: Err(NoData::NotSupported),
        decoders: Err(NoData::NotSupported),
        encoders: Err(NoData::NotSupported),
        jpegs: Err(NoData::NotSupported),
        ofas: Err(NoData::NotSupported),
        memory_total: Ok(Bytes(9_984 << 20)),
        memory_reserved: Err(NoData::NotSupported),
        memory_used: if index == 2 { Err(NoData::Timeout) } else { Ok(Bytes(u64::from(index) << 30)) },
        memory_free: Err(NoData::NotSupported),
        bar1_total: Err(NoData::NotSupported),
        bar1_used: Err(NoData::NotSupported),
        bar1_free: Err(NoData::NotSupported),
        ecc_uncorrected_sram: Err(NoData::NotSupported),
    };
    (0..7).map(instance).collect()
}

/// Everything a text of the machine can come to stand in, filled with `text`.
fn filled<'a>(text: &'a str, trends: &'a Trends, mig: &'a [MigInstance]) -> View<'a> {
    let mut view = troubled(trends);
    view.simulated = true;
    (view.site, view.node, view.node_id, view.agent_version) = (text, text, text, text);
    view.reason = text.into();
    view.driver = DriverView::Down { cause: text };
    view.broker = BrokerView::Connected { address: text.into() };
    view.spool = Some(SpoolView { records: 1, bytes: Bytes(1), durable: true, trouble: text.into() });
    view.kernel_log = KernelLogView::Unavailable { why: text.into() };
    for condition in &mut view.conditions {
        condition.code = text;
        (condition.title, condition.text, condition.detail) = (text.into(), text.into(), text.into());
    }
    for gpu in &mut view.gpus {
        (gpu.name, gpu.uuid, gpu.serial, gpu.pci_address) = (Some(text), Some(text), Some(text), text);
        (gpu.physical_slot, gpu.reason, gpu.hangs_in) = (Some(text.into()), text.into(), Some(text));
        gpu.mig = mig;
    }
    view
}

fn named(name: &str) -> Vec<MigInstance> {
    let mut mig = instances();
    mig.truncate(1);
    mig[0].name = Ok(name.to_owned());
    mig
}

/// Tags with the names of their attributes, in order: what a browser makes elements of.
fn skeleton(page: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        let mut quoted = false;
        let inside = &rest[open + 1..];
        let close = inside
            .find(|character| {
                quoted ^= character == '"';
                character == '>' && !quoted
            })
            .expect("every tag ends");
        let tag = &inside[..close];
        // Every second piece between quotes is a value.
        tags.push(tag.split('"').step_by(2).collect());
        rest = &inside[close + 1..];
        for verbatim in ["style", "script"] {
            if tag == verbatim {
                let end = rest.find(&format!("</{verbatim}>")).expect("its end");
                rest = &rest[end..];
            }
        }
    }
    tags
}

static TRENDS: LazyLock<Trends> = LazyLock::new(trends);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever a GPU, a driver or a kernel message is called: the page has the elements and
    /// attributes that it has with harmless names, and shows the text.
    #[test]
    fn no_text_breaks_out_of_its_place(
        text in prop_oneof![
            "\\PC{1,40}",
            "[<>&\"'/=a-z \\x00-\\x1f-]{1,40}",
            Just("</title></style></script><script>alert(1)</script>".to_owned()),
            Just("\" onmouseover=\"alert(1)".to_owned()),
            Just("' autofocus onfocus='alert(1)".to_owned()),
            Just("--><img src=x onerror=alert(1)>&lt;script&gt;".to_owned()),
        ],
    ) {
        let (harmless, hostile) = (named("x"), named(&text));
        let page = render(&filled(&text, &TRENDS, &hostile));
        prop_assert_eq!(skeleton(&page), skeleton(&render(&filled("x", &TRENDS, &harmless))));
    }
}

#[test]
fn script_and_style_cannot_end_early() {
    for text in [STYLE, SCRIPT] {
        assert!(!text.contains("</") && !text.contains("<!--"));
    }
}

#[test]
fn every_element_that_is_opened_is_closed() {
    let mig = instances();
    for view in [plain(&TRENDS), troubled(&TRENDS), filled("x", &TRENDS, &mig)] {
        let mut open: Vec<String> = Vec::new();
        for tag in skeleton(&render(&view)) {
            let name: String = tag.chars().take_while(|c| !c.is_whitespace()).collect();
            let void = ["!doctype", "meta", "link", "br"].contains(&name.as_str());
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
                None if void || tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        assert_eq!(open, [""; 0]);
    }
}

#[test]
fn ids_are_unique_and_every_link_leads_somewhere() {
    let page = render(&troubled(&TRENDS));
    let values = |attribute: &str| -> Vec<&str> {
        page.split(&format!(" {attribute}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    };
    let ids = values("id");
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    for target in
        values("href").iter().filter_map(|href| href.strip_prefix('#')).chain(values("aria-labelledby"))
    {
        assert!(ids.contains(&target), "{target}");
    }
    for path in ["/metrics", "/metrics/dcgm"] {
        assert!(values("href").contains(&path));
    }
}

#[test]
fn the_page_is_one_allocation() {
    let mig = instances();
    for view in [plain(&TRENDS), troubled(&TRENDS), filled(&"long ".repeat(12), &TRENDS, &mig)] {
        let html = written(&view);
        let capacity = html.capacity();
        let length = html.finish().len();
        let instances: usize = view.gpus.iter().map(|gpu| gpu.mig.len()).sum();
        let room =
            ROOM + ROOM_GPU * view.gpus.len() + ROOM_MIG * instances + ROOM_CONDITION * view.conditions.len();
        assert_eq!(capacity, room, "{length} bytes did not fit");
    }
}

#[test]
fn conditions_stand_worst_first_with_their_place_action_and_age() {
    let page = render(&troubled(&TRENDS));
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    let order =
        ["c-3-xid-79", "c-1-row_remap_pending-0", "c-n-clock_unsynchronised-0", "c-1-throttle_hw_thermal-0"];
    let places: Vec<usize> = order.iter().map(|id| at(&format!("<li id=\"{id}\""))).collect();
    assert!(places.is_sorted(), "{places:?}");
    let lost = &page[places[0]..places[1]];
    for part in [
        "Critical</b>",
        "<a href=\"#gpu-3\">GPU 3</a>",
        "<b>reboot the node</b>",
        "<code>xid 79</code>",
        "2026-11-27 03:03:11Z",
        "2 h 14 min ago",
    ] {
        assert!(lost.contains(part), "{part} in {lost}");
    }
    assert!(!page[places[2]..places[3]].contains("To do"), "nothing to do is not said");
    assert!(page[places[3]..].contains("acknowledged"));
    for (part, why) in [
        (
            "<title>1 unknown, 1 unusable, 1 draining · gpu-node-017 / fra-2</title>",
            "the tab says what is wrong",
        ),
        ("<b>5</b> schedulable", "counts"),
        ("<b>8</b> of <b>9</b> expected", "expected GPUs"),
        ("class=\"badge critical\" href=\"#c-3-xid-79\"", "the GPU leads to its condition"),
        ("class=\"badge warning\" href=\"#c-1-row_remap_pending-0\"", "and to the worst one"),
        ("no answer from <code>nvmlDeviceGetTemperature</code>", "where it hangs"),
        ("<span class=\"none\">not supported</span>", "why there is no clock"),
        ("<strong>no space left on device</strong>", "trouble of the spool"),
        ("in memory only", "a spool that does not last"),
        ("the collector is not installed", "the kernel log"),
    ] {
        assert!(page.contains(part), "{why}: {part}");
    }
}

#[test]
fn a_quiet_node_says_so_and_shows_figures_with_their_units() {
    let page = render(&plain(&TRENDS));
    for part in [
        "<title>gpu-node-017 / fra-2</title>",
        "<p class=\"empty\">None.</p>",
        "<b class=\"value\">64.7</b><span class=\"unit\"> / 79.6 GiB</span>",
        "<b class=\"value\">627</b><span class=\"unit\"> / 700 W</span>",
        "aria-label=\"Temperature over 15 minutes: 58 to 63 °C, no data for 1 min\"",
        "newest sample 0.4 s ago",
        "connected to mq-1.fra-2.example:8883",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("SIMULATED") && !page.contains("class=\"badge"));
    let mut simulated = plain(&TRENDS);
    simulated.simulated = true;
    let page = render(&simulated);
    assert!(page.contains("<b>SIMULATED</b>") && page.contains("<title>Simulated: gpu-node-017"));
}

#[test]
fn an_empty_page_says_why() {
    let empty = |driver, age| {
        let mut view = plain(&TRENDS);
        view.gpus.clear();
        (view.driver, view.sample_age_ms) = (driver, age);
        render(&view)
    };
    let cause = "cannot load libnvidia-ml.so.1";
    let page = empty(DriverView::Down { cause }, None);
    assert!(
        page.contains(&format!("does not answer. <code>{cause}</code>")) && page.contains("no sample yet")
    );
    assert!(page.contains("None is known: there is no sample yet."));
    assert!(empty(DriverView::NotAsked, None).contains("the sampler has not reported"));
    let nvml = None;
    let up = DriverView::Up { version: None, nvml, cuda: None };
    assert!(empty(up, Some(100)).contains("answers and knows of none"));

    let mut paused = plain(&TRENDS);
    for gpu in &mut paused.gpus {
        gpu.state = GpuState::Paused;
        without_readings(gpu, NoData::Paused);
    }
    let page = render(&paused);
    assert!(page.contains("sampling is paused") && page.contains("paused: sampling paused"));
    assert!(!page.contains("<b class=\"value\">"), "no figure of before");
}

#[test]
fn mig_instances_are_listed_under_their_gpu() {
    let mig = instances();
    let mut view = plain(&TRENDS);
    view.gpus[2].mig = &mig;
    let page = render(&view);
    assert!(page.contains("Names and 7 MIG instances"));
    assert!(page.contains(
        "<th scope=\"row\">3</th><td>1g.10gb</td><td>10</td><td>0</td><td>3.0 GiB</td><td>9.8 GiB</td>"
    ));
    assert!(page.contains("<td>no answer in time</td><td>9.8 GiB</td>"));
}

/// Writes pages for people to look at: `RACKMARK_PAGES=/tmp/pages cargo nextest run -p rackmark
/// --run-ignored only pages_to_look_at`.
#[test]
#[ignore = "writes files where RACKMARK_PAGES says, for people to look at"]
fn pages_to_look_at() {
    let folder = std::path::PathBuf::from(std::env::var_os("RACKMARK_PAGES").expect("RACKMARK_PAGES"));
    let mig = instances();
    let mut with_mig = troubled(&TRENDS);
    with_mig.gpus[2].mig = &mig;
    with_mig.gpus[2].mig_enabled = true;
    let mut bare = plain(&TRENDS);
    bare.gpus.clear();
    bare.verdict = Verdict::Unknown;
    bare.reason = "the NVIDIA driver does not answer".into();
    bare.sample_age_ms = None;
    bare.driver = DriverView::Down {
        cause: "libnvidia-ml.so.1: cannot open shared object file: No such file or directory",
    };
    for (name, view) in [("plain", plain(&TRENDS)), ("troubled", with_mig), ("bare", bare)] {
        let began = std::time::Instant::now();
        let page = render(&view);
        println!("{name}: {} bytes in {:?}", page.len(), began.elapsed());
        std::fs::write(folder.join(name).with_extension("html"), page).expect("file");
    }
}
