//! Layers by their usual names. Axes count from 0 at the outermost dimension.

use super::{DefineError, Definition};
use crate::network::layer::{Pool, PoolOp};
use crate::network::{LayerKind, ValueId};
use crate::source::Item;

/// Functions of one value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` above 0, this multiple of it below.
    LeakyRelu(f64),
    /// `x` above 0, this multiple of `e^x - 1` below.
    Elu(f64),
    /// `x` held between two bounds.
    Clip(f64, f64),
    /// `x` times the normal distribution's cumulative function.
    Gelu,
    /// `x * sigmoid(x)`.
    Silu,
}

/// Functions of two tensors, stretched to each other as torch does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elementwise {
    /// `a + b`.
    Sum,
    /// `a - b`.
    Difference,
    /// `a * b`.
    Product,
    /// `a / b`.
    Quotient,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// `a` to the power of `b`.
    Power,
}

/// What a pooling window gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pooling {
    /// The largest.
    Max,
    /// The mean of the window's cells inside the input.
    Average,
    /// The mean of all its cells; padding counts as zeros.
    AverageWithPadding,
}

/// How a window moves over the spatial axes: one entry for each, or one that stands for all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// Step.
    pub stride: Vec<usize>,
    /// Cells before and after the input.
    pub padding: Vec<usize>,
    /// Distance between taps.
    pub dilation: Vec<usize>,
    /// Channel groups, of convolutions.
    pub groups: usize,
    /// Added to the far side of a deconvolution's result.
    pub output_padding: Vec<usize>,
}

impl Default for Window {
    /// Step by step over the input alone.
    fn default() -> Window {
        Window { stride: vec![1], padding: vec![0], dilation: vec![1], groups: 1, output_padding: vec![0] }
    }
}

impl Window {
    /// The usual window with this stride.
    pub fn stride(stride: &[usize]) -> Window {
        Window { stride: stride.to_vec(), ..Window::default() }
    }

    /// The same with this padding.
    pub fn padded(self, padding: &[usize]) -> Window {
        Window { padding: padding.to_vec(), ..self }
    }
}

fn sizes(list: &[usize]) -> Item {
    Item::List(list.iter().map(|&n| Item::Int(n as i64)).collect())
}

fn optional(v: Option<ValueId>) -> Item {
    v.map_or(Item::None, Item::Tensor)
}

impl Definition {
    fn one(&mut self, op: &str, arguments: Vec<Item>) -> Result<ValueId, DefineError> {
        Ok(self.call(op, arguments)?[0])
    }

    /// Cross-correlation of `x[N, C, spatial...]` with `weight[O, C/groups, window...]`, and a bias `[O]`.
    pub fn convolution(
        &mut self,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        window: &Window,
    ) -> Result<ValueId, DefineError> {
        self.correlate(x, weight, bias, window, false)
    }

    /// The convolution's transpose, with `weight[C, O/groups, window...]`.
    pub fn deconvolution(
        &mut self,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        window: &Window,
    ) -> Result<ValueId, DefineError> {
        self.correlate(x, weight, bias, window, true)
    }

    fn correlate(
        &mut self,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        w: &Window,
        transposed: bool,
    ) -> Result<ValueId, DefineError> {
        let arguments = vec![
            Item::Tensor(x),
            Item::Tensor(weight),
            optional(bias),
            sizes(&w.stride),
            sizes(&w.padding),
            sizes(&w.dilation),
            Item::Bool(transposed),
            sizes(&w.output_padding),
            Item::Int(w.groups as i64),
        ];
        self.one("aten::convolution", arguments)
    }

    /// Windows of `size` over the spatial axes of `x[N, C, spatial...]`.
    pub fn pooling(
        &mut self,
        x: ValueId,
        kind: Pooling,
        size: &[usize],
        window: &Window,
    ) -> Result<ValueId, DefineError> {
        let n = size.len();
        let op = match (kind, n) {
            (Pooling::Max, 1) => "aten::max_pool1d",
            (Pooling::Max, 2) => "aten::max_pool2d",
            (Pooling::Max, 3) => "aten::max_pool3d",
            (_, 1) => "aten::avg_pool1d",
            (_, 2) => "aten::avg_pool2d",
            (_, 3) => "aten::avg_pool3d",
            _ => return Err(self.invalid("a window has 1 to 3 axes")),
        };
        let mut arguments = vec![Item::Tensor(x), sizes(size), sizes(&window.stride), sizes(&window.padding)];
        match kind {
            Pooling::Max => arguments.extend([sizes(&window.dilation), Item::Bool(false)]),
            _ => arguments.extend([Item::Bool(false), Item::Bool(kind == Pooling::AverageWithPadding)]),
        }
        self.one(op, arguments)
    }

    /// A function of every element.
    pub fn activation(&mut self, x: ValueId, kind: Activation) -> Result<ValueId, DefineError> {
        let (op, numbers) = match kind {
            Activation::Relu => ("aten::relu", vec![]),
            Activation::Sigmoid => ("aten::sigmoid", vec![]),
            Activation::Tanh => ("aten::tanh", vec![]),
            Activation::LeakyRelu(slope) => ("aten::leaky_relu", vec![slope]),
            Activation::Elu(alpha) => ("aten::elu", vec![alpha, 1.0, 1.0]),
            Activation::Clip(low, high) => ("aten::clamp", vec![low, high]),
            Activation::Gelu => ("aten::gelu", vec![]),
            Activation::Silu => ("aten::silu", vec![]),
        };
        let mut arguments = vec![Item::Tensor(x)];
        arguments.extend(numbers.into_iter().map(Item::Float));
        if kind == Activation::Gelu {
            arguments.push(Item::Str("none".to_string()));
        }
        self.one(op, arguments)
    }

