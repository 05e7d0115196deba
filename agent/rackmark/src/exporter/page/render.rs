//! The page, from top to bottom.

use std::fmt::Display;

use rackmark_health::{Action, Severity};
use rackmark_model::{GpuState, Verdict};

use super::gpus;
use super::html::Html;
use super::view::{BrokerView, ConditionView, DriverView, GpuView, KernelLogView, Place, SpoolView, View};
use super::words::{OrUnknown, Size, severity, state};
use crate::utc::{Clock, Span, Utc};

/// Looks of the page; its hash is in the policy.
pub const STYLE: &str = include_str!("style.css");
/// What keeps it up to date; its hash is in the policy.
pub const SCRIPT: &str = include_str!("live.js");

/// Bytes of a page without GPUs and conditions, and of one of each at most, so that the text does not
/// grow while it is written.
const ROOM: usize = 32 * 1024;
const ROOM_GPU: usize = 12 * 1024;
const ROOM_MIG: usize = 512;
const ROOM_CONDITION: usize = 3 * 1024;

/// Verdicts in the order they are counted.
const VERDICTS: [Verdict; 4] = [Verdict::Schedulable, Verdict::Draining, Verdict::Unusable, Verdict::Unknown];

/// Shapes that stand beside words; each verdict and severity has one of its own, so that colour
/// says nothing alone.
const SHAPES: &str = concat!(
    "<svg hidden=\"\"><symbol id=\"i-schedulable\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"7\"/>",
    "<path class=\"cut\" d=\"M4.5 8.2 7 10.7 11.5 5.6\"/></symbol>",
    "<symbol id=\"i-draining\" viewBox=\"0 0 16 16\"><path d=\"M8 1a7 7 0 0 0 0 14z\"/>",
    "<circle class=\"ring\" cx=\"8\" cy=\"8\" r=\"6.2\"/></symbol>",
    "<symbol id=\"i-unusable\" viewBox=\"0 0 16 16\"><path d=\"M5 1h6l4 4v6l-4 4H5l-4-4V5z\"/>",
    "<path class=\"cut\" d=\"M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4\"/></symbol>",
    "<symbol id=\"i-unknown\" viewBox=\"0 0 16 16\"><circle class=\"ring dashed\" cx=\"8\" cy=\"8\" r=\"6.2\"/>",
    "<path class=\"stroke\" d=\"M6 6.4a2 2 0 1 1 2.9 1.8c-.7.4-.9.7-.9 1.5M8 11.4v.4\"/></symbol>",
    "<symbol id=\"i-critical\" viewBox=\"0 0 16 16\"><path d=\"M5 1h6l4 4v6l-4 4H5l-4-4V5z\"/>",
    "<path class=\"cut\" d=\"M8 4v5M8 11.6v.4\"/></symbol>",
    "<symbol id=\"i-warning\" viewBox=\"0 0 16 16\"><path d=\"M8 1.2 15.4 14.5H.6z\"/>",
    "<path class=\"cut\" d=\"M8 6v4M8 12.2v.3\"/></symbol>",
    "<symbol id=\"i-info\" viewBox=\"0 0 16 16\"><circle class=\"ring\" cx=\"8\" cy=\"8\" r=\"6.2\"/>",
    "<path class=\"stroke\" d=\"M8 7.4v4M8 4.6v.3\"/></symbol></svg>",
);

/// The small picture of the browser's tab.
const ICON: &str = concat!(
    "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E",
    "%3Crect x='1' y='2' width='14' height='12' rx='2' fill='%23456'/%3E%3Cpath d='M3 9h2l2-4 2 6 1.500-2H13' ",
    "fill='none' stroke='%23fff' stroke-width='1.3'/%3E%3C/svg%3E\">",
);

/// Writes the page. Nothing of `view` can leave the text it is put into.
pub fn render(view: &View<'_>) -> String {
    written(view).finish()
}

