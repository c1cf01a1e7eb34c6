//! Tensors held on the host: constants, test inputs, the reference backend's values.

use crate::truncate::truncated;
use crate::{DType, TensorType};
use half::{bf16, f16};
use std::fmt;
use std::sync::Arc;

/// A contiguous row-major tensor in host memory; cloning shares the bytes.
#[derive(Clone)]
pub struct Literal {
    ty: TensorType,
    words: Arc<[u64]>,
}

impl Literal {
    /// A tensor of zeros.
    pub fn zeros(ty: TensorType) -> Literal {
        let words = vec![0u64; ty.bytes().div_ceil(8)].into();
        Literal { ty, words }
    }

    /// Copies `bytes` (row-major, native endian). `None` when the length is not the type's.
    pub fn from_bytes(ty: TensorType, bytes: &[u8]) -> Option<Literal> {
        if bytes.len() != ty.bytes() {
            return None;
        }
        let mut out = Literal::zeros(ty);
        out.bytes_mut().copy_from_slice(bytes);
        if out.ty.dtype == DType::Bool {
            out.bytes_mut().iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
        }
        Some(out)
    }

    /// Converts each element from f64: floats are rounded to nearest even, integers as libtorch's casts make them, `Bool` is `!= 0`.
    /// `None` when the count is not the type's.
    pub fn from_f64(ty: TensorType, values: impl IntoIterator<Item = f64>) -> Option<Literal> {
        let mut out = Literal::zeros(ty);
        let (dtype, count) = (out.ty.dtype, out.ty.elements());
        let bytes = out.bytes_mut();
        let mut n = 0;
        for v in values {
            if n == count {
                return None;
            }
            store_f64(dtype, &mut bytes[n * dtype.size()..][..dtype.size()], v);
            n += 1;
        }
        (n == count).then_some(out)
    }

    /// Like [`Literal::from_f64`] from integers, exact for every integer type (wrapping).
    pub fn from_i64(ty: TensorType, values: impl IntoIterator<Item = i64>) -> Option<Literal> {
        let mut out = Literal::zeros(ty);
        let (dtype, count) = (out.ty.dtype, out.ty.elements());
        let bytes = out.bytes_mut();
        let mut n = 0;
        for v in values {
            if n == count {
                return None;
            }
            store_i64(dtype, &mut bytes[n * dtype.size()..][..dtype.size()], v);
            n += 1;
        }
        (n == count).then_some(out)
    }

    /// A 0-d tensor.
    pub fn scalar(dtype: DType, value: f64) -> Literal {
        let mut out = Literal::zeros(TensorType::new(dtype, []));
        store_f64(dtype, &mut out.bytes_mut()[..dtype.size()], value);
        out
    }

    /// Element type and shape.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// The elements, row-major, native endian; aligned to 8 bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `words` holds at least `ty.bytes()` initialised bytes and u8 has no alignment or validity needs.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.ty.bytes()) }
    }

    /// The elements for writing; copies first when the bytes are shared.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.ty.bytes();
        let words = Arc::make_mut(&mut self.words);
        // SAFETY: as in `bytes`, and `make_mut` gave us the only owner.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
    }

    /// Element `i` in row-major order, widened to f64 (i64 beyond 2^53 rounds).
    pub fn f64_at(&self, i: usize) -> f64 {
        let size = self.ty.dtype.size();
        load_f64(self.ty.dtype, &self.bytes()[i * size..][..size])
    }

    /// Element `i` in row-major order as i64; floats truncate.
    pub fn i64_at(&self, i: usize) -> i64 {
        let size = self.ty.dtype.size();
        load_i64(self.ty.dtype, &self.bytes()[i * size..][..size])
    }

    /// All elements widened to f64.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.ty.elements()).map(|i| self.f64_at(i)).collect()
    }

    /// The same bytes under another shape of as many elements. `None` when the counts differ.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Option<Literal> {
        let ty = TensorType::new(self.ty.dtype, shape);
        (ty.elements() == self.ty.elements()).then(|| Literal { ty, words: self.words.clone() })
    }
}

