//! Kernels as text with typed parameters, and the arguments that a launch passes for them.

use super::super::boxes::Boxes;
use super::super::program::WEIGHTS;
use super::scalar::storage_type;
use crate::DType;
use crate::backend::view::{Slot, View};
use std::fmt::Write;

/// What every kernel may use.
pub const PRELUDE: &str = include_str!("prelude.cuh");
/// What kernels on tensor cores use besides.
pub const TENSOR: &str = include_str!("tensor.cuh");

/// Stands in a kernel's text for its name.
const NAME: &str = "KERNEL_NAME";

/// Where a pointer argument points to, and which bytes the kernel touches from there.
#[derive(Clone, PartialEq, Debug)]
pub struct Argument {
    pub slot: Slot,
    /// Bytes from the slot's start to the address that is passed.
    pub offset: isize,
    /// First and one past the last byte that the kernel may touch, from the slot's start.
    pub reach: (isize, isize),
    /// Is it written?
    pub writes: bool,
    /// The alignment of the address that the kernel relies on, in bytes.
    pub alignment: usize,
    /// What is passed is no address, but how bulk copies see the tensor there.
    pub boxes: Option<Boxes>,
}

impl Argument {
    /// The first element of a view, and what lies under it.
    pub fn of(view: &View, writes: bool) -> Argument {
        let (slot, offset, reach) = (view.slot, view.offset, view.reach());
        Argument { slot, offset, reach, writes, alignment: view.dtype.size(), boxes: None }
    }
}

/// A kernel in the making: parameters with their arguments, body, and launch sizes.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it does, in a word: the stem of its name.
    pub what: &'static str,
    pub parameters: Vec<String>,
    pub arguments: Vec<Argument>,
    pub body: String,
    pub grid: [usize; 3],
    pub threads: usize,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// So many neighbouring blocks run at the same time and see each other's shared memory; more than 1 from Hopper on.
    pub cluster: usize,
    /// The body waits for the kernels ahead by itself, with `await_previous`.
    pub waits: bool,
    /// So many blocks are to fit on a multiprocessor, which bounds their registers; 0 leaves that open.
    pub beside: usize,
}

/// The text of a kernel; equal kernels have equal text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    pub what: &'static str,
    text: String,
}

impl Draft {
    pub fn new(what: &'static str) -> Draft {
        let arguments = Vec::new();
        Draft {
            what,
            parameters: vec![],
            arguments,
            body: String::new(),
            grid: [1; 3],
            threads: 256,
            shared: 0,
            cluster: 1,
            waits: false,
            beside: 0,
        }
    }

    /// A parameter for a tensor that is read: `const f16* x`. What kernels ahead may write is not said to stay the same: it does not
    /// before [`Draft::waits`].
    pub fn read(&mut self, name: &str, view: &View) {
        let fixed = if view.slot == WEIGHTS { "__restrict__ " } else { "" };
        self.parameters.push(format!("const {}* {fixed}{name}", storage_type(view.dtype)));
        self.arguments.push(Argument::of(view, false));
    }

    /// A parameter for a tensor that is written.
    pub fn write(&mut self, name: &str, view: &View) {
        self.parameters.push(format!("{}* __restrict__ {name}", storage_type(view.dtype)));
        self.arguments.push(Argument::of(view, true));
    }

    /// A parameter for a tensor that bulk copies read; it is not the caller's.
    pub fn boxes(&mut self, name: &str, view: &View, boxes: Boxes) {
        self.parameters.push(format!("const __grid_constant__ Boxes {name}"));
        self.arguments.push(Argument { alignment: 16, boxes: Some(boxes), ..Argument::of(view, false) });
    }

    /// The same of one that bulk copies write.
    pub fn boxes_written(&mut self, name: &str, view: &View, boxes: Boxes) {
        self.boxes(name, view, boxes);
        if let Some(argument) = self.arguments.last_mut() {
            argument.writes = true;
        }
    }

    /// A parameter of the engine's fault record: two words that a kernel may set.
    pub fn fault(&mut self, name: &str, slot: Slot) {
        self.parameters.push(format!("i64* {name}"));
        let argument = Argument { slot, offset: 0, reach: (0, 0), writes: false, alignment: 8, boxes: None };
        self.arguments.push(argument);
    }

    /// The kernel relies on this alignment of its latest parameter.
    pub fn aligned(&mut self, bytes: usize) {
        if let Some(argument) = self.arguments.last_mut() {
            argument.alignment = bytes;
        }
    }

    /// Blocks of `threads` threads for `count` of them, one dimension.
    pub fn cover(&mut self, count: usize, threads: usize) {
        self.threads = threads;
        self.grid = [count.div_ceil(threads), 1, 1];
    }

    /// The kernel's text.
    pub fn kernel(&self) -> Kernel {
        let parameters = self.parameters.join(", ");
        let cluster = match self.cluster {
            1 => String::new(),
            n => format!("__cluster_dims__({n}, 1, 1) "),
        };
        let bounds = match self.beside {
            0 => self.threads.to_string(),
            beside => format!("{}, {beside}", self.threads),
        };
        let wait = if self.waits { "" } else { "    await_previous();\n" };
        let text = format!(
            "extern \"C\" __global__ void {cluster}__launch_bounds__({bounds}) {NAME}({parameters}) {{\n    release_next();\n{wait}{}}}\n",
            super::indent(&self.body)
        );
        Kernel { what: self.what, text }
    }
}

impl Kernel {
    /// The name of the kernel at this position of its module.
    pub fn name(&self, at: usize) -> String {
        format!("{}_{at}", self.what)
    }
}

/// The text of a module: the prelude and the kernels under their names, each under the origins of its layers.
pub fn module<'a>(kernels: impl IntoIterator<Item = (usize, &'a Kernel, &'a [String])>) -> String {
    let mut text = [PRELUDE, TENSOR].concat();
    for (at, kernel, origins) in kernels {
        text.push('\n');
        for origin in origins.iter().filter(|o| !o.is_empty()) {
            let _ = writeln!(text, "// {}", origin.replace(['\n', '\\'], " "));
        }
        text.push_str(&kernel.text.replace(NAME, &kernel.name(at)));
    }
    text
}

/// How many elements of the widest of these types a 16-byte access moves.
pub fn width(dtypes: impl IntoIterator<Item = DType>) -> usize {
    16 / dtypes.into_iter().map(DType::size).max().unwrap_or(16)
}
