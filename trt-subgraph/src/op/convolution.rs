//! Convolutions of 1 to 3 spatial axes, grouped, dilated, transposed; every form that traced and scripted models use.

use super::{Def, float_tensor, one};
use crate::network::LayerKind;
use crate::network::expr::Binary;
use crate::network::layer::Convolution;
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// The operands of any form: `input[N, C, spatial...]`, `weight` of that rank, optional `bias[O]`.
struct Operands {
    input: ValueId,
    weight: ValueId,
    bias: Option<ValueId>,
    spatial: usize,
}

impl Operands {
    fn read(lower: &Lower, args: &Args) -> Result<Operands, Refusal> {
        let input = float_tensor(lower, args, "input")?;
        let weight = float_tensor(lower, args, "weight")?;
        let ty = lower.ty(weight);
        if !(3..=5).contains(&ty.rank()) {
            let expected = "1 to 3 spatial axes";
            return Err(Refusal::Shape { arg: "weight", found: ty.clone(), expected });
        }
        let spatial = ty.rank() - 2;
        Ok(Operands { input, weight, bias: args.opt_tensor("bias")?, spatial })
    }

    /// The layer, with the bias added to it.
    fn lower(&self, lower: &mut Lower, parameters: Convolution) -> Result<ValueId, Refusal> {
        if lower.shape(self.input).iter().skip(2).any(|&n| n == 0) {
            let found = lower.ty(self.input).clone();
            return Err(Refusal::Shape { arg: "input", found, expected: "spatial sizes of at least 1" });
        }
        let out = lower.add(LayerKind::Convolution(parameters), &[self.input, self.weight])?;
        if lower.shape(out)[2..].contains(&0) {
            return Err(Refusal::Invalid("the result has a spatial size of 0".into()));
        }
        let Some(bias) = self.bias else { return Ok(out) };
        let channels = lower.shape(out)[1];
        let ty = lower.ty(bias).clone();
        if ty.shape != [channels] {
            return Err(Refusal::Shape { arg: "bias", found: ty, expected: "one value for each channel" });
        }
        let mut shape = vec![1; self.spatial + 1];
        shape[0] = channels;
        let bias = lower.reshape(bias, shape)?;
        lower.pointwise(Expr::binary(Binary::Add), &[out, bias])
    }
}

/// What all forms share: stride, dilation and groups, for an untransposed convolution without padding.
fn plain(lower: &Lower, args: &Args, n: usize) -> Result<Convolution, Refusal> {
    Ok(Convolution {
        stride: args.sizes(lower, "stride", n, None)?,
        padding: vec![(0, 0); n],
        dilation: args.sizes(lower, "dilation", n, None)?,
        groups: args.sizes(lower, "groups", 1, None)?[0],
        transposed: false,
        output_padding: vec![0; n],
    })
}

/// Equal padding on both sides.
fn symmetric(lower: &Lower, args: &Args, n: usize) -> Result<Vec<(usize, usize)>, Refusal> {
    Ok(args.sizes(lower, "padding", n, None)?.into_iter().map(|p| (p, p)).collect())
}

fn set_transposed(lower: &Lower, args: &Args, c: &mut Convolution) -> Result<(), Refusal> {
    let n = c.stride.len();
    c.transposed = true;
    c.output_padding = args.sizes(lower, "output_padding", n, None)?;
    if (0..n).any(|i| c.output_padding[i] >= c.stride[i].max(c.dilation[i])) {
        return Err(Refusal::Invalid("'output_padding' reaches the stride and the dilation".into()));
    }
    Ok(())
}

/// The form of given rank, which also takes an input without a batch axis.
fn ranked(
    lower: &mut Lower,
    args: &Args,
    spatial: usize,
    parameters: impl FnOnce(&Lower, &Operands) -> Result<Convolution, Refusal>,
) -> Result<Vec<Item>, Refusal> {
    let mut operands = Operands::read(lower, args)?;
    if operands.spatial != spatial {
        let found = lower.ty(operands.weight).clone();
        return Err(Refusal::Shape { arg: "weight", found, expected: "the operator's number of axes" });
    }
    let parameters = parameters(lower, &operands)?;
    let unbatched = lower.ty(operands.input).rank() == spatial + 1;
    if unbatched {
        let shape = [&[1], lower.shape(operands.input)].concat();
        operands.input = lower.reshape(operands.input, shape)?;
    }
    let out = operands.lower(lower, parameters)?;
    let shape = lower.shape(out)[usize::from(unbatched)..].to_vec();
    one(lower.reshape(out, shape)?)
}

