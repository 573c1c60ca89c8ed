//! What a host costs by the size of its fleet, as an SVG with a logarithmic scale on both sides.

use std::fmt::Write as _;

/// One diagram.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// Hosts and cost, by hosts.
    pub(super) points: Vec<(f64, f64)>,
    /// Of the line that fits best.
    pub(super) slope: f64,
}

/// Of one panel's field, in pixels.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 56.0;
const GAP: f64 = 40.0;
const BELOW: f64 = 56.0;

const STYLE: &str = "text{font:12px sans-serif;fill:#333}.title{font-size:14px;font-weight:600;fill:#111}\
.grid{stroke:#e4e4e4}.frame{fill:none;stroke:#999}.fit{stroke:#1f6feb;stroke-width:2}\
.flat{stroke:#2da44e;stroke-width:1.5;stroke-dasharray:6 4}.linear{stroke:#bbb;stroke-width:1.5;stroke-dasharray:2 4}\
.point{fill:#1f6feb;stroke:#fff;stroke-width:1.5}.end{text-anchor:end}.middle{text-anchor:middle}.blue{fill:#1f6feb}\
.on{paint-order:stroke;stroke:#fff;stroke-width:5px;stroke-linejoin:round}\
.green{fill:#2da44e}.grey{fill:#888}";

/// 1, 2 and 5 times the powers of ten from `low` to `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    let all = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    all.filter(|tick| *tick >= low * 0.999 && *tick <= high * 1.001).collect()
}

fn number(value: f64) -> String {
    match value {
        1000.0.. => format!("{}k", value / 1000.0),
        _ => format!("{value}"),
    }
}

/// A logarithmic scale onto pixels.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + part * (self.to - self.from)
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, text: &str) {
    // Writing into a string cannot fail.
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
}

fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = write!(svg, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

impl Panel {
    fn draw(&self, svg: &mut String, left: f64) -> Option<()> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let (right, bottom) = (left + WIDTH, TOP + HEIGHT);
        let x = Scale { low: first.0 * 0.85, high: last.0 * 1.18, from: left, to: right };
        // Room for a cost that stays as it is and for one that grows with the fleet.
        let most = self.points.iter().map(|point| point.1).fold(first.1 * last.0 / first.0, f64::max);
        let least = self.points.iter().map(|point| point.1).fold(f64::MAX, f64::min);
        let y = Scale { low: least * 0.6, high: most * 1.7, from: bottom, to: TOP };
        for tick in ticks(y.low, y.high) {
            line(svg, "grid", (left, y.at(tick)), (right, y.at(tick)));
            text(svg, (left - 8.0, y.at(tick) + 4.0), "end", &number(tick));
        }
        for (hosts, _) in &self.points {
            line(svg, "grid", (x.at(*hosts), TOP), (x.at(*hosts), bottom));
            text(svg, (x.at(*hosts), bottom + 18.0), "middle", &format!("{hosts}"));
        }
        let _ = write!(svg, "<rect class=\"frame\" x=\"{left}\" y=\"{TOP}\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>");
        let (from, to) = ((x.at(first.0), y.at(first.1)), x.at(last.0));
        line(svg, "linear", from, (to, y.at(first.1 * last.0 / first.0)));
        line(svg, "flat", from, (to, y.at(first.1)));
        // Through the middle of the points, as the best fit is.
        let count = self.points.len() as f64;
        let middle = self.points.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x.ln() / count, b + y.ln() / count));
        let fit = |hosts: f64| (middle.1 + self.slope * (hosts.ln() - middle.0)).exp();
        line(svg, "fit", (x.at(first.0), y.at(fit(first.0))), (x.at(last.0), y.at(fit(last.0))));
        for (hosts, cost) in &self.points {
            let _ =
                write!(svg, "<circle class=\"point\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"/>", x.at(*hosts), y.at(*cost));
        }
        text(svg, (left, TOP - 14.0), "title", self.title);
        text(svg, (right - 10.0, bottom - 12.0), "on end green", "target: flat, slope 0.05 at most");
        text(svg, (left + 12.0, TOP + 20.0), "on grey", "dotted: in proportion to the fleet, slope 1");
        text(svg, (left + 12.0, TOP + 38.0), "on blue", &format!("measured: slope {:.2}", self.slope));
        text(svg, (left + WIDTH / 2.0, bottom + 40.0), "middle", "hosts");
        Some(())
    }
}

/// Panels side by side.
pub(super) fn draw(panels: &[Panel]) -> String {
    let each = LEFT + WIDTH + GAP;
    let (width, height) = (each * panels.len() as f64, TOP + HEIGHT + BELOW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\
         <style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    );
    for (number, panel) in panels.iter().enumerate() {
        // Without points there is nothing to draw.
        let _ = panel.draw(&mut svg, LEFT + each * number as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_every_point_inside_its_frame() {
        let points = vec![(100.0, 6.0), (320.0, 14.0), (1000.0, 37.0)];
        let svg = draw(&[Panel { title: "events", points, slope: 0.79 }]);
        let circles: Vec<&str> = svg.split("<circle").skip(1).collect();
        assert_eq!(circles.len(), 3);
        for circle in circles {
            let of = |name: &str| circle.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.parse::<f64>().ok();
            assert!((LEFT..LEFT + WIDTH).contains(&of("cx").unwrap()), "{circle}");
            assert!((TOP..TOP + HEIGHT).contains(&of("cy").unwrap()), "{circle}");
        }
        assert!(svg.contains("slope 0.79") && !svg.contains("NaN"));
        assert_eq!(ticks(90.0, 1100.0), [100.0, 200.0, 500.0, 1000.0]);
    }
}
