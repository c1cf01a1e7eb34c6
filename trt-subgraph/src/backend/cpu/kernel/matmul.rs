//! Matrix products: oneDNN for f32, plain loops for the rest.

use super::bias;
use super::product::Product;
use crate::DType;
use crate::backend::cpu::assemble::{Assembler, Fault, Packing};
use crate::backend::cpu::onednn::step::{Operand, emit, packed};
use crate::backend::cpu::onednn::{Desc, OneDnn, Primitive, Recipe, arg};
use crate::backend::cpu::view::{Slot, View};
use crate::network::Layer;
use std::sync::Arc;

pub fn assemble(a: &mut Assembler, layer: &Layer, ta: bool, tb: bool) -> Result<(), Fault> {
    let x = turned(a.computing(layer.inputs[0])?, ta);
    let y = a.network.ty(layer.outputs[0]).shape.clone();
    let order: Vec<usize> = (0..y.len()).collect();
    let inner = x.shape[x.rank() - 1];
    let elements: usize = y.iter().product();
    if let (DType::F32, Some(library), true) = (x.dtype, a.machine.library.clone(), inner > 0 && elements > 0)
        && let Some(done) = with_onednn(a, layer, &library, &x, tb)
    {
        return done;
    }
    let b = plain(a, layer, tb)?;
    a.result(layer, x.dtype, &order, |a, out| {
        let lead = &out.shape[..out.rank() - 2];
        let stretched = |v: &View| v.stretch(&[lead, &v.shape[v.rank() - 2..]].concat());
        let touches = [x.slot, b.slot, out.slot];
        a.emit(Product::new(stretched(&x), stretched(&b), out.clone(), a.machine.isa), &touches);
        Ok(())
    })
}

/// The last two axes swapped where the layer says so.
fn turned(view: View, swap: bool) -> View {
    let mut axes: Vec<usize> = (0..view.rank()).collect();
    if swap {
        axes.swap(view.rank() - 2, view.rank() - 1);
    }
    view.permute(&axes)
}

/// `b[.., K, N]` with its lines contiguous.
fn plain(a: &mut Assembler, layer: &Layer, tb: bool) -> Result<View, Fault> {
    let value = layer.inputs[1];
    let ty = a.network.ty(value).clone();
    let dtype = if matches!(ty.dtype, DType::F16 | DType::BF16) { DType::F32 } else { ty.dtype };
    let ty = turned(View::row_major(Slot(0), &ty.with_dtype(dtype)), tb).ty();
    let to = View::row_major(Slot(0), &ty);
    let packing: Packing = Box::new(move |a, from, slot, offset| {
        let from = a.converted(turned(from, tb), to.dtype);
        a.copy(&from, View { slot, offset, ..to });
        Ok(())
    });
    let (slot, offset) = a.packed(value, ty.bytes(), packing)?;
    Ok(View { offset, ..View::row_major(slot, &ty) })
}

