//! A convolution and the scalar steps after it, in cuDNN's words.

use super::super::library::Cudnn;
use super::descriptor::Descriptor;
use crate::DType;
use crate::network::Expr;
use crate::network::expr::{Binary, Node, Ref, Unary};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Kind,
    cudnnBackendDescriptorType_t as Object, cudnnConvolutionMode_t, cudnnDataType_t as Data, cudnnHandle_t,
    cudnnNanPropagation_t, cudnnPointwiseMode_t as Mode,
};

/// A tensor of the graph: type, sizes and steps of its axes (at least two spatial ones), in elements.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    pub dtype: DType,
    pub sizes: Vec<i64>,
    pub steps: Vec<i64>,
}

/// A convolution with an epilogue, as the library is asked for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    pub x: Tensor,
    pub w: Tensor,
    pub y: Tensor,
    pub before: Vec<i64>,
    pub after: Vec<i64>,
    pub stride: Vec<i64>,
    pub dilation: Vec<i64>,
    /// What is done to each element, and the tensors that it reads as inputs 1, 2, ...
    pub epilogue: Option<Expr>,
    pub operands: Vec<Tensor>,
    pub tf32: bool,
}

/// The operations of a problem, and what they need to stay alive.
pub struct Graph {
    pub operations: Descriptor,
    _parts: Vec<Descriptor>,
    /// Values of scalars that are part of the graph, with their tensors' numbers.
    pub scalars: Vec<(i64, Box<f32>)>,
}

/// Numbers of tensors: x, w, y, then the operands.
pub const X: i64 = 1;
pub const W: i64 = 2;
pub const Y: i64 = 3;
pub const OPERANDS: i64 = 4;
const INNER: i64 = 100;

/// Can every step of the epilogue be said in the library's words? Steps compute in f32; what is rounded in between is a virtual tensor of
/// the narrower type.
pub fn is_sayable(expr: &Expr) -> bool {
    let last = expr.nodes.len() - 1;
    expr.nodes.iter().enumerate().all(|(at, node)| match node {
        Node::Input(_) => true,
        Node::Const(d, _) => d.is_float() && *d != DType::F64,
        Node::Unary(f, r) => unary(*f).is_some() && !is_constant(expr, *r),
        // Of extrema only the relu is known to keep NaN.
        Node::Binary(Binary::Max, a, b) => is_zero(expr, *a) != is_zero(expr, *b),
        Node::Binary(f, a, b) => binary(*f).is_some() && !(is_constant(expr, *a) && is_constant(expr, *b)),
        Node::Cast(d, r) => {
            let stored = at == last && d.is_float();
            let keeps = *d == DType::F32 || stored || is_operand(expr, *r) || rounding(expr, *r) == Some(*d);
            keeps && !is_constant(expr, *r)
        }
        Node::Select(..) => false,
    }) && !matches!(expr.nodes[last], Node::Input(_) | Node::Const(..))
}

fn is_constant(expr: &Expr, r: Ref) -> bool {
    matches!(expr.nodes[r as usize], Node::Const(..))
}

fn is_zero(expr: &Expr, r: Ref) -> bool {
    matches!(expr.nodes[r as usize], Node::Const(_, v) if v.as_f64() == 0.0)
}

fn is_operand(expr: &Expr, r: Ref) -> bool {
    matches!(expr.nodes[r as usize], Node::Input(i) if i > 0)
}

/// The 16-bit type that a step's result is rounded to before anything reads it.
fn rounding(expr: &Expr, r: Ref) -> Option<DType> {
    let reads = |n: &&Node| {
        let mut found = false;
        n.map(|operand| {
            found |= operand == r;
            operand
        });
        found
    };
    let mut readers = expr.nodes.iter().filter(reads);
    match (&expr.nodes[r as usize], readers.next(), readers.next()) {
        (Node::Unary(..) | Node::Binary(..), Some(Node::Cast(d @ (DType::F16 | DType::BF16), _)), None) => {
            Some(*d)
        }
        _ => None,
    }
}

fn unary(f: Unary) -> Option<Mode> {
    Some(match f {
        Unary::Neg => Mode::CUDNN_POINTWISE_NEG,
        Unary::Abs => Mode::CUDNN_POINTWISE_ABS,
        Unary::Exp => Mode::CUDNN_POINTWISE_EXP,
        Unary::Log => Mode::CUDNN_POINTWISE_LOG,
        Unary::Sqrt => Mode::CUDNN_POINTWISE_SQRT,
        Unary::Rsqrt => Mode::CUDNN_POINTWISE_RSQRT,
        Unary::Recip => Mode::CUDNN_POINTWISE_RECIPROCAL,
        Unary::Erf => Mode::CUDNN_POINTWISE_ERF,
        Unary::Tanh => Mode::CUDNN_POINTWISE_TANH_FWD,
        Unary::Sigmoid => Mode::CUDNN_POINTWISE_SIGMOID_FWD,
        _ => return None,
    })
}

