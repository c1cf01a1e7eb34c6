//! Interpolation to another size, axis by axis: nearest, linear, cubic, with and without antialiasing.
//!
//! Positions and weights are computed in f32 (f64 for an f64 operand), as the host computes them: a rounded position decides which
//! neighbour is read.

use super::formula::compute_type;
use super::resample::{Taps, bounded, repeat, resample};
use super::{Def, one};
use crate::DType;
use crate::network::ValueId;
use crate::source::{Args, Item, Lower, Refusal};

/// How a result is made from its neighbours.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    /// Nearest to the centre of the result, not to its near edge.
    NearestExact,
    Linear,
    Cubic,
    /// Linear, widened to cover all that a smaller result stands for.
    SmoothLinear,
    SmoothCubic,
}

/// One axis of a resize.
struct Axis {
    size: usize,
    outputs: usize,
    /// Asked-for factor, if any; the sizes' ratio otherwise.
    scale: Option<f64>,
    align_corners: bool,
    /// Is arithmetic done in f64?
    wide: bool,
    /// Is it one of two spatial axes?
    image: bool,
}

impl Axis {
    fn round(&self, v: f64) -> f64 {
        if self.wide { v } else { v as f32 as f64 }
    }

    /// Input positions for each output position.
    fn step(&self) -> f64 {
        let ratio = match self.scale {
            Some(s) if s > 0.0 => 1.0 / s,
            _ => self.size as f64 / self.outputs as f64,
        };
        match (self.align_corners, self.outputs) {
            (false, _) => self.round(ratio),
            (true, 0 | 1) => 0.0,
            (true, n) => self.round((self.size - 1) as f64 / (n - 1) as f64),
        }
    }

    /// Where output `i` lies on the input, between pixel centres.
    fn centre(&self, i: usize) -> f64 {
        let step = self.step();
        if self.align_corners {
            self.round(step * i as f64)
        } else {
            self.round(self.round(step * (i as f64 + 0.5)) - 0.5)
        }
    }

    /// Nearest positions are found in f32 whatever the type. On images the host takes a size that stays or doubles for just that,
    /// whatever factor was asked for.
    fn nearest(&self, i: usize, offset: f32) -> usize {
        if offset == 0.0 && self.image && self.outputs == self.size {
            return i;
        }
        if offset == 0.0 && self.image && self.outputs == 2 * self.size {
            return i / 2;
        }
        let step = match self.scale {
            Some(s) if s > 0.0 => (1.0 / s) as f32,
            _ => self.size as f32 / self.outputs as f32,
        };
        (((i as f32 + offset) * step).floor() as usize).min(self.size - 1)
    }

    fn linear(&self, i: usize) -> Vec<(usize, f64)> {
        if self.outputs == self.size {
            return vec![(i, 1.0)];
        }
        let at = self.centre(i).max(0.0);
        let first = (at.floor() as usize).min(self.size - 1);
        let far = self.round((at - first as f64).clamp(0.0, 1.0));
        vec![(first, 1.0 - far), ((first + 1).min(self.size - 1), far)]
    }

    fn cubic(&self, i: usize) -> Vec<(usize, f64)> {
        let at = self.centre(i);
        let first = (at.floor() as i64).min(self.size as i64 - 1);
        let far = self.round((at - first as f64).clamp(0.0, 1.0));
        let tap = |k: i64| {
            let position = (first + k).clamp(0, self.size as i64 - 1) as usize;
            (position, cubic_weight(far - k as f64, -0.75))
        };
        (-1..3).map(tap).collect()
    }

