//! The table of GPUs: one body of two rows each, in the order of slots. Below the width of a table
//! the style makes a card of each body; the roles keep it a table for those who listen.

use std::fmt::Display;

use rackmark_model::{Bytes, Celsius, MigInstance, Milliwatts, NoData, Reading};

use super::html::Html;
use super::render::{badges, shape};
use super::sparkline::{Extent, Scale, is_gap, sparkline};
use super::view::{DriverView, GpuView, View};
use super::words::{Gib, OrUnknown, OrWhy, Size, Why, profile, state, verdict, whole};
use crate::sampling::trends::{POINT_MS, POINTS, Trend};
use crate::utc::Span;

/// Bottom of the temperature scale, in tenths of a degree: idle GPUs are a little above.
const COOL: i32 = 200;
/// Its top where the GPU tells no limit.
const HOT: i32 = 1000;

/// The section with the table, or why there is none.
pub fn table(html: &mut Html, view: &View<'_>) {
    html.raw("<section aria-labelledby=\"h-gpus\"><h2 id=\"h-gpus\">GPUs</h2>");
    if view.gpus.is_empty() {
        html.raw("<p class=\"empty\">");
        match view.driver {
            DriverView::Down { cause } => {
                html.put([("None is known: the NVIDIA driver does not answer. <code>", &cause)], "</code>")
            }
            DriverView::NotAsked => html.raw("None is known yet: the sampler has not reported."),
            DriverView::Up { .. } => html.raw("The NVIDIA driver answers and knows of none."),
        };
        html.raw("</p></section>");
        return;
    }
    if let DriverView::Down { cause } = view.driver {
        html.put([("<p class=\"empty\">The NVIDIA driver does not answer. <code>", &cause)], "</code></p>");
    }
    html.raw("<table role=\"table\" class=\"gpus\"><caption class=\"vh\">GPUs by slot</caption>");
    html.raw("<thead role=\"rowgroup\"><tr role=\"row\">");
    for column in
        ["GPU", "Verdict and state", "Utilization", "Memory", "Temperature", "Power", "SM clock", "Processes"]
    {
        html.raw("<th role=\"columnheader\" scope=\"col\">").raw(column).raw("</th>");
    }
    html.raw("</tr></thead>");
    for gpu in &view.gpus {
        body(html, view, gpu);
    }
    html.raw("</table></section>");
}

fn body(html: &mut Html, view: &View<'_>, gpu: &GpuView<'_>) {
    html.put([("<tbody role=\"rowgroup\" id=\"gpu-", &gpu.slot)], "\" class=\"");
    html.raw(gpu.verdict.name()).raw("\"><tr role=\"row\">");
    html.put(
        [(
            "<th role=\"rowheader\" scope=\"row\"><b class=\"slot\"><span class=\"vh\">GPU </span>",
            &gpu.slot,
        )],
        "</b>",
    );
    html.put(
        [
            ("<span class=\"name\">", &gpu.name.unwrap_or("Name not known")),
            ("<small>serial ", &OrUnknown(gpu.serial)),
        ],
        "",
    );
    if let Some(place) = &gpu.physical_slot {
        html.put([("<br>physical slot ", place)], "");
    }
    html.raw("</small></span></th>");
    standing(html, view, gpu);
    figures(html, view, gpu);
    html.raw("</tr>");
    more(html, gpu);
    html.raw("</tbody>");
}

fn standing(html: &mut Html, view: &View<'_>, gpu: &GpuView<'_>) {
    html.raw("<td role=\"cell\" class=\"standing\"><p class=\"verdict ").raw(gpu.verdict.name()).raw("\">");
    shape(html, gpu.verdict.name());
    html.raw("<b>").raw(verdict(gpu.verdict)).raw("</b></p><small>").raw(state(gpu.state));
    match (gpu.hangs_in, gpu.absence) {
        (Some(""), _) => html.raw(": the sampler fell silent"),
        (Some(function), _) => html.put([(": no answer from <code>", &function)], "</code>"),
        (None, Some(why)) => html.put([(": ", &Why(why))], ""),
        (None, None) => html,
    };
    html.raw("</small>");
    if !gpu.reason.is_empty() {
        html.put([("<small>", &gpu.reason)], "</small>");
    }
    badges(html, view, gpu.slot);
    html.raw("</td>");
}

