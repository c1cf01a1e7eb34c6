//! The closed set of layer kinds. Backends see nothing else.

use super::ValueId;
use super::expr::Expr;
use crate::Literal;
use serde::{Deserialize, Serialize};

/// One layer of a network.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// What it computes.
    pub kind: LayerKind,
    /// The kind's own operands, then the epilogue's (its inputs 1, 2, ...).
    pub inputs: Vec<ValueId>,
    /// Applied to every element of the first output before it is stored; `Input(0)` is the kind's own result, `Input(i)` the
    /// i-th operand after the kind's own, broadcast to the result's shape. Only where [`LayerKind::takes_epilogue`].
    pub epilogue: Option<Expr>,
    /// The values it defines.
    pub outputs: Vec<ValueId>,
    /// Where it comes from, for people: `aten::conv2d at model.py:12`. Never decides anything.
    pub origin: String,
}

/// What a layer computes. Axes count from 0 at the outermost dimension. `x` is the first operand.
///
/// Floating-point sums (matrix products, convolutions, reductions, statistics) accumulate in f32 or wider; f64 in f64.
#[derive(Clone, PartialEq, Debug)]
pub enum LayerKind {
    /// A literal. No operands.
    Constant(Literal),
    /// Parameter `i` of the model, a value that may change between calls (refit). No operands.
    Parameter(u32),
    /// Output `i` of the `prepare` network; only in a split `run` network. No operands.
    Prepared(u32),
    /// `expr` for every element; operands are broadcast against each other.
    Pointwise(Expr),
    /// `x` stretched to `shape` (aligned at the last axis, sizes of 1 stretch).
    Broadcast {
        /// The result's shape.
        shape: Vec<usize>,
    },
    /// One value from each group along `axes` (sorted, unique); `axes` stay as size 1 when `keep`. Takes an epilogue.
    Reduce {
        /// The function.
        op: ReduceOp,
        /// The reduced axes, sorted; for `ArgMax` and `ArgMin` exactly one.
        axes: Vec<usize>,
        /// Whether reduced axes stay with size 1.
        keep: bool,
    },
    /// Running `op` along `axis`, inclusive.
    Scan {
        /// The function.
        op: ScanOp,
        /// The axis.
        axis: usize,
    },
    /// Matrix product of `a[..., M, K]` and `b[..., K, N]`; leading axes broadcast. Takes an epilogue.
    MatMul {
        /// `a` is given as `[..., K, M]`.
        transpose_a: bool,
        /// `b` is given as `[..., N, K]`.
        transpose_b: bool,
    },
    /// Rows of `x[T, K]` in runs, each run multiplied by a matrix of its own: run `e` holds the rows from `offsets[e - 1]`, or 0, to before
    /// `offsets[e]`, whose results are `x[row] w[e]`, of `w[E, K, N]`. `offsets[E]` (i32 or i64) is a value of the run time. A row that several
    /// runs hold belongs to the last of them; results of rows that none holds are 0. Takes an epilogue.
    GroupedMatMul,
    /// Cross-correlation of `x[N, C, spatial...]` with `w[O, C/groups, window...]` (when `transposed`: `w[C, O/groups, window...]`). Takes an epilogue.
    Convolution(Convolution),
    /// Windows over the spatial axes of `x[N, C, spatial...]`. Takes an epilogue, except with `indices`.
    Pool(Pool),
    /// `(x - mean) / sqrt(var + eps)` with biased statistics over `axes`, or `x / sqrt(mean(x^2) + eps)` when `rms`. Takes an epilogue.
    Normalize {
        /// The axes of the statistics, sorted.
        axes: Vec<usize>,
        /// Added to the variance.
        eps: f64,
        /// No centring: root mean square.
        rms: bool,
    },
    /// Softmax along `axis`, or its logarithm.
    Softmax {
        /// The axis.
        axis: usize,
        /// Give the logarithm.
        log: bool,
    },
    /// The same elements in row-major order under another shape.
    Reshape {
        /// The result's shape.
        shape: Vec<usize>,
    },
    /// Result axis `i` is axis `axes[i]` of `x`.
    Permute {
        /// A permutation of the axes.
        axes: Vec<usize>,
    },
    /// A strided part of every axis.
    Slice {
        /// One range for each axis.
        ranges: Vec<Range>,
    },
    /// The operands one after the other along `axis`.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `x` with a border.
    Pad {
        /// (before, after) for each axis.
        border: Vec<(usize, usize)>,
        /// What the border holds.
        mode: PadMode,
    },
    /// Picks elements of `x` by an integer tensor (i32 or i64). A negative index counts from the end; one out of range is a run-time error.
    Gather {
        /// The indexed axis.
        axis: usize,
        /// `false`: result = x.shape[..axis] + index.shape + x.shape[axis+1..]. `true`: the index has `x`'s rank and picks along `axis`
        /// element by element (torch.gather); its other sizes do not exceed `x`'s.
        elements: bool,
    },
    /// The `k` first elements along `axis` in sorted order, and their positions (i64). Ties keep the lower position first; NaN counts as largest.
    TopK {
        /// The axis.
        axis: usize,
        /// How many; at most the axis' size. All of it is a sort.
        k: usize,
        /// Descending.
        largest: bool,
    },
}

/// Functions of [`LayerKind::Reduce`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ReduceOp {
    /// Sum; 0 over nothing.
    Sum,
    /// Mean, floating-point only; NaN over nothing.
    Mean,
    /// Product; 1 over nothing.
    Prod,
    /// Largest; NaN if any is NaN; not over nothing.
    Max,
    /// Smallest; NaN if any is NaN; not over nothing.
    Min,
    /// `Bool` only: true if any; false over nothing.
    Any,
    /// `Bool` only: true if all; true over nothing.
    All,
    /// Position (i64) of the largest, the first among equals; NaN counts as largest.
    ArgMax,
    /// Position (i64) of the smallest, the first among equals; NaN counts as smallest.
    ArgMin,
}