    /// A function of two tensors, element by element.
    pub fn elementwise(&mut self, a: ValueId, b: ValueId, kind: Elementwise) -> Result<ValueId, DefineError> {
        let mut arguments = vec![Item::Tensor(a), Item::Tensor(b)];
        let op = match kind {
            Elementwise::Sum => "aten::add.Tensor",
            Elementwise::Difference => "aten::sub.Tensor",
            Elementwise::Product => "aten::mul.Tensor",
            Elementwise::Quotient => "aten::div.Tensor",
            Elementwise::Max => "aten::maximum",
            Elementwise::Min => "aten::minimum",
            Elementwise::Power => "aten::pow.Tensor_Tensor",
        };
        if matches!(kind, Elementwise::Sum | Elementwise::Difference) {
            arguments.push(Item::Int(1));
        }
        self.one(op, arguments)
    }

    /// `x[..., K] @ weight[N, K]^T + bias[N]`.
    pub fn fully_connected(
        &mut self,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
    ) -> Result<ValueId, DefineError> {
        self.one("aten::linear", vec![Item::Tensor(x), Item::Tensor(weight), optional(bias)])
    }

    /// Matrix product of the last two axes; leading ones stretch.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, DefineError> {
        self.one("aten::matmul", vec![Item::Tensor(a), Item::Tensor(b)])
    }

    /// Softmax along an axis.
    pub fn softmax(&mut self, x: ValueId, axis: usize) -> Result<ValueId, DefineError> {
        self.one("aten::softmax.int", vec![Item::Tensor(x), Item::Int(axis as i64), Item::None])
    }

    /// Local response normalisation across channels of `x[N, C, ...]`:
    /// `x / (k + alpha / size * sum of x^2 over size channels about it) ^ beta` (Krizhevsky et al. 2012, with torch's scaling).
    pub fn lrn(
        &mut self,
        x: ValueId,
        size: usize,
        alpha: f64,
        beta: f64,
        k: f64,
    ) -> Result<ValueId, DefineError> {
        self.check(x)?;
        let shape = self.ty(x).shape.clone();
        let [n, c, rest @ ..] = &shape[..] else { return Err(self.invalid("a batch and channels")) };
        if size == 0 {
            return Err(self.invalid("a window of no channels"));
        }
        let square = self.one("aten::mul.Tensor", vec![Item::Tensor(x), Item::Tensor(x)])?;
        let planes = self.reshape(square, &[*n, 1, *c, rest.iter().product()])?;
        let pool = Pool {
            op: PoolOp::Average { count_padding: true, divisor: None },
            window: vec![size, 1],
            stride: vec![1, 1],
            padding: vec![(size / 2, (size - 1) / 2), (0, 0)],
            dilation: vec![1, 1],
            overhang: vec![0, 0],
            indices: false,
        };
        let mean = self.add(LayerKind::Pool(pool), &[planes])?[0];
        let mean = self.reshape(mean, &shape)?;
        let scaled = self.one("aten::mul.Scalar", vec![Item::Tensor(mean), Item::Float(alpha)])?;
        let sum = vec![Item::Tensor(scaled), Item::Float(k), Item::Int(1)];
        let sum = self.one("aten::add.Scalar", sum)?;
        let power = self.one("aten::pow.Tensor_Scalar", vec![Item::Tensor(sum), Item::Float(beta)])?;
        self.elementwise(x, power, Elementwise::Quotient)
    }

    /// The `k` largest (or smallest) along an axis, sorted, and their positions (i64).
    pub fn top_k(
        &mut self,
        x: ValueId,
        k: usize,
        axis: usize,
        largest: bool,
    ) -> Result<(ValueId, ValueId), DefineError> {
        let both = self.add(LayerKind::TopK { axis, k, largest }, &[x])?;
        Ok((both[0], both[1]))
    }

    /// The same elements in row-major order under another shape.
    pub fn reshape(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId, DefineError> {
        Ok(self.add(LayerKind::Reshape { shape: shape.to_vec() }, &[x])?[0])
    }

    /// Permutes axes, then gives the result another shape; either may be left out.
    pub fn shuffle(
        &mut self,
        x: ValueId,
        axes: Option<&[usize]>,
        shape: Option<&[usize]>,
    ) -> Result<ValueId, DefineError> {
        let mut x = x;
        if let Some(axes) = axes {
            x = self.add(LayerKind::Permute { axes: axes.to_vec() }, &[x])?[0];
        }
        if let Some(shape) = shape { self.reshape(x, shape) } else { Ok(x) }
    }

    /// Tensors one after the other along an axis.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId, DefineError> {
        Ok(self.add(LayerKind::Concat { axis }, parts)?[0])
    }

    /// Rows of `table` by an integer tensor: an embedding.
    pub fn gather(&mut self, table: ValueId, index: ValueId, axis: usize) -> Result<ValueId, DefineError> {
        Ok(self.add(LayerKind::Gather { axis, elements: false }, &[table, index])?[0])
    }
}
