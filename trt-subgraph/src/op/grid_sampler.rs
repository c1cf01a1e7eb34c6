//! Sampling an image at given places, and the places of an affine map.

use super::formula::{Term, pointwise};
use super::resample::bounded;
use super::{Def, float_tensor, one};
use crate::network::expr::Unary;
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// What lies outside the image.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Edge,
    Mirror,
}

/// One axis of the image.
#[derive(Clone, Copy)]
struct Axis {
    size: f64,
    outside: Outside,
    align_corners: bool,
}

impl Axis {
    /// The place that a coordinate in -1..1 names, brought inside unless outside is zero.
    fn place<'f>(&self, coordinate: Term<'f>) -> Term<'f> {
        let at = if self.align_corners {
            (coordinate + 1.0) * ((self.size - 1.0) / 2.0)
        } else {
            (coordinate + 1.0) * (self.size / 2.0) - 0.5
        };
        match self.outside {
            Outside::Zeros => at,
            Outside::Edge => self.clip(at),
            Outside::Mirror => self.clip(self.mirror(at)),
        }
    }

    /// The nearest pixel's place; the first one's for NaN.
    fn clip<'f>(&self, at: Term<'f>) -> Term<'f> {
        at.gt(0.0).select(at, 0.0).min(self.size - 1.0)
    }

    /// Reflected at the centres of the border pixels, or at their far edges; NaN for infinity.
    fn mirror<'f>(&self, at: Term<'f>) -> Term<'f> {
        let (low, span) = if self.align_corners { (0.0, self.size - 1.0) } else { (-0.5, self.size) };
        if span == 0.0 {
            return at * 0.0;
        }
        let distance = (at - low).abs();
        let there_and_back = 2.0 * span;
        let beyond = distance - (distance / there_and_back).unary(Unary::Trunc) * there_and_back;
        beyond.min(there_and_back - beyond) + low
    }

    fn inside<'f>(&self, at: Term<'f>) -> Term<'f> {
        at.lt(0.0).select(0.0, at.gt(self.size - 1.0).select(0.0, at * 0.0 + 1.0))
    }
}

/// An image `[N, C, H, W]` as `[C, N * H * W]`, to be read at flat places.
struct Image {
    flat: ValueId,
    /// The first place of each image, `[N, 1]`.
    start: ValueId,
    rows: Axis,
    columns: Axis,
}

impl Image {
    /// The pixels at row `y` and column `x`, both `[N, L]` and whole or NaN: `[C, N, L]`; a place outside reads the nearest pixel.
    fn read(&self, lower: &mut Lower, x: ValueId, y: ValueId) -> Result<ValueId, Refusal> {
        let dtype = lower.dtype(x);
        let (rows, columns) = (self.rows, self.columns);
        let at = pointwise(lower, [x, y, self.start], dtype, |[x, y, start]| {
            start + rows.clip(y) * columns.size + columns.clip(x)
        })?;
        let at = lower.cast(at, DType::I64)?;
        lower.add(LayerKind::Gather { axis: 1, elements: false }, &[self.flat, at])
    }
}

/// The operand as an image, and columns and rows of the places, `[N, L]`.
fn operands(
    lower: &mut Lower,
    args: &Args,
) -> Result<(Image, ValueId, ValueId), Refusal> {
    let (x, grid) = (float_tensor(lower, args, "input")?, float_tensor(lower, args, "grid")?);
    let (ty, places) = (lower.ty(x).clone(), lower.ty(grid).clone());
    let (&[n, c, h, w], &[m, oh, ow, 2]) = (&ty.shape[..], &places.shape[..]) else {
        return Err(Refusal::Shape { arg: "grid", found: places, expected: "places of two coordinates" });
    };
    if places.dtype != ty.dtype || !matches!(ty.dtype, DType::F32 | DType::F64) {
        return Err(Refusal::Dtype { arg: "grid", found: places.dtype });
    }
    let exact = if ty.dtype == DType::F64 { 1 << 53 } else { 1 << 24 };
    if m != n || h * w == 0 || n * h * w > exact {
        return Err(Refusal::Shape { arg: "input", found: ty, expected: "a countable image for each grid" });
    }
    let outside = match args.int(lower, "padding_mode")? {
        0 => Outside::Zeros,
        1 => Outside::Edge,
        2 => Outside::Mirror,
        other => return Err(Refusal::Invalid(format!("'padding_mode' is {other}"))),
    };
    let align_corners = args.flag("align_corners")?;
    let axis = |size: usize| Axis { size: size as f64, outside, align_corners };
    let (rows, columns) = (axis(h), axis(w));
    let mut coordinate = |at: usize, axis: Axis| {
        let v = lower.narrow(grid, 3, at, 1)?;
        let v = lower.reshape(v, [n, oh * ow])?;
        pointwise(lower, [v], ty.dtype, |[v]| axis.place(v))
    };
    let (across, down) = (coordinate(0, columns)?, coordinate(1, rows)?);
    let flat = lower.permute(x, vec![1, 0, 2, 3])?;
    let flat = lower.reshape(flat, [c, n * h * w])?;
    let start = Literal::from_f64(TensorType::new(ty.dtype, [n, 1]), (0..n).map(|i| (i * h * w) as f64));
    let start = lower.builder.constant(start.expect("one for each image"));
    Ok((Image { flat, start, rows, columns }, across, down))
}