/// Functions of [`LayerKind::Scan`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ScanOp {
    /// Running sum.
    Sum,
    /// Running product.
    Prod,
}

/// Parameters of a convolution; each vector has one entry for each spatial axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Convolution {
    /// Step of the window.
    pub stride: Vec<usize>,
    /// Zeros (before, after) the input. For a transposed convolution: what is cut from its result.
    pub padding: Vec<(usize, usize)>,
    /// Distance between taps, at least 1.
    pub dilation: Vec<usize>,
    /// Channel groups.
    pub groups: usize,
    /// The gradient form: `x` is scattered instead of gathered.
    pub transposed: bool,
    /// Added to the result's far side; transposed only.
    pub output_padding: Vec<usize>,
}

/// Parameters of a pooling; each vector has one entry for each spatial axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// What a window gives.
    pub op: PoolOp,
    /// Size of the window.
    pub window: Vec<usize>,
    /// Step of the window.
    pub stride: Vec<usize>,
    /// Cells (before, after) the input; never win a maximum.
    pub padding: Vec<(usize, usize)>,
    /// Distance between taps, at least 1 (always 1 for averages).
    pub dilation: Vec<usize>,
    /// Cells after the padding that windows may cover but that never count (ceil mode).
    pub overhang: Vec<usize>,
    /// `Max` only: a second output, i64, the position of the maximum in the row-major spatial plane; the first among equals.
    pub indices: bool,
}

/// Functions of [`Pool`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum PoolOp {
    /// Largest; NaN if any is NaN.
    Max,
    /// Sum divided by the number of cells.
    Average {
        /// Padding counts as cells.
        count_padding: bool,
        /// Divide by this instead.
        divisor: Option<usize>,
    },
}

/// A strided part of one axis: `start, start + step, ...`, `len` elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Range {
    /// First position.
    pub start: usize,
    /// Distance; negative walks backwards; never 0.
    pub step: isize,
    /// How many.
    pub len: usize,
}

impl Range {
    /// The whole of an axis of `size` elements.
    pub fn full(size: usize) -> Range {
        Range { start: 0, step: 1, len: size }
    }
}

/// What a border holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum PadMode {
    /// This value, converted to the element type.
    Constant(f64),
    /// Mirrored at the edge element, which is not repeated; borders are smaller than the axis.
    Reflect,
    /// The edge element.
    Replicate,
    /// The other side; borders do not exceed the axis.
    Circular,
}

impl PartialEq for PadMode {
    /// Bitwise, so that NaN equals itself and -0.0 differs from 0.0.
    fn eq(&self, other: &PadMode) -> bool {
        match (self, other) {
            (PadMode::Constant(a), PadMode::Constant(b)) => a.to_bits() == b.to_bits(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl LayerKind {
    /// The name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            LayerKind::Constant(_) => "constant",
            LayerKind::Parameter(_) => "parameter",
            LayerKind::Prepared(_) => "prepared",
            LayerKind::Pointwise(_) => "pointwise",
            LayerKind::Broadcast { .. } => "broadcast",
            LayerKind::Reduce { .. } => "reduce",
            LayerKind::Scan { .. } => "scan",
            LayerKind::MatMul { .. } => "matmul",
            LayerKind::GroupedMatMul => "grouped_matmul",
            LayerKind::Convolution(_) => "convolution",
            LayerKind::Pool(_) => "pool",
            LayerKind::Normalize { .. } => "normalize",
            LayerKind::Softmax { .. } => "softmax",
            LayerKind::Reshape { .. } => "reshape",
            LayerKind::Permute { .. } => "permute",
            LayerKind::Slice { .. } => "slice",
            LayerKind::Concat { .. } => "concat",
            LayerKind::Pad { .. } => "pad",
            LayerKind::Gather { .. } => "gather",
            LayerKind::TopK { .. } => "topk",
        }
    }

    /// May a layer of this kind carry an epilogue?
    pub fn takes_epilogue(&self) -> bool {
        match self {
            LayerKind::MatMul { .. }
            | LayerKind::GroupedMatMul
            | LayerKind::Convolution(_)
            | LayerKind::Normalize { .. } => true,
            LayerKind::Reduce { op, .. } => !matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin),
            LayerKind::Pool(p) => !p.indices,
            _ => false,
        }
    }

    /// Operands of the kind itself, before those of an epilogue; `None` when any number from 1 (`Concat`) or as the expression says (`Pointwise`).
    pub fn arity(&self) -> Option<usize> {
        match self {
            LayerKind::Constant(_) | LayerKind::Parameter(_) | LayerKind::Prepared(_) => Some(0),
            LayerKind::Pointwise(_) | LayerKind::Concat { .. } => None,
            LayerKind::MatMul { .. } | LayerKind::Convolution(_) | LayerKind::Gather { .. } => Some(2),
            LayerKind::GroupedMatMul => Some(3),
            _ => Some(1),
        }
    }

    /// Does it only rearrange elements, computing nothing?
    pub fn moves_only(&self) -> bool {
        matches!(
            self,
            LayerKind::Broadcast { .. }
                | LayerKind::Reshape { .. }
                | LayerKind::Permute { .. }
                | LayerKind::Slice { .. }
                | LayerKind::Concat { .. }
        )
    }
}
