//! The latencies as a picture: for each contender, which part of its calls took no longer than so long.

use super::Measurement;
use std::fmt::Write;
use std::path::Path;
use trt_tool::statistics::percentile;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 48.0;
const COLOURS: [&str; 3] = ["#2563c9", "#6b7684", "#b4540a"];

/// A self-contained SVG picture.
pub(crate) fn chart(measured: &Measurement) -> String {
    let seconds = |d: std::time::Duration| d.as_secs_f64();
    let most = measured.contenders.iter().map(|c| seconds(percentile(&c.sorted, 99.5))).fold(0.0, f64::max);
    let (unit, short, per_second) = unit(most);
    let most = most * per_second;
    let step = tick(most);
    let end = (most / step).ceil().max(1.0) * step;
    let x = |time: f64| LEFT + time.min(end) / end * (WIDTH - LEFT - RIGHT);
    let y = |percent: f64| HEIGHT - BOTTOM - percent / 100.0 * (HEIGHT - TOP - BOTTOM);
    let name = Path::new(&measured.model)
        .file_name()
        .map_or(measured.model.as_str().into(), |n| n.to_string_lossy());
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"14\">{}</text>\n",
        escape(&format!("{name} ({})", measured.inputs.join(", ")))
    );
    let mut put = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a string takes all text");
    for percent in [0.0, 25.0, 50.0, 75.0, 90.0, 100.0] {
        let (y, right) = (y(percent), WIDTH - RIGHT);
        put(format_args!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#e3e7ec\"/>"));
        put(format_args!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            LEFT - 8.0,
            y + 4.0
        ));
    }
    for at in 0..=(end / step).round() as u32 {
        let value = f64::from(at) * step;
        let (x, bottom) = (x(value), HEIGHT - BOTTOM);
        put(format_args!("<path d=\"M{x:.1} {bottom}v5\" stroke=\"#8a94a0\"/>"));
        put(format_args!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>", bottom + 19.0));
    }
    put(format_args!(
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5c6773\">{unit}; calls that took no longer</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0
    ));
    let (left, top) = (WIDTH - RIGHT + 16.0, TOP - 22.0);
    put(format_args!("<text x=\"{left}\" y=\"{}\" fill=\"#5c6773\">medians</text>", top + 4.0));
    for (at, contender) in measured.contenders.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let points = (0..=200)
            .map(|i| f64::from(i) / 2.0)
            .map(|p| (x(seconds(percentile(&contender.sorted, p)) * per_second), y(p)));
        let path: Vec<String> = points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        put(format_args!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\"/>",
            path.join("L")
        ));
        let (left, top) = (WIDTH - RIGHT + 16.0, TOP + 22.0 * at as f64);
        put(format_args!("<path d=\"M{left} {top}h22\" stroke=\"{colour}\" stroke-width=\"2.2\"/>"));
        let median = contender.latency.median_us * 1e-6 * per_second;
        let digits = if median < 10.0 { 2 } else { usize::from(median < 100.0) };
        let label = format!("{} {median:.digits$} {short}", contender.name);
        put(format_args!("<text x=\"{}\" y=\"{}\">{label}</text>", left + 28.0, top + 4.0));
    }
    out += "</svg>\n";
    out
}

/// The unit of times up to so many seconds: its name, the short one, and how many make a second.
fn unit(most: f64) -> (&'static str, &'static str, f64) {
    match most {
        most if most < 0.01 => ("microseconds", "us", 1e6),
        most if most < 10.0 => ("milliseconds", "ms", 1e3),
        _ => ("seconds", "s", 1.0),
    }
}

/// A round distance of ticks so that some five reach this far.
fn tick(most: f64) -> f64 {
    let rough = (most / 5.0).max(1e-3);
    let magnitude = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.iter().map(|s| s * magnitude).find(|&step| step >= rough).unwrap_or(10.0 * magnitude)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_keep_numbers_short() {
        assert_eq!([unit(4e-6).1, unit(0.009).1, unit(2.3).1, unit(60.0).1], ["us", "us", "ms", "s"]);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!([tick(5.0), tick(7.0), tick(11.0), tick(4300.0)], [1.0, 2.0, 2.5, 1000.0]);
    }
}
