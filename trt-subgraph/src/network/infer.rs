//! The typing rules: operand types to result types, one function for each family of layers.

use super::layer::*;
use super::ty::{TensorType, broadcast};
use super::{Expr, TypeError};
use crate::DType;

/// The types of a layer's outputs, or the rule that its operands break. `inputs` holds the kind's own operands and then the epilogue's.
pub fn infer(
    kind: &LayerKind,
    epilogue: Option<&Expr>,
    inputs: &[&TensorType],
) -> Result<Vec<TensorType>, TypeError> {
    let fail = |rule| TypeError { layer: kind.name(), rule };
    let own = match (kind.arity(), epilogue) {
        (None, None) => inputs.len(),
        (None, Some(_)) => return Err(fail("takes no epilogue")),
        (Some(n), _) => n,
    };
    if inputs.len() < own || (epilogue.is_none() && inputs.len() > own) {
        return Err(fail("wrong number of operands"));
    }
    let mut out = own_types(kind, &inputs[..own]).map_err(fail)?;
    if out.iter().any(|t| !t.is_addressable()) {
        return Err(fail("a tensor has fewer than 2^40 elements"));
    }
    if let Some(expr) = epilogue {
        if !kind.takes_epilogue() {
            return Err(fail("takes no epilogue"));
        }
        if expr.arity() > inputs.len() - own + 1 {
            return Err(fail("the epilogue reads more operands than there are"));
        }
        let result = &out[0];
        let shapes = std::iter::once(&result.shape[..]).chain(inputs[own..].iter().map(|t| &t.shape[..]));
        if broadcast(shapes).as_deref() != Some(&result.shape[..]) {
            return Err(fail("an epilogue operand does not broadcast to the result"));
        }
        let dtypes: Vec<DType> =
            std::iter::once(result.dtype).chain(inputs[own..].iter().map(|t| t.dtype)).collect();
        let root = expr.dtypes(&dtypes).map_err(|e| fail(e.rule))?;
        out[0].dtype = root[expr.root() as usize];
    }
    Ok(out)
}

type Rule<T = Vec<TensorType>> = Result<T, &'static str>;

fn own_types(kind: &LayerKind, x: &[&TensorType]) -> Rule {
    let one = |ty: TensorType| Ok(vec![ty]);
    match kind {
        LayerKind::Constant(l) => one(l.ty().clone()),
        LayerKind::Parameter(_) | LayerKind::Prepared(_) => Err("its type is declared, not inferred"),
        LayerKind::Pointwise(expr) => pointwise(expr, x),
        LayerKind::Broadcast { shape } => match broadcast([&x[0].shape[..], shape]) {
            Some(s) if s == *shape => one(x[0].with_shape(s)),
            _ => Err("the operand does not stretch to the shape"),
        },
        LayerKind::Reduce { op, axes, keep } => reduce(*op, axes, *keep, x[0]),
        LayerKind::Scan { axis, .. } => {
            check(*axis < x[0].rank(), "the axis does not exist")?;
            check(x[0].dtype != DType::Bool, "a scan is numeric")?;
            one(x[0].clone())
        }
        LayerKind::MatMul { transpose_a, transpose_b } => matmul(x[0], x[1], *transpose_a, *transpose_b),
        LayerKind::GroupedMatMul => grouped_matmul(x[0], x[1], x[2]),
        LayerKind::Convolution(c) => convolution(c, x[0], x[1]),
        LayerKind::Pool(p) => pool(p, x[0]),
        LayerKind::Normalize { axes, .. } => {
            check(sorted_axes(axes, x[0].rank()), "axes are sorted, unique and exist")?;
            check(x[0].dtype.is_float(), "statistics are floating-point")?;
            one(x[0].clone())
        }
        LayerKind::Softmax { axis, .. } => {
            check(*axis < x[0].rank(), "the axis does not exist")?;
            check(x[0].dtype.is_float(), "softmax is floating-point")?;
            one(x[0].clone())
        }
        LayerKind::Reshape { shape } => {
            let ty = x[0].with_shape(shape.clone());
            let same = ty.is_addressable() && ty.elements() == x[0].elements();
            check(same, "a reshape keeps the number of elements")?;
            one(ty)
        }
        LayerKind::Permute { axes } => {
            let mut seen = axes.clone();
            seen.sort_unstable();
            check(seen.into_iter().eq(0..x[0].rank()), "axes are a permutation")?;
            one(x[0].with_shape(axes.iter().map(|&a| x[0].shape[a]).collect::<Vec<_>>()))
        }
        LayerKind::Slice { ranges } => slice(ranges, x[0]),
        LayerKind::Concat { axis } => concat(*axis, x),
        LayerKind::Pad { border, mode } => pad(border, *mode, x[0]),
        LayerKind::Gather { axis, elements } => gather(*axis, *elements, x[0], x[1]),
        LayerKind::TopK { axis, k, .. } => {
            check(*axis < x[0].rank(), "the axis does not exist")?;
            check(*k <= x[0].shape[*axis], "k does not exceed the axis")?;
            let mut shape = x[0].shape.clone();
            shape[*axis] = *k;
            Ok(vec![x[0].with_shape(shape.clone()), TensorType::new(DType::I64, shape)])
        }
    }
}

