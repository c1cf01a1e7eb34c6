//! How tensors look to bulk copies, which move a box of one into shared memory at a time and read zeros beyond its ends.

use super::library::{Address, Driver};
use crate::DType;
use cudarc::driver::sys::CUtensorMap;
use std::ffi::c_void;

/// A tensor in boxes of 128 or 64 bytes along its first axis, units of 16 bytes of each such row in the order of the row's number.
#[derive(Clone, PartialEq, Debug)]
pub struct Boxes {
    /// F16, BF16 or F32.
    pub dtype: DType,
    /// Elements along each axis, the one that lies dense first.
    pub sizes: Vec<u64>,
    /// Bytes from neighbour to neighbour along each axis but the first; multiples of 16.
    pub strides: Vec<u64>,
    pub shape: Shape,
}

/// What one copy moves.
#[derive(Clone, PartialEq, Debug)]
pub enum Shape {
    /// So many elements along each axis.
    Box(Vec<u32>),
    /// Channels of an image (channels, columns, rows, images) at places where windows may begin, one after the other through rows and images.
    Windows {
        /// Where the first window of a row and the last one begin, columns first: from the image's start, and from its end.
        corners: [[i32; 2]; 2],
        /// From window to window.
        steps: [u32; 2],
        places: u32,
    },
}

/// Bytes of a box along its first axis, of the larger ones.
pub const ROW: usize = 128;

impl Boxes {
    /// Elements of a box along its first axis.
    pub fn unit(&self) -> u32 {
        (ROW / self.dtype.size()) as u32
    }

    /// What a kernel gets, for a tensor that starts at this address.
    pub fn encode(&self, driver: &Driver, address: Address) -> Result<CUtensorMap, String> {
        /// Of `CUtensorMapDataType`, `CUtensorMapSwizzle` and `CUtensorMapL2promotion`.
        const HALF: u32 = 6;
        const SINGLE: u32 = 7;
        const BRAIN: u32 = 9;
        const ROWS_OF_64: u32 = 2;
        const ROWS_OF_128: u32 = 3;
        const PROMOTED_TO_256: u32 = 3;
        let ty = match self.dtype {
            DType::BF16 => BRAIN,
            DType::F32 => SINGLE,
            _ => HALF,
        };
        let (rank, at) = (self.sizes.len(), address as *mut c_void);
        let mut map = CUtensorMap { opaque: [0; 16] };
        let (sizes, strides) = (self.sizes.as_ptr(), self.strides.as_ptr());
        let none = 0;
        // SAFETY: a place for the answer; arrays of as many numbers as the rank wants, which live until the call returns.
        let result = unsafe {
            match &self.shape {
                Shape::Box(extents) => {
                    let every = vec![1u32; rank];
                    // Rows in shared memory are as long as what the order repeats after.
                    let rows = if extents[0] == self.unit() { ROWS_OF_128 } else { ROWS_OF_64 };
                    let encode = driver.cuTensorMapEncodeTiled;
                    encode(
                        &mut map,
                        ty,
                        rank as u32,
                        at,
                        sizes,
                        strides,
                        extents.as_ptr(),
                        every.as_ptr(),
                        none,
                        rows,
                        PROMOTED_TO_256,
                        none,
                    )
                }
                Shape::Windows { corners: [low, high], steps, places } => {
                    let steps = [1, steps[0], steps[1], 1];
                    let encode = driver.cuTensorMapEncodeIm2col;
                    encode(
                        &mut map,
                        ty,
                        rank as u32,
                        at,
                        sizes,
                        strides,
                        low.as_ptr(),
                        high.as_ptr(),
                        self.unit(),
                        *places,
                        steps.as_ptr(),
                        none,
                        ROWS_OF_128,
                        PROMOTED_TO_256,
                        none,
                    )
                }
            }
        };
        driver.check("describing a tensor for bulk copies", result)?;
        Ok(map)
    }
}
