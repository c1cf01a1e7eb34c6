//! Normalisation by the statistics of groups of elements, with the factors and summands that often follow it.

use super::bias::peel_off;
use super::rows::{Rows, joined};
use super::strips::{self, LANES, Lanes, Strips};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::expr::{Isa, dispatch};
use crate::backend::cpu::step::{Call, Step};
use crate::backend::cpu::view::{Slot, View};
use crate::network::expr::Binary;
use crate::network::{Expr, Layer};

pub fn assemble(a: &mut Assembler, layer: &Layer, axes: &[usize], eps: f64, rms: bool) -> Result<(), Fault> {
    let x = a.computing(layer.inputs[0])?;
    let order = x.order();
    let mut rest = layer.epilogue.clone();
    let [gain, shift] = [Binary::Mul, Binary::Add].map(|function| along(a, layer, axes, function, &mut rest));
    a.result_with(layer, rest.as_ref(), x.dtype, &order, |a, out| {
        let groups = match Strips::new(a, &x, &out, axes) {
            Some(strips) => Groups::Strips(strips),
            None => Groups::Rows(Rows::new(a, x, out, axes)),
        };
        let mut touches = groups.touches().to_vec();
        touches.extend([&gain, &shift].into_iter().flatten().map(|view| view.slot));
        a.emit(Normalize { groups, eps, rms, gain, shift, isa: a.machine.isa }, &touches);
        Ok(())
    })
}

/// An f32 operand that has an element for each element of a row, where the epilogue begins with this function of the layer's own result
/// and that operand; it is cut off the epilogue then.
fn along(
    a: &mut Assembler,
    layer: &Layer,
    axes: &[usize],
    function: Binary,
    epilogue: &mut Option<Expr>,
) -> Option<View> {
    let result = a.network.ty(layer.outputs[0]).clone();
    let (operand, rest) = peel_off(function, epilogue.as_ref()?)?;
    let value = *layer.inputs.get(layer.kind.arity()? + operand - 1)?;
    let ty = a.network.ty(value).clone();
    let row = &result.shape[result.rank() - axes.len()..];
    let is_last = axes.iter().copied().eq(result.rank() - axes.len()..result.rank());
    let lead = ty.rank().checked_sub(axes.len())?;
    let fits = result.dtype == DType::F32
        && ty.dtype == DType::F32
        && a.network.ty(layer.inputs[0]).dtype == DType::F32
        && is_last
        && ty.shape[lead..] == *row
        && ty.shape[..lead].iter().all(|&n| n == 1);
    if !fits {
        return None;
    }
    let view = a.view(value);
    if !view.is_row_major() {
        return None;
    }
    *epilogue = rest;
    Some(view)
}

/// One at a time, or many.
enum Groups {
    Rows(Rows),
    Strips(Strips),
}

impl Groups {
    fn touches(&self) -> [Slot; 3] {
        match self {
            Groups::Rows(rows) => rows.touches(),
            Groups::Strips(strips) => strips.touches(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Groups::Rows(rows) => rows.len(),
            Groups::Strips(strips) => strips.len(),
        }
    }
}

struct Normalize {
    groups: Groups,
    eps: f64,
    rms: bool,
    /// Multiplied with, and added to, each row.
    gain: Option<View>,
    shift: Option<View>,
    isa: Isa,
}

impl Step for Normalize {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (eps, rms, n) = (self.eps, self.rms, self.groups.len());
        // SAFETY: the caller gives all tensors; these are dense rows of f32.
        let vector = |view: &View| unsafe { std::slice::from_raw_parts(call.of(view).at::<f32>(0), n) };
        let [gain, shift] = [&self.gain, &self.shift].map(|view| view.as_ref().map(vector));
        // SAFETY: the caller's promise; rows of f32 or f64 as their type says; `isa` is the machine's.
        unsafe {
            match &self.groups {
                Groups::Strips(strips) => {
                    strips.each(call, 2, |strip| strip_f32(self.isa, strip, eps, rms, gain, shift))
                }
                Groups::Rows(rows) if rows.dtype() == DType::F64 => {
                    rows.each::<f64>(call, 6, |x, y| row_f64(self.isa, x, y, eps, rms))
                }
                Groups::Rows(rows) => {
                    rows.each::<f32>(call, 2, |x, y| row_f32(self.isa, x, y, eps, rms, gain, shift))
                }
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let gain = self.gain.as_ref().map_or("", |_| " * factors");
        let shift = self.shift.as_ref().map_or("", |_| " + summands");
        let at_once = match &self.groups {
            Groups::Rows(_) => String::new(),
            Groups::Strips(_) => format!(", {LANES} groups at once"),
        };
        format!("normalize over {} elements{gain}{shift}{at_once}, {}", self.groups.len(), self.isa.name())
    }
}

dispatch! {
    /// # Safety
    /// `isa` is supported by the machine.
    unsafe fn row_f32 => normalize(x: &[f32], y: &mut [f32], eps: f64, rms: bool, gain: Option<&[f32]>, shift: Option<&[f32]>)
}
dispatch! {
    /// # Safety
    /// `isa` is supported by the machine.
    unsafe fn strip_f32 => normalize_strip(strip: &mut [Lanes], eps: f64, rms: bool, gain: Option<&[f32]>, shift: Option<&[f32]>)
}
dispatch! {
    /// # Safety
    /// `isa` is supported by the machine.
    unsafe fn row_f64 => normalize_f64(x: &[f64], y: &mut [f64], eps: f64, rms: bool)
}

const WIDTH: usize = 32;
/// Elements whose sums are in f32.
const STRETCH: usize = 1024;
/// Sums of squares that f32 holds with all their digits.
const HELD: std::ops::Range<f64> = 1e-25..1e37;

/// In f32: distances from the mean as it comes out in f32, whose own mean is the rest of it. Rows whose squares f32 does not hold are done
/// in f64.
#[inline(always)]
unsafe fn normalize<const FMA: bool>(
    x: &[f32],
    y: &mut [f32],
    eps: f64,
    rms: bool,
    gain: Option<&[f32]>,
    shift: Option<&[f32]>,
) {
    let n = x.len() as f64;
    let centre = if rms { 0.0 } else { (sums(x, |v| [v, 0.0])[0] / n) as f32 };
    let [rest, squares] = sums(x, |v| [v - centre, (v - centre) * (v - centre)]);
    if HELD.contains(&squares) {
        let off = if rms { 0.0 } else { rest / n };
        let scale = 1.0 / (squares / n - off * off + eps).sqrt();
        let (scale, offset) = (scale as f32, (-off * scale) as f32);
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - centre) * scale + offset);
    } else {
        // SAFETY: as here.
        unsafe { normalize_wide::<FMA>(x, y, eps, rms) };
    }
    if let Some(gain) = gain {
        y.iter_mut().zip(gain).for_each(|(y, &g)| *y *= g);
    }
    if let Some(shift) = shift {
        y.iter_mut().zip(shift).for_each(|(y, &s)| *y += s);
    }
}

