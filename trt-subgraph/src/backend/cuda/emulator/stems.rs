//! Convolutions of few channels with the maximum pool after them, in one kernel.

use super::super::program::Action;
use super::super::tactic::{Choice, STEM};
use super::super::target::Target;
use super::evaluate_on;
use super::tests::ty;
use crate::backend::{Tf32, reference};
use crate::network::expr::Binary;
use crate::network::layer::{Convolution, Pool, PoolOp};
use crate::network::{Builder, Expr, LayerKind};
use crate::{DType, Literal, Random, compare, tolerance};

/// A filter's size, steps and border, rows first.
type Window = ([usize; 2], [usize; 2], [(usize, usize); 2]);

struct Case {
    dtype: DType,
    image: [usize; 4],
    outputs: usize,
    convolution: Window,
    pool: Window,
    overhang: [usize; 2],
    multiprocessors: usize,
}

impl Case {
    /// Against the reference, with a NaN and an infinity in the image and without; the pool's result is stored as it is, or changed by an
    /// operand of its own.
    fn agrees(&self) {
        let Case { dtype, image, outputs, convolution: (taps, stride, padding), .. } = *self;
        let (window, step, border) = self.pool;
        let mut b = Builder::new();
        let x = b.input(ty(dtype, &image));
        let w = b.parameter("w", ty(dtype, &[outputs, image[1], taps[0], taps[1]]));
        let kind = LayerKind::Convolution(Convolution {
            stride: stride.to_vec(),
            padding: padding.to_vec(),
            dilation: vec![1; 2],
            groups: 1,
            transposed: false,
            output_padding: vec![0; 2],
        });
        let pool = LayerKind::Pool(Pool {
            op: PoolOp::Max,
            window: window.to_vec(),
            stride: step.to_vec(),
            padding: border.to_vec(),
            dilation: vec![1; 2],
            overhang: self.overhang.to_vec(),
            indices: false,
        });
        let [scale, shift] =
            ["scale", "shift"].map(|name| b.parameter(name, ty(DType::F32, &[outputs, 1, 1])));
        let scaled = format!("max({dtype}(f32(i0) * i1 + i2), 0:{dtype})");
        let scaled = Expr::parse(&scaled).expect("an expression");
        let made = b.fused(kind.clone(), &[x, w, scale, shift], Some(scaled)).expect("well typed")[0];
        let plain = b.add(pool.clone(), &[made]).expect("well typed");
        let made = b.fused(kind, &[x, w], None).expect("well typed")[0];
        let more = b.input(b.ty(plain).clone());
        let sum = Expr::binary(Binary::Add);
        let changed = b.fused(pool, &[made, more], Some(sum)).expect("well typed")[0];
        let network = b.finish(vec![plain, changed]);
        let mut random = Random::new(7);
        let mut value = |ty: &crate::TensorType| random.literal_in(ty.clone(), -2.0, 2.0);
        let parameters: Vec<Literal> = network.parameters.iter().map(|p| value(&p.ty)).collect();
        let mut inputs: Vec<Literal> = network.inputs.iter().map(|&v| value(network.ty(v))).collect();
        for strange in [false, true] {
            if strange {
                let mut bytes = inputs[0].bytes().to_vec();
                let [nan, infinity] = match dtype {
                    DType::F16 => [0x7e00u16, 0xfc00],
                    _ => [0x7fc0, 0xff80],
                };
                let last = bytes.len() - 2;
                bytes[last..].copy_from_slice(&nan.to_le_bytes());
                bytes[..2].copy_from_slice(&infinity.to_le_bytes());
                inputs[0] = Literal::from_bytes(ty(dtype, &image), &bytes).expect("as many bytes");
            }
            let expected = reference::evaluate(&network, &parameters, &inputs).expect("runs");
            let target = Target { capability: 90, multiprocessors: self.multiprocessors };
            let choice = Choice::TensorCores { tf32: Tf32::default(), clusters: true };
            let (found, program) = evaluate_on(target, &network, &parameters, &inputs, choice);
            assert_eq!(program.ways, [STEM, STEM], "{network}");
            // Two teams take turns where a multiprocessor has work for both.
            let threads = if self.multiprocessors == 1 { 256 } else { 128 };
            for step in &program.steps {
                let Action::Launch(launch) = &step.action else { continue };
                let is_stem = program.kernels[launch.kernel].0.what == "stem";
                assert!(!is_stem || launch.threads == threads, "{} threads", launch.threads);
            }
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                compare(found, expected, tolerance(dtype))
                    .unwrap_or_else(|e| panic!("output {at}, strange {strange}: {e}\n{network}"));
            }
        }
    }
}

#[test]
fn stems_of_every_size() {
    let around = |n| [(n, n); 2];
    let case = |dtype, image, outputs, convolution, pool| Case {
        dtype,
        image,
        outputs,
        convolution,
        pool,
        overhang: [0, 0],
        multiprocessors: 132,
    };
    let of_resnet = (([7, 7], [2, 2], around(3)), ([3, 3], [2, 2], around(1)));
    let cases = [
        // One block for many rows, and many blocks.
        Case { multiprocessors: 1, ..case(DType::F16, [2, 3, 46, 80], 64, of_resnet.0, of_resnet.1) },
        case(DType::BF16, [1, 3, 46, 33], 96, of_resnet.0, of_resnet.1),
        // Windows of the pool that reach beyond the last place.
        Case {
            overhang: [1, 1],
            ..case(DType::F16, [1, 2, 17, 22], 32, ([5, 4], [1, 2], around(2)), ([3, 3], [2, 2], around(0)))
        },
        case(DType::F16, [3, 1, 20, 21], 16, ([5, 5], [1, 1], around(0)), ([2, 2], [2, 2], around(0))),
        case(
            DType::BF16,
            [1, 2, 19, 40],
            48,
            ([3, 6], [3, 4], [(0, 1), (1, 0)]),
            ([2, 5], [1, 3], [(0, 0), (2, 2)]),
        ),
        case(DType::F16, [1, 8, 9, 70], 16, ([1, 3], [1, 1], around(1)), ([4, 1], [3, 1], [(2, 1), (0, 0)])),
    ];
    for case in cases {
        case.agrees();
    }
}
