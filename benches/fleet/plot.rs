//! Cost against the number of agents, as an SVG picture with one panel a figure.
//!
//! Both axes are logarithmic: growth in step with the fleet is a straight line, and no growth a flat
//! one. Values stand beside the points, so that nothing has to be read off an axis.

use std::fmt::Write as _;

/// One figure over the sizes of fleets: `(agents, value)` in order of the size.
pub(super) struct Series {
    pub(super) title: String,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 45.0;
/// So that 0 has a place on a logarithmic axis.
const LEAST: f64 = 1e-3;

/// The panels side by side, two in a row.
pub(super) fn svg(all: &[Series]) -> String {
    let rows = all.len().div_ceil(2).max(1) as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH * 2.0,
        HEIGHT * rows,
    );
    for (index, series) in all.iter().enumerate() {
        let (x, y) = ((index % 2) as f64 * WIDTH, (index / 2) as f64 * HEIGHT);
        writeln!(text, "<g transform=\"translate({x} {y})\">\n{}</g>", panel(series)).unwrap();
    }
    text + "</svg>\n"
}

fn panel(series: &Series) -> String {
    let logs = |pick: fn(&(f64, f64)) -> f64| {
        series.points.iter().map(pick).map(|value| value.max(LEAST).log10()).collect::<Vec<_>>()
    };
    let (across, up) = (logs(|point| point.0), logs(|point| point.1));
    let x = place(&across, MARGIN, WIDTH - MARGIN);
    let y = place(&up, HEIGHT - MARGIN, MARGIN);
    let mut text = format!(
        "<text x=\"{MARGIN}\" y=\"22\" font-weight=\"bold\">{}</text>\n\
         <path d=\"M {MARGIN} {MARGIN} V {bottom} H {right}\" fill=\"none\" stroke=\"#888\"/>\n",
        series.title,
        bottom = HEIGHT - MARGIN + 12.0,
        right = WIDTH - MARGIN + 12.0,
    );
    let line: Vec<String> = x.iter().zip(&y).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    writeln!(text, "<polyline points=\"{}\" fill=\"none\" stroke=\"#1565c0\"/>", line.join(" "))
        .unwrap();
    for ((x, y), (agents, value)) in x.iter().zip(&y).zip(&series.points) {
        writeln!(
            text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#1565c0\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.3}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{agents}</text>",
            y - 8.0,
            HEIGHT - MARGIN + 26.0,
        )
        .unwrap();
    }
    text
}

/// Values spread over the pixels from `low` to `high`; equal ones all stand in the middle.
fn place(values: &[f64], low: f64, high: f64) -> Vec<f64> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let share = |value: f64| if most > least { (value - least) / (most - least) } else { 0.5 };
    values.iter().map(|value| low + share(*value) * (high - low)).collect()
}
