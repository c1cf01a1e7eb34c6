//! Runs of rows with a matrix each, whose offsets are computed in the call.

use super::{Machine, agrees_on, machines};
use crate::Random;

#[test]
fn runs_of_all_sizes() {
    for seed in 0..80 {
        let mut random = Random::new(7000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (rows, runs) = (pick(&[1, 3, 14, 50, 130]), pick(&[1, 2, 5, 9]));
        let (k, n) = (pick(&[1, 4, 31, 64, 200, 1500]), pick(&[1, 3, 16, 33, 64, 150]));
        let dtype = ["f32", "f32", "f32", "f16", "bf16", "f64"][pick(&[0, 1, 2, 3, 4, 5])];
        let whole = ["i32", "i64"][pick(&[0, 1])];
        // The last run ends before the last row, at about it, or behind it; or runs overlap.
        let longest = 1 + pick(&[1, 2, 4]) * rows / runs;
        let offsets = match pick(&[0, 0, 0, 1]) {
            0 => "scan(%l) op=sum axis=0".to_string(),
            _ => format!("pointwise(%l) {{ i0 * 3:{whole} }}"),
        };
        // Rows and matrices lie in memory either way round; matrices are the model's or the call's.
        let x = if pick(&[0, 0, 1]) == 0 { ([rows, k], "0,1") } else { ([k, rows], "1,0") };
        let w = if pick(&[0, 1]) == 0 { ([runs, k, n], "0,1,2") } else { ([runs, n, k], "0,2,1") };
        let matrices = format!("{dtype}{:?}", w.0).replace(' ', "");
        let given = match pick(&[0, 1]) {
            0 => format!("input %w0: {matrices}"),
            _ => format!("param \"w\": {matrices}\n%w0: {matrices} = parameter 0"),
        };
        let end = ["", "{ i0 * sigmoid(i0) }", "{ i0 + i1 }"][pick(&[0, 1, 2])];
        let operand = if end.contains("i1") { ", %b" } else { "" };
        let text = format!(
            "input %x0: {dtype}[{},{}]
             input %d: {whole}[{runs}]
             input %b: {dtype}[{n}]
             {given}
             %l = pointwise(%d) {{ rem(i0, {longest}:{whole}) }}
             %o = {offsets}
             %x = permute(%x0) axes=[{}]
             %w = permute(%w0) axes=[{}]
             %y = grouped_matmul(%x, %w, %o{operand}) {end}
             output %y",
            x.0[0], x.0[1], x.1, w.1
        );
        // On every second machine the cache holds few rows.
        let cache = if seed % 2 == 0 { 1 << 19 } else { 1 << 13 };
        let machines: Vec<_> =
            machines().into_iter().map(|(m, team)| (Machine { cache, ..m }, team)).collect();
        agrees_on(&text, seed, &machines);
    }
}