fn forward(lower: &mut Lower, args: &Args, spatial: usize) -> Result<Vec<Item>, Refusal> {
    ranked(lower, args, spatial, |lower, _| {
        Ok(Convolution { padding: symmetric(lower, args, spatial)?, ..plain(lower, args, spatial)? })
    })
}

fn transposed(lower: &mut Lower, args: &Args, spatial: usize) -> Result<Vec<Item>, Refusal> {
    ranked(lower, args, spatial, |lower, _| {
        let mut c = Convolution { padding: symmetric(lower, args, spatial)?, ..plain(lower, args, spatial)? };
        set_transposed(lower, args, &mut c)?;
        Ok(c)
    })
}

/// `padding="valid"` is none; `"same"` keeps the size, an odd total has its larger part at the far side.
fn named_padding(lower: &mut Lower, args: &Args, spatial: usize) -> Result<Vec<Item>, Refusal> {
    ranked(lower, args, spatial, |lower, operands| by_name(lower, args, operands))
}

fn by_name(lower: &Lower, args: &Args, operands: &Operands) -> Result<Convolution, Refusal> {
    let mut c = plain(lower, args, operands.spatial)?;
    match args.opt_str("padding")? {
        Some("valid") => {}
        Some("same") if c.stride.iter().any(|&s| s != 1) => {
            return Err(Refusal::Invalid("padding 'same' needs a stride of 1".into()));
        }
        Some("same") => {
            let window = &lower.shape(operands.weight)[2..];
            for ((padding, &d), &k) in c.padding.iter_mut().zip(&c.dilation).zip(window) {
                let total = d * k.saturating_sub(1);
                *padding = (total / 2, total - total / 2);
            }
        }
        other => return Err(Refusal::Invalid(format!("'padding' is {other:?}"))),
    }
    Ok(c)
}

fn mode(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let operands = Operands::read(lower, args)?;
    let parameters = by_name(lower, args, &operands)?;
    one(operands.lower(lower, parameters)?)
}

/// The form that tracing records; the rank is the weight's.
fn general(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let operands = Operands::read(lower, args)?;
    let n = operands.spatial;
    let mut c = Convolution { padding: symmetric(lower, args, n)?, ..plain(lower, args, n)? };
    if args.flag("transposed")? {
        set_transposed(lower, args, &mut c)?;
    }
    one(operands.lower(lower, c)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::conv1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] padding=[0], SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
        ],
        lower: |l, a| forward(l, a, 1),
    },
    Def {
        schemas: &[
            "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor",
        ],
        lower: |l, a| forward(l, a, 2),
    },
    Def {
        schemas: &[
            "aten::conv3d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor",
        ],
        lower: |l, a| forward(l, a, 3),
    },
    Def {
        schemas: &[
            "aten::conv1d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], str padding=\"valid\", SymInt[1] dilation=[1], SymInt groups=1) -> Tensor",
        ],
        lower: |l, a| named_padding(l, a, 1),
    },
    Def {
        schemas: &[
            "aten::conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], str padding=\"valid\", SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor",
        ],
        lower: |l, a| named_padding(l, a, 2),
    },
    Def {
        schemas: &[
            "aten::conv3d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], str padding=\"valid\", SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor",
        ],
        lower: |l, a| named_padding(l, a, 3),
    },
    Def {
        schemas: &[
            "aten::conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] padding=[0], SymInt[1] output_padding=[0], SymInt groups=1, SymInt[1] dilation=[1]) -> Tensor",
        ],
        lower: |l, a| transposed(l, a, 1),
    },
    Def {
        schemas: &[
            "aten::conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, 0], SymInt groups=1, SymInt[2] dilation=[1, 1]) -> Tensor",
        ],
        lower: |l, a| transposed(l, a, 2),
    },
    Def {
        schemas: &[
            "aten::conv_transpose3d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] output_padding=[0, 0, 0], SymInt groups=1, SymInt[3] dilation=[1, 1, 1]) -> Tensor",
        ],
        lower: |l, a| transposed(l, a, 3),
    },
    Def {
        schemas: &[
            "aten::_convolution_mode(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, str padding, SymInt[] dilation, SymInt groups) -> Tensor",
        ],
        lower: mode,
    },
    Def {
        schemas: &[
            "aten::_convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups, bool benchmark, bool deterministic, bool cudnn_enabled, bool allow_tf32) -> Tensor",
            "aten::_convolution.deprecated(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, int[] output_padding, SymInt groups, bool benchmark, bool deterministic, bool cudnn_enabled) -> Tensor",
            "aten::convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups) -> Tensor",
        ],
        lower: general,
    },
];