/// Bilinear or nearest. Corners outside, marked by a negative weight, do not enter. Between pixels, a place that is no number is
/// NaN on a CPU, outside on a GPU, as libtorch has it.
fn grid_sampler(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (image, x, y) = operands(lower, args)?;
    let dtype = lower.dtype(x);
    let (rows, columns) = (image.rows, image.columns);
    let on_cpu = lower.device.0 == "cpu";
    let out = match args.int(lower, "interpolation_mode")? {
        0 => {
            let mut low = |v| pointwise(lower, [v], dtype, |[v]| v.unary(Unary::Floor));
            let (left, top) = (low(x)?, low(y)?);
            let mut next = |v| pointwise(lower, [v], dtype, |[v]| v + 1.0);
            let (right, bottom) = (next(left)?, next(top)?);
            let mut sum = None;
            for (column, row) in [(left, top), (right, top), (left, bottom), (right, bottom)] {
                let pixel = image.read(lower, column, row)?;
                let weight = pointwise(lower, [x, y, column, row], dtype, |[x, y, column, row]| {
                    let near = (1.0 - (x - column).abs()) * (1.0 - (y - row).abs());
                    let inside = (columns.inside(column) * rows.inside(row)).gt(0.5);
                    if on_cpu { inside.select(near, near * 0.0 - 1.0) } else { inside.select(near, -1.0) }
                })?;
                let part = pointwise(lower, [pixel, weight], dtype, |[p, w]| w.lt(0.0).select(0.0, p * w))?;
                sum = Some(match sum {
                    None => part,
                    Some(sum) => pointwise(lower, [sum, part], dtype, |[a, b]| a + b)?,
                });
            }
            sum.expect("four corners")
        }
        1 => {
            let mut whole = |v| pointwise(lower, [v], dtype, |[v]| v.unary(Unary::Round));
            let (column, row) = (whole(x)?, whole(y)?);
            let pixel = image.read(lower, column, row)?;
            pointwise(lower, [pixel, column, row], dtype, |[p, column, row]| {
                (columns.inside(column) * rows.inside(row)).gt(0.5).select(p, 0.0)
            })?
        }
        other => {
            let why = format!("mode {other} is not supported");
            return Err(Refusal::Attribute { arg: "interpolation_mode".into(), why });
        }
    };
    let out = lower.permute(out, vec![1, 0, 2])?;
    let grid = lower.shape(args.tensor("grid")?);
    let shape = [lower.shape(out)[0], lower.shape(out)[1], grid[1], grid[2]];
    one(lower.reshape(out, shape)?)
}

/// The places `theta @ (x, y, 1)` of every pixel of an image of `size`, in -1..1.
fn affine_grid(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let theta = float_tensor(lower, args, "theta")?;
    let ty = lower.ty(theta).clone();
    let size = args.sizes(lower, "size", 4, None)?;
    if ty.shape != [size[0], 2, 3] {
        return Err(Refusal::Shape { arg: "theta", found: ty, expected: "a 2x3 matrix for each image" });
    }
    let (h, w) = (size[2], size[3]);
    bounded("size", &[h * w])?;
    let spread = if args.flag("align_corners")? { |n: usize| n as f64 - 1.0 } else { |n: usize| n as f64 };
    let middle = |i: usize, n: usize| match n {
        1 => 0.0,
        _ => (2.0 * i as f64 - (n as f64 - 1.0)) / spread(n),
    };
    let place = |at: usize| [middle(at % w, w), middle(at / w, h), 1.0];
    let base = Literal::from_f64(TensorType::new(ty.dtype, [h * w, 3]), (0..h * w).flat_map(place));
    let base = lower.builder.constant(base.expect("three for each place"));
    let out = lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[base, theta])?;
    one(lower.reshape(out, [size[0], h, w, 2])?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::grid_sampler(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) -> Tensor",
            "aten::grid_sampler_2d(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) -> Tensor",
        ],
        lower: grid_sampler,
    },
    Def {
        schemas: &[
            "aten::affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor",
        ],
        lower: affine_grid,
    },
];