/// How one trend is shown.
struct Shown {
    trend: Trend,
    column: &'static str,
    unit: &'static str,
    scale: Scale,
}

fn figures(html: &mut Html, view: &View<'_>, gpu: &GpuView<'_>) {
    let percent = Scale { low: 0, high: 1000 };
    let hot = gpu.temperature_limit.map_or(HOT, |limit| limit.0.saturating_mul(10));
    let strongest = gpu.power_limit.map_or(0, |limit| i32::try_from(limit.0 / 100).unwrap_or(i32::MAX));

    let shown = Shown { trend: Trend::Utilization, column: "Utilization", unit: "%", scale: percent };
    trending(html, view, gpu, &shown, |html| figure(html, gpu.utilization.map(|share| share.0), None, " %"));

    let shown = Shown { trend: Trend::Memory, column: "Memory", unit: "%", scale: percent };
    let total = gpu.memory_total.ok().map(Gib);
    trending(html, view, gpu, &shown, |html| figure(html, gpu.memory_used.map(Gib), total, " GiB"));

    let shown = Shown {
        trend: Trend::Temperature,
        column: "Temperature",
        unit: "°C",
        scale: Scale { low: COOL, high: hot },
    };
    let limit = gpu.temperature_limit.ok().map(|Celsius(limit)| limit);
    trending(html, view, gpu, &shown, |html| {
        figure(html, gpu.temperature.map(|Celsius(celsius)| celsius), limit, " °C");
    });

    let shown =
        Shown { trend: Trend::Power, column: "Power", unit: "W", scale: Scale { low: 0, high: strongest } };
    let watts = |Milliwatts(power): Milliwatts| power.saturating_add(500) / 1000;
    let limit = gpu.power_limit.ok().map(watts);
    trending(html, view, gpu, &shown, |html| figure(html, gpu.power.map(watts), limit, " W"));

    html.raw("<td role=\"cell\" class=\"plain\"><span class=\"label\" aria-hidden=\"true\">SM clock</span>");
    figure(html, gpu.clock_sm.map(|clock| clock.0), None, " MHz");
    html.raw(
        "</td><td role=\"cell\" class=\"plain\"><span class=\"label\" aria-hidden=\"true\">Processes</span>",
    );
    figure(html, gpu.processes.map(|count| count.0), None, "");
    html.raw("</td>");
}

/// A value, what it is held against, and their unit; without a value a dash, and the reason for
/// those who point at it or listen.
fn figure<T: Display>(html: &mut Html, value: Reading<T>, limit: Option<T>, unit: &'static str) {
    match value {
        Ok(value) => {
            html.put([("<b class=\"value\">", &value)], "</b><span class=\"unit\">");
            if let Some(limit) = limit {
                html.put([(" / ", &limit)], "");
            }
            html.raw(unit).raw("</span>")
        }
        Err(why @ (NoData::NotSupported | NoData::NoPermission | NoData::NotSampled | NoData::Error(_))) => {
            html.put([("<span class=\"none\">", &Why(why))], "</span>")
        }
        // The whole GPU has no readings, and its state says why.
        Err(why) => html.put(
            [
                ("<span class=\"none\" title=\"", &Why(why)),
                ("\"><span aria-hidden=\"true\">–</span><span class=\"vh\">no data: ", &Why(why)),
            ],
            "</span></span>",
        ),
    };
}

