//! Charts as inline SVG. Colours are the page's CSS variables, so that one picture fits light and
//! dark pages and paper.

use plotters::prelude::*;

/// Colours for series; more series than that share them.
const SERIES: u8 = 8;

/// A colour of the page's palette. Plotters only knows RGB, so each is drawn in a marker colour
/// that [`Chart::svg`] replaces by the variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Text and axes.
    Text,
    /// Grid lines.
    Grid,
    /// Series by number; the first is the baseline's.
    Series(u8),
}

impl Ink {
    fn marker(self) -> RGBColor {
        let n = match self {
            Ink::Text => 1,
            Ink::Grid => 2,
            Ink::Series(i) => 3 + i % SERIES,
        };
        RGBColor(n, n, 254)
    }

    /// The CSS variable.
    pub fn css(self) -> String {
        match self {
            Ink::Text => "var(--ink)".into(),
            Ink::Grid => "var(--grid)".into(),
            Ink::Series(i) => format!("var(--s{})", i % SERIES),
        }
    }
}

/// One thing drawn, in data coordinates.
#[derive(Debug, Clone)]
pub enum Mark {
    /// A line through points.
    Line(Vec<(f64, f64)>, Ink),
    /// A thin, pale line through points.
    Thin(Vec<(f64, f64)>, Ink),
    /// Unconnected points.
    Dots(Vec<(f64, f64)>, Ink),
    /// A dashed horizontal line with a caption.
    Level(f64, String, Ink),
    /// A ringed point: what the eye shall find.
    Ring((f64, f64), Ink),
}

/// A chart to be drawn.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows, for readers who don't see it.
    pub title: String,
    /// Caption of the x axis.
    pub x: String,
    /// Caption of the y axis.
    pub y: String,
    /// Logarithmic x axis (all x must be positive).
    pub log_x: bool,
    /// Logarithmic y axis (all y must be positive).
    pub log_y: bool,
    /// Largest y shown; points above it are drawn on the upper edge.
    pub y_top: Option<f64>,
    /// What is drawn, first things lowest.
    pub marks: Vec<Mark>,
}

const WIDTH: u32 = 720;
const HEIGHT: u32 = 340;
/// Room left, right, above and below the plot.
const MARGIN: (i32, i32, i32, i32) = (62, 18, 14, 48);

