//! Element by element.

use super::scope::{Generator, ROUGH};
use crate::kinds::{broadcast, category, is_float, joint, name};
use tch::Kind;

/// Two tensors, stretched to each other.
pub fn arithmetic(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let b = g.partner(&a)?;
    let shape = broadcast(&a.shape, &b.shape)?;
    let kind = joint(a.kind, b.kind, (a.shape.len(), b.shape.len()));
    let (bits_a, bits_b) = (g.bits(&a), g.bits(&b));
    let wild = g.memory(&a).wild || g.memory(&b).wild;
    let (x, y) = (&a.name, &b.name);
    let float = is_float(kind);
    let both_bool = kind == Kind::Bool;
    let any_bool = a.kind == Kind::Bool || b.kind == Kind::Bool;
    let (sum, product) = (bits_a.max(bits_b) + 1, bits_a + bits_b + 3);
    // Whole numbers become exact floating-point ones while they are small.
    let mixed = |bits: u32| if float && (!is_float(a.kind) || !is_float(b.kind)) { bits + 6 } else { bits };
    let (text, bits) = match g.random.below(14) {
        0..=2 => (format!("{x} + {y}"), mixed(sum)),
        3 | 4 if !any_bool => (format!("{x} - {y}"), mixed(sum)),
        5 | 6 => (format!("{x} * {y}"), mixed(product)),
        7 if float => (format!("{x} / (({y} * 2).abs() + 1)"), ROUGH),
        8 => (format!("torch.maximum({x}, {y})"), mixed(bits_a.max(bits_b))),
        9 => (format!("torch.minimum({x}, {y})"), mixed(bits_a.max(bits_b))),
        10 if !any_bool => (format!("torch.add({x}, {y}, alpha=2)"), mixed(sum + 1)),
        11 if float && !any_bool => (format!("torch.atan2({x}, {y}.abs() + 0.5)"), ROUGH),
        12 if a.kind == b.kind && float => (format!("torch.lerp({x}, {y}, 0.25)"), ROUGH),
        13 if !any_bool => (format!("torch.rsub({x}, {y})"), mixed(sum)),
        _ if both_bool => (format!("{x} ^ {y}"), 0),
        _ => return None,
    };
    g.fresh(text, kind, shape, bits, wild)
}

/// A tensor and a number.
pub fn with_number(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let (bits, wild) = (g.bits(&a), g.memory(&a).wild);
    let x = &a.name;
    let (int, _) = g.int();
    let whole = if category(a.kind) == 0 { Kind::Int64 } else { a.kind };
    let real = if category(a.kind) < 2 { Kind::Float } else { a.kind };
    let not_bool = a.kind != Kind::Bool;
    let known = g.is_exact(&a) && (is_float(a.kind) || not_bool);
    let (text, kind, bits) = match g.random.below(15) {
        0 => (format!("{x} + {int}"), whole, bits + 4),
        1 => (format!("{x} * {int}"), whole, bits + 4),
        2 if not_bool => (format!("{x} - {int}"), whole, bits + 4),
        3 if not_bool => (format!("{int} - {x}"), whole, bits + 4),
        4 => (format!("{x} * 0.5"), real, bits + 6),
        5 => (format!("{x} + 1.5"), real, bits.max(6) + 2),
        6 => (format!("{x} / 3"), real, ROUGH),
        7 if known => (format!("{x} // 2"), a.kind, bits),
        8 if known => (format!("{x} % 3"), a.kind, bits),
        9 if not_bool => (format!("{x} ** 2"), a.kind, bits * 2),
        10 if is_float(a.kind) => (format!("{x} ** {}", g.random.pick(&["0.5", "1.5"])), a.kind, ROUGH),
        11 if not_bool => (format!("{x}.clamp(0, 2)"), a.kind, bits),
        12 if not_bool => (format!("torch.clamp({x}, max={int})"), a.kind, bits),
        13 if is_float(a.kind) => (format!("{x} * float({int})"), a.kind, bits + 4),
        14 if known && not_bool => (format!("torch.fmod({x}, 3)"), a.kind, bits),
        _ => return None,
    };
    g.fresh(text, kind, a.shape, bits, wild)
}

/// Functions whose results are rounded.
pub fn smooth(g: &mut Generator) -> Option<()> {
    const FLOAT: [&str; 20] = [
        // libtorch's vectors make NaN of infinity, its loops infinity.
        "torch.gelu($.clamp(max=1e30))",
        "torch.gelu($.clamp(max=1e30), approximate='tanh')",
        "torch.silu($)",
        "torch.softplus($)",
        "torch.mish($)",
        "torch.elu($)",
        "torch.hardswish($)",
        "torch.hardsigmoid($)",
        "torch.leaky_relu($, 0.1)",
        "torch.selu($)",
        "torch.log_sigmoid($)",
        "torch.dropout($, 0.5, False)",
        "torch.log($.abs() + 0.5)",
        "torch.rsqrt($.abs() + 0.5)",
        "torch.sqrt($.abs() + 0.25)",
        "torch.logaddexp($, $)",
        "torch.reciprocal($.abs() + 1)",
        "torch.addcmul($, $, $, value=0.5)",
        "torch.xlogy($, $.abs() + 1)",
        "torch.log1p($.abs())",
    ];
    const ANY: [&str; 9] = [
        "torch.tanh($)",
        "torch.sigmoid($)",
        "torch.exp($)",
        "torch.sin($)",
        "torch.cos($)",
        "torch.erf($)",
        "torch.atan($)",
        "torch.expm1($)",
        "torch.sinh($)",
    ];
    // Of whole numbers they are computed in float32 in the float64 run too, where these overflow soon.
    const STEEP: [&str; 3] = ["torch.exp($)", "torch.expm1($)", "torch.sinh($)"];
    let a = g.any_tensor()?;
    let float = is_float(a.kind);
    let form = if float && g.random.chance(0.5) { *g.random.pick(&FLOAT) } else { *g.random.pick(&ANY) };
    if !float && STEEP.contains(&form) {
        return None;
    }
    let kind = if float { a.kind } else { Kind::Float };
    g.fresh(form.replace('$', &a.name), kind, a.shape, ROUGH, true)
}