fn binary(f: Binary) -> Option<Mode> {
    Some(match f {
        Binary::Add => Mode::CUDNN_POINTWISE_ADD,
        Binary::Sub => Mode::CUDNN_POINTWISE_SUB,
        Binary::Mul => Mode::CUDNN_POINTWISE_MUL,
        Binary::Div => Mode::CUDNN_POINTWISE_DIV,
        _ => return None,
    })
}

fn data(dtype: DType) -> Data {
    match dtype {
        DType::F16 => Data::CUDNN_DATA_HALF,
        DType::BF16 => Data::CUDNN_DATA_BFLOAT16,
        _ => Data::CUDNN_DATA_FLOAT,
    }
}

struct Writer {
    dnn: &'static Cudnn,
    parts: Vec<Descriptor>,
    operations: Vec<usize>,
    scalars: Vec<(i64, Box<f32>)>,
    next: i64,
}

impl Writer {
    /// Keeps a descriptor; gives its position.
    fn keep(&mut self, d: Descriptor) -> usize {
        self.parts.push(d);
        self.parts.len() - 1
    }

    fn tensor(&mut self, number: i64, t: &Tensor, inner: bool, scalar: bool) -> Result<usize, String> {
        let d = Descriptor::new(self.dnn, Object::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
            .integers(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[number])?
            .one_of(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Kind::CUDNN_TYPE_DATA_TYPE, data(t.dtype))?
            .integers(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[if scalar { 4 } else { 16 }])?
            .integers(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &t.sizes)?
            .integers(Name::CUDNN_ATTR_TENSOR_STRIDES, &t.steps)?
            .boolean(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, inner)?
            .boolean(Name::CUDNN_ATTR_TENSOR_IS_BY_VALUE, scalar)?
            .finish()?;
        Ok(self.keep(d))
    }

    /// A virtual tensor like `y`.
    fn inner(&mut self, y: &Tensor, dtype: DType) -> Result<usize, String> {
        self.next += 1;
        self.tensor(INNER + self.next, &Tensor { dtype, ..y.clone() }, true, false)
    }

    fn scalar(&mut self, value: f64, rank: usize) -> Result<usize, String> {
        self.next += 1;
        let number = INNER + self.next;
        self.scalars.push((number, Box::new(value as f32)));
        let one = Tensor { dtype: DType::F32, sizes: vec![1; rank], steps: vec![1; rank] };
        self.tensor(number, &one, false, true)
    }

    fn pointwise(&mut self, mode: Mode, x: usize, b: Option<usize>, y: usize) -> Result<(), String> {
        let what = Descriptor::new(self.dnn, Object::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?
            .one_of(Name::CUDNN_ATTR_POINTWISE_MODE, Kind::CUDNN_TYPE_POINTWISE_MODE, mode)?
            .one_of(
                Name::CUDNN_ATTR_POINTWISE_MATH_PREC,
                Kind::CUDNN_TYPE_DATA_TYPE,
                Data::CUDNN_DATA_FLOAT,
            )?;
        let what = if mode == Mode::CUDNN_POINTWISE_RELU_FWD {
            let keep = cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
            what.one_of(Name::CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, Kind::CUDNN_TYPE_NAN_PROPOGATION, keep)?
                .float(Name::CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0)?
        } else {
            what
        };
        let what = what.finish()?;
        let mut d = Descriptor::new(self.dnn, Object::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?
            .descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &[&what])?
            .descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &[&self.parts[x]])?
            .descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &[&self.parts[y]])?;
        if let Some(b) = b {
            d = d.descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &[&self.parts[b]])?;
        }
        let d = d.finish()?;
        self.keep(what);
        let at = self.keep(d);
        self.operations.push(at);
        Ok(())
    }

    fn convolution(&mut self, p: &Problem, x: usize, w: usize, y: usize) -> Result<(), String> {
        let correlation = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let what = Descriptor::new(self.dnn, Object::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
            .one_of(
                Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE,
                Kind::CUDNN_TYPE_DATA_TYPE,
                Data::CUDNN_DATA_FLOAT,
            )?
            .one_of(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, Kind::CUDNN_TYPE_CONVOLUTION_MODE, correlation)?
            .integers(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[p.stride.len() as i64])?
            .integers(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &p.dilation)?
            .integers(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &p.stride)?
            .integers(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &p.before)?
            .integers(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &p.after)?
            .finish()?;
        let d = Descriptor::new(self.dnn, Object::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)?
            .float(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0)?
            .float(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0)?
            .descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, &[&what])?
            .descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, &[&self.parts[x]])?
            .descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, &[&self.parts[w]])?
            .descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, &[&self.parts[y]])?
            .finish()?;
        self.keep(what);
        let at = self.keep(d);
        self.operations.push(at);
        Ok(())
    }
}