fn trending(html: &mut Html, view: &View<'_>, gpu: &GpuView<'_>, shown: &Shown, now: impl FnOnce(&mut Html)) {
    let points = gpu.trends.points(shown.trend, view.now_boot_ms);
    let extent = Extent::of(&points);
    html.raw("<td role=\"cell\" class=\"trending\"><span class=\"label\" aria-hidden=\"true\">")
        .raw(shown.column)
        .raw("</span><span class=\"now\">");
    now(html);
    html.raw("</span>");
    sparkline(html, &points, shown.scale.holding(extent), |html| words(html, shown, &points, extent));
    html.raw("<small class=\"extent\" aria-hidden=\"true\">");
    match extent {
        Some(Extent { min, max }) => html
            .raw("<span>min ")
            .integer(whole(min))
            .raw("</span><span>max ")
            .integer(whole(max))
            .raw(" ")
            .raw(shown.unit)
            .raw("</span>"),
        None => html.raw("<span>no data</span>"),
    };
    html.raw("</small></td>");
}

/// What the drawing shows, in words.
fn words(html: &mut Html, shown: &Shown, points: &[Option<i32>; POINTS], extent: Option<Extent>) {
    html.raw(shown.column).raw(" over 15 minutes: ");
    match extent {
        None => {
            html.raw("no data");
            return;
        }
        Some(Extent { min, max }) => {
            html.integer(whole(min)).raw(" to ").integer(whole(max)).raw(" ").raw(shown.unit)
        }
    };
    let missing = (0..POINTS).filter(|at| is_gap(points, *at)).count() as u64;
    if missing > 0 {
        html.put([(", no data for ", &Span(missing * POINT_MS))], "");
    }
}

fn more(html: &mut Html, gpu: &GpuView<'_>) {
    html.put(
        [("<tr role=\"row\" class=\"more\"><td role=\"cell\" colspan=\"8\"><details id=\"d-", &gpu.slot)],
        "\"><summary>Names",
    );
    if gpu.mig_enabled || !gpu.mig.is_empty() {
        html.put(
            [(" and ", &gpu.mig.len())],
            if gpu.mig.len() == 1 { " MIG instance" } else { " MIG instances" },
        );
    }
    html.put([("<span class=\"vh\"> of GPU ", &gpu.slot)], "</span></summary><dl class=\"facts\">");
    let mut code = |name: &'static str, value: &dyn Display| {
        html.raw("<div><dt>").raw(name).put([("</dt><dd><code>", value)], "</code></dd></div>");
    };
    code("UUID", &OrUnknown(gpu.uuid));
    code("Serial number", &OrUnknown(gpu.serial));
    code("PCI address", &gpu.pci_address);
    code("Physical slot", &OrUnknown(gpu.physical_slot.as_deref()));
    match gpu.index {
        Some(index) => code("NVML index", &index),
        None => code("NVML index", &OrUnknown(None)),
    }
    html.raw("</dl>");
    if !gpu.mig.is_empty() {
        instances(html, gpu.mig);
    }
    html.raw("</details></td></tr>");
}

fn instances(html: &mut Html, instances: &[MigInstance]) {
    html.raw("<table class=\"mig\"><caption>MIG instances</caption><thead><tr>");
    for column in ["Index", "Profile", "GPU instance", "Compute instance", "Memory used", "Memory"] {
        html.raw("<th scope=\"col\">").raw(column).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    for instance in instances {
        let bytes = |bytes: Reading<Bytes>| OrWhy(bytes.map(Size));
        html.put(
            [("<tr><th scope=\"row\">", &instance.index), ("</th><td>", &OrWhy(profile(instance)))],
            "</td>",
        );
        html.put(
            [
                ("<td>", &OrWhy(instance.gpu_instance_id)),
                ("</td><td>", &OrWhy(instance.compute_instance_id)),
                ("</td><td>", &bytes(instance.memory_used)),
                ("</td><td>", &bytes(instance.memory_total)),
            ],
            "</td></tr>",
        );
    }
    html.raw("</tbody></table>");
}
