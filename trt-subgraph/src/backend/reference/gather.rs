//! Picking elements by an index tensor.

use super::tensor::{Data, Tensor, positions, strides};

/// An index that does not exist, and the size of its axis.
pub(super) struct OutOfRange {
    pub index: i64,
    pub size: usize,
}

/// The elements of `x` along `axis` at `index`; see [`crate::network::LayerKind::Gather`] for the two forms.
pub(super) fn gather(x: &Tensor, index: &Tensor, axis: usize, elements: bool) -> Result<Data, OutOfRange> {
    let (from, index_steps) = (strides(&x.ty.shape), strides(&index.ty.shape));
    let size = x.ty.shape[axis];
    let (shape, base, steps) = if elements {
        let mut base = from.clone();
        base[axis] = 0;
        (index.ty.shape.clone(), base, index_steps)
    } else {
        let (before, after) = (axis, x.ty.rank() - axis - 1);
        let shape = [&x.ty.shape[..axis], &index.ty.shape, &x.ty.shape[axis + 1..]].concat();
        let base = [&from[..axis], &vec![0; index.ty.rank()], &from[axis + 1..]].concat();
        (shape, base, [&vec![0; before][..], &index_steps, &vec![0; after]].concat())
    };
    let mut at = positions(&shape, &base, 0);
    for (p, i) in at.iter_mut().zip(positions(&shape, &steps, 0)) {
        let i = index.data.ints()[i];
        let wrapped = if i < 0 { i.saturating_add(size as i64) } else { i };
        if !(0..size as i64).contains(&wrapped) {
            return Err(OutOfRange { index: i, size });
        }
        *p += wrapped as usize * from[axis] as usize;
    }
    Ok(x.data.take(&at))
}
