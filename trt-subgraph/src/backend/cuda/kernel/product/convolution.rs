//! Convolutions as products: rows are places of the result, columns its channels, and `k` runs over input channels and taps.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::layout::channels_last;
use super::super::super::render::{index_type, split, sum};
use super::{Factor, Kernel, Product};
use crate::backend::view::View;
use crate::network::Layer;
use crate::network::layer::Convolution;
use std::fmt::Write;

/// Emits `layer`, whose kind is `Convolution(c)`. Channels lie innermost in the result.
pub fn convolution(a: &mut Assembler, layer: &Layer, c: &Convolution, kernel: Kernel) -> Result<(), Fault> {
    let (x, filters) = (a.view(layer.inputs[0]), layer.inputs[1]);
    let w = if kernel == Kernel::Split && x.strides[1] == 1 && a.is_static(filters) {
        a.ordered(filters, &channels_last(x.rank()))?
    } else {
        a.view(filters)
    };
    of_operands(a, layer, c, x, w, "k")?.emit(a, kernel)
}

/// The product that the layer is, of operands that may have more channels than its own. `near` is code for a position along `k` at the
/// same tap, where channels lie innermost.
pub fn of_operands(
    a: &mut Assembler,
    layer: &Layer,
    c: &Convolution,
    x: View,
    w: View,
    near: &str,
) -> Result<Product, Fault> {
    let spatial = c.stride.len();
    let tail = a.tail(layer, &channels_last(x.rank()))?;
    let out = tail.out.clone();
    let groups = c.groups;
    let (inputs, outputs) = (x.shape[1] / groups, out.shape[1] / groups);
    let taps: Vec<usize> = w.shape[2..].to_vec();
    let places: usize = out.shape[2..].iter().product();
    let (m, k) = (out.shape[0] * places, inputs * taps.iter().product::<usize>());
    let ty = index_type(&[&x, &w, &out], m.max(k) * outputs.max(1));

    // k: taps outermost where the channels are innermost in memory.
    let inner = x.strides[1].unsigned_abs() == 1;
    let mut k_sizes = taps.clone();
    k_sizes.insert(0, inputs);
    let channel = if inner { format!("k{spatial}") } else { "k0".to_string() };
    let tap = |i: usize| format!("k{}", if inner { i } else { i + 1 });
    let split_k = if inner {
        let tap =
            format!("const {ty} tap = {near} / {inputs};\nconst {ty} k{spatial} = k - tap * {inputs};\n");
        tap + &split(&taps, "tap", ty, "k")
    } else {
        split(&k_sizes, "k", ty, "k")
    };
    let mut m_sizes = vec![out.shape[0]];
    m_sizes.extend(&out.shape[2..]);
    let split_m = split(&m_sizes, "m", ty, "o");

    let mut code = split_k.clone();
    let (mut exists, mut terms) =
        (Vec::new(), vec!["image".to_string(), format!("{channel} * {}", x.strides[1])]);
    for i in 0..spatial {
        let (n, stride, dilation, before) = (x.shape[i + 2], c.stride[i], c.dilation[i], c.padding[i].0);
        if c.transposed {
            let _ = writeln!(code, "const {ty} f{i} = o{} + {before} - {} * {dilation};", i + 1, tap(i));
            let _ = writeln!(code, "const {ty} p{i} = f{i} / {stride};");
            exists.push(format!("f{i} >= 0 && f{i} % {stride} == 0 && p{i} < {n}"));
        } else {
            let _ = writeln!(
                code,
                "const {ty} p{i} = o{} * {stride} - {before} + {} * {dilation};",
                i + 1,
                tap(i)
            );
            if before + c.padding[i].1 > 0 {
                exists.push(format!("p{i} >= 0 && p{i} < {n}"));
            }
        }
        terms.push(format!("p{i} * {}", x.strides[i + 2]));
    }
    let image =
        format!("const {ty} image = o0 * {} + b * {};\n", x.strides[0], inputs as isize * x.strides[1]);
    let left = Factor {
        outer: format!("{split_m}{image}"),
        kept: std::iter::once("image".to_string()).chain((1..=spatial).map(|i| format!("o{i}"))).collect(),
        inner: code,
        offset: terms.join(" + "),
        exists: (!exists.is_empty()).then(|| exists.join(" && ")),
        dense_along_k: inner,
        k_axis: None,
        view: x,
    };
    let (of_column, of_channel, group_step) = if c.transposed {
        (w.strides[1], w.strides[0], inputs as isize * w.strides[0])
    } else {
        (w.strides[0], w.strides[1], outputs as isize * w.strides[0])
    };
    let mut names = vec!["filter".to_string(), channel];
    let mut steps = vec![1, of_channel];
    names.extend((0..spatial).map(tap));
    steps.extend(&w.strides[2..]);
    let right = Factor {
        outer: format!("const {ty} filter = n * {of_column} + b * {group_step};\n"),
        kept: vec!["filter".to_string()],
        inner: split_k,
        offset: sum(&names, &steps),
        exists: None,
        dense_along_k: of_column.unsigned_abs() > 1,
        k_axis: None,
        view: w,
    };
    let mut positions = vec!["o0".to_string(), format!("(b * {outputs} + n)")];
    positions.extend((0..spatial).map(|i| format!("o{}", i + 1)));
    Ok(Product {
        what: if c.transposed { "deconvolution" } else { "convolution" },
        batch: groups,
        m,
        n: outputs,
        k,
        a: left,
        b: right,
        place: split_m,
        positions,
        dense_along_m: out.strides[1] != 1,
        column_axis: 1,
        run: (inner && !c.transposed).then_some((inputs, [1, 1])),
        tail,
    }
    .in_rows())
}
