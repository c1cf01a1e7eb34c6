//! Sliding blocks of an image as columns (unfold), and columns summed back into an image (fold).

use super::pool::{batched, unbatched};
use super::resample::{Taps, resample};
use super::{Def, float_tensor, one};
use crate::network::layer::PadMode;
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// The blocks along one axis.
struct Blocks {
    window: usize,
    dilation: usize,
    padding: usize,
    stride: usize,
    /// How many.
    count: usize,
}

/// The blocks along both axes of an image of these sizes.
fn blocks(lower: &Lower, args: &Args, sizes: [usize; 2]) -> Result<[Blocks; 2], Refusal> {
    let read = |name| args.sizes(lower, name, 2, None);
    let (window, dilation) = (read("kernel_size")?, read("dilation")?);
    let (padding, stride) = (read("padding")?, read("stride")?);
    if [&window, &dilation, &stride].iter().any(|v| v.contains(&0)) {
        return Err(Refusal::Invalid("a window, dilation or stride is 0".into()));
    }
    let axis = |i: usize| -> Result<Blocks, Refusal> {
        let reach = dilation[i] * (window[i] - 1) + 1;
        let room = (sizes[i] + 2 * padding[i]).checked_sub(reach);
        let room = room.ok_or_else(|| Refusal::Invalid("the block exceeds the padded image".into()))?;
        Ok(Blocks {
            window: window[i],
            dilation: dilation[i],
            padding: padding[i],
            stride: stride[i],
            count: room / stride[i] + 1,
        })
    };
    Ok([axis(0)?, axis(1)?])
}

impl Blocks {
    /// The positions `[window, count]` that tap `t` of block `b` reads on the padded axis.
    fn table(&self, lower: &mut Lower) -> ValueId {
        let at = |t, b| (t * self.dilation + b * self.stride) as i64;
        let positions = (0..self.window).flat_map(|t| (0..self.count).map(move |b| at(t, b)));
        let ty = TensorType::new(DType::I64, [self.window, self.count]);
        lower.builder.constant(Literal::from_i64(ty, positions).expect("as many as its type says"))
    }

    /// For each position of the axis, the entries of `[window, count]` that land on it.
    fn sources(&self, size: usize) -> Taps {
        let lands = |t: usize, b: usize| (t * self.dilation + b * self.stride).checked_sub(self.padding);
        let mut taps = vec![Vec::new(); size];
        for (t, b) in (0..self.window).flat_map(|t| (0..self.count).map(move |b| (t, b))) {
            if let Some(taps) = lands(t, b).and_then(|at| taps.get_mut(at)) {
                taps.push((t * self.count + b, 1.0));
            }
        }
        Taps(taps)
    }
}

/// `[N, C, H, W]` to `[N, C * windows, blocks]`.
fn im2col(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let (mut x, added) = batched(lower, x, 2)?;
    let &[n, c, height, width] = lower.shape(x) else {
        return Err(Refusal::Invalid("an image has four axes".into()));
    };
    let [rows, columns] = blocks(lower, args, [height, width])?;
    if rows.padding + columns.padding > 0 {
        let both = |p| (p, p);
        let border = vec![(0, 0), (0, 0), both(rows.padding), both(columns.padding)];
        x = lower.add(LayerKind::Pad { border, mode: PadMode::Constant(0.0) }, &[x])?;
    }
    for (axis, blocks) in [(2, &rows), (4, &columns)] {
        let table = blocks.table(lower);
        x = lower.add(LayerKind::Gather { axis, elements: false }, &[x, table])?;
    }
    let x = lower.permute(x, vec![0, 1, 2, 4, 3, 5])?;
    let x = lower.reshape(x, [n, c * rows.window * columns.window, rows.count * columns.count])?;
    one(unbatched(lower, x, added)?)
}

/// `[N, C * windows, blocks]` to `[N, C, H, W]`; what lands on one place is summed.
fn col2im(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let (x, added) = batched(lower, x, 1)?;
    let sizes = args.sizes(lower, "output_size", 2, None)?;
    let [rows, columns] = blocks(lower, args, [sizes[0], sizes[1]])?;
    let &[n, channels, count] = lower.shape(x) else {
        return Err(Refusal::Invalid("columns have three axes".into()));
    };
    let window = rows.window * columns.window;
    if !channels.is_multiple_of(window) || count != rows.count * columns.count {
        let expected = "a column for each block, a row for each of its places";
        return Err(Refusal::Shape { arg: "self", found: lower.ty(x).clone(), expected });
    }
    let c = channels / window;
    let x = lower.reshape(x, [n, c, rows.window, columns.window, rows.count, columns.count])?;
    let x = lower.permute(x, vec![0, 1, 2, 4, 3, 5])?;
    let x = lower.reshape(x, [n, c, rows.window * rows.count, columns.window * columns.count])?;
    let x = resample(lower, x, 2, &rows.sources(sizes[0]))?;
    let x = resample(lower, x, 3, &columns.sources(sizes[1]))?;
    one(unbatched(lower, x, added)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor",
        ],
        lower: im2col,
    },
    Def {
        schemas: &[
            "aten::col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor",
        ],
        lower: col2im,
    },
];