fn written(view: &View<'_>) -> Html {
    let instances: usize = view.gpus.iter().map(|gpu| gpu.mig.len()).sum();
    let room =
        ROOM + ROOM_GPU * view.gpus.len() + ROOM_MIG * instances + ROOM_CONDITION * view.conditions.len();
    let mut html = Html::with_capacity(room);
    head(&mut html, view);
    html.raw("<body>").raw(SHAPES);
    html.raw("<a class=\"skip\" href=\"#main\">Skip to the status</a><header class=\"bar\">");
    html.raw("<p class=\"mark\">rackmark</p><p id=\"live\" role=\"status\"></p>");
    html.raw("<noscript><p>Reloads every 5 s; live with JavaScript.</p></noscript></header>");
    html.put([("<main id=\"main\" data-version=\"", &view.agent_version)], "\"");
    html.put([(" data-now=\"", &Clock(view.now_unix_ms))], "\">");
    title(&mut html, view);
    overview(&mut html, view);
    conditions(&mut html, view);
    gpus::table(&mut html, view);
    node(&mut html, view);
    html.raw("</main>");
    foot(&mut html);
    html.raw("<script>").raw(SCRIPT).raw("</script></body></html>\n");
    html
}

fn head(html: &mut Html, view: &View<'_>) {
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\"><title>");
    html.raw(if view.simulated { "Simulated: " } else { "" });
    let mut said = false;
    for candidate in VERDICTS.iter().rev().filter(|verdict| **verdict != Verdict::Schedulable) {
        let count = counted(view, *candidate);
        if count > 0 {
            html.raw(if said { ", " } else { "" }).text(count).raw(" ").raw(candidate.name());
            said = true;
        }
    }
    html.put([(if said { " · " } else { "" }, &view.node), (" / ", &view.site)], "</title>");
    html.raw("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>").raw(ICON);
    html.raw("<style>").raw(STYLE).raw("</style></head>");
}

fn counted(view: &View<'_>, verdict: Verdict) -> usize {
    view.gpus.iter().filter(|gpu| gpu.verdict == verdict).count()
}

/// A shape beside a word.
pub fn shape(html: &mut Html, name: &'static str) {
    html.raw("<svg class=\"icon ")
        .raw(name)
        .raw("\" aria-hidden=\"true\"><use href=\"#i-")
        .raw(name)
        .raw("\"/></svg>");
}

fn title(html: &mut Html, view: &View<'_>) {
    html.put(
        [("<div class=\"title\"><h1>", &view.node), ("</h1><p class=\"site\">Site <b>", &view.site)],
        "</b></p>",
    );
    html.raw("<p class=\"verdict ").raw(view.verdict.name()).raw("\">");
    shape(html, view.verdict.name());
    html.raw("<b>").raw("Node: ").raw(view.verdict.name()).raw("</b>");
    if !view.reason.is_empty() {
        html.put([(" <span>", &view.reason)], "</span>");
    }
    html.raw("</p><p class=\"when\">");
    html.put([("<span class=\"vh\">As of </span><time>", &Utc(view.now_unix_ms))], "</time>");
    match view.sample_age_ms {
        Some(age) => html.put([("<br>newest sample ", &Age(age))], ""),
        None => html.raw("<br>no sample yet"),
    };
    html.raw("</p></div>");
    if view.simulated {
        html.raw("<p class=\"simulated\"><b>SIMULATED</b> No reading here comes from real hardware.</p>");
    }
}

fn overview(html: &mut Html, view: &View<'_>) {
    html.raw("<section id=\"overview\" aria-labelledby=\"h-overview\"><h2 id=\"h-overview\" class=\"vh\">Overview</h2>");
    html.raw("<ul class=\"counts\">");
    for candidate in VERDICTS {
        let count = counted(view, candidate);
        html.raw("<li class=\"").raw(if count > 0 { candidate.name() } else { "zero" }).raw("\">");
        shape(html, candidate.name());
        html.put([("<b>", &count)], "</b> ").raw(candidate.name()).raw("</li>");
    }
    if let Some(expected) = view.expected_gpus {
        let as_expected = view.gpus.len() == expected as usize;
        html.raw(if as_expected {
            "<li class=\"zero expected\">"
        } else {
            "<li class=\"unusable expected\">"
        });
        if !as_expected {
            shape(html, "warning");
        }
        html.put([("<b>", &view.gpus.len()), ("</b> of <b>", &expected)], "</b> expected GPUs known</li>");
    }
    html.raw("</ul>");
    if !view.gpus.is_empty() {
        html.raw("<ol class=\"strip\" aria-label=\"GPUs by slot\">");
        for gpu in &view.gpus {
            tile(html, gpu);
        }
        html.raw("</ol>");
    }
    html.raw("</section>");
}