/// The problem as a graph of operations.
pub fn graph(dnn: &'static Cudnn, handle: cudnnHandle_t, p: &Problem) -> Result<Graph, String> {
    let mut g = Writer { dnn, parts: vec![], operations: vec![], scalars: vec![], next: 0 };
    let x = g.tensor(X, &p.x, false, false)?;
    let w = g.tensor(W, &p.w, false, false)?;
    let y = g.tensor(Y, &p.y, false, false)?;
    match &p.epilogue {
        None => g.convolution(p, x, w, y)?,
        Some(expr) => {
            let own = g.inner(&p.y, DType::F32)?;
            g.convolution(p, x, w, own)?;
            epilogue(&mut g, p, expr, own, y)?;
        }
    }
    let operations: Vec<&Descriptor> = g.operations.iter().map(|&at| &g.parts[at]).collect();
    let operations = Descriptor::new(dnn, Object::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?
        .handle(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle)?
        .descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operations)?
        .finish()?;
    Ok(Graph { operations, _parts: g.parts, scalars: g.scalars })
}

fn epilogue(g: &mut Writer, p: &Problem, expr: &Expr, own: usize, y: usize) -> Result<(), String> {
    let operands = p.operands.iter().zip(OPERANDS..);
    let operands =
        operands.map(|(t, number)| g.tensor(number, t, false, false)).collect::<Result<Vec<_>, _>>()?;
    // A final cast is the store into `y`.
    let mut last = expr.nodes.len() - 1;
    while let Node::Cast(_, r) = expr.nodes[last] {
        last = r as usize;
    }
    let mut at: Vec<usize> = Vec::new();
    // Does the node hold what the convolution gave, or a tensor or scalar from outside?
    let mut inside: Vec<bool> = Vec::new();
    for (position, node) in expr.nodes.iter().enumerate().take(last + 1) {
        let (place, is_inside) = match *node {
            Node::Input(0) => (own, true),
            Node::Input(i) => (operands[i as usize - 1], false),
            // Made where it is used: a relu has its zero built in.
            Node::Const(..) => (usize::MAX, false),
            Node::Cast(_, r) => (at[r as usize], inside[r as usize]),
            Node::Unary(..) | Node::Binary(..) => {
                let scalar = |g: &mut Writer, r: Ref| match expr.nodes[r as usize] {
                    Node::Const(_, v) => g.scalar(v.as_f64(), p.y.sizes.len()),
                    _ => Ok(at[r as usize]),
                };
                let to = match position {
                    _ if position == last => y,
                    _ => g.inner(&p.y, rounding(expr, position as Ref).unwrap_or(DType::F32))?,
                };
                match *node {
                    Node::Unary(f, r) => {
                        g.pointwise(unary(f).ok_or("no such function")?, at[r as usize], None, to)?
                    }
                    Node::Binary(f, a, b) => {
                        let commutes = matches!(f, Binary::Add | Binary::Mul | Binary::Max);
                        let (a, b) = if inside[b as usize] && !inside[a as usize] && commutes {
                            (b, a)
                        } else {
                            (a, b)
                        };
                        if f == Binary::Max && is_zero(expr, b) {
                            g.pointwise(Mode::CUDNN_POINTWISE_RELU_FWD, at[a as usize], None, to)?;
                        } else {
                            let mode = binary(f).ok_or("no such function")?;
                            let (a, b) = (scalar(g, a)?, scalar(g, b)?);
                            g.pointwise(mode, a, Some(b), to)?;
                        }
                    }
                    _ => unreachable!("one of the two"),
                }
                (to, true)
            }
            Node::Select(..) => return Err("no such function".to_string()),
        };
        at.push(place);
        inside.push(is_inside);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::expr::Scalar;

    fn sayable(nodes: &[Node]) -> bool {
        is_sayable(&Expr { nodes: nodes.to_vec() })
    }

    #[test]
    fn only_what_keeps_its_meaning_is_said() {
        let (x, b) = (Node::Input(0), Node::Input(1));
        let (zero, six) =
            (Node::Const(DType::F16, Scalar::Float(0.0)), Node::Const(DType::F16, Scalar::Float(6.0)));
        assert!(sayable(&[x, b, Node::Binary(Binary::Add, 0, 1)]));
        assert!(sayable(&[x, zero, Node::Binary(Binary::Max, 1, 0)]));
        assert!(sayable(&[x, Node::Unary(Unary::Tanh, 0), Node::Cast(DType::BF16, 1)]));
        // Extrema that may lose NaN, rounding in between, and nothing at all.
        assert!(!sayable(&[x, six, Node::Binary(Binary::Min, 0, 1)]));
        assert!(!sayable(&[x, six, Node::Binary(Binary::Max, 0, 1)]));
        assert!(!sayable(&[x, Node::Cast(DType::F16, 0), Node::Unary(Unary::Tanh, 1)]));
        let rounded =
            [x, b, Node::Binary(Binary::Mul, 0, 1), Node::Cast(DType::F16, 2), Node::Unary(Unary::Tanh, 3)];
        assert!(sayable(&rounded));
        assert!(!sayable(&[&rounded[..], &[Node::Binary(Binary::Add, 2, 4)]].concat()));
        assert!(!sayable(&[x]));
        // Scalars alone.
        assert!(!sayable(&[x, six, Node::Unary(Unary::Exp, 1), Node::Binary(Binary::Add, 0, 2)]));
        assert!(!sayable(&[x, six, Node::Cast(DType::F32, 1), Node::Binary(Binary::Add, 0, 2)]));
    }
}
