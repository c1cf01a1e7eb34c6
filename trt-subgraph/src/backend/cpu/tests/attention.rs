//! Products with a softmax between them.

use super::{agrees, steps};
use crate::Random;

#[test]
fn scores_of_all_sizes() {
    for seed in 0..60 {
        let mut random = Random::new(9000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (batch, heads) = (pick(&[1, 2]), pick(&[1, 3, 5]));
        let (m, n) = (pick(&[4, 7, 20, 49, 130]), pick(&[1, 5, 16, 33, 70, 197]));
        let (d, e) = (pick(&[1, 8, 31, 64]), pick(&[1, 3, 16, 33, 64, 70]));
        let (tb, factor) =
            (pick(&[0, 1]) == 1, ["", "{ i0 * 0.125:f32 }", "{ 3:f32 * i0 }"][pick(&[0, 1, 2])]);
        let of = pick(&[heads, heads, 1]);
        let k = if tb { (n, d) } else { (d, n) };
        let after = ["", "{ tanh(i0) }"][pick(&[0, 0, 1])];
        let text = format!(
            "input %q0: f32[{batch},{m},{heads},{d}]
             input %k: f32[{batch},{of},{},{}]
             input %v0: f32[{batch},{n},{heads},{e}]
             %q = permute(%q0) axes=[0,2,1,3]
             %v = permute(%v0) axes=[0,2,1,3]
             %s = matmul(%q, %k) transpose_a=false transpose_b={tb} {factor}
             %p = softmax(%s) axis=3 log=false
             %y = matmul(%p, %v) {after}
             output %y",
            k.0, k.1
        );
        agrees(&text, seed);
        // Keys that are one matrix for all are those of a plain product.
        assert_eq!(steps(&text).contains("attention"), batch * of > 1, "{}", steps(&text));
    }
}

#[test]
fn what_somebody_else_reads_is_written() {
    let text = |middle: &str, output: &str| {
        format!(
            "input %q: f32[2,3,20,16]
             input %k: f32[2,3,16,30]
             input %v: f32[2,3,30,16]
             input %m: f32[20,30]
             {middle}
             output {output}"
        )
    };
    let plain = "%s = matmul(%q, %k)\n%p = softmax(%s) axis=3 log=false\n%y = matmul(%p, %v)";
    let masked = "%s = matmul(%q, %k, %m) { i0 * 0.5:f32 + i1 }\n%p = softmax(%s) axis=3 log=false\n%y = matmul(%p, %v)";
    let logs = "%s = matmul(%q, %k)\n%p = softmax(%s) axis=3 log=true\n%y = matmul(%p, %v)";
    let other = "%s = matmul(%q, %k)\n%p = softmax(%s) axis=2 log=false\n%y = matmul(%p, %v)";
    let kept = "%s = matmul(%q, %k)\n%p = softmax(%s) axis=3 log=false\n%y = matmul(%p, %v)\n%z = pointwise(%p) { i0 * i0 }";
    for (seed, (middle, output)) in [
        (plain, "%y, %s"),
        (plain, "%p, %y"),
        (masked, "%s, %y"),
        (masked, "%y, %p"),
        (logs, "%y"),
        (other, "%y"),
        (kept, "%y, %z"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = text(&middle.replace("\\\n", "\n"), output);
        agrees(&text, seed as u64);
        assert!(!steps(&text).contains("attention"), "{}", steps(&text));
    }
}

#[test]
fn masked_scores_of_all_sizes() {
    let before = [
        "matmul(%q, %k, %f) { i0 * 0.5:f32 + i1 }",
        "matmul(%q, %k, %b) { select(i1, i0 * 0.5:f32, -inf:f32) }",
        "matmul(%q, %k, %l, %c) { select(i2 > i1, -inf:f32, i0 * 0.5:f32) }",
        "matmul(%q, %k, %c, %l) { select(i2 > i1, -inf:f32, i0) }",
        "matmul(%q, %k)",
    ];
    let after = [
        "%p = softmax(%s) axis=3 log=false",
        "%t = softmax(%s) axis=3 log=false\n%p = pointwise(%t, %r) { select(i1, i0, 0:f32) }",
        "%t = softmax(%s) axis=3 log=false\n%p = pointwise(%t, %f) { i0 * i1 + 1:f32 }",
    ];
    for seed in 0..80 {
        let mut random = Random::new(12_000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (heads, m, n) = (pick(&[2, 3]), pick(&[4, 7, 20, 130]), pick(&[1, 5, 33, 70, 600]));
        let e = pick(&[1, 3, 16, 33]);
        let [a, b, lines] = [2, heads, m].map(|size| pick(&[size, 1]));
        let (before, after) = (before[pick(&[0, 1, 2, 2, 3, 4])], after[pick(&[0, 0, 1, 2])]);
        let text = format!(
            "input %q: f32[2,{heads},{m},8]
             input %k: f32[2,{heads},8,{n}]
             input %v: f32[2,{heads},{n},{e}]
             input %f: f32[{a},{b},{lines},{n}]
             input %b: bool[{b},{lines},{n}]
             input %r: bool[{a},1,{m},1]
             input %l: f32[{b},{m},1]
             input %c: f32[{n}]
             %s = {before}
             {after}
             %y = matmul(%p, %v)
             output %y"
        );
        agrees(&text, seed);
        assert!(
            steps(&text).contains("attention") && !steps(&text).contains("fused loop"),
            "{}",
            steps(&text)
        );
    }
}
