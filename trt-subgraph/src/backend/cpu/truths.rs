//! Truth values of callers. For libtorch any byte but 0 is true, as in a `view` of a mask of 0 and 255; our kernels take 0 and 1.

use crate::{DType, TensorType};

/// Addresses of tensors, and copies of those that had other bytes than 0 and 1 for truth values.
pub struct Mended {
    pub addresses: Vec<*const u8>,
    _copies: Vec<Vec<u8>>,
}

/// These tensors with truth values of 0 and 1 alone. `None` where they are so already.
///
/// # Safety
/// Each address has a dense tensor of its type, or none of its elements.
pub unsafe fn mended(types: &[TensorType], addresses: &[*const u8]) -> Option<Mended> {
    let mut copies = Vec::new();
    let mut out = Vec::new();
    for (at, (ty, &address)) in types.iter().zip(addresses).enumerate() {
        // SAFETY: the caller's promise.
        if let Some(copy) = unsafe { mended_one(ty, address) } {
            if out.is_empty() {
                out = addresses.to_vec();
            }
            out[at] = copy.as_ptr();
            copies.push(copy);
        }
    }
    (!copies.is_empty()).then_some(Mended { addresses: out, _copies: copies })
}

/// The same of one.
///
/// # Safety
/// As for [`mended`].
pub unsafe fn mended_one(ty: &TensorType, address: *const u8) -> Option<Vec<u8>> {
    if ty.dtype != DType::Bool || ty.bytes() == 0 {
        return None;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(address, ty.bytes()) };
    // Without a branch for each byte.
    let is_sound = bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) <= 1);
    (!is_sound).then(|| bytes.iter().map(|&byte| u8::from(byte != 0)).collect())
}