/// The product with oneDNN; `None` where it has no kernel (nothing is emitted then that anybody reads).
fn with_onednn(
    a: &mut Assembler,
    layer: &Layer,
    library: &Arc<OneDnn>,
    x: &View,
    tb: bool,
) -> Option<Result<(), Fault>> {
    let y = a.network.ty(layer.outputs[0]).shape.clone();
    let rank = y.len();
    let (m, n, k) = (y[rank - 2], y[rank - 1], x.shape[x.rank() - 1]);
    let b_shape = a.network.ty(layer.inputs[1]).shape.clone();
    let batch: usize = y[..rank - 2].iter().product();
    let shared = b_shape[..b_shape.len() - 2].iter().all(|&n| n == 1);
    let (shape_a, shape_b, shape_y) = match shared {
        true => (vec![batch * m, k], vec![k, n], vec![batch * m, n]),
        false => (vec![batch, m, k], vec![batch, k, n], vec![batch, m, n]),
    };
    let src = matrix(a, &x.stretch(&[&y[..rank - 2], &[m, k]].concat()), &shape_a);
    let is_packed = shared && a.is_static(layer.inputs[1]);
    let b = (!is_packed).then(|| {
        let b = match a.computing(layer.inputs[1]) {
            Ok(b) => turned(b, tb),
            Err(why) => return Err(why),
        };
        let lead = if shared { &[][..] } else { &y[..rank - 2] };
        let b = if shared { b.reshape(&shape_b).unwrap_or(b) } else { b.stretch(&[lead, &[k, n]].concat()) };
        Ok(matrix(a, &b, &shape_b))
    });
    let b = match b.transpose() {
        Ok(b) => b,
        Err(why) => return Some(Err(why)),
    };
    let vector = bias::split(a, layer, rank - 1);
    let strided = |v: &View| Desc::strided(library, &v.shape, &canonical(v));
    let made = (|| {
        let to = View::row_major(Slot(0), &crate::TensorType::new(DType::F32, shape_y.clone()));
        let (src_desc, dst_desc) = (strided(&src)?, strided(&to)?);
        let weights = match &b {
            Some(b) => strided(b)?,
            None => Desc::any(library, &shape_b)?,
        };
        let bias_shape: Vec<usize> =
            (0..shape_y.len()).map(|i| if i + 1 == shape_y.len() { n } else { 1 }).collect();
        let bias_desc = match &vector {
            Some(_) => Some(Desc::strided(
                library,
                &bias_shape,
                &vec![1; bias_shape.len()]
                    .iter()
                    .enumerate()
                    .map(|(i, _)| if i + 1 == bias_shape.len() { 1 } else { n as isize })
                    .collect::<Vec<_>>(),
            )?),
            None => None,
        };
        let recipe =
            Recipe::MatMul { src: &src_desc, weights: &weights, bias: bias_desc.as_ref(), dst: &dst_desc };
        let primitive = Primitive::new(library, &recipe, false)?;
        Ok::<_, Fault>((primitive, src_desc, dst_desc, weights, bias_desc))
    })();
    let Ok((primitive, src_desc, dst_desc, weights_desc, bias_desc)) = made else { return None };
    if primitive.kernel.contains("ref") {
        return None;
    }
    let finish = || {
        let (weights, weights_desc) = match b {
            Some(b) => ((b.slot, b.offset), weights_desc),
            None => {
                let wanted = primitive.weights.clone().ok_or("a product has two operands")?;
                let shape = shape_b.clone();
                let plain = move |w: &View| {
                    let flat = [w.shape[w.rank() - 2], w.shape[w.rank() - 1]];
                    let flat = w.reshape(&flat).expect("leading axes of 1 go");
                    debug_assert_eq!(shape.iter().product::<usize>(), flat.elements());
                    turned(flat, tb)
                };
                (packed(a, layer.inputs[1], &wanted, plain)?, wanted)
            }
        };
        let (bias, rest) = match &vector {
            Some((view, rest)) => (Some(view.clone()), rest.clone()),
            None => (None, layer.epilogue.clone()),
        };
        let order: Vec<usize> = (0..rank).collect();
        a.result_with(layer, rest.as_ref(), DType::F32, &order, |a, out| {
            let mut operands = vec![
                Operand { arg: arg::SRC, desc: src_desc, place: (src.slot, src.offset) },
                Operand { arg: arg::WEIGHTS, desc: weights_desc, place: weights },
                Operand { arg: arg::DST, desc: dst_desc, place: (out.slot, out.offset) },
            ];
            if let (Some(view), Some(desc)) = (bias, bias_desc) {
                operands.push(Operand { arg: arg::BIAS, desc, place: (view.slot, view.offset) });
            }
            emit(a, "matmul", primitive, operands);
            Ok(())
        })
    };
    Some(finish())
}

/// A view of this shape whose last two axes are lines or columns without holes between their elements; copied where need be.
fn matrix(a: &mut Assembler, view: &View, shape: &[usize]) -> View {
    if let Some(v) = view.reshape(shape) {
        let r = v.rank();
        let (rows, columns) = (v.strides[r - 2], v.strides[r - 1]);
        let lines = columns == 1 && (rows >= v.shape[r - 1] as isize || v.shape[r - 2] == 1);
        let upright = rows == 1 && (columns >= v.shape[r - 2] as isize || v.shape[r - 1] == 1);
        let spread = r == 2 || v.strides[0] > 0 || v.shape[0] == 1;
        if (lines || upright) && spread {
            return v;
        }
    }
    let order: Vec<usize> = (0..view.rank()).collect();
    let copy = a.temporary(&view.ty(), &order);
    a.copy(view, copy.clone());
    copy.reshape(shape).expect("a row-major tensor takes any shape")
}

/// Strides in which axes of size 1 are as dense as can be.
fn canonical(v: &View) -> Vec<isize> {
    let r = v.rank();
    let mut s = v.strides.clone();
    if v.shape[r - 2] == 1 && s[r - 1] == 1 {
        s[r - 2] = v.shape[r - 1] as isize;
    } else if v.shape[r - 1] == 1 && s[r - 2] == 1 && v.shape[r - 2] > 1 {
        s[r - 1] = v.shape[r - 2] as isize;
    }
    if r == 3 && v.shape[0] == 1 {
        s[0] = (v.shape[1] * v.shape[2]) as isize;
    }
    s
}