    /// A filter of half-width `reach`, stretched where the result is smaller, its weights normalised.
    fn smooth(&self, i: usize, reach: f64, filter: impl Fn(f64) -> f64) -> Vec<(usize, f64)> {
        if self.outputs == self.size {
            return vec![(i, 1.0)];
        }
        let step = self.step();
        let stretch = step.max(1.0);
        let centre = step * (i as f64 + 0.5);
        let bound = |v: f64| (v.trunc().max(0.0) as usize).min(self.size);
        let low = bound(centre - reach * stretch + 0.5);
        let high = bound(centre + reach * stretch + 0.5).max(low + 1);
        let weight = |p: usize| filter((p as f64 - centre + 0.5) / stretch);
        let total: f64 = (low..high).map(weight).sum();
        (low..high).map(|p| (p.min(self.size - 1), weight(p) / total)).collect()
    }

    fn taps(&self, mode: Mode) -> Taps {
        let triangle = |x: f64| (1.0 - x.abs()).max(0.0);
        let of = |i| match mode {
            Mode::Nearest => vec![(self.nearest(i, 0.0), 1.0)],
            Mode::NearestExact => vec![(self.nearest(i, 0.5), 1.0)],
            Mode::Linear => self.linear(i),
            Mode::Cubic => self.cubic(i),
            Mode::SmoothLinear => self.smooth(i, 1.0, triangle),
            Mode::SmoothCubic => self.smooth(i, 2.0, |x| cubic_weight(x, -0.5)),
        };
        Taps((0..self.outputs).map(of).collect())
    }
}