/// Functions that keep their argument's digits.
pub fn exact(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| t.kind != Kind::Bool)?;
    let x = &a.name;
    let (bits, wild) = (g.bits(&a), g.memory(&a).wild);
    let (text, bits) = match g.random.below(8) {
        0 => (format!("-{x}"), bits),
        1 => (format!("{x}.abs()"), bits),
        2 => (format!("torch.relu({x})"), bits),
        3 => (format!("{x}.clone()"), bits),
        4 => (format!("torch.square({x})"), bits * 2),
        5 if is_float(a.kind) => (format!("torch.hardtanh({x}, -1.0, 1.0)"), bits),
        6 if is_float(a.kind) => (format!("torch.relu6({x})"), bits),
        7 if is_float(a.kind) => (format!("torch.nan_to_num({x}, 1.0, 2.0, -2.0)"), bits),
        _ => return None,
    };
    g.fresh(text, a.kind, a.shape, bits, wild)
}

/// Functions with jumps, of exact values.
pub fn steps(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|g, t| g.is_exact(t) && t.kind != Kind::Bool)?;
    let form = *g.random.pick(&[
        "torch.floor($)",
        "torch.ceil($)",
        "torch.round($)",
        "torch.trunc($)",
        "torch.sign($)",
        "torch.frac($)",
        "torch.heaviside($, $)",
    ]);
    if form.contains("frac") && !is_float(a.kind) {
        return None;
    }
    let (bits, wild) = (g.bits(&a), g.memory(&a).wild);
    g.fresh(form.replace('$', &a.name), a.kind, a.shape, bits, wild)
}

/// Truth values of exact values.
pub fn comparison(g: &mut Generator) -> Option<()> {
    let a = g.tensor(Generator::is_exact)?;
    let x = &a.name;
    if g.random.chance(0.4) {
        let form = *g.random.pick(&[
            "$ > 0",
            "$ <= 1",
            "$ == 2",
            "$ != 0.5",
            "torch.isnan($)",
            "torch.isinf($)",
            "torch.logical_not($)",
            "torch.isfinite($)",
        ]);
        return g.fresh(form.replace('$', x), Kind::Bool, a.shape, 0, false);
    }
    let b = g.tensor(|g, t| g.is_exact(t) && broadcast(&t.shape, &a.shape).is_some())?;
    let kind = joint(a.kind, b.kind, (a.shape.len(), b.shape.len()));
    let shape = broadcast(&a.shape, &b.shape)?;
    let y = &b.name;
    let text = match g.random.below(9) {
        0 => format!("{x} > {y}"),
        1 => format!("{x} <= {y}"),
        2 => format!("{x} == {y}"),
        3 => format!("{x} != {y}"),
        4 => format!("torch.logical_and({x}, {y})"),
        5 => format!("torch.logical_xor({x}, {y})"),
        6 if category(kind) < 2 => format!("({x} & {y}) > 0"),
        7 if category(kind) < 2 => format!("({x} | {y}) > 1"),
        _ => format!("{x} < {y}"),
    };
    g.fresh(text, Kind::Bool, shape, 0, false)
}

/// One of two tensors, or a number, by a third.
pub fn choice(g: &mut Generator) -> Option<()> {
    let mask = g.tensor(|_, t| t.kind == Kind::Bool)?;
    let a = g.partner(&mask)?;
    let shape = broadcast(&mask.shape, &a.shape)?;
    let (m, x) = (&mask.name, &a.name);
    let (bits, wild) = (g.bits(&a), g.memory(&a).wild);
    if g.random.chance(0.5) {
        let value = *g.random.pick(&["0", "1", "2"]);
        return g.fresh(format!("{x}.masked_fill({m}, {value})"), a.kind, shape, bits.max(5), wild);
    }
    let b = g.tensor(|_, t| t.kind == a.kind && broadcast(&t.shape, &shape).is_some())?;
    let shape = broadcast(&shape, &b.shape)?;
    let (bits, wild) = (bits.max(g.bits(&b)), wild || g.memory(&b).wild);
    g.fresh(format!("torch.where({m}, {x}, {})", b.name), a.kind, shape, bits, wild)
}

/// Another element type.
pub fn cast(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let kinds = g.kinds.clone();
    let to = *g.random.pick(&kinds);
    let memory = g.memory(&a);
    let text = match to {
        k if k == a.kind => {
            return g.define(format!("{}.to({})", a.name, name(k)), k, a.shape, a.memory, a.stretched);
        }
        k if is_float(k) => format!("{}.to({})", a.name, name(k)),
        Kind::Bool if g.is_exact(&a) => format!("{}.to(torch.bool)", a.name),
        // Outside of the type's range, and of NaN, the result is the processor's whim.
        _ if is_float(a.kind) && (memory.wild || !g.is_exact(&a)) => return None,
        Kind::Uint8 if is_float(a.kind) => format!("{}.clamp(0, 100).to(torch.uint8)", a.name),
        k if is_float(a.kind) => format!("{}.clamp(-100, 100).to({})", a.name, name(k)),
        k => format!("{}.to({})", a.name, name(k)),
    };
    let bits = if is_float(a.kind) { memory.bits } else { 8 };
    g.fresh(text, to, a.shape, bits, memory.wild)
}