impl Chart {
    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.marks.iter().flat_map(|mark| match mark {
            Mark::Line(points, _) | Mark::Thin(points, _) | Mark::Dots(points, _) => points.clone(),
            Mark::Ring(point, _) => vec![*point],
            Mark::Level(..) => Vec::new(),
        })
    }

    /// The ranges shown: of the data, with a little air.
    fn ranges(&self) -> Option<((f64, f64), (f64, f64))> {
        let span = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(None, |range: Option<(f64, f64)>, v| match range {
                _ if !v.is_finite() => range,
                None => Some((v, v)),
                Some((low, high)) => Some((low.min(v), high.max(v))),
            })
        };
        let (x0, x1) = span(&mut self.points().map(|(x, _)| self.scale(x)))?;
        let levels = self.marks.iter().filter_map(|mark| match mark {
            Mark::Level(y, ..) => Some(*y),
            _ => None,
        });
        let (y0, mut y1) = span(&mut self.points().map(|(_, y)| y).chain(levels).map(|y| self.scale_y(y)))?;
        if let Some(top) = self.y_top.map(|top| self.scale_y(top)).filter(|top| *top > y0) {
            y1 = y1.min(top);
        }
        let air = |low: f64, high: f64, share: f64| {
            let air = (high - low).max(1e-3 * high.abs()).max(1e-9) * share;
            (low - air, high + air)
        };
        Some((air(x0, x1, 0.02), air(y0, y1, 0.08)))
    }

    fn scale(&self, x: f64) -> f64 {
        if self.log_x { x.ln() } else { x }
    }

    fn scale_y(&self, y: f64) -> f64 {
        if self.log_y { y.ln() } else { y }
    }

    /// The picture, as an `<svg>` element.
    ///
    /// # Errors
    /// Passes on what plotters reports.
    pub fn svg(&self) -> Result<String, String> {
        let Some((xs, ys)) = self.ranges() else {
            return Ok("<p class=\"empty\">No measurement yet.</p>".into());
        };
        let mut out = String::new();
        self.draw(&mut out, xs, ys).map_err(|e| e.to_string())?;
        for n in (1..=2 + SERIES).rev() {
            let ink = match n {
                1 => Ink::Text,
                2 => Ink::Grid,
                n => Ink::Series(n - 3),
            };
            out = out.replace(&format!("#{n:02X}{n:02X}FE"), &ink.css());
        }
        // The size is the page's to choose; the title is for readers who don't see the picture.
        let fixed = format!("<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" ");
        let free = format!("<svg role=\"img\" aria-label=\"{}\" ", super::html::escape(&self.title));
        Ok(out.replacen(&fixed, &free, 1))
    }

    fn draw(&self, out: &mut String, xs: (f64, f64), ys: (f64, f64)) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(out, (WIDTH, HEIGHT)).into_drawing_area();
        let (left, right, top, bottom) = MARGIN;
        let plot = (left as f64, (WIDTH as i32 - right) as f64, top as f64, (HEIGHT as i32 - bottom) as f64);
        let px = |x: f64| (plot.0 + (self.scale(x) - xs.0) / (xs.1 - xs.0) * (plot.1 - plot.0)) as i32;
        let py = |y: f64| {
            let y = self.scale_y(y).clamp(ys.0, ys.1);
            (plot.3 - (y - ys.0) / (ys.1 - ys.0) * (plot.3 - plot.2)) as i32
        };
        let text = |size: i32, ink: Ink| ("sans-serif", size).into_font().color(&ink.marker());
        let at = |text: TextStyle<'static>, h, v| text.pos(plotters::style::text_anchor::Pos::new(h, v));
        use plotters::style::text_anchor::{HPos, VPos};

        let x_ticks = if self.log_x { log_ticks(xs.0.exp(), xs.1.exp()) } else { ticks(xs.0, xs.1, 7) };
        let y_ticks = if self.log_y { log_ticks(ys.0.exp(), ys.1.exp()) } else { ticks(ys.0, ys.1, 6) };
        let step = y_ticks.windows(2).map(|w| w[1] - w[0]).next().unwrap_or(1.0);
        for &y in &y_ticks {
            let line = [(plot.0 as i32, py(y)), (plot.1 as i32, py(y))];
            root.draw(&PathElement::new(line, Ink::Grid.marker()))?;
            let label = Text::new(
                decimals(y, step),
                (plot.0 as i32 - 8, py(y)),
                at(text(15, Ink::Text), HPos::Right, VPos::Center),
            );
            root.draw(&label)?;
        }
        for &x in &x_ticks {
            let line = [(px(x), plot.3 as i32), (px(x), plot.3 as i32 + 5)];
            root.draw(&PathElement::new(line, Ink::Text.marker()))?;
            let label =
                Text::new(short(x), (px(x), plot.3 as i32 + 9), at(text(15, Ink::Text), HPos::Center, VPos::Top));
            root.draw(&label)?;
        }
        let base = [(plot.0 as i32, plot.3 as i32), (plot.1 as i32, plot.3 as i32)];
        root.draw(&PathElement::new(base, Ink::Text.marker()))?;
        root.draw(&Text::new(
            self.x.clone(),
            (((plot.0 + plot.1) / 2.0) as i32, HEIGHT as i32 - 4),
            at(text(16, Ink::Text), HPos::Center, VPos::Bottom),
        ))?;
        let upright = text(16, Ink::Text).transform(FontTransform::Rotate270);
        root.draw(&Text::new(
            self.y.clone(),
            (4, ((plot.2 + plot.3) / 2.0) as i32),
            at(upright, HPos::Center, VPos::Top),
        ))?;

        for mark in &self.marks {
            match mark {
                Mark::Line(points, ink) => {
                    let path: Vec<_> = finite(points).map(|(x, y)| (px(x), py(y))).collect();
                    root.draw(&PathElement::new(path, ink.marker().stroke_width(2)))?;
                }
                Mark::Thin(points, ink) => {
                    let path: Vec<_> = finite(points).map(|(x, y)| (px(x), py(y))).collect();
                    root.draw(&PathElement::new(path, ink.marker().mix(0.4).stroke_width(1)))?;
                }
                Mark::Dots(points, ink) => {
                    for (x, y) in finite(points) {
                        let style = ink.marker().mix(0.8).filled();
                        root.draw(&Circle::new((px(x), py(y)), 3, style))?;
                    }
                }
                Mark::Ring((x, y), ink) => {
                    root.draw(&Circle::new((px(*x), py(*y)), 7, ink.marker().stroke_width(2)))?;
                }
                Mark::Level(y, caption, ink) => {
                    for start in (plot.0 as i32..plot.1 as i32).step_by(9) {
                        let dash = [(start, py(*y)), ((start + 5).min(plot.1 as i32), py(*y))];
                        root.draw(&PathElement::new(dash, ink.marker()))?;
                    }
                    // A loss curve on a logarithmic axis leaves its lower left corner free.
                    let (x, side) =
                        if self.log_x { (plot.0 as i32 + 4, HPos::Left) } else { (plot.1 as i32, HPos::Right) };
                    root.draw(&Text::new(caption.clone(), (x, py(*y) - 3), at(text(14, *ink), side, VPos::Bottom)))?;
                }
            }
        }
        root.present()?;
        Ok(())
    }
}