impl PartialEq for Literal {
    /// Bitwise equality of type and elements.
    fn eq(&self, other: &Literal) -> bool {
        self.ty == other.ty && (Arc::ptr_eq(&self.words, &other.words) || self.bytes() == other.bytes())
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.ty)?;
        for i in 0..self.ty.elements().min(8) {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, self.f64_at(i))?;
        }
        f.write_str(if self.ty.elements() > 8 { ", ...]" } else { "]" })
    }
}

/// Reads one native-endian element, widened to f64. `bytes` is exactly one element.
pub fn load_f64(dtype: DType, bytes: &[u8]) -> f64 {
    macro_rules! read {
        ($t:ty) => {
            <$t>::from_ne_bytes(bytes.try_into().expect("one element"))
        };
    }
    match dtype {
        DType::F16 => read!(f16).to_f64(),
        DType::BF16 => read!(bf16).to_f64(),
        DType::F32 => read!(f32) as f64,
        DType::F64 => read!(f64),
        _ => load_i64(dtype, bytes) as f64,
    }
}

/// Reads one native-endian element as i64; floats truncate towards zero, and beyond its range as libtorch's casts do.
pub fn load_i64(dtype: DType, bytes: &[u8]) -> i64 {
    macro_rules! read {
        ($t:ty) => {
            <$t>::from_ne_bytes(bytes.try_into().expect("one element")) as i64
        };
    }
    match dtype {
        DType::Bool => (bytes[0] != 0) as i64,
        DType::U8 => bytes[0] as i64,
        DType::I8 => read!(i8),
        DType::I16 => read!(i16),
        DType::I32 => read!(i32),
        DType::I64 => read!(i64),
        _ => truncated(DType::I64, load_f64(dtype, bytes)),
    }
}

/// Writes one element from f64: floats round to nearest even, integers are as libtorch's casts make them (cut off, wrapped), `Bool` is
/// `!= 0`.
pub fn store_f64(dtype: DType, bytes: &mut [u8], v: f64) {
    match dtype {
        DType::F16 => bytes.copy_from_slice(&f16::from_f64(v).to_ne_bytes()),
        DType::BF16 => bytes.copy_from_slice(&bf16::from_f64(v).to_ne_bytes()),
        DType::F32 => bytes.copy_from_slice(&(v as f32).to_ne_bytes()),
        DType::F64 => bytes.copy_from_slice(&v.to_ne_bytes()),
        DType::Bool => bytes[0] = (v != 0.0) as u8,
        _ => store_i64(dtype, bytes, truncated(dtype, v)),
    }
}

/// Writes one element from i64: integers wrap, floats round, `Bool` is `!= 0`.
pub fn store_i64(dtype: DType, bytes: &mut [u8], v: i64) {
    match dtype {
        DType::Bool => bytes[0] = (v != 0) as u8,
        DType::U8 | DType::I8 => bytes[0] = v as u8,
        DType::I16 => bytes.copy_from_slice(&(v as i16).to_ne_bytes()),
        DType::I32 => bytes.copy_from_slice(&(v as i32).to_ne_bytes()),
        DType::I64 => bytes.copy_from_slice(&v.to_ne_bytes()),
        _ => store_f64(dtype, bytes, v as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_stores_and_loads() {
        for d in DType::ALL {
            let l = Literal::from_f64(TensorType::new(d, [3]), [0.0, 1.0, 1.0]).unwrap();
            assert_eq!(l.to_f64(), [0.0, 1.0, 1.0], "{d}");
        }
        assert!(Literal::from_f64(TensorType::new(DType::F32, [3]), [0.0]).is_none());
        assert!(Literal::from_f64(TensorType::new(DType::F32, [1]), [0.0, 1.0]).is_none());
    }

    #[test]
    fn integers_wrap() {
        let l = Literal::from_i64(TensorType::new(DType::U8, [2]), [257, -1]).unwrap();
        assert_eq!((l.i64_at(0), l.i64_at(1)), (1, 255));
        let big = i64::MAX - 1;
        assert_eq!(Literal::from_i64(TensorType::new(DType::I64, []), [big]).unwrap().i64_at(0), big);
    }
}
