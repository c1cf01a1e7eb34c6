//! TorchScript modules whose subgraphs run in fused engines.
//!
//! ```no_run
//! use tch_bridge::{Options, TrtModule};
//!
//! let module = TrtModule::load("model.pt", &Options::default())?;
//! tch_bridge::set_enabled(true); // or USE_TRT=1 in the environment
//! let x = tch::Tensor::randn([1, 3, 224, 224], tch::kind::FLOAT_CPU);
//! let y = tch::no_grad(|| module.forward_ts(&[x]))?;
//! println!("{}", module.report()); // who runs where, and why not
//! # Ok::<(), tch_bridge::Error>(())
//! ```

mod backend;
mod background;
mod bounds;
#[cfg(feature = "tool")]
pub mod cli;
mod divide;
mod engine;
pub mod env;
mod error;
pub mod jit;
mod layout;
mod method;
mod module;
mod nearest;
mod notice;
mod options;
mod plans;
mod recorder;
pub mod report;
mod saved;
mod settle;
mod switch;
mod sys;
mod types;
mod unmet;
mod variant;

pub use bounds::Bounds;
pub use env::EnvError;
pub use error::Error;
pub use jit::JitError;
pub use module::TrtModule;
pub use options::{BackendChoice, Options, ParityGuard, Precision, SavedWeights};
pub use report::Report;
pub use switch::{clear_enabled, is_enabled, set_enabled};
pub use trt_subgraph::backend::Level;