fn tile(html: &mut Html, gpu: &GpuView<'_>) {
    html.raw("<li><a class=\"").raw(gpu.verdict.name()).put([("\" href=\"#gpu-", &gpu.slot)], "\">");
    shape(html, gpu.verdict.name());
    html.put([("<b><span class=\"vh\">GPU </span>", &gpu.slot)], "</b><span class=\"vh\">: ");
    html.raw(gpu.verdict.name()).raw(", </span><small>").raw(state(gpu.state)).raw("</small></a></li>");
}

fn conditions(html: &mut Html, view: &View<'_>) {
    html.raw("<section aria-labelledby=\"h-conditions\"><h2 id=\"h-conditions\">Conditions");
    if !view.conditions.is_empty() {
        html.put([(" <span class=\"count\">", &view.conditions.len())], "</span>");
    }
    html.raw("</h2>");
    if view.conditions.is_empty() {
        html.raw("<p class=\"empty\">").raw(no_conditions(view)).raw("</p></section>");
        return;
    }
    html.raw("<ol class=\"conditions\">");
    for condition in &view.conditions {
        one_condition(html, condition, view.now_unix_ms);
    }
    html.raw("</ol></section>");
}

fn no_conditions(view: &View<'_>) -> &'static str {
    if view.sample_age_ms.is_none() {
        "None is known: there is no sample yet."
    } else if matches!(view.driver, DriverView::Down { .. }) {
        "None is known: the NVIDIA driver does not answer."
    } else if !view.gpus.is_empty() && view.gpus.iter().all(|gpu| gpu.state == GpuState::Paused) {
        "None is known: sampling is paused."
    } else if view.verdict == Verdict::Unknown {
        "None is known."
    } else {
        "None."
    }
}

/// Writes what a condition is called in the page: `c-n-clock_stepped-0`, `c-3-xid-79`.
pub fn condition_id(html: &mut Html, condition: &ConditionView<'_>) {
    match condition.place {
        Place::Node => html.raw("c-n-"),
        Place::Gpu(slot) => html.raw("c-").integer(slot).raw("-"),
    };
    html.put([("", &condition.code), ("-", &condition.key)], "");
}

fn one_condition(html: &mut Html, condition: &ConditionView<'_>, now_unix_ms: u64) {
    html.raw("<li id=\"");
    condition_id(html, condition);
    html.raw("\" class=\"").raw(condition.severity.name());
    html.raw(if condition.acknowledged { " acknowledged\">" } else { "\">" });
    html.raw("<p class=\"severity\">");
    shape(html, condition.severity.name());
    html.raw("<b>").raw(severity(condition.severity)).raw("</b></p><p class=\"place\">");
    match condition.place {
        Place::Node => html.raw("Node"),
        Place::Gpu(slot) => html.put([("<a href=\"#gpu-", &slot), ("\">GPU ", &slot)], "</a>"),
    };
    html.put([("</p><div class=\"what\"><h3>", &condition.title)], "</h3>");
    if condition.action != Action::None {
        html.raw("<p class=\"action\">To do: <b>").raw(condition.action.words()).raw("</b></p>");
    }
    html.put([("<p>", &condition.text)], "</p>");
    if !condition.detail.is_empty() {
        html.put([("<p class=\"detail\">", &condition.detail)], "</p>");
    }
    html.put([("</div><p class=\"since\"><code>", &condition.code)], "");
    if condition.key != 0 {
        html.put([(" ", &condition.key)], "");
    }
    html.put([("</code> <br><time>", &Utc(condition.since_unix_ms))], "</time> <br>");
    html.text(Age(now_unix_ms.saturating_sub(condition.since_unix_ms)));
    html.raw(if condition.acknowledged { " <br><b>acknowledged</b></p></li>" } else { "</p></li>" });
}

fn node(html: &mut Html, view: &View<'_>) {
    html.raw("<section aria-labelledby=\"h-node\"><h2 id=\"h-node\">Node</h2><dl class=\"facts\">");
    match view.driver {
        DriverView::Up { version, nvml, cuda } => {
            fact(html, "NVIDIA driver", &OrUnknown(version));
            fact(html, "NVML", &OrUnknown(nvml));
            fact(html, "CUDA, newest supported", &OrUnknown(cuda));
        }
        DriverView::Down { cause } => fact(html, "NVIDIA driver does not answer", &cause),
        DriverView::NotAsked => fact(html, "NVIDIA driver", &"not asked yet"),
    }
    begin(html, "Sampler");
    match view.sampler.pid {
        Some(pid) => html.put([("pid ", &pid)], ""),
        None => html.raw("not running"),
    };
    html.put([(", restarted ", &view.sampler.restarts)], "×");
    if view.sampler.stuck > 0 {
        html.put([(", ", &view.sampler.stuck)], " stuck in the kernel");
    }
    end(html);
    begin(html, "Broker");
    match &view.broker {
        BrokerView::Off => html.raw("none: the feed is off"),
        BrokerView::Connected { address } => html.put([("connected to ", address)], ""),
        BrokerView::Away { last: Some(address) } => html.put([("not connected; last ", address)], ""),
        BrokerView::Away { last: None } => html.raw("not connected yet"),
    };
    end(html);
    if let Some(spool) = &view.spool {
        spooled(html, spool);
    }
    match &view.kernel_log {
        KernelLogView::Unsaid => {}
        KernelLogView::Read => fact(html, "Kernel log", &"read"),
        KernelLogView::Unavailable { why } => fact(html, "Kernel log is not read", why),
    }
    begin(html, "GPUs");
    html.put([("", &view.gpus.len())], " known");
    match view.expected_gpus {
        Some(expected) => html.put([(", ", &expected)], " expected"),
        None => html.raw("; how many to expect is not configured"),
    };
    end(html);
    if !view.node_id.is_empty() {
        begin(html, "Node id");
        html.put([("<code>", &view.node_id)], "</code>");
        end(html);
    }
    fact(html, "Agent", &format_args!("rackmark {}", view.agent_version));
    html.raw("</dl></section>");
}

fn spooled(html: &mut Html, spool: &SpoolView<'_>) {
    begin(html, "Spool");
    html.put(
        [
            ("", &spool.records),
            (if spool.records == 1 { " record waits, " } else { " records wait, " }, &Size(spool.bytes)),
        ],
        "",
    );
    html.raw(if spool.durable { " on disk" } else { " in memory only" });
    if !spool.trouble.is_empty() {
        html.put([("<br><strong>", &spool.trouble)], "</strong>");
    }
    end(html);
}

fn begin(html: &mut Html, name: &'static str) {
    html.raw("<div><dt>").raw(name).raw("</dt><dd>");
}

fn end(html: &mut Html) {
    html.raw("</dd></div>");
}

fn fact(html: &mut Html, name: &'static str, value: &dyn Display) {
    begin(html, name);
    html.text(value);
    end(html);
}

fn foot(html: &mut Html) {
    html.raw("<footer><p>Small lines show the last 15 minutes in points of 10 s (means); tinted where there was no data.</p>");
    html.raw("<p>For Prometheus: <a href=\"/metrics\">/metrics</a>, and <a href=\"/metrics/dcgm\">/metrics/dcgm</a> ");
    html.raw("with the names of the DCGM exporter.</p></footer>");
}

/// How long ago.
pub struct Age(pub u64);

impl Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < 10_000 {
            write!(f, "{}.{} s ago", self.0 / 1000, self.0 / 100 % 10)
        } else {
            write!(f, "{} ago", Span(self.0))
        }
    }
}

/// The badges of a GPU: how many conditions it has of which severity, with the way to the first.
pub fn badges(html: &mut Html, view: &View<'_>, slot: u8) {
    for level in Severity::ALL.into_iter().rev() {
        let of = || {
            view.conditions
                .iter()
                .filter(|condition| condition.place == Place::Gpu(slot) && condition.severity == level)
        };
        if let Some(first) = of().next() {
            html.raw("<a class=\"badge ").raw(level.name()).raw("\" href=\"#");
            condition_id(html, first);
            html.raw("\">");
            shape(html, level.name());
            let count = of().count();
            html.put([("", &count)], " ").raw(level.name());
            html.raw(if level == Severity::Warning && count > 1 { "s</a>" } else { "</a>" });
        }
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
pub(super) mod tests;