fn finite(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

/// Round values inside `low..high`, about `wanted` of them.
fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let rough = (high - low) / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough).unwrap_or(power * 10.0);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).take(50).map(|i| i as f64 * step).collect()
}

/// 1, 2 and 5 times the powers of ten inside `low..high`, thinned to the powers if many.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let inside = |multiples: &[f64]| -> Vec<f64> {
        powers
            .clone()
            .flat_map(|p| multiples.iter().map(move |m| m * 10f64.powi(p)).collect::<Vec<_>>())
            .filter(|v| (low..=high).contains(v))
            .collect()
    };
    let fine = inside(&[1.0, 2.0, 5.0]);
    if fine.len() > 12 {
        return inside(&[1.0]);
    }
    if fine.len() < 3 {
        return ticks(low, high, 5).into_iter().filter(|v| *v > 0.0).collect();
    }
    fine
}

fn decimals(value: f64, step: f64) -> String {
    let places = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.places$}")
}

/// A number in as few characters as it needs: 1500000 is "1.5M".
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let places = match scaled.abs() {
        _ if unit.is_empty() => 3,
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{scaled:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(log_ticks(0.9, 25.0), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert!(log_ticks(3.1, 4.9).len() >= 3);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_500_000.0), "1.5M");
        assert_eq!(short(20.0), "20");
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(64_000.0), "64k");
        assert_eq!(short(976_857.0), "977k");
    }

    #[test]
    fn colours_become_the_pages_variables_and_text_is_escaped() {
        let chart = Chart {
            title: "a < b".into(),
            x: "x & y".into(),
            y: "loss".into(),
            log_x: true,
            log_y: false,
            y_top: None,
            marks: vec![
                Mark::Line(vec![(1.0, 2.0), (10.0, 1.0)], Ink::Series(0)),
                Mark::Level(1.5, "<target>".into(), Ink::Series(1)),
            ],
        };
        let svg = chart.svg().unwrap();
        assert!(svg.contains("var(--s0)") && svg.contains("var(--s1)") && svg.contains("var(--ink)"));
        assert!(!svg.contains("FE\""), "a marker colour is left:\n{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("<target>") && !svg.contains("x & y"));
    }

    #[test]
    fn a_chart_without_a_finite_point_says_so() {
        let chart = Chart {
            title: String::new(),
            x: String::new(),
            y: String::new(),
            log_x: false,
            log_y: false,
            y_top: None,
            marks: vec![Mark::Dots(vec![(1.0, f64::NAN)], Ink::Text)],
        };
        // x is finite and y is not: there is no range to show.
        assert!(chart.svg().unwrap().contains("No measurement"));
    }
}
