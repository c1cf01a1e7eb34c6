//! Line plots as SVG.

use std::fmt::Write;

/// A named line through points `(x, y)`.
pub struct Line<'a> {
    /// What the legend says.
    pub name: &'a str,
    /// A CSS colour.
    pub colour: &'a str,
    /// Drawn dashed.
    pub dashed: bool,
    /// At least one; finite.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (f64, f64) = (640.0, 300.0);
const MARGINS: (f64, f64, f64, f64) = (60.0, 48.0, 15.0, 45.0);

/// Width of a line's place in the legend.
const LEGEND: f64 = 130.0;

/// A plot with ticks at round values (on the lower axis at the points, where they are few), the upright axis from 0 where that is near, its unit
/// above it, and a legend of up to three lines beside the title.
pub fn lines(title: &str, [x_name, y_name]: [&str; 2], lines: &[Line]) -> String {
    let (left, top, right, bottom) = MARGINS;
    let points = || lines.iter().flat_map(|l| &l.points);
    let range = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let (low, high) =
            points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low < high { (low, high) } else { (low - 0.5, low + 0.5) }
    };
    let ((x0, x1), (y0, y1)) = (range(&|p| p.0), range(&|p| p.1));
    let y0 = if y0 > 0.0 && y0 < 0.5 * y1 { 0.0 } else { y0 };
    let step = round_step((y1 - y0) / 4.0);
    let (first, last) = ((y0 / step).floor(), (y1 / step).ceil());
    let (y0, y1) = (first * step, last * step);
    let at = |(x, y): (f64, f64)| {
        let (width, height) = (SIZE.0 - left - right, SIZE.1 - top - bottom);
        (left + (x - x0) / (x1 - x0) * width, top + (y1 - y) / (y1 - y0) * height)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"18\" font-weight=\"bold\">{title}</text>\n",
        SIZE.0, SIZE.1
    );
    let text = |out: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
            .expect("a string takes it");
    };
    for tick in 0..=(last - first) as i32 {
        let value = (first + f64::from(tick)) * step;
        let height = at((x0, value)).1;
        writeln!(out, "<path d=\"M{left} {height:.1}H{}\" stroke=\"#ddd\"/>", SIZE.0 - right)
            .expect("a string takes it");
        text(&mut out, left - 6.0, height + 4.0, "end", &short(value));
    }
    // Where there are few points, as of epochs or batches, their own places are told.
    let mut places: Vec<f64> = points().map(|p| p.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    if places.len() > 8 {
        places = (0..=4).map(|step| x0 + f64::from(step) / 4.0 * (x1 - x0)).collect();
    }
    for place in places {
        text(&mut out, at((place, y0)).0, SIZE.1 - bottom + 16.0, "middle", &short(place));
    }
    text(&mut out, SIZE.0 / 2.0, SIZE.1 - 8.0, "middle", x_name);
    text(&mut out, left, 38.0, "start", y_name);
    for (at_line, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|&p| at(p)).map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let dash = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let stroke = format!("fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dash}", line.colour);
        writeln!(out, "<path d=\"M{}\" {stroke}/>", path.join("L")).expect("a string takes it");
        let x = SIZE.0 - right - LEGEND * (lines.len() - at_line) as f64;
        writeln!(out, "<path d=\"M{x:.1} 14h24\" {stroke}/>").expect("a string takes it");
        text(&mut out, x + 30.0, 18.0, "start", line.name);
    }
    out + "</svg>\n"
}

/// The least of 1, 2 and 5 times a power of ten that is not below `value`.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= value * 0.999).unwrap_or(value)
}

/// A number with three digits.
fn short(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 6) };
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_the_axes() {
        let line = |name, y| Line { name, colour: "red", dashed: false, points: vec![(1.0, 0.0), (5.0, y)] };
        let plot = lines("t", ["epoch", "loss"], &[line("a", 2.0), line("b", 4.0)]);
        // The frame reaches from (60, 255) to (625, 48).
        assert!(
            plot.contains("M60.0 255.0L625.0 151.5") && plot.contains("M60.0 255.0L625.0 48.0"),
            "{plot}"
        );
        assert_eq!(plot.matches("</text>").count(), 3 + 5 + 2 + 2);
        let many = (0..100).map(|i| (f64::from(i), 1.0)).collect();
        let plot = lines("t", ["x", "y"], &[Line { name: "a", colour: "red", dashed: false, points: many }]);
        assert_eq!(plot.matches("</text>").count(), 3 + 4 + 5 + 1);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!([0.3, 7.0, 10.0, 1885.3, 0.02].map(round_step), [0.5, 10.0, 10.0, 2000.0, 0.02]);
        let of = |low, high| {
            let points = vec![(1.0, low), (2.0, high)];
            let plot = lines("t", ["x", "y"], &[Line { name: "a", colour: "red", dashed: false, points }]);
            let ticks = plot.lines().filter_map(|l| l.split_once("\"end\">")?.1.strip_suffix("</text>"));
            ticks.filter_map(|t| t.parse().ok()).collect::<Vec<f64>>()
        };
        assert_eq!(of(350.0, 7541.0), [0.0, 2000.0, 4000.0, 6000.0, 8000.0]);
        assert_eq!(of(79.9, 98.3), [75.0, 80.0, 85.0, 90.0, 95.0, 100.0]);
        assert_eq!(of(-1.2, 1.2), [-2.0, -1.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_flat_line_has_a_place() {
        let flat = Line { name: "a", colour: "red", dashed: true, points: vec![(0.0, 3.0), (1.0, 3.0)] };
        assert!(!lines("t", ["x", "y"], &[flat]).contains("NaN"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 12.0, 0.125, 1234.5, 1.5].map(short), ["0", "12", "0.125", "1234", "1.5"]);
    }
}
