//! Max and average pooling over windows of 1 to 3 spatial axes.

use super::{Def, float_tensor, one};
use crate::DType;
use crate::network::layer::{Pool, PoolOp, ReduceOp};
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// `x[N, C, spatial...]` with spatial sizes of at least 1, and whether the batch axis was added for that.
pub(super) fn batched(
    lower: &mut Lower,
    x: ValueId,
    spatial: usize,
) -> Result<(ValueId, bool), Refusal> {
    let ty = lower.ty(x).clone();
    match ty.rank().checked_sub(spatial) {
        Some(_) if ty.shape.iter().rev().take(spatial).any(|&n| n == 0) => {
            Err(Refusal::Shape { arg: "self", found: ty, expected: "spatial sizes of at least 1" })
        }
        Some(2) => Ok((x, false)),
        Some(1) => Ok((lower.reshape(x, [&[1], &ty.shape[..]].concat())?, true)),
        _ => {
            let expected = "channels and the operator's spatial axes, with or without a batch";
            Err(Refusal::Shape { arg: "self", found: ty, expected })
        }
    }
}

/// `v` without the batch axis that [`batched`] added.
pub(super) fn unbatched(lower: &mut Lower, v: ValueId, added: bool) -> Result<ValueId, Refusal> {
    let shape = lower.shape(v)[usize::from(added)..].to_vec();
    lower.reshape(v, shape)
}

/// Windows as the operator's arguments say; the overhang is what `ceil_mode` adds at the far side. A last window that would start
/// beyond the input and its near padding is left out.
fn windows(lower: &Lower, args: &Args, x: ValueId, n: usize, op: PoolOp) -> Result<Pool, Refusal> {
    let window = args.sizes(lower, "kernel_size", n, None)?;
    let stride = args.sizes(lower, "stride", n, Some(&window))?;
    let padding = args.sizes(lower, "padding", n, Some(&vec![0; n]))?;
    let dilation = args.sizes(lower, "dilation", n, Some(&vec![1; n]))?;
    let ceil = args.flag("ceil_mode")?;
    let mut overhang = vec![0; n];
    for i in 0..n {
        if window[i] == 0 || stride[i] == 0 || dilation[i] == 0 {
            return Err(Refusal::Invalid("a window, stride or dilation is 0".into()));
        }
        let reach = dilation[i] * (window[i] - 1) + 1;
        if padding[i] > window[i] / 2 {
            return Err(Refusal::Invalid("'padding' exceeds half the window".into()));
        }
        let size = lower.shape(x)[2 + i];
        let padded = size + 2 * padding[i];
        let last = padded.saturating_sub(reach).div_ceil(stride[i]) * stride[i];
        let missing = (last + reach).saturating_sub(padded);
        if ceil && missing < stride[i] && last < size + padding[i] {
            overhang[i] = missing;
        }
    }
    let padding = padding.into_iter().map(|p| (p, p)).collect();
    Ok(Pool { op, window, stride, padding, dilation, overhang, indices: false })
}

fn max_pool(lower: &mut Lower, args: &Args, n: usize, indices: bool) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let found = lower.dtype(x);
    if found == DType::Bool || (n == 1 && !indices && !found.is_float()) {
        return Err(Refusal::Dtype { arg: "self", found });
    }
    let (x, added) = batched(lower, x, n)?;
    let pool = Pool { indices, ..windows(lower, args, x, n, PoolOp::Max)? };
    let outputs = lower.builder.layer(LayerKind::Pool(pool), &[x])?;
    outputs.into_iter().map(|v| unbatched(lower, v, added).map(Item::Tensor)).collect()
}

/// A window that covers the whole plane is a mean over its axes.
fn avg_pool(lower: &mut Lower, args: &Args, n: usize) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let found = lower.dtype(x);
    if n == 3 && found.size() == 2 {
        return Err(Refusal::Dtype { arg: "self", found });
    }
    let (x, added) = batched(lower, x, n)?;
    let divisor = args.opt_int(lower, "divisor_override")?;
    let divisor = match divisor.map(usize::try_from).transpose() {
        Ok(d) if d != Some(0) => d,
        _ => return Err(Refusal::Invalid(format!("'divisor_override' is {divisor:?}"))),
    };
    let op = PoolOp::Average { count_padding: args.flag("count_include_pad")?, divisor };
    let pool = windows(lower, args, x, n, op)?;
    if n == 3 && pool.window.iter().zip(&lower.shape(x)[2..]).any(|(window, size)| window > size) {
        return Err(Refusal::Invalid("the window exceeds the input".into()));
    }
    let whole = pool.window == lower.shape(x)[2..] && pool.padding.iter().all(|&p| p == (0, 0));
    let out = if whole && divisor.is_none() {
        lower.add(LayerKind::Reduce { op: ReduceOp::Mean, axes: (2..2 + n).collect(), keep: true }, &[x])?
    } else {
        lower.add(LayerKind::Pool(pool), &[x])?
    };
    one(unbatched(lower, out, added)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> Tensor",
        ],
        lower: |l, a| max_pool(l, a, 1, false),
    },
    Def {
        schemas: &[
            "aten::max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> Tensor",
        ],
        lower: |l, a| max_pool(l, a, 2, false),
    },
    Def {
        schemas: &[
            "aten::max_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, bool ceil_mode=False) -> Tensor",
        ],
        lower: |l, a| max_pool(l, a, 3, false),
    },
    Def {
        schemas: &[
            "aten::max_pool1d_with_indices(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> (Tensor, Tensor)",
        ],
        lower: |l, a| max_pool(l, a, 1, true),
    },
    Def {
        schemas: &[
            "aten::max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
        ],
        lower: |l, a| max_pool(l, a, 2, true),
    },
    Def {
        schemas: &[
            "aten::max_pool3d_with_indices(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
        ],
        lower: |l, a| max_pool(l, a, 3, true),
    },
    Def {
        schemas: &[
            "aten::avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], bool ceil_mode=False, bool count_include_pad=True) -> Tensor",
        ],
        lower: |l, a| avg_pool(l, a, 1),
    },
    Def {
        schemas: &[
            "aten::avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
        ],
        lower: |l, a| avg_pool(l, a, 2),
    },
    Def {
        schemas: &[
            "aten::avg_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
        ],
        lower: |l, a| avg_pool(l, a, 3),
    },
];
