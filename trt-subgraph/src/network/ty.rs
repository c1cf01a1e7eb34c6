//! The type of a value: element type and concrete shape.

use crate::DType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Element type and concrete shape of a tensor. There are no symbolic dimensions.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first; empty for a 0-d tensor.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A type from its two parts.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of a dense tensor of this type.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Has it fewer than 2^40 elements, counting sizes of 0 as 1 so that strides do not overflow either?
    pub fn is_addressable(&self) -> bool {
        let elements = self.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n.max(1)));
        elements.is_some_and(|n| n < 1 << 40)
    }

    /// Row-major strides, in elements.
    pub fn strides(&self) -> Vec<usize> {
        row_major(&self.shape)
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype: self.dtype, shape: shape.into() }
    }
}

impl fmt::Display for TensorType {
    /// `f32[2,3]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, n) in self.shape.iter().enumerate() {
            write!(f, "{}{n}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

/// Row-major strides of a shape, in elements.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// The common shape of operands aligned at their last axis, where a size of 1 stretches; `None` when two sizes disagree.
pub fn broadcast<'a>(shapes: impl IntoIterator<Item = &'a [usize]>) -> Option<Vec<usize>> {
    let mut out: Vec<usize> = Vec::new();
    for shape in shapes {
        if shape.len() > out.len() {
            let missing = shape.len() - out.len();
            out.splice(0..0, std::iter::repeat_n(1, missing));
        }
        let skip = out.len() - shape.len();
        for (o, &n) in out[skip..].iter_mut().zip(shape) {
            match (*o, n) {
                (a, b) if a == b => {}
                (1, b) => *o = b,
                (_, 1) => {}
                _ => return None,
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting() {
        assert_eq!(broadcast([&[2, 1, 3][..], &[4, 1]]), Some(vec![2, 4, 3]));
        assert_eq!(broadcast([&[][..], &[0]]), Some(vec![0]));
        assert_eq!(broadcast([&[1][..], &[0]]), Some(vec![0]));
        assert_eq!(broadcast([&[2][..], &[3]]), None);
        assert_eq!(broadcast([&[2][..], &[0]]), None);
    }
}
