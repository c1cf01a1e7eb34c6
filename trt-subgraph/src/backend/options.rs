//! How to compile.

use super::Level;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How to compile.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CompileOptions {
    /// Threads that one call may use on a CPU; 0 means as many as the machine has.
    pub threads: usize,
    /// Ordinal of the GPU.
    pub device: usize,
    /// Whether a GPU engine of several steps replays a graph, rather than launching them one by one.
    pub graph: bool,
    /// Where f32 factors may be rounded to TF32 on a GPU.
    pub tf32: Tf32,
    /// How much is tried to find the fastest ways.
    pub level: Level,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions { threads: 0, device: 0, graph: true, tf32: Tf32::default(), level: Level::default() }
    }
}

/// Where f32 factors may be rounded to TF32 (10 bits of mantissa); sums stay f32. The default is torch's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Tf32 {
    /// In convolutions: `torch.backends.cudnn.allow_tf32`.
    pub convolution: bool,
    /// In matrix products: `torch.backends.cuda.matmul.allow_tf32`.
    pub product: bool,
}

impl Default for Tf32 {
    fn default() -> Tf32 {
        Tf32 { convolution: true, product: false }
    }
}

impl fmt::Display for Tf32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.convolution, self.product) {
            (false, false) => "no TF32",
            (true, false) => "TF32 in convolutions",
            (false, true) => "TF32 in products",
            (true, true) => "TF32 in convolutions and products",
        })
    }
}
