//! A quarter of an hour as a small line of inline SVG. Where there was no data there is no line but
//! a tinted gap, and a point between two gaps is a dot.

use super::html::Html;
use crate::sampling::trends::POINTS;

/// Height of the drawing in its own units; its width is two units for each step.
const HEIGHT: i64 = 28;
/// Room above and below for the thickness of the line.
const MARGIN: i64 = 2;
/// Units from point to point.
const STEP: i64 = 2;

/// From the bottom of the drawing to its top, in the unit of the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Value at the bottom.
    pub low: i32,
    /// Value at the top.
    pub high: i32,
}

impl Scale {
    /// Widened where a point lies outside of it: a line is never cut off.
    pub fn holding(self, extent: Option<Extent>) -> Self {
        match extent {
            Some(Extent { min, max }) => Self { low: self.low.min(min), high: self.high.max(max) },
            None => self,
        }
    }

    fn y(self, value: i32) -> i64 {
        let (low, range) = (i64::from(self.low), (i64::from(self.high) - i64::from(self.low)).max(1));
        let room = HEIGHT - 2 * MARGIN;
        let up = ((i64::from(value) - low) * room + range / 2) / range;
        HEIGHT - MARGIN - up.clamp(0, room)
    }
}

/// Smallest and largest point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The smallest.
    pub min: i32,
    /// The largest.
    pub max: i32,
}

impl Extent {
    /// Of these points; none where there is no data at all.
    pub fn of(points: &[Option<i32>; POINTS]) -> Option<Self> {
        let known = || points.iter().flatten().copied();
        Some(Self { min: known().min()?, max: known().max()? })
    }
}

/// Points that are gaps. The last point is still being gathered: without data it is none yet.
pub fn is_gap(points: &[Option<i32>; POINTS], at: usize) -> bool {
    points[at].is_none() && (at + 1 < POINTS || points[at - 1].is_none())
}

/// Writes the drawing. `label` writes its words for those who do not see it.
pub fn sparkline(
    html: &mut Html,
    points: &[Option<i32>; POINTS],
    scale: Scale,
    label: impl FnOnce(&mut Html),
) {
    html.raw("<svg class=\"trend\" role=\"img\" preserveAspectRatio=\"none\" viewBox=\"0 0 ");
    html.integer(STEP * (POINTS as i64 - 1)).raw(" ").integer(HEIGHT).raw("\" aria-label=\"");
    label(html);
    html.raw("\">");
    gaps(html, points);
    line(html, points, scale);
    html.raw("</svg>");
}

/// One rectangle for each run of gaps, half a step wider on both sides.
fn gaps(html: &mut Html, points: &[Option<i32>; POINTS]) {
    let mut begun = false;
    let mut at = 0;
    while at < POINTS {
        let length = (at..POINTS).take_while(|at| is_gap(points, *at)).count();
        if length == 0 {
            at += 1;
            continue;
        }
        if !begun {
            html.raw("<path class=\"gap\" d=\"");
            begun = true;
        }
        let width = STEP * length as i64;
        html.raw("M").integer(STEP * at as i64 - STEP / 2).raw(" 0h").integer(width);
        html.raw("v").integer(HEIGHT).raw("h").integer(-width).raw("z");
        at += length;
    }
    if begun {
        html.raw("\"/>");
    }
}

/// One stroke for each run of data; steps without a change are drawn as one.
fn line(html: &mut Html, points: &[Option<i32>; POINTS], scale: Scale) {
    let mut pen: Option<i64> = None;
    let mut begun = false;
    let mut flat = 0;
    for (at, point) in points.iter().enumerate() {
        let y = point.map(|value| scale.y(value));
        match (pen, y) {
            (Some(before), Some(y)) if before == y => flat += STEP,
            (Some(before), Some(y)) => {
                level(html, &mut flat);
                html.raw("l").integer(STEP).raw(" ").integer(y - before);
            }
            (None, Some(y)) => {
                html.raw(if begun { "M" } else { "<path class=\"line\" d=\"M" });
                // Nothing drawn from here to here is a dot where ends are round.
                html.integer(STEP * at as i64).raw(" ").integer(y).raw("h0");
                begun = true;
            }
            (_, None) => level(html, &mut flat),
        }
        pen = y;
    }
    level(html, &mut flat);
    if begun {
        html.raw("\"/>");
    }
}

