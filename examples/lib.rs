//! What the examples share: the digits, and the measured evaluation of a path through them.

pub mod digits;
pub mod evaluation;
pub mod idx;
