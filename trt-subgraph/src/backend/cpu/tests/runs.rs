//! Runs of rows with a matrix each, whose offsets are computed in the call.

use super::{Choice, Machine, agrees_on, machines};
use crate::Random;

#[test]
fn runs_of_all_sizes() {
    for seed in 0..80 {
        let mut random = Random::new(7000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (rows, runs) = (pick(&[1, 3, 14, 50, 130]), pick(&[1, 2, 5, 9]));
        let (k, n) = (pick(&[1, 4, 31, 64, 200]), pick(&[1, 3, 16, 33, 64, 150]));
        // Runs that end before the last row, at about it, and behind it.
        let longest = 1 + pick(&[1, 2, 4]) * rows / runs;
        let dtype = ["f32", "f32", "f32", "f16", "bf16", "f64"][pick(&[0, 1, 2, 3, 4, 5])];
        let (of, flag) = (["i32", "i64"][pick(&[0, 1])], pick(&[0, 1]) == 1);
        // Rows in memory or columns; matrices of the model or of the call, as they are or turned.
        let (x, turn_x) = if pick(&[0, 0, 1]) == 1 { ((k, rows), "1,0") } else { ((rows, k), "0,1") };
        let (w, turn_w) = if pick(&[0, 1]) == 1 { ((n, k), "0,2,1") } else { ((k, n), "0,1,2") };
        let (declared, given) = match flag {
            true => (format!("param \"w\": {dtype}[{runs},{},{}]", w.0, w.1), " = parameter 0"),
            false => (String::new(), ""),
        };
        let (before, after) = if flag { ("", given) } else { ("input ", "") };
        // Overlapping runs, too.
        let offsets = ["scan(%l) op=sum axis=0", "pointwise(%l) { i0 * 3 }"][pick(&[0, 0, 0, 1])];
        let offsets = offsets.replace("* 3", &format!("* 3:{of}"));
        let epilogue = ["", "{ i0 * sigmoid(i0) }", "{ i0 + i1 }"][pick(&[0, 1, 2])];
        let operand = if epilogue.contains("i1") { ", %b" } else { "" };
        let matrices = format!("{before}%w0: {dtype}[{runs},{},{}]{after}", w.0, w.1);
        let (inputs, layers) = if flag { (declared, matrices) } else { (matrices, String::new()) };
        let text = format!(
            "input %x0: {dtype}[{},{}]
             input %d: {of}[{runs}]
             input %b: {dtype}[{n}]
             {inputs}
             {layers}
             %l = pointwise(%d) {{ rem(i0, {longest}:{of}) }}
             %o = {offsets}
             %x = permute(%x0) axes=[{turn_x}]
             %w = permute(%w0) axes=[{turn_w}]
             %y = grouped_matmul(%x, %w, %o{operand}) {epilogue}
             output %y",
            x.0, x.1
        );
        // Bands of a few rows.
        let few = |(m, team)| (Machine { cache: 1 << 13, choice: Choice::Sizes, ..m }, team);
        let machines = if seed % 2 == 0 { machines() } else { machines().into_iter().map(few).collect() };
        agrees_on(&text, seed, &machines);
    }
}
