//! Random single layers of the sizes that models have, with epilogues as models have them; some inputs are NaN.

use trt_subgraph::network::expr::{Binary, Node, Scalar, Unary};
use trt_subgraph::network::layer::Convolution;
use trt_subgraph::network::{Builder, Expr, LayerKind, Network, ValueId};
use trt_subgraph::{DType, Literal, Random, TensorType};

/// A network of one layer, and values for its parameters and inputs.
pub fn sample(seed: u64) -> (Network, Vec<Literal>, Vec<Literal>) {
    let mut s = Sample { b: Builder::new(), random: Random::new(seed), parameters: vec![], inputs: vec![] };
    let dtype = *s.random.pick(&[DType::F32, DType::F32, DType::F16, DType::F16, DType::BF16, DType::F64]);
    let y = if seed % 3 == 2 { s.product(dtype) } else { s.convolution(dtype) };
    if seed % 7 == 3 && dtype.is_float() {
        let input = &mut s.inputs[0];
        let mut values = input.to_f64();
        let at = s.random.below(values.len());
        values[at] = f64::NAN;
        *input = Literal::from_f64(input.ty().clone(), values).expect("as many");
    }
    (s.b.finish(vec![y]), s.parameters, s.inputs)
}

/// A convolution of positive numbers, `x` by a window of `w`, with half a window around `x`, a bias, maybe a residual, and a relu.
pub fn positive(
    dtype: DType,
    x: [usize; 4],
    w: [usize; 4],
    stride: usize,
    residual: bool,
) -> (Network, Vec<Literal>, Vec<Literal>) {
    let (mut b, mut random) = (Builder::new(), Random::new(1));
    let types = [
        x.to_vec(),
        w.to_vec(),
        vec![w[0], 1, 1],
        vec![x[0], w[0], x[2].div_ceil(stride), x[3].div_ceil(stride)],
    ];
    let [x, window, bias, more] = types.map(|shape| TensorType::new(dtype, shape));
    // The sums are about one half.
    let scale = 0.5 / (w[1] * w[2] * w[3]) as f64;
    let mut inputs = vec![random.literal_in(x.clone(), 0.5, 1.5)];
    let parameters = vec![
        random.literal_in(window.clone(), 0.5 * scale, 1.5 * scale),
        random.literal_in(bias.clone(), 0.5, 1.0),
    ];
    let mut operands = vec![b.input(x), b.parameter("w", window), b.parameter("b", bias)];
    let mut e = Expr::default();
    let (own, add) = (e.push(Node::Input(0)), e.push(Node::Input(1)));
    let mut last = e.push(Node::Binary(Binary::Add, own, add));
    if residual {
        inputs.push(random.literal_in(more.clone(), 0.5, 1.0));
        operands.push(b.input(more));
        let more = e.push(Node::Input(2));
        last = e.push(Node::Binary(Binary::Add, last, more));
    }
    let zero = e.push(Node::Const(dtype, Scalar::Float(0.0)));
    let last = e.push(Node::Binary(Binary::Max, last, zero));
    let kind = LayerKind::Convolution(Convolution {
        stride: vec![stride; 2],
        padding: vec![(w[2] / 2, w[2] / 2), (w[3] / 2, w[3] / 2)],
        dilation: vec![1, 1],
        groups: 1,
        transposed: false,
        output_padding: vec![0, 0],
    });
    let y = b.fused(kind, &operands, Some(e.finish(last))).expect("well typed")[0];
    (b.finish(vec![y]), parameters, inputs)
}

/// A product of positive numbers of f32, `m` rows by `n` columns, with a bias.
pub fn positive_product([m, k, n]: [usize; 3]) -> (Network, Vec<Literal>, Vec<Literal>) {
    let (mut b, mut random) = (Builder::new(), Random::new(1));
    let [x, w, bias] = [vec![m, k], vec![n, k], vec![n]].map(|shape| TensorType::new(DType::F32, shape));
    let scale = 0.5 / k as f64;
    let inputs = vec![random.literal_in(x.clone(), 0.5, 1.5)];
    let parameters = vec![
        random.literal_in(w.clone(), 0.5 * scale, 1.5 * scale),
        random.literal_in(bias.clone(), 0.5, 1.0),
    ];
    let operands = [b.input(x), b.parameter("w", w), b.parameter("b", bias)];
    let kind = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let y = b.fused(kind, &operands, Some(Expr::binary(Binary::Add))).expect("well typed");
    (b.finish(y), parameters, inputs)
}

struct Sample {
    b: Builder,
    random: Random,
    parameters: Vec<Literal>,
    inputs: Vec<Literal>,
}