/// As [`normalize`], of each lane, in its place.
#[inline(always)]
unsafe fn normalize_strip<const FMA: bool>(
    strip: &mut [Lanes],
    eps: f64,
    rms: bool,
    gain: Option<&[f32]>,
    shift: Option<&[f32]>,
) {
    let n = strip.len() as f64;
    let mut centre = [0f32; LANES];
    if !rms {
        let [sum] = strips::sums(strip, |_, v| [v]);
        centre = sum.map(|s| (f64::from(s) / n) as f32);
    }
    let [rest, squares] = strips::sums(strip, |lane, v| {
        let distance = v - centre[lane];
        [distance, distance * distance]
    });
    let (mut scales, mut offsets) = ([0f32; LANES], [0f32; LANES]);
    for lane in 0..LANES {
        let off = if rms { 0.0 } else { f64::from(rest[lane]) / n };
        let scale = 1.0 / (f64::from(squares[lane]) / n - off * off + eps).sqrt();
        (scales[lane], offsets[lane]) = (scale as f32, (-off * scale) as f32);
    }
    for lane in 0..LANES {
        if !HELD.contains(&f64::from(squares[lane])) {
            normalize_lane(strip, lane, eps, rms);
            (centre[lane], scales[lane], offsets[lane]) = (0.0, 1.0, -0.0);
        }
    }
    for (i, element) in strip.iter_mut().enumerate() {
        // What is added to no effect: zeros keep their signs.
        let (gain, shift) = (gain.map_or(1.0, |g| g[i]), shift.map_or(-0.0, |s| s[i]));
        for lane in 0..LANES {
            element[lane] = ((element[lane] - centre[lane]) * scales[lane] + offsets[lane]) * gain + shift;
        }
    }
}

/// One lane of a strip, in f64.
fn normalize_lane(strip: &mut [Lanes], lane: usize, eps: f64, rms: bool) {
    let n = strip.len() as f64;
    let values = || strip.iter().map(|element| f64::from(element[lane]));
    let mean = if rms { 0.0 } else { values().sum::<f64>() / n };
    let scale = 1.0 / (values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n + eps).sqrt();
    strip.iter_mut().for_each(|element| element[lane] = ((f64::from(element[lane]) - mean) * scale) as f32);
}

/// The sums of two functions of each element.
#[inline(always)]
fn sums(x: &[f32], of: impl Fn(f32) -> [f32; 2]) -> [f64; 2] {
    let mut total = [0.0; 2];
    for stretch in x.chunks(STRETCH) {
        let (whole, rest) = stretch.as_chunks::<WIDTH>();
        let mut sums = [[0f32; WIDTH]; 2];
        for part in whole {
            for i in 0..WIDTH {
                let [a, b] = of(part[i]);
                sums[0][i] += a;
                sums[1][i] += b;
            }
        }
        for (i, &v) in rest.iter().enumerate() {
            let [a, b] = of(v);
            sums[0][i] += a;
            sums[1][i] += b;
        }
        total.iter_mut().zip(sums).for_each(|(total, sums)| *total += f64::from(joined(sums, |a, b| a + b)));
    }
    total
}

macro_rules! normalize {
    ($name:ident, $T:ident) => {
        /// Statistics in f64.
        #[inline(always)]
        unsafe fn $name<const FMA: bool>(x: &[$T], y: &mut [$T], eps: f64, rms: bool) {
            let n = x.len() as f64;
            let sum = |centre: f64, square: bool| {
                let (whole, rest) = x.as_chunks::<WIDTH>();
                let mut sums = [0f64; WIDTH];
                for part in whole {
                    for (s, &v) in sums.iter_mut().zip(part) {
                        let d = v as f64 - centre;
                        *s += if square { d * d } else { d };
                    }
                }
                for (s, &v) in sums.iter_mut().zip(rest) {
                    let d = v as f64 - centre;
                    *s += if square { d * d } else { d };
                }
                sums.iter().sum::<f64>()
            };
            let mean = if rms { 0.0 } else { sum(0.0, false) / n };
            let scale = 1.0 / (sum(mean, true) / n + eps).sqrt();
            for (y, &x) in y.iter_mut().zip(x) {
                *y = ((x as f64 - mean) * scale) as $T;
            }
        }
    };
}
normalize!(normalize_wide, f32);
normalize!(normalize_f64, f64);