fn level(html: &mut Html, flat: &mut i64) {
    if *flat > 0 {
        html.raw("h").integer(*flat);
        *flat = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERCENT: Scale = Scale { low: 0, high: 1000 };

    fn drawn(points: &[Option<i32>; POINTS], scale: Scale) -> String {
        let mut html = Html::with_capacity(4096);
        sparkline(&mut html, points, scale, |html| {
            html.raw("words");
        });
        html.finish()
    }

    fn path<'a>(svg: &'a str, class: &str) -> Option<&'a str> {
        svg.split_once(&format!("<path class=\"{class}\" d=\""))?.1.split_once('"').map(|(path, _)| path)
    }

    /// Follows the pen of a line: every point it touches, by its place.
    fn touched(path: &str) -> Vec<(i64, i64)> {
        let (mut x, mut y, mut all) = (0, 0, Vec::new());
        let mut rest = path;
        while let Some(command) = rest.chars().next() {
            let end = rest[1..].find(char::is_alphabetic).map_or(rest.len(), |end| end + 1);
            let numbers: Vec<i64> =
                rest[1..end].split(' ').map(|number| number.parse().expect("number")).collect();
            match (command, numbers.as_slice()) {
                ('M', [to_x, to_y]) => (x, y) = (*to_x, *to_y),
                ('l', [dx, dy]) => (x, y) = (x + dx, y + dy),
                ('h', [dx]) => {
                    for _ in 0..dx / STEP {
                        x += STEP;
                        all.push((x, y));
                    }
                }
                other => panic!("{other:?}"),
            }
            if command != 'h' {
                all.push((x, y));
            }
            rest = &rest[end..];
        }
        all
    }

    #[test]
    fn no_data_is_one_gap_and_no_line() {
        let svg = drawn(&[None; POINTS], PERCENT);
        assert_eq!((path(&svg, "gap"), path(&svg, "line")), (Some("M-1 0h180v28h-180z"), None));
        assert!(svg.contains("aria-label=\"words\"") && svg.contains("role=\"img\""));
    }

    #[test]
    fn a_value_that_stays_is_one_stroke_and_zero_is_the_bottom() {
        let svg = drawn(&[Some(0); POINTS], PERCENT);
        assert_eq!((path(&svg, "gap"), path(&svg, "line")), (None, Some("M0 26h0h178")));
        assert_eq!(path(&drawn(&[Some(1000); POINTS], PERCENT), "line"), Some("M0 2h0h178"));
    }

    #[test]
    fn a_lone_point_is_a_dot_and_the_point_being_gathered_is_no_gap() {
        let mut points = [None; POINTS];
        points[POINTS - 2] = Some(500);
        let svg = drawn(&points, PERCENT);
        assert_eq!((path(&svg, "gap"), path(&svg, "line")), (Some("M-1 0h176v28h-176z"), Some("M176 14h0")));
    }

    #[test]
    fn a_scale_widens_to_hold_every_point() {
        let scale = Scale { low: 200, high: 900 };
        assert_eq!(scale.holding(Some(Extent { min: -50, max: 400 })), Scale { low: -50, high: 900 });
        assert_eq!(scale.holding(None), scale);
        assert_eq!(Scale { low: 5, high: 5 }.y(5), HEIGHT - MARGIN);
    }

    proptest! {
        #[test]
        fn the_line_touches_exactly_the_points_that_have_data(
            values in proptest::collection::vec(proptest::option::weighted(0.8, -100i32..1200), POINTS),
        ) {
            let points: [Option<i32>; POINTS] = values.try_into().expect("as many");
            let scale = PERCENT.holding(Extent::of(&points));
            let svg = drawn(&points, scale);
            let expected: Vec<(i64, i64)> = points
                .iter()
                .enumerate()
                .filter_map(|(at, value)| Some((STEP * at as i64, scale.y((*value)?))))
                .collect();
            prop_assert!(expected.iter().all(|(_, y)| (MARGIN..=HEIGHT - MARGIN).contains(y)));
            prop_assert_eq!(path(&svg, "line").map(touched).unwrap_or_default(), expected);
        }
    }
}