fn check(holds: bool, rule: &'static str) -> Rule<()> {
    if holds { Ok(()) } else { Err(rule) }
}

/// Saturating: what does not fit is no size of a tensor, and refused as one.
fn sum<const N: usize>(terms: [usize; N]) -> usize {
    terms.into_iter().fold(0, usize::saturating_add)
}

/// Cells from the first to the last tap of a window.
fn reach(dilation: usize, window: usize) -> usize {
    dilation.saturating_mul(window - 1).saturating_add(1)
}

fn sorted_axes(axes: &[usize], rank: usize) -> bool {
    axes.windows(2).all(|w| w[0] < w[1]) && axes.last().is_none_or(|&a| a < rank)
}

fn pointwise(expr: &Expr, x: &[&TensorType]) -> Rule {
    check(!x.is_empty(), "at least one operand")?;
    let shape = broadcast(x.iter().map(|t| &t.shape[..])).ok_or("the operands do not broadcast")?;
    let dtypes: Vec<DType> = x.iter().map(|t| t.dtype).collect();
    let types = expr.dtypes(&dtypes).map_err(|e| e.rule)?;
    Ok(vec![TensorType::new(types[expr.root() as usize], shape)])
}

fn reduce(op: ReduceOp, axes: &[usize], keep: bool, x: &TensorType) -> Rule {
    check(sorted_axes(axes, x.rank()), "axes are sorted, unique and exist")?;
    let dtype = match op {
        ReduceOp::ArgMax | ReduceOp::ArgMin => {
            check(axes.len() == 1, "one axis")?;
            DType::I64
        }
        ReduceOp::Any | ReduceOp::All => {
            check(x.dtype == DType::Bool, "the operand is bool")?;
            DType::Bool
        }
        ReduceOp::Mean => {
            check(x.dtype.is_float(), "a mean is floating-point")?;
            x.dtype
        }
        ReduceOp::Sum | ReduceOp::Prod => {
            check(x.dtype != DType::Bool, "the operand is numeric")?;
            x.dtype
        }
        ReduceOp::Max | ReduceOp::Min => x.dtype,
    };
    if matches!(op, ReduceOp::Max | ReduceOp::Min | ReduceOp::ArgMax | ReduceOp::ArgMin) {
        check(axes.iter().all(|&a| x.shape[a] > 0), "no extremum over nothing")?;
    }
    let mut shape = Vec::with_capacity(x.rank());
    for (i, &n) in x.shape.iter().enumerate() {
        match axes.binary_search(&i) {
            Err(_) => shape.push(n),
            Ok(_) if keep => shape.push(1),
            Ok(_) => {}
        }
    }
    Ok(vec![TensorType::new(dtype, shape)])
}

