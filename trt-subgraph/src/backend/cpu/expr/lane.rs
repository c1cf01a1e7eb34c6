//! What a register of a chunk program holds.

use crate::DType;

/// The machine type of the elements of a register. f16 and bf16 exist in memory alone: registers hold them as f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// One byte, 0 or 1.
    Bool,
    U8,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Lane {
    /// The lane that computes in `dtype`.
    pub fn of(dtype: DType) -> Lane {
        match dtype {
            DType::Bool => Lane::Bool,
            DType::U8 => Lane::U8,
            DType::I8 => Lane::I8,
            DType::I16 => Lane::I16,
            DType::I32 => Lane::I32,
            DType::I64 => Lane::I64,
            DType::F16 | DType::BF16 | DType::F32 => Lane::F32,
            DType::F64 => Lane::F64,
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Lane::Bool | Lane::U8 | Lane::I8 => 1,
            Lane::I16 => 2,
            Lane::I32 | Lane::F32 => 4,
            Lane::I64 | Lane::F64 => 8,
        }
    }

    /// Does memory of `dtype` hold exactly such elements?
    pub fn is(self, dtype: DType) -> bool {
        Lane::of(dtype) == self && !matches!(dtype, DType::F16 | DType::BF16)
    }
}

/// Runs `$body` with `$T` as the Rust type of a lane's elements.
macro_rules! for_lane {
    ($lane:expr, $T:ident => $body:expr) => {
        match $lane {
            $crate::backend::cpu::expr::lane::Lane::Bool | $crate::backend::cpu::expr::lane::Lane::U8 => {
                type $T = u8;
                $body
            }
            $crate::backend::cpu::expr::lane::Lane::I8 => {
                type $T = i8;
                $body
            }
            $crate::backend::cpu::expr::lane::Lane::I16 => {
                type $T = i16;
                $body
            }
            $crate::backend::cpu::expr::lane::Lane::I32 => {
                type $T = i32;
                $body
            }
            $crate::backend::cpu::expr::lane::Lane::I64 => {
                type $T = i64;
                $body
            }
            $crate::backend::cpu::expr::lane::Lane::F32 => {
                type $T = f32;
                $body
            }
            $crate::backend::cpu::expr::lane::Lane::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}
pub(in crate::backend::cpu) use for_lane;
