//! Runs of convolutions that clusters of blocks compute, of each size of cluster.

use super::super::tactic::Choice;
use super::super::target::Target;
use super::evaluate_on;
use super::tests::ty;
use crate::backend::Tf32;
use crate::network::expr::{Binary, Node, Scalar};
use crate::network::layer::Convolution;
use crate::network::{Builder, Expr, LayerKind, Network, ValueId};
use crate::{DType, Literal, Random, compare, tolerance};

fn convolution(stride: [usize; 2], padding: [(usize, usize); 2]) -> LayerKind {
    LayerKind::Convolution(Convolution {
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: vec![1; 2],
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    })
}

/// The value, a number for each channel, and where there is one an image, added and cut off at 0.
fn relu(dtype: DType, with_image: bool) -> Expr {
    let mut nodes = vec![Node::Input(0), Node::Input(1), Node::Binary(Binary::Add, 0, 1)];
    if with_image {
        nodes.extend([Node::Input(2), Node::Binary(Binary::Add, 2, 3)]);
    }
    let sum = nodes.len() as u32 - 1;
    nodes.extend([Node::Const(dtype, Scalar::Float(0.0)), Node::Binary(Binary::Max, sum, sum + 1)]);
    Expr { nodes }
}

struct Layers {
    b: Builder,
    dtype: DType,
}

impl Layers {
    fn add(&mut self, x: ValueId, filters: [usize; 3], kind: LayerKind, image: Option<ValueId>) -> ValueId {
        let channels = self.b.ty(x).shape[1];
        let [outputs, high, wide] = filters;
        let name = format!("w{}", self.b.ty(x).elements() + outputs * 7 + high);
        let w = self.b.parameter(&name, ty(self.dtype, &[outputs, channels, high, wide]));
        let bias = self.b.parameter("bias", ty(self.dtype, &[outputs, 1, 1]));
        let mut inputs = vec![x, w, bias];
        inputs.extend(image);
        self.b.fused(kind, &inputs, Some(relu(self.dtype, image.is_some()))).expect("well typed")[0]
    }
}

/// A first layer, a block, a block of half the size with a shortcut, one more; the middle is a result too.
fn residual(dtype: DType, [images, channels, high, wide]: [usize; 4], first: usize) -> Network {
    let mut l = Layers { b: Builder::new(), dtype };
    let x = l.b.input(ty(dtype, &[images, channels, high, wide]));
    let same = || convolution([1; 2], [(1, 1); 2]);
    let half = || convolution([2; 2], [(1, 1); 2]);
    let a = l.add(x, [first, 3, 3], same(), None);
    let b = l.add(a, [first, 3, 3], same(), None);
    let c = l.add(b, [first, 3, 3], same(), Some(a));
    let d = l.add(c, [2 * first, 3, 3], half(), None);
    let short = l.add(c, [2 * first, 1, 1], convolution([2; 2], [(0, 0); 2]), None);
    let e = l.add(d, [2 * first, 3, 3], same(), Some(short));
    let f = l.add(e, [4 * first, 1, 1], convolution([1; 2], [(0, 0); 2]), None);
    let g = l.add(f, [2 * first, 3, 3], same(), Some(e));
    l.b.finish(vec![c, g])
}

/// Windows that are not square, borders that differ.
fn odd(dtype: DType) -> Network {
    let mut l = Layers { b: Builder::new(), dtype };
    let x = l.b.input(ty(dtype, &[2, 32, 9, 7]));
    let a = l.add(x, [32, 3, 2], convolution([1; 2], [(2, 1), (0, 1)]), None);
    let b = l.add(a, [64, 1, 5], convolution([1, 2], [(0, 0), (3, 2)]), None);
    let c = l.add(b, [16, 2, 1], convolution([2, 1], [(0, 1), (0, 0)]), None);
    let d = l.add(c, [24, 3, 3], convolution([1; 2], [(1, 1); 2]), None);
    l.b.finish(vec![d, b])
}

#[test]
fn chains_of_convolutions() {
    let choice = || Choice::TensorCores { tf32: Tf32 { convolution: true, product: false }, clusters: true };
    let mut clusters = std::collections::BTreeSet::new();
    for (network, multiprocessors, least) in [
        (residual(DType::F16, [2, 3, 16, 16], 16), 132, 4e-3),
        (residual(DType::F16, [3, 3, 10, 12], 16), 8, 4e-3),
        (residual(DType::BF16, [2, 5, 9, 11], 16), 2, 3e-2),
        (residual(DType::F32, [2, 3, 8, 16], 8), 16, 4e-3),
        (residual(DType::F16, [1, 16, 24, 24], 16), 132, 4e-3),
        (odd(DType::F16), 132, 4e-3),
        (odd(DType::BF16), 4, 3e-2),
    ] {
        let mut random = Random::new(1);
        let mut value = |ty: &crate::TensorType, most: f64| random.literal_in(ty.clone(), -most, most);
        let parameters: Vec<Literal> = network.parameters.iter().map(|p| value(&p.ty, 0.25)).collect();
        let inputs: Vec<Literal> = network.inputs.iter().map(|&v| value(network.ty(v), 2.0)).collect();
        let expected = crate::backend::reference::evaluate(&network, &parameters, &inputs).expect("runs");
        let target = Target { capability: 90, multiprocessors };
        let (found, program) = evaluate_on(target, &network, &parameters, &inputs, choice());
        let chains: Vec<_> = program
            .steps
            .iter()
            .filter_map(|s| match &s.action {
                super::Action::Launch(launch) if program.kernels[launch.kernel].0.what == "chain" => {
                    Some(launch)
                }
                _ => None,
            })
            .collect();
        assert_eq!((chains.len(), program.steps.len()), (1, 1), "{network}");
        clusters.insert(chains[0].cluster);
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            compare(found, expected, tolerance(expected.ty().dtype).max(least))
                .unwrap_or_else(|e| panic!("cluster {}, output {at}: {e}\n{network}", chains[0].cluster));
        }
    }
    assert!(clusters.len() >= 2, "{clusters:?}");
}