impl Sample {
    fn input(&mut self, ty: TensorType) -> ValueId {
        self.inputs.push(self.random.literal_in(ty.clone(), -1.0, 1.0));
        self.b.input(ty)
    }

    fn parameter(&mut self, ty: TensorType) -> ValueId {
        self.parameters.push(self.random.literal_in(ty.clone(), -1.0, 1.0));
        self.b.parameter(format!("p{}", self.parameters.len()), ty)
    }

    fn convolution(&mut self, dtype: DType) -> ValueId {
        let spatial = *self.random.pick(&[1, 2, 2, 2, 3]);
        let groups = *self.random.pick(&[1, 1, 1, 2]);
        let channels = groups * *self.random.pick(&[3, 4, 8, 16, 24]);
        let outputs = groups * *self.random.pick(&[5, 8, 16, 32]);
        let mut shape = vec![1 + self.random.below(3), channels];
        shape.extend((0..spatial).map(|_| 5 + self.random.below(8)));
        let mut window = vec![outputs, channels / groups];
        window.extend((0..spatial).map(|_| *self.random.pick(&[1, 3, 3])));
        let mut each = |n: usize| (0..spatial).map(|_| self.random.below(n)).collect::<Vec<_>>();
        let (stride, padding) = (each(2), each(2));
        let kind = LayerKind::Convolution(Convolution {
            stride: stride.iter().map(|s| s + 1).collect(),
            padding: padding.iter().map(|&p| (p, p)).collect(),
            dilation: vec![1; spatial],
            groups,
            transposed: false,
            output_padding: vec![0; spatial],
        });
        let (x, w) =
            (self.input(TensorType::new(dtype, shape)), self.parameter(TensorType::new(dtype, window)));
        let mut bias = vec![outputs];
        bias.extend(vec![1; spatial]);
        self.finished(kind, [x, w], dtype, bias)
    }

    fn product(&mut self, dtype: DType) -> ValueId {
        let (m, k, n) = (self.size(), self.size(), self.size());
        let (transpose_a, transpose_b) = (self.random.chance(0.3), self.random.chance(0.5));
        let batch: Vec<usize> = if self.random.chance(0.4) { vec![1 + self.random.below(4)] } else { vec![] };
        let stretched = self.random.chance(0.5);
        let matrix = |batch: &[usize], r: usize, c: usize, t: bool| {
            let mut shape = batch.to_vec();
            shape.extend(if t { [c, r] } else { [r, c] });
            TensorType::new(dtype, shape)
        };
        let x = self.input(matrix(&batch, m, k, transpose_a));
        let w = self.parameter(matrix(if stretched { &[] } else { &batch }, k, n, transpose_b));
        self.finished(LayerKind::MatMul { transpose_a, transpose_b }, [x, w], dtype, vec![n])
    }

    fn size(&mut self) -> usize {
        *self.random.pick(&[1, 2, 7, 8, 16, 40, 64, 100])
    }

    /// The layer with nothing after it, a bias, a bias and relu, a bias, a residual and relu, or a bias and sigmoid.
    fn finished(
        &mut self,
        kind: LayerKind,
        operands: [ValueId; 2],
        dtype: DType,
        bias: Vec<usize>,
    ) -> ValueId {
        let choice = self.random.below(5);
        if choice == 0 {
            return self.b.add(kind, &operands).expect("well typed");
        }
        let probe = {
            let mut b = Builder::new();
            let inputs = operands.map(|v| b.input(self.b.ty(v).clone()));
            let y = b.add(kind.clone(), &inputs).expect("well typed");
            b.ty(y).clone()
        };
        let mut e = Expr::default();
        let mut inputs = operands.to_vec();
        let (own, add) = (e.push(Node::Input(0)), e.push(Node::Input(1)));
        inputs.push(self.parameter(TensorType::new(dtype, bias)));
        let mut last = e.push(Node::Binary(Binary::Add, own, add));
        if choice == 3 {
            let more = e.push(Node::Input(2));
            inputs.push(self.input(probe));
            last = e.push(Node::Binary(Binary::Add, last, more));
        }
        if choice == 2 || choice == 3 {
            let zero = e.push(Node::Const(dtype, Scalar::Float(0.0)));
            last = e.push(Node::Binary(Binary::Max, last, zero));
        }
        if choice == 4 {
            last = e.push(Node::Unary(Unary::Sigmoid, last));
        }
        let e = e.finish(last);
        self.b.fused(kind, &inputs, Some(e)).expect("well typed")[0]
    }
}
