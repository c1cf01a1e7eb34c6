//! The environment variables, each declared once.
//!
//! A value that does not parse is an error that lists what is allowed; it is never silently ignored.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A variable: its name, the values it takes, what it does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Variable {
    /// The name.
    pub name: &'static str,
    /// The values it takes, for people.
    pub values: &'static str,
    /// What holds when it is not set.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

/// `USE_TRT`: the switch.
pub const USE_TRT: Variable = Variable {
    name: "USE_TRT",
    values: "1, 0",
    default: "0",
    doc: "1 runs modules in engines, 0 leaves everything to libtorch; `tch_bridge::set_enabled` overrides it",
};

/// `TRT_BACKEND`: who runs the engines.
pub const BACKEND: Variable = Variable {
    name: "TRT_BACKEND",
    values: "auto, cpu, cuda, reference",
    default: "auto",
    doc: "which backend runs the engines; auto takes the fastest one for the device of the tensors",
};

/// `TRT_PRECISION`: what engines compute in.
pub const PRECISION: Variable = Variable {
    name: "TRT_PRECISION",
    values: "model, f16, bf16",
    default: "model",
    doc: "what engines compute in where the model has f32; model leaves its types as they are",
};

/// `TRT_PARITY_GUARD`: how far fewer bits may be off.
pub const PARITY_GUARD: Variable = Variable {
    name: "TRT_PARITY_GUARD",
    values: "a part of the largest magnitude, such as 0.01; or 0.01,tell",
    default: "none",
    doc: "holds engines of TRT_PRECISION against f32 when they are built and keeps layers that are off by more in f32; with tell it only names them",
};

/// `TRT_LEVEL`: how much is tried.
pub const LEVEL: Variable = Variable {
    name: "TRT_LEVEL",
    values: "0, 1, 2",
    default: "1",
    doc: "how much is tried to find the fastest way of running a layer: 0 times nothing, 2 times everything, on a CPU too",
};

/// `TRT_EXCLUDE_OPS`: operators that stay on the host.
pub const EXCLUDE_OPS: Variable = Variable {
    name: "TRT_EXCLUDE_OPS",
    values: "comma-separated operator names, e.g. aten::gelu,aten::add.Tensor",
    default: "none",
    doc: "operators that stay on the host; without an overload name all overloads do",
};

/// `TRT_MIN_BLOCK_SIZE`: the smallest cluster.
pub const MIN_BLOCK_SIZE: Variable = Variable {
    name: "TRT_MIN_BLOCK_SIZE",
    values: "a number from 1",
    default: "the backend's policy",
    doc: "clusters with fewer computing operators stay on the host",
};

/// `TRT_REPORT`: where to write the report.
pub const REPORT: Variable = Variable {
    name: "TRT_REPORT",
    values: "a file path; .svg draws the partition, .json is for programs, anything else is text",
    default: "not written",
    doc: "writes the report of each method that is compiled, the last one wins",
};

/// `TRT_ONEDNN_LIBRARY`: where oneDNN is.
pub const ONEDNN: Variable = Variable {
    name: "TRT_ONEDNN_LIBRARY",
    values: "path of libdnnl.so.3",
    default: "the private environment's, then the system's",
    doc: "the oneDNN library that the CPU engine loads",
};

/// `TRT_CPU_ISA`: the instructions of the CPU engine.
pub const CPU_ISA: Variable = Variable {
    name: "TRT_CPU_ISA",
    values: "portable, avx2, avx512, avx512-bf16",
    default: "the best that the processor has",
    doc: "holds the CPU engine, and the oneDNN that it loads, to these vector instructions",
};

/// `TRT_CUDA_LIBRARIES`: where CUDA's libraries are.
pub const CUDA_LIBRARIES: Variable = Variable {
    name: "TRT_CUDA_LIBRARIES",
    values: "folders, separated by colons",
    default: "the host's, then the system's",
    doc: "where the CUDA engine finds NVRTC, cuBLASLt and cuDNN if libtorch has not loaded them",
};

/// `TRT_CUDA_DUMP`: where to write kernels.
pub const CUDA_DUMP: Variable = Variable {
    name: "TRT_CUDA_DUMP",
    values: "a folder",
    default: "not written",
    doc: "writes the CUDA C of every kernel that is compiled, with the layers' names",
};

/// `TRT_CACHE_DIR`: what is kept from process to process.
pub const CACHE_DIR: Variable = Variable {
    name: "TRT_CACHE_DIR",
    values: "a folder, or off",
    default: "tch-trt in the platform's folder for caches",
    doc: "where compiled kernels, and what was timed, are kept on disk, at most 1 GiB",
};

/// Every variable.
pub const ALL: &[Variable] = &[
    USE_TRT,
    BACKEND,
    PRECISION,
    PARITY_GUARD,
    LEVEL,
    EXCLUDE_OPS,
    MIN_BLOCK_SIZE,
    REPORT,
    ONEDNN,
    CPU_ISA,
    CUDA_LIBRARIES,
    CUDA_DUMP,
    CACHE_DIR,
];

/// A variable whose value is not one of those it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvError {
    /// The variable.
    pub name: &'static str,
    /// What it holds.
    pub value: String,
    /// What it may hold.
    pub values: &'static str,
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} is not understood; it takes: {}", self.name, self.value, self.values)
    }
}

impl std::error::Error for EnvError {}

impl Variable {
    /// The value as text; `None` when unset or empty.
    pub fn text(&self) -> Option<String> {
        let value = std::env::var_os(self.name)?;
        Some(value.to_string_lossy().into_owned()).filter(|v| !v.is_empty())
    }

    /// The value, parsed.
    pub fn read<T: FromStr>(&self) -> Result<Option<T>, EnvError> {
        self.parse(self.text())
    }

    fn parse<T: FromStr>(&self, value: Option<String>) -> Result<Option<T>, EnvError> {
        let Some(value) = value else { return Ok(None) };
        let parsed = value.trim().parse();
        parsed.map(Some).map_err(|_| EnvError { name: self.name, value, values: self.values })
    }
}

/// The value of a variable that is `1` or `0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag(pub bool);

impl FromStr for Flag {
    type Err = ();

    fn from_str(s: &str) -> Result<Flag, ()> {
        match s {
            "1" => Ok(Flag(true)),
            "0" => Ok(Flag(false)),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_list_the_good_ones() {
        let e = USE_TRT.parse::<Flag>(Some("banana".into())).unwrap_err();
        assert_eq!(e.to_string(), "USE_TRT=banana is not understood; it takes: 1, 0");
        assert_eq!(USE_TRT.parse::<Flag>(Some("1".into())), Ok(Some(Flag(true))));
        assert_eq!(USE_TRT.parse::<Flag>(None), Ok(None));
    }
}
