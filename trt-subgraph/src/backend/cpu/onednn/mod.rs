//! oneDNN: its C interface, loaded at run time, behind owners that release what they hold.

mod handle;
pub mod library;
pub mod step;
mod sys;

pub use handle::{Desc, Memories, Primitive, Recipe};
pub use library::OneDnn;

/// Names of a primitive's arguments.
pub mod arg {
    pub use super::sys::{
        ARG_BIAS as BIAS, ARG_DST as DST, ARG_SCRATCHPAD as SCRATCHPAD, ARG_SRC as SRC,
        ARG_WEIGHTS as WEIGHTS,
    };
}
