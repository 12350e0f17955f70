//! A chart as inline SVG. Unlike the plots in files, whose library knows neither fractions of a pixel nor dashes nor text
//! alternatives, it takes the size of letters from the page and scales with it. Lines differ in color (Okabe-Ito), dashes and
//! markers, for color-blind readers and gray print.

use crate::report::{axis::RoundAxis, canvas::PALETTE};
use maud::{Markup, html};
use plotters::style::RGBColor;

/// Width in SVG units, which are CSS pixels where a chart has its natural size.
const WIDTH: f64 = 360.0;
/// Edges of the area of values.
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 200.0;
/// From there to the name of the horizontal axis, below level ticks.
const LEVEL: f64 = 35.0;
/// Lines with more points have no markers.
const MARKED: usize = 20;
/// Half of a mark, as a share of the distance of two names.
const MARK: f64 = 0.14;
/// Width and height of the label of a mark, and how many of them have room side by side.
const MARK_LABEL: (f64, f64) = (6.0, 7.0);
const MARK_LABELS: usize = 4;
/// Width of a letter of a tick, about.
const LETTER: f64 = 6.8;
/// Most characters of the name of a category.
const NAME: usize = 20;
/// In strokes and gaps; the first is a whole line.
const DASHES: [&str; 5] = ["none", "7 3", "2 2.5", "9 3 2 3", "4 2"];

/// One chart.
pub(super) struct Chart {
    /// What the values are, with their unit.
    pub title: String,
    pub across: Across,
    pub series: Vec<Series>,
    /// Values of others, beside the series.
    pub marks: Vec<Mark>,
}

/// A value of others: a dashed line with a label.
pub(super) struct Mark {
    pub label: String,
    pub x: f64,
    pub y: f64,
}

/// The horizontal axis.
pub(super) enum Across {
    /// Numbers, and what they count.
    Numbers(String),
    /// Names of the positions 0, 1, …, and what they are.
    Names(Vec<String>, &'static str),
}

/// Points of one look.
pub(super) struct Series {
    pub label: String,
    /// Series of the same number look the same.
    pub look: usize,
    /// Whether a line joins the points.
    pub joined: bool,
    pub points: Vec<Point>,
}

#[derive(Clone, Copy)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    /// Half the length of the error bar.
    pub spread: Option<f64>,
}

impl Chart {
    /// The chart, described by `title` and its values for those who do not see it.
    pub fn svg(&self) -> Markup {
        let plot = Plot::of(self);
        html! {
            svg.chart viewBox=(format!("0 0 {WIDTH} {:.0}", plot.below() + 7.0)) role="img" aria-label=(self.description()) {
                text.title x="8" y="16" { (self.title) }
                (plot.up())
                (plot.across())
                path.axis d=(format!("M{LEFT} {TOP}V{BOTTOM}H{RIGHT}")) {}
                @for (mark, place) in self.marks.iter().zip(plot.label_places()) { (plot.mark(mark, place)) }
                @for series in &self.series { (plot.series(series)) }
            }
        }
    }

    /// Title, axis, and the last value of the first lines.
    fn description(&self) -> String {
        let across = match &self.across {
            Across::Numbers(unit) => unit.as_str(),
            Across::Names(_, what) => what,
        };
        let last = |series: &Series| Some(format!("{} {:.4}", series.label, series.points.last()?.y));
        let last: Vec<String> = self.series.iter().take(6).filter_map(last).collect();
        let count = self.series.len();
        format!("{} by {across}; {count} series; last values: {}", self.title, last.join(", "))
    }
}

/// A chart with its axes.
struct Plot<'a> {
    chart: &'a Chart,
    across: RoundAxis,
    up: RoundAxis,
}

impl<'a> Plot<'a> {
    fn of(chart: &'a Chart) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let ends = |point: &Point| [-1.0, 1.0].map(|sign| point.y + sign * point.spread.unwrap_or(0.0));
        let marked = chart.marks.iter().map(|mark| mark.y);
        let (across, up) = (points().map(|point| point.x), points().flat_map(ends).chain(marked));
        Self { chart, across: axis(across), up: axis(up) }
    }

