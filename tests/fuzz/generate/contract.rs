//! Products, convolutions, pools, normalisations.

use super::scope::{Generator, ROUGH};

use crate::inputs::device;
use crate::kinds::{Dim, SETS, is_float};
use tch::{Device, Kind};

/// A matrix product of tensors whose sizes fit.
pub fn product(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| is_float(t.kind) && (1..4).contains(&t.shape.len()))?;
    let inner = *a.shape.last()?;
    let weights = g.random.chance(0.4);
    if weights {
        let n = inner[0];
        if inner != [n; SETS] || a.kind != Kind::Float || !(1..5).contains(&n) {
            return None;
        }
        let weight: Vec<String> = (0..3)
            .map(|r| format!("{:?}", (0..n).map(|c| 0.5 * r as f64 - 0.25 * c as f64).collect::<Vec<_>>()))
            .collect();
        let mut shape = a.shape.clone();
        *shape.last_mut()? = [3; SETS];
        return g.fresh(
            format!(
                "torch.linear({}, torch.tensor([{}], dtype={}))",
                a.name,
                weight.join(", "),
                crate::kinds::name(a.kind)
            ),
            a.kind,
            shape,
            ROUGH,
            true,
        );
    }
    if a.shape.len() == 2 && g.random.chance(0.3) {
        let form = *g.random.pick(&[
            "torch.mm($, $.t())",
            "torch.matmul($, $.t())",
            "torch.einsum('ij,kj->ik', [$, $])",
            "torch.addmm($.sum(1, True), $, $.t())",
        ]);
        return g.fresh(form.replace('$', &a.name), a.kind, vec![a.shape[0], a.shape[0]], ROUGH, true);
    }
    let rank = a.shape.len();
    let b = g.tensor(|_, t| {
        let n = t.shape.len();
        t.kind == a.kind
            && match (rank, n) {
                (_, 1) => t.shape[0] == inner,
                (1, 2) => t.shape[0] == inner,
                (2, 2) => t.shape[0] == inner,
                (3, 2) => t.shape[0] == inner,
                (3, 3) => t.shape[1] == inner && t.shape[0] == a.shape[0],
                _ => false,
            }
    })?;
    let mut shape = a.shape[..rank - 1].to_vec();
    if b.shape.len() > 1 {
        shape.push(*b.shape.last()?);
    }
    g.fresh(format!("torch.matmul({}, {})", a.name, b.name), a.kind, shape, ROUGH, true)
}

/// Something done to the planes of a batch of images.
pub fn image(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| {
        is_float(t.kind)
            && t.shape.len() == 4
            && t.shape[1] == [4; SETS]
            && t.shape[2..].iter().flatten().all(|&n| n >= 3)
    })?;
    let sized = |f: &dyn Fn(i64) -> i64| -> Vec<Dim> {
        vec![a.shape[0], a.shape[1], a.shape[2].map(f), a.shape[3].map(f)]
    };
    let (x, bits, wild) = (&a.name, g.bits(&a), g.memory(&a).wild);
    let weight = |shape: &str, n: usize| {
        format!("torch.arange({n}, dtype={}).reshape({shape}) * 0.05 - 0.5", crate::kinds::name(a.kind))
    };
    let f = "torch";
    let (text, shape, bits) = match g.random.below(9) {
        0 => {
            let mut shape = sized(&|n| n - 2);
            shape[1] = [2; SETS];
            (format!("torch.conv2d({x}, {})", weight("[2, 4, 3, 3]", 72)), shape, ROUGH)
        }
        1 => (
            format!("torch.conv2d({x}, {}, None, [2, 2], [1, 1], [1, 1], 4)", weight("[4, 1, 3, 3]", 36)),
            sized(&|n| (n + 1) / 2),
            ROUGH,
        ),
        2 => (format!("{f}.max_pool2d({x}, [2, 2])"), sized(&|n| n / 2), bits),
        3 => (format!("{f}.avg_pool2d({x}, [3, 3], [1, 1], [1, 1])"), sized(&|n| n), ROUGH),
        4 => (format!("{f}.adaptive_avg_pool2d({x}, [1, 1])"), sized(&|_| 1), ROUGH),
        5 => (format!("torch.upsample_nearest2d({x}, None, [2.0, 2.0])"), sized(&|n| 2 * n), bits),
        6 => (
            format!("{f}.pad({x}, [1, 0, 0, 1])"),
            vec![a.shape[0], a.shape[1], a.shape[2].map(|n| n + 1), a.shape[3].map(|n| n + 1)],
            bits,
        ),
        7 => {
            let shape = vec![a.shape[0], [1; SETS], a.shape[2].map(|n| 2 * n), a.shape[3].map(|n| 2 * n)];
            (format!("torch.pixel_shuffle({x}, 2)"), shape, bits)
        }
        _ => (format!("torch.group_norm({x}, 2)"), sized(&|n| n), ROUGH),
    };
    g.fresh(text, a.kind, shape, bits, wild)
}

/// Layer, batch and other norms.
pub fn normalised(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| is_float(t.kind) && t.shape.len() > 1)?;
    let (x, last) = (&a.name, a.shape.len() - 1);
    let (size, f) = (a.shape[last], "torch");
    if size.iter().any(|&n| n < 2) {
        return None;
    }
    let text = match g.random.below(3) {
        0 => format!("{f}.layer_norm({x}, [{x}.size(-1)])"),
        // On a GPU torch makes a whole row NaN that has an infinity.
        1 if device() != Device::Cpu && g.memory(&a).wild => return None,
        1 => format!("torch.rms_norm({x}, [{x}.size(-1)])"),
        _ if a.shape[1].iter().all(|&n| n > 0) => {
            let options = format!("dtype={}", crate::kinds::name(a.kind));
            format!(
                "torch.batch_norm({x}, None, None, torch.zeros([{x}.size(1)], {options}), torch.ones([{x}.size(1)], {options}) * 0.5, False, 0.1, 0.001, False)"
            )
        }
        _ => return None,
    };
    g.fresh(text, a.kind, a.shape, ROUGH, true)
}