/// Keys' cubic convolution kernel (<https://doi.org/10.1109/TASSP.1981.1163711>).
fn cubic_weight(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// Output sizes and factors: `output_size` with a factor for each axis (`scales_h`, ...), or, in the `.vec` overloads, one of
/// `output_size` and `scale_factors`.
fn targets(
    lower: &Lower,
    args: &Args,
    sizes: &[usize],
) -> Result<Vec<(usize, Option<f64>)>, Refusal> {
    let n = sizes.len();
    if let Item::List(factors) = args.get("scale_factors") {
        let factors = factors.iter().map(|f| match f {
            Item::Float(v) if *v > 0.0 => Ok(*v),
            Item::Int(v) if *v > 0 => Ok(*v as f64),
            other => Err(Refusal::Invalid(format!("a scale factor is {other:?}"))),
        });
        let factors = factors.collect::<Result<Vec<f64>, _>>()?;
        if args.has("output_size") || factors.len() != n {
            return Err(Refusal::Invalid(format!("expected 'output_size' or {n} scale factors")));
        }
        return Ok(sizes.iter().zip(factors).map(|(&s, f)| ((s as f64 * f) as usize, Some(f))).collect());
    }
    let outputs = args.sizes(lower, "output_size", n, None)?;
    let names: &[&str] = match n {
        1 => &["scales"],
        2 => &["scales_h", "scales_w"],
        _ => &["scales_d", "scales_h", "scales_w"],
    };
    let factor = |name: &&str| if args.has(name) { args.float(name).map(Some) } else { Ok(None) };
    let factors = names.iter().map(factor).collect::<Result<Vec<_>, _>>()?;
    Ok(outputs.into_iter().zip(factors).collect())
}

fn operand(args: &Args) -> Result<ValueId, Refusal> {
    args.tensor(if args.has("input") { "input" } else { "self" })
}

fn upsample(lower: &mut Lower, args: &Args, spatial: usize, mode: Mode) -> Result<Vec<Item>, Refusal> {
    let x = operand(args)?;
    let ty = lower.ty(x).clone();
    let moves = matches!(mode, Mode::Nearest | Mode::NearestExact);
    let smooth = matches!(mode, Mode::SmoothLinear | Mode::SmoothCubic);
    let supported = match ty.dtype {
        DType::F32 | DType::F64 => true,
        DType::F16 | DType::BF16 => !smooth,
        other => moves && other == DType::U8,
    };
    if !supported {
        return Err(Refusal::Dtype { arg: "self", found: ty.dtype });
    }
    if ty.rank() != spatial + 2 {
        return Err(Refusal::Shape { arg: "self", found: ty, expected: "the operator's number of axes" });
    }
    let targets = targets(lower, args, &ty.shape[2..])?;
    bounded("output_size", &targets.iter().map(|t| t.0).collect::<Vec<_>>())?;
    if ty.shape[1..].contains(&0) || targets.iter().any(|t| t.0 == 0) {
        return Err(Refusal::Invalid("a size is 0".into()));
    }
    let align_corners = args.flag("align_corners")?;
    if smooth && (align_corners || targets[1].0 == 1) {
        let why = "antialiasing to one column, or with corners aligned, is left to the host".to_string();
        return Err(Refusal::Attribute { arg: "output_size".into(), why });
    }
    let wide = ty.dtype == DType::F64;
    let image = spatial == 2;
    let axis = |(&size, (outputs, scale))| Axis { size, outputs, scale, align_corners, wide, image };
    let axes: Vec<Axis> = ty.shape[2..].iter().zip(targets).map(axis).collect();
    if mode == Mode::Nearest && axes.iter().all(is_repeat) {
        let times: Vec<_> = axes.iter().enumerate().map(|(i, a)| (2 + i, a.outputs / a.size)).collect();
        return one(repeat(lower, x, &times)?);
    }
    let mut out = if moves { x } else { lower.cast(x, compute_type(ty.dtype))? };
    for (at, axis) in axes.iter().enumerate() {
        out = resample(lower, out, 2 + at, &axis.taps(mode))?;
    }
    one(lower.cast(out, ty.dtype)?)
}

/// Is the nearest neighbour of every output `i / times`?
fn is_repeat(axis: &Axis) -> bool {
    let times = axis.outputs / axis.size;
    times * axis.size == axis.outputs && (0..axis.outputs).all(|i| axis.nearest(i, 0.0) == i / times)
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::_upsample_bicubic2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::_upsample_bicubic2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 2, Mode::SmoothCubic) },
    Def { schemas: &["aten::_upsample_bilinear2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::_upsample_bilinear2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 2, Mode::SmoothLinear) },
    Def { schemas: &["aten::_upsample_nearest_exact1d(Tensor self, SymInt[1] output_size, float? scales=None) -> Tensor", "aten::_upsample_nearest_exact1d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 1, Mode::NearestExact) },
    Def { schemas: &["aten::_upsample_nearest_exact2d(Tensor self, SymInt[2] output_size, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::_upsample_nearest_exact2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 2, Mode::NearestExact) },
    Def { schemas: &["aten::_upsample_nearest_exact3d(Tensor self, SymInt[3] output_size, float? scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::_upsample_nearest_exact3d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 3, Mode::NearestExact) },
    Def { schemas: &["aten::upsample_bicubic2d(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::upsample_bicubic2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 2, Mode::Cubic) },
    Def { schemas: &["aten::upsample_bilinear2d(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::upsample_bilinear2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 2, Mode::Linear) },
    Def { schemas: &["aten::upsample_linear1d(Tensor self, SymInt[1] output_size, bool align_corners, float? scales=None) -> Tensor", "aten::upsample_linear1d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 1, Mode::Linear) },
    Def { schemas: &["aten::upsample_nearest1d(Tensor self, SymInt[1] output_size, float? scales=None) -> Tensor", "aten::upsample_nearest1d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 1, Mode::Nearest) },
    Def { schemas: &["aten::upsample_nearest2d(Tensor self, SymInt[2] output_size, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::upsample_nearest2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 2, Mode::Nearest) },
    Def { schemas: &["aten::upsample_nearest3d(Tensor self, SymInt[3] output_size, float? scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::upsample_nearest3d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 3, Mode::Nearest) },
    Def { schemas: &["aten::upsample_trilinear3d(Tensor self, SymInt[3] output_size, bool align_corners, float? scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor", "aten::upsample_trilinear3d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor"], lower: |l, a| upsample(l, a, 3, Mode::Linear) },
];