    /// Height of the name of the horizontal axis.
    fn below(&self) -> f64 {
        let turned = |names: &[String]| longest(names) * LETTER * 0.82 + 12.0;
        match &self.chart.across {
            Across::Names(names, _) if is_turned(names) => BOTTOM + LEVEL + turned(names) - 10.0,
            _ => BOTTOM + LEVEL,
        }
    }

    fn up(&self) -> Markup {
        html! {
            @for tick in self.up.ticks() {
                path.grid d=(format!("M{LEFT} {:.1}H{RIGHT}", self.y(tick))) {}
                text.tick.up x=(LEFT - 6.0) y=(format!("{:.1}", self.y(tick) + 4.0)) { (label(&self.up, tick)) }
            }
        }
    }

    fn across(&self) -> Markup {
        let (middle, below) = (0.5 * (LEFT + RIGHT), self.below());
        match &self.chart.across {
            Across::Numbers(unit) => html! {
                @for tick in self.across.ticks() {
                    text.tick x=(format!("{:.1}", self.x(tick))) y=(BOTTOM + 17.0) { (label(&self.across, tick)) }
                }
                text.unit x=(middle) y=(below) { (unit) }
            },
            Across::Names(names, what) => html! {
                @for (at, name) in names.iter().enumerate() { (self.name(names, at as f64, name)) }
                text.unit x=(middle) y=(below) { (what) }
            },
        }
    }

    /// The name of a position, turned where it has no room.
    fn name(&self, names: &[String], at: f64, name: &str) -> Markup {
        let (x, y, is_turned) = (self.x(at), BOTTOM + 16.0, is_turned(names));
        let turn = is_turned.then(|| format!("rotate(-55 {x:.1} {y:.1})"));
        html! { text.tick.turned[is_turned] x=(format!("{x:.1}")) y=(y) transform=[turn] { (shortened(name)) } }
    }

    fn series(&self, series: &Series) -> Markup {
        let Series { look, joined, points, .. } = series;
        let color = color(*look);
        let line: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", self.x(point.x), self.y(point.y))).collect();
        html! {
            @if *joined && points.len() > 1 {
                polyline points=(line.join(" ")) stroke=(color) stroke-dasharray=(DASHES[look % DASHES.len()]) {}
            }
            @for point in points.iter().filter(|_| points.len() <= MARKED) {
                @if let Some(spread) = point.spread { (self.error_bar(point, spread, &color)) }
                (marker(*look, self.x(point.x), self.y(point.y)))
            }
        }
    }

    /// A dashed line across the middle of its column; its label is at a place to the right, if it has room.
    fn mark(&self, Mark { label, x, y }: &Mark, place: Option<usize>) -> Markup {
        let (left, right, y) = (self.x(x - MARK), self.x(x + MARK), self.y(*y));
        html! {
            path.mark d=(format!("M{left:.1} {y:.1}H{right:.1}")) {}
            @if let Some(place) = place {
                text.mark x=(format!("{:.1}", right + MARK_LABEL.0 * (place as f64 + 0.8))) y=(format!("{:.1}", y + 3.0)) { (label) }
            }
        }
    }

    /// The place of the label of each mark, counted from the mark, such that no label covers another.
    fn label_places(&self) -> Vec<Option<usize>> {
        let marks = &self.chart.marks;
        let mut taken: Vec<(f64, usize, f64)> = vec![];
        let mut place = |mark: &Mark| {
            let y = self.y(mark.y);
            let is_free = |place: &usize| {
                !taken
                    .iter()
                    .any(|(x, other, at)| *x == mark.x && other == place && (at - y).abs() < MARK_LABEL.1)
            };
            let found = (0..MARK_LABELS).find(is_free)?;
            taken.push((mark.x, found, y));
            Some(found)
        };
        marks.iter().map(&mut place).collect()
    }

    fn error_bar(&self, point: &Point, spread: f64, color: &str) -> Markup {
        let (x, low, high) = (self.x(point.x), self.y(point.y - spread), self.y(point.y + spread));
        let (left, right) = (x - 3.0, x + 3.0);
        let path = format!(
            "M{x:.1} {low:.1}V{high:.1}M{left:.1} {low:.1}H{right:.1}M{left:.1} {high:.1}H{right:.1}"
        );
        html! { path.error d=(path) stroke=(color) {} }
    }

