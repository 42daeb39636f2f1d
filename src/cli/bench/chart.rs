//! A chart over time, as SVG. Enter: points of seconds and values. Leave: a figure that needs nothing but its page's colours.

use std::fmt::Write;

/// Seconds and value.
pub type Point = (f64, f64);

pub enum Points {
    /// A line, and the area below it.
    Area(Vec<Point>),
    Dots(Vec<Point>),
}

pub struct Chart<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    pub points: Points,
}

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 220.0;
/// Room for the numbers at the left and at the bottom, and for half a number elsewhere.
const LEFT: f64 = 76.0;
const BOTTOM: f64 = 24.0;
const EDGE: f64 = 12.0;
/// Dots drawn at most: more would only be one blot. The rest are left out evenly, the highest never.
const DOTS: usize = 4000;
/// Corners of a line at most.
const CORNERS: usize = 800;

impl Chart<'_> {
    /// From the beginning to `end`, in seconds.
    pub fn svg(&self, end: f64) -> String {
        let points = match &self.points {
            Points::Area(points) | Points::Dots(points) => points,
        };
        let end = if end > 0.0 { end } else { 1.0 };
        let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
        let step = step(highest, 4.0);
        let top = (highest / step).ceil().max(1.0) * step;
        let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - EDGE);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - EDGE);
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title, self.title
        );
        let lines = (top / step).round() as usize;
        for n in 0..=lines {
            let value = n as f64 * step;
            let at = y(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}{}</text>",
                WIDTH - EDGE,
                LEFT - 6.0,
                at + 4.0,
                number(value),
                self.unit
            );
        }
        let every = self::step(end, 8.0);
        let marks = (end / every).floor() as usize;
        for n in 0..=marks {
            let seconds = n as f64 * every;
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                x(seconds),
                HEIGHT - 6.0,
                number(seconds)
            );
        }
        match &self.points {
            Points::Area(points) => {
                let mut path = format!("M{:.1} {:.1}", x(0.0), y(0.0));
                for (seconds, value) in thinned(points, CORNERS) {
                    let _ = write!(path, "L{:.1} {:.1}", x(seconds), y(value));
                }
                let last = points.last().map_or(0.0, |point| point.0);
                let _ = write!(svg, "<path class=\"area\" d=\"{path}L{:.1} {:.1}Z\"/>", x(last), y(0.0));
            }
            Points::Dots(points) => {
                for (seconds, value) in thinned(points, DOTS) {
                    let _ = write!(
                        svg,
                        "<circle class=\"dot\" r=\"2.5\" cx=\"{:.1}\" cy=\"{:.1}\"/>",
                        x(seconds),
                        y(value)
                    );
                }
            }
        }
        svg.push_str("</svg></figure>\n");
        svg
    }
}

/// At most so many: of each run of neighbours the highest.
fn thinned(points: &[Point], most: usize) -> impl Iterator<Item = Point> {
    let run = points.len().div_ceil(most).max(1);
    points.chunks(run).filter_map(|run| run.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1)))
}

/// 1, 2 or 5 of a power of ten, so that `lines` or fewer fit below `highest`.
fn step(highest: f64, lines: f64) -> f64 {
    let rough = (highest / lines).max(1e-3);
    let power = 10f64.powf(rough.log10().floor());
    let of = [1.0, 2.0, 5.0, 10.0].into_iter().find(|of| of * power >= rough * 0.999).unwrap_or(10.0);
    of * power
}

/// As short as it can be said: 12000 is 12k.
fn number(value: f64) -> String {
    let (value, end) = if value >= 10_000.0 { (value / 1000.0, "k") } else { (value, "") };
    format!("{}{end}", (value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        for (highest, expected) in [(0.0, 0.001), (1.0, 0.5), (9.0, 5.0), (40.0, 10.0), (83_000.0, 50_000.0)] {
            assert!((step(highest, 4.0) - expected).abs() < 1e-9, "{highest}: {}", step(highest, 4.0));
        }
        assert_eq!((number(12_000.0).as_str(), number(0.25).as_str(), number(500.0).as_str()), ("12k", "0.25", "500"));
    }

    #[test]
    fn what_is_thinned_keeps_the_highest() {
        let points: Vec<Point> = (0..10_000).map(|n| (f64::from(n), if n == 7777 { 9.0 } else { 1.0 })).collect();
        let thin: Vec<Point> = thinned(&points, 100).collect();
        assert_eq!(thin.len(), 100);
        assert!(thin.contains(&(7777.0, 9.0)));
    }

    #[test]
    fn everything_drawn_lies_within_the_figure() {
        let chart = Chart { title: "x", unit: "", points: Points::Dots(vec![(0.0, 0.0), (3.0, 17.0)]) };
        let svg = chart.svg(3.0);
        let places = svg.split("cy=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
        let heights: Vec<f64> = places.map(|place| place.parse().expect("a number")).collect();
        assert_eq!(heights.len(), 2);
        assert!(heights[0] > heights[1] && heights.iter().all(|y| (0.0..=HEIGHT).contains(y)), "{heights:?}");
    }
}
