//! Matrix products in plain loops, for types and shapes that oneDNN does not take.

use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::expr::{Isa, dispatch};
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;

/// Columns that are accumulated at once; of one column alone, so many parts of its sum.
const STRIP: usize = 64;
/// Terms of a chain; the sums of chains are added apart, which keeps their rounding errors apart.
const CHAIN: usize = 32;
/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 64 * 1024;

/// `out[.., m, n] = sum over k of a[.., m, k] * b[.., k, n]`; leading axes are stretched alike.
pub struct Product {
    isa: Isa,
    a: View,
    b: View,
    out: View,
    batch: Nest<3>,
}

impl Product {
    /// Operands of the result's element type, with the result's leading axes.
    pub fn new(a: View, b: View, out: View, isa: Isa) -> Product {
        let leading: Vec<usize> = (0..out.rank() - 2).collect();
        let batch = Nest::new([&out, &a, &b], &leading);
        Product { isa, a, b, out, batch }
    }

    fn sizes(&self) -> (usize, usize, usize) {
        let r = self.out.rank();
        (self.out.shape[r - 2], self.out.shape[r - 1], self.a.shape[r - 1])
    }

    #[inline(always)]
    unsafe fn part<T: Copy + Default>(
        &self,
        [out, a, b]: [Address; 3],
        items: std::ops::Range<usize>,
        add: impl Fn(T, T, T) -> T,
        plus: impl Fn(T, T) -> T,
    ) {
        let (m, n, k) = self.sizes();
        let r = self.out.rank();
        let step = |v: &View| (v.strides[r - 2], v.strides[r - 1]);
        let ((a_m, a_k), (b_k, b_n), (o_m, o_n)) = (step(&self.a), step(&self.b), step(&self.out));
        let strips = n.div_ceil(STRIP);
        for item in items {
            let (row, first) = ((item / strips) % m, item % strips * STRIP);
            let [o, x, y] = self.batch.offsets(item / strips / m);
            let o = o + row as isize * o_m + first as isize * o_n;
            let (x, y) = (x + row as isize * a_m, y + first as isize * b_n);
            let width = STRIP.min(n - first);
            let mut sums = [T::default(); STRIP];
            let is_dense = width == 1 && a_k == 1 && b_k == 1;
            if is_dense {
                // SAFETY: the lines are dense.
                let lines = unsafe { [a.at::<T>(x), b.at(y)].map(|p| std::slice::from_raw_parts(p, k)) };
                sums[0] = dot(lines, &add, &plus);
            }
            for start in (if is_dense { k } else { 0 }..k).step_by(CHAIN) {
                let mut chains = [T::default(); STRIP];
                for i in start as isize..k.min(start + CHAIN) as isize {
                    // SAFETY: an element of `a`.
                    let factor = unsafe { *a.at::<T>(x + i * a_k) };
                    let line = b.at::<T>(y + i * b_k);
                    if b_n == 1 && width == STRIP {
                        // SAFETY: a strip of a line of `b`.
                        let line = unsafe { &*line.cast::<[T; STRIP]>() };
                        chains.iter_mut().zip(line).for_each(|(s, &v)| *s = add(*s, factor, v));
                    } else {
                        for (c, s) in chains[..width].iter_mut().enumerate() {
                            // SAFETY: an element of `b`.
                            *s = add(*s, factor, unsafe { *line.wrapping_offset(c as isize * b_n) });
                        }
                    }
                }
                sums.iter_mut().zip(chains).for_each(|(s, chain)| *s = plus(*s, chain));
            }
            for (c, &s) in sums[..width].iter().enumerate() {
                // SAFETY: an element of the result that belongs to this thread.
                unsafe { *out.at::<T>(o + c as isize * o_n) = s };
            }
        }
    }
}

/// The sum of the products of two lines, in as many parts as a strip has columns.
#[inline(always)]
fn dot<T: Copy + Default>([x, y]: [&[T]; 2], add: impl Fn(T, T, T) -> T, plus: impl Fn(T, T) -> T) -> T {
    let mut sums = [T::default(); STRIP];
    let (x, rest_of_x) = x.as_chunks::<STRIP>();
    let (y, rest_of_y) = y.as_chunks::<STRIP>();
    for (x, y) in x.iter().zip(y) {
        (0..STRIP).for_each(|i| sums[i] = add(sums[i], x[i], y[i]));
    }
    let rest = rest_of_x.iter().zip(rest_of_y);
    sums.iter_mut().zip(rest).for_each(|(s, (&x, &y))| *s = add(*s, x, y));
    let mut half = STRIP / 2;
    while half > 0 {
        (0..half).for_each(|i| sums[i] = plus(sums[i], sums[i + half]));
        half /= 2;
    }
    sums[0]
}

dispatch! {
    /// # Safety
    /// `at` has the addresses of result and operands; items `start..end` belong to this thread.
    unsafe fn run_part => part(p: &Product, at: [Address; 3], start: usize, end: usize)
}

#[inline(always)]
unsafe fn part<const FMA: bool>(p: &Product, at: [Address; 3], start: usize, end: usize) {
    macro_rules! wrapping {
        ($T:ident) => {
            p.part::<$T>(at, start..end, |s, x, y| s.wrapping_add(x.wrapping_mul(y)), $T::wrapping_add)
        };
    }
    // SAFETY: the caller's promise; operands are read as their type.
    unsafe {
        match p.out.dtype {
            DType::F64 if FMA => p.part::<f64>(at, start..end, |s, x, y| x.mul_add(y, s), |s, x| s + x),
            DType::F64 => p.part::<f64>(at, start..end, |s, x, y| s + x * y, |s, x| s + x),
            DType::F32 | DType::F16 | DType::BF16 if FMA => {
                p.part::<f32>(at, start..end, |s, x, y| x.mul_add(y, s), |s, x| s + x)
            }
            DType::F32 | DType::F16 | DType::BF16 => {
                p.part::<f32>(at, start..end, |s, x, y| s + x * y, |s, x| s + x)
            }
            DType::Bool | DType::U8 => wrapping!(u8),
            DType::I8 => wrapping!(i8),
            DType::I16 => wrapping!(i16),
            DType::I32 => wrapping!(i32),
            DType::I64 => wrapping!(i64),
        }
    }
}

impl Step for Product {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let at = [call.of(&self.out), call.of(&self.a), call.of(&self.b)];
        let (m, n, k) = self.sizes();
        let items = self.batch.len() * m * n.div_ceil(STRIP);
        call.team.split(items, GRAIN / (k * n.min(STRIP)).max(1), |_, part| {
            // SAFETY: the caller gives all tensors; parts are disjoint.
            unsafe { run_part(self.isa, self, at, part.start, part.end) };
        });
        Ok(())
    }

    fn describe(&self) -> String {
        format!("matrix product in plain loops of {}", self.out.dtype)
    }
}
