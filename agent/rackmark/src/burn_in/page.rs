//! The report of a burn-in as one page that needs nothing else: no script, no font, no picture from anywhere.

use std::fmt;

use crate::exporter::html::Html;

/// Looks of the page, on a screen and on paper.
const STYLE: &str = include_str!("page.css");

/// Size of a plot's area and of what is around it, in the units of its picture.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 120.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 20.0;
/// Most points of a line; more are not seen.
const POINTS_MAX: usize = 1_200;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look, or nothing can be said.
    Odd,
    /// A fault.
    Bad,
    /// Nothing to say about it.
    Plain,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Odd => "odd",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// The whole report.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Name of the node.
    pub node: String,
    /// When, with which mode and version: one line.
    pub about: String,
    /// These GPUs are simulated.
    pub simulated: bool,
    /// One for each GPU.
    pub gpus: Vec<GpuSection>,
}

/// What there is to say about one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuSection {
    /// `GPU 3`.
    pub title: String,
    /// The outcome, and how it is.
    pub outcome: (String, Tone),
    /// Names and values: serial number, slot, driver, memory.
    pub facts: Vec<(String, String)>,
    /// Why, the gravest first.
    pub reasons: Vec<(Tone, String)>,
    /// How fast it was.
    pub figures: Vec<FigureRow>,
    /// What happened over time.
    pub plots: Vec<Plot>,
    /// Stages: name, result, duration.
    pub stages: Vec<[String; 3]>,
    /// Wrong results, the first of them: where, which bits, which multiprocessor.
    pub wrong: Vec<[String; 3]>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureRow {
    /// Of what.
    pub name: String,
    /// Median with its unit.
    pub median: String,
    /// Slowest twentieth.
    pub slowest: String,
    /// Share of what one clock cycle can do.
    pub per_clock: String,
    /// What a good card reaches.
    pub expected: String,
}

/// One line over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// Of what.
    pub title: String,
    /// Its unit.
    pub unit: String,
    /// Seconds since the beginning, and the value; a hole where there was none.
    pub points: Vec<(f64, Option<f64>)>,
    /// Where stages begin, in seconds, and their names.
    pub stages: Vec<(f64, String)>,
}

/// A number with so many decimals as it needs to tell neighbours apart.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            ..1.0 if self.0 != 0.0 => 3,
            size if size >= 100.0 || self.0.fract() == 0.0 => 0,
            _ => 1,
        };
        write!(f, "{:.digits$}", self.0)
    }
}

/// A place in a picture.
struct Place(f64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0)
    }
}

/// Writes the page.
pub fn render(page: &Page) -> String {
    let mut html = Html::with_capacity(64 * 1024);
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width\">");
    html.put([("<title>Burn-in of ", &page.node)], "</title>");
    html.raw("<style>")
        .raw(STYLE)
        .raw("</style></head><body><main><header><p class=\"mark\">rackmark burn-in</p>");
    html.put([("<h1>", &page.node), ("</h1><p class=\"about\">", &page.about)], "</p>");
    if page.simulated {
        html.raw("<p class=\"simulated\"><b>SIMULATED</b> No figure on this page is of real hardware.</p>");
    }
    html.raw("<ul class=\"outcomes\">");
    for gpu in &page.gpus {
        html.put([("<li class=\"", &gpu.outcome.1.class()), ("\"><b>", &gpu.title)], "</b> ");
        html.text(&gpu.outcome.0).raw("</li>");
    }
    html.raw("</ul></header>");
    for gpu in &page.gpus {
        section(&mut html, gpu);
    }
    html.raw("</main></body></html>\n");
    html.finish()
}

fn section(html: &mut Html, gpu: &GpuSection) {
    html.put([("<section class=\"", &gpu.outcome.1.class()), ("\"><h2>", &gpu.title)], " <em>");
    html.text(&gpu.outcome.0).raw("</em></h2><dl>");
    for (name, value) in &gpu.facts {
        html.put([("<div><dt>", name), ("</dt><dd>", value)], "</dd></div>");
    }
    html.raw("</dl>");
    if !gpu.reasons.is_empty() {
        html.raw("<ul class=\"reasons\">");
        for (tone, words) in &gpu.reasons {
            html.put([("<li class=\"", &tone.class()), ("\">", words)], "</li>");
        }
        html.raw("</ul>");
    }
    figures(html, &gpu.figures);
    html.raw("<div class=\"plots\">");
    for plot in &gpu.plots {
        drawn(html, plot);
    }
    html.raw("</div>");
    table(html, "Wrong results", ["Where", "Bits", "Multiprocessor"], &gpu.wrong);
    table(html, "Stages", ["Stage", "Result", "Time"], &gpu.stages);
    html.raw("</section>");
}