    fn x(&self, value: f64) -> f64 {
        let share = match &self.chart.across {
            Across::Numbers(_) => self.across.share(value),
            Across::Names(names, _) => (value + 0.5) / names.len().max(1) as f64,
        };
        LEFT + share * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.up.share(value) * (BOTTOM - TOP)
    }
}

/// The axis of values; around a single one there is some room.
fn axis(values: impl Iterator<Item = f64> + Clone) -> RoundAxis {
    let first = values.clone().next().unwrap_or_default();
    match values.clone().all(|value| value == first) {
        true => RoundAxis::of(values.flat_map(|value| [0.9 * value, value, 1.1 * value])),
        false => RoundAxis::of(values),
    }
}

/// Whether names have no room side by side.
fn is_turned(names: &[String]) -> bool {
    LETTER * longest(names) > (RIGHT - LEFT) / names.len() as f64
}

/// Characters of the longest name as it is shown.
fn longest(names: &[String]) -> f64 {
    names.iter().map(|name| name.chars().count().min(NAME)).max().unwrap_or(0) as f64
}

/// The looks of series and what they are.
pub(super) fn legend(entries: impl IntoIterator<Item = (usize, String)>) -> Markup {
    html! {
        ul.legend {
            @for (look, label) in entries {
                li {
                    svg viewBox="0 0 34 14" aria-hidden="true" {
                        polyline points="1,7 33,7" stroke=(color(look)) stroke-dasharray=(DASHES[look % DASHES.len()]) {}
                        (marker(look, 17.0, 7.0))
                    }
                    span { (label) }
                }
            }
        }
    }
}

/// Circle, square, triangle, diamond, repeating.
fn marker(look: usize, x: f64, y: f64) -> Markup {
    let color = color(look);
    let path = match look % 4 {
        0 => return html! { circle cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="3.4" fill=(color) {} },
        1 => format!("M{:.1} {:.1}h6v6h-6z", x - 3.0, y - 3.0),
        2 => format!("M{x:.1} {:.1}l4 7h-8z", y - 4.5),
        _ => format!("M{x:.1} {:.1}l4.4 4.4-4.4 4.4-4.4-4.4z", y - 4.4),
    };
    html! { path d=(path) fill=(color) {} }
}

fn color(look: usize) -> String {
    let RGBColor(r, g, b) = PALETTE[look % PALETTE.len()];
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Large numbers are short.
fn label(axis: &RoundAxis, tick: f64) -> String {
    let label = axis.label(tick);
    if label.len() > 7 { format!("{tick:.0e}") } else { label }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.into();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_values_are_within_the_chart() {
        let hostile = "<script>\"&'</script>";
        let points = [(0.0, 10.0), (1.0, 90.0)].map(|(x, y)| Point { x, y, spread: Some(5.0) });
        let series = Series { label: hostile.into(), look: 3, joined: true, points: points.into() };
        let across = Across::Names(vec![hostile.into(), "b".into()], "layer");
        let mark = || Mark { label: hostile.into(), x: 1.0, y: 99.0 };
        let marks = (0..6).map(|_| mark()).collect();
        let chart = Chart { title: hostile.into(), across, series: vec![series], marks };
        let svg = [chart.svg().into_string(), legend([(3, hostile.into())]).into_string()].concat();
        assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;&quot;"), "{svg}");
        let plot = Plot::of(&chart);
        assert!(svg.contains("path class=\"mark\"") && plot.y(99.0) >= TOP);
        assert_eq!(plot.label_places(), [Some(0), Some(1), Some(2), Some(3), None, None]);
        assert!((TOP..=BOTTOM).contains(&plot.y(95.0)) && (TOP..=BOTTOM).contains(&plot.y(5.0)));
        assert!(plot.x(0.0) > LEFT && plot.x(1.0) < RIGHT);
    }

    #[test]
    fn a_chart_of_nothing_is_empty_axes() {
        let chart = Chart {
            title: "loss".into(),
            across: Across::Numbers("step".into()),
            series: vec![],
            marks: vec![],
        };
        assert!(chart.svg().into_string().contains("0 series"));
    }
}
