//! What the program `tch-trt` needs of no framework: how commands answer, files of tensors, and the whole of [`plan`], which so runs
//! where there is no libtorch.
//!
//! Each command gathers its facts and prints them once: as text, or with `--json` as the JSON that `docs/tool.md`
//! describes. Progress goes to the error stream. The exit status is 0 when all is well, 1 when a check failed or a part of the work could not be done, 2 when the
//! command line, the model or an input is not usable.

pub mod archive;
mod document;
mod failure;
pub mod logging;
pub mod plan;
pub mod statistics;
pub mod terminal;

pub use document::{Document, fail, finish, json_is_wanted, seconds, start};
pub use failure::Failure;
