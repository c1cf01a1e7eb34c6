//! What kernels are compiled for: plain numbers, known without the device.

use std::fmt;

/// A kind of GPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Compute capability, major * 10 + minor: 80, 90, 120.
    pub capability: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
}

impl Target {
    /// The compiler's option: the architecture with all of its own instructions from Hopper on.
    pub fn architecture(&self) -> String {
        format!("--gpu-architecture=sm_{}{}", self.capability, if self.capability >= 90 { "a" } else { "" })
    }

    /// Bytes of shared memory that a block may have.
    pub fn shared(&self) -> usize {
        // CUDA C++ Programming Guide, technical specifications per compute capability.
        match self.capability {
            80 | 87 => 163 << 10,
            90..120 => 227 << 10,
            _ => 99 << 10,
        }
    }

    /// Threads that keep the whole device busy.
    pub fn busy(&self) -> usize {
        self.multiprocessors * 1024
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { capability, multiprocessors } = self;
        write!(
            f,
            "compute capability {}.{}, {multiprocessors} multiprocessors",
            capability / 10,
            capability % 10
        )
    }
}