fn matmul(a: &TensorType, b: &TensorType, ta: bool, tb: bool) -> Rule {
    check(a.rank() >= 2 && b.rank() >= 2, "operands have rank 2 or more")?;
    check(a.dtype == b.dtype && a.dtype != DType::Bool, "operands have one numeric type")?;
    let (ra, rb) = (a.rank(), b.rank());
    let (m, k) = if ta { (a.shape[ra - 1], a.shape[ra - 2]) } else { (a.shape[ra - 2], a.shape[ra - 1]) };
    let (k2, n) = if tb { (b.shape[rb - 1], b.shape[rb - 2]) } else { (b.shape[rb - 2], b.shape[rb - 1]) };
    check(k == k2, "the inner sizes are equal")?;
    let mut shape =
        broadcast([&a.shape[..ra - 2], &b.shape[..rb - 2]]).ok_or("the leading axes broadcast")?;
    shape.extend([m, n]);
    Ok(vec![a.with_shape(shape)])
}

fn grouped_matmul(x: &TensorType, w: &TensorType, offsets: &TensorType) -> Rule {
    check(x.rank() == 2 && w.rank() == 3, "rows are a matrix, and there is a matrix for each run")?;
    check(x.dtype == w.dtype && x.dtype.is_float(), "operands have one floating-point type")?;
    check(x.shape[1] == w.shape[1], "the inner sizes are equal")?;
    check(matches!(offsets.dtype, DType::I32 | DType::I64), "offsets are i32 or i64")?;
    check(offsets.shape == w.shape[..1], "there is an offset for each run")?;
    Ok(vec![x.with_shape([x.shape[0], w.shape[2]])])
}

fn convolution(c: &Convolution, x: &TensorType, w: &TensorType) -> Rule {
    let spatial = c.stride.len();
    check((1..=3).contains(&spatial), "1 to 3 spatial axes")?;
    check(x.rank() == spatial + 2 && w.rank() == spatial + 2, "operands have rank 2 + spatial axes")?;
    check(x.dtype == w.dtype && x.dtype.is_float(), "operands have one floating-point type")?;
    let lens = [c.padding.len(), c.dilation.len(), c.output_padding.len()];
    check(lens.iter().all(|&n| n == spatial), "one entry for each spatial axis")?;
    check(
        c.stride.iter().chain(&c.dilation).all(|&n| n > 0) && c.groups > 0,
        "stride, dilation and groups are positive",
    )?;
    check(w.shape[2..].iter().all(|&n| n > 0), "the window is not empty")?;
    let channels = x.shape[1];
    let outputs = if c.transposed {
        check(w.shape[0] == channels && channels.is_multiple_of(c.groups), "the weight fits the channels")?;
        w.shape[1].saturating_mul(c.groups)
    } else {
        check(
            w.shape[1].checked_mul(c.groups) == Some(channels) && w.shape[0].is_multiple_of(c.groups),
            "the weight fits the channels",
        )?;
        check(c.output_padding.iter().all(|&n| n == 0), "output padding is for transposed convolutions")?;
        w.shape[0]
    };
    let mut shape = vec![x.shape[0], outputs];
    for i in 0..spatial {
        let (before, after) = c.padding[i];
        let reach = reach(c.dilation[i], w.shape[i + 2]);
        let n = x.shape[i + 2];
        shape.push(if c.transposed {
            check(n > 0, "the input is not empty")?;
            sum([(n - 1).saturating_mul(c.stride[i]), reach, c.output_padding[i]])
                .checked_sub(sum([before, after]))
                .ok_or("the padding exceeds the result")?
        } else {
            sum([n, before, after]).checked_sub(reach).ok_or("the window exceeds the padded input")?
                / c.stride[i]
                + 1
        });
    }
    Ok(vec![x.with_shape(shape)])
}