fn figures(html: &mut Html, rows: &[FigureRow]) {
    if rows.is_empty() {
        return;
    }
    html.raw("<table><caption>Figures</caption><thead><tr><th>Test<th class=\"n\">Median<th class=\"n\">Slowest 5 %");
    html.raw("<th class=\"n\">Per clock<th class=\"n\">A good card</tr></thead><tbody>");
    for row in rows {
        html.put([("<tr><td>", &row.name), ("<td class=\"n\">", &row.median)], "<td class=\"n\">");
        html.put([("", &row.slowest), ("<td class=\"n\">", &row.per_clock)], "<td class=\"n\">");
        html.text(&row.expected).raw("</tr>");
    }
    html.raw("</tbody></table>");
}

fn table(html: &mut Html, caption: &'static str, heads: [&'static str; 3], rows: &[[String; 3]]) {
    if rows.is_empty() {
        return;
    }
    html.raw("<table><caption>").raw(caption).raw("</caption><thead><tr>");
    for head in heads {
        html.raw("<th>").raw(head);
    }
    html.raw("</tr></thead><tbody>");
    for [one, two, three] in rows {
        html.put([("<tr><td>", one), ("<td>", two), ("<td>", three)], "</tr>");
    }
    html.raw("</tbody></table>");
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that divides `span` into at most `parts`.
fn step(span: f64, parts: f64) -> f64 {
    let least = (span / parts).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0].into_iter().map(|of| of * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// What is drawn between: zero is shown where values are not far from it.
fn range(values: &[f64]) -> Option<(f64, f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    let low = if low >= 0.0 && low < 0.5 * high { 0.0 } else { low };
    let span = if high > low { high - low } else { high.abs().max(1.0) };
    let step = step(span, 4.0);
    let low = (low / step).floor() * step;
    let high = (high / step).ceil() * step;
    Some((low, if high > low { high } else { low + step }, step))
}

fn drawn(html: &mut Html, plot: &Plot) {
    let values: Vec<f64> = plot.points.iter().filter_map(|(_, value)| *value).collect();
    let end = plot.points.last().map_or(0.0, |(at, _)| *at).max(1.0);
    html.put([("<figure><figcaption>", &plot.title), (" <span>", &plot.unit)], "</span></figcaption>");
    let Some((low, high, step_up)) = range(&values) else {
        html.raw("<p class=\"none\">was not read</p></figure>");
        return;
    };
    let x = |at: f64| Place(LEFT + WIDTH * (at / end).clamp(0.0, 1.0));
    let y = |value: f64| Place(TOP + HEIGHT * (1.0 - (value - low) / (high - low)));
    let bottom = Place(TOP + HEIGHT);
    let (width, height) = (Place(LEFT + WIDTH + 14.0), Place(TOP + HEIGHT + BOTTOM));
    html.put([("<svg role=\"img\" viewBox=\"0 0 ", &width), (" ", &height)], "\">");
    let most = values.iter().copied().fold(f64::MIN, f64::max);
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    html.put(
        [("<title>", &plot.title), (", from ", &Short(least)), (" to ", &Short(most)), (" ", &plot.unit)],
        "</title>",
    );
    let mut up = low;
    while up <= high + step_up / 2.0 {
        let at = y(up);
        html.put(
            [("<path class=\"grid\" d=\"M", &Place(LEFT)), (" ", &at), ("H", &Place(LEFT + WIDTH))],
            "\"/>",
        );
        html.put(
            [("<text class=\"up\" x=\"", &Place(LEFT - 6.0)), ("\" y=\"", &at), ("\">", &Short(up))],
            "</text>",
        );
        up += step_up;
    }
    let (unit, seconds) = time_unit(end);
    let step_on = step(end / seconds, 8.0);
    let mut on = 0.0;
    while on * seconds <= end + f64::EPSILON {
        let at = x(on * seconds);
        html.put([("<text class=\"on\" x=\"", &at), ("\" y=\"", &height), ("\">", &Short(on))], "");
        // The last one has the unit.
        if (on + step_on) * seconds > end {
            html.put([(" ", &unit)], "");
        }
        html.raw("</text>");
        on += step_on;
    }
    marks(html, plot, end, x);
    html.raw("<path class=\"line\" d=\"");
    line(html, plot, x, y);
    html.put(
        [("\"/><path class=\"base\" d=\"M", &Place(LEFT)), (" ", &bottom), ("H", &Place(LEFT + WIDTH))],
        "\"/>",
    );
    html.raw("</svg></figure>");
}

fn time_unit(seconds: f64) -> (&'static str, f64) {
    match seconds {
        ..=180.0 => ("s", 1.0),
        ..=10_800.0 => ("min", 60.0),
        _ => ("h", 3_600.0),
    }
}

/// Where stages begin; a name only where it has room before the next one.
fn marks(html: &mut Html, plot: &Plot, end: f64, x: impl Fn(f64) -> Place) {
    for (number, (at, name)) in plot.stages.iter().enumerate() {
        let next = plot.stages.get(number + 1).map_or(end, |(next, _)| *next);
        let place = x(*at);
        html.put(
            [("<path class=\"stage\" d=\"M", &place), (" ", &Place(TOP)), ("v", &Place(HEIGHT))],
            "\"/>",
        );
        #[expect(clippy::cast_precision_loss, reason = "lengths of names are small")]
        let wanted = 5.6 * name.chars().count() as f64 + 6.0;
        if WIDTH * (next - at) / end >= wanted {
            let beside = Place(place.0 + 3.0);
            html.put([("<text class=\"stage\" x=\"", &beside), ("\" y=\"", &Place(TOP - 5.0))], "\">");
            html.text(name).raw("</text>");
        }
    }
}

fn line(html: &mut Html, plot: &Plot, x: impl Fn(f64) -> Place, y: impl Fn(f64) -> Place) {
    let every = plot.points.len().div_ceil(POINTS_MAX).max(1);
    let mut pen_down = false;
    for group in plot.points.chunks(every) {
        // Of several points the highest: peaks must not be lost.
        let most = group
            .iter()
            .filter_map(|(at, value)| Some((*at, (*value)?)))
            .reduce(|one, other| if other.1 > one.1 { other } else { one });
        let Some((at, value)) = most else {
            pen_down = false;
            continue;
        };
        let order = if pen_down { "L" } else { "M" };
        html.put([(order, &x(at)), (" ", &y(value))], "");
        pen_down = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, Option<f64>)>) -> Plot {
        let stages = vec![(0.0, "memory-pattern".to_owned()), (30.0, "gemm-hopper-bf16".to_owned())];
        Plot { title: "Power".to_owned(), unit: "W".to_owned(), points, stages }
    }

    fn section(plots: Vec<Plot>) -> GpuSection {
        GpuSection {
            title: "GPU 0".to_owned(),
            outcome: ("fail".to_owned(), Tone::Bad),
            facts: vec![("Serial number".to_owned(), "<script>".to_owned())],
            reasons: vec![(Tone::Bad, "3 wrong results".to_owned())],
            figures: Vec::new(),
            plots,
            stages: Vec::new(),
            wrong: vec![["tile 3, 4".to_owned(), "unknown".to_owned(), "17".to_owned()]],
        }
    }

    fn page(plots: Vec<Plot>) -> String {
        let gpus = vec![section(plots)];
        render(&Page { node: "gpu-17".to_owned(), about: "quick".to_owned(), simulated: true, gpus })
    }

    #[test]
    fn what_comes_from_outside_is_text_and_nothing_is_fetched() {
        let html = page(vec![plot(vec![(0.0, Some(1.0))])]);
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
        for fetching in ["src=", "href=", "url(", "@import"] {
            assert!(!html.contains(fetching), "{fetching}");
        }
    }

    #[test]
    fn a_hole_stays_a_hole_and_no_value_is_not_a_number() {
        let html =
            page(vec![plot(vec![(0.0, Some(300.0)), (1.0, None), (2.0, Some(700.0)), (3.0, Some(700.0))])]);
        let line =
            html.split("class=\"line\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("line");
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 1), "{line}");
        assert!(!html.contains("NaN") && !html.contains("inf"));
        assert!(page(vec![plot(Vec::new())]).contains("was not read"));
        assert!(!page(vec![plot(vec![(0.0, Some(0.0))])]).contains("NaN"));
    }

    #[test]
    fn long_runs_keep_their_peaks() {
        let mut points: Vec<_> = (0..100_000).map(|at| (f64::from(at), Some(50.0))).collect();
        points[77_777].1 = Some(99.0);
        let html = page(vec![plot(points)]);
        assert!(html.len() < 60_000, "{}", html.len());
        let highest = Place(TOP + HEIGHT / 60.0).to_string();
        assert!(html.contains("from 50 to 99") && html.contains(&format!(" {highest}")), "the peak is drawn");
    }

    #[test]
    fn axes_have_round_steps() {
        for (values, expected) in [
            (&[0.0, 700.0][..], (0.0, 800.0, 200.0)),
            (&[61.0, 68.0], (60.0, 68.0, 2.0)),
            (&[1980.0], (1500.0, 2000.0, 500.0)),
        ] {
            assert_eq!(range(values), Some(expected), "{values:?}");
        }
    }
}