fn pool(p: &Pool, x: &TensorType) -> Rule {
    let spatial = p.window.len();
    check((1..=3).contains(&spatial) && x.rank() == spatial + 2, "rank 2 + 1 to 3 spatial axes")?;
    let lens = [p.stride.len(), p.padding.len(), p.dilation.len(), p.overhang.len()];
    check(lens.iter().all(|&n| n == spatial), "one entry for each spatial axis")?;
    check(
        p.window.iter().chain(&p.stride).chain(&p.dilation).all(|&n| n > 0),
        "window, stride and dilation are positive",
    )?;
    check(x.dtype != DType::Bool, "the operand is numeric")?;
    if let PoolOp::Average { divisor, .. } = p.op {
        check(
            x.dtype.is_float() && p.dilation.iter().all(|&d| d == 1),
            "averages are floating-point and undilated",
        )?;
        check(!p.indices && divisor != Some(0), "averages have no indices and no zero divisor")?;
    }
    let mut shape = x.shape[..2].to_vec();
    for i in 0..spatial {
        let reach = reach(p.dilation[i], p.window[i]);
        let padded = sum([x.shape[i + 2], p.padding[i].0, p.padding[i].1, p.overhang[i]]);
        let n = padded.checked_sub(reach).ok_or("the window exceeds the padded input")? / p.stride[i] + 1;
        let starts_inside = (n - 1).saturating_mul(p.stride[i]) < sum([x.shape[i + 2], p.padding[i].0]);
        check(
            starts_inside || x.elements() == 0,
            "every window starts inside the input or its near padding",
        )?;
        shape.push(n);
    }
    let values = x.with_shape(shape.clone());
    Ok(if p.indices { vec![values, TensorType::new(DType::I64, shape)] } else { vec![values] })
}

fn slice(ranges: &[Range], x: &TensorType) -> Rule {
    check(ranges.len() == x.rank(), "one range for each axis")?;
    for (r, &n) in ranges.iter().zip(&x.shape) {
        check(r.step != 0, "a step is not zero")?;
        if r.len > 0 {
            let last = r.start as i128 + r.step as i128 * (r.len as i128 - 1);
            check(r.start < n && (0..n as i128).contains(&last), "a range stays inside its axis")?;
        }
    }
    Ok(vec![x.with_shape(ranges.iter().map(|r| r.len).collect::<Vec<_>>())])
}

fn concat(axis: usize, x: &[&TensorType]) -> Rule {
    let first = *x.first().ok_or("at least one operand")?;
    check(axis < first.rank(), "the axis does not exist")?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for t in x {
        check(t.dtype == first.dtype && t.rank() == first.rank(), "operands have one type and rank")?;
        let fits = (0..t.rank()).all(|i| i == axis || t.shape[i] == first.shape[i]);
        check(fits, "operands agree in every other axis")?;
        shape[axis] += t.shape[axis];
    }
    Ok(vec![first.with_shape(shape)])
}

fn pad(border: &[(usize, usize)], mode: PadMode, x: &TensorType) -> Rule {
    check(border.len() == x.rank(), "one border for each axis")?;
    for (&(before, after), &n) in border.iter().zip(&x.shape) {
        let fits = match mode {
            PadMode::Constant(_) => true,
            _ if before == 0 && after == 0 => true,
            PadMode::Reflect => before < n && after < n,
            PadMode::Replicate => n > 0,
            PadMode::Circular => before <= n && after <= n,
        };
        check(fits, "the border is too wide for its mode")?;
    }
    let shape: Vec<usize> = border.iter().zip(&x.shape).map(|(&(b, a), &n)| sum([b, n, a])).collect();
    Ok(vec![x.with_shape(shape)])
}

fn gather(axis: usize, elements: bool, x: &TensorType, index: &TensorType) -> Rule {
    check(axis < x.rank(), "the axis does not exist")?;
    check(matches!(index.dtype, DType::I32 | DType::I64), "an index is i32 or i64")?;
    if !elements {
        let shape = [&x.shape[..axis], &index.shape, &x.shape[axis + 1..]].concat();
        return Ok(vec![x.with_shape(shape)]);
    }
    check(index.rank() == x.rank(), "the index has the operand's rank")?;
    let fits = (0..x.rank()).all(|i| i == axis || index.shape[i] <= x.shape[i]);
    check(fits, "the index does not exceed the operand's other axes")?;
    Ok(vec![x.with_shape(index.shape.clone())])
}
