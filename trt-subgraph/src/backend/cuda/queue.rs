//! The launches of one thread's engine, with their arguments in place: a call fills in the caller's addresses and enqueues.

use super::library::{Address, Handles};
use super::load::Loaded;
use super::memory::Buffer;
use super::program::{Action, Source};
use super::render::Argument;
use super::replay::Replay;
use crate::backend::Io;
use cudarc::driver::sys::{CUstream, CUtensorMap};
use std::ffi::c_void;
use std::sync::OnceLock;

/// Argument values of every step.
pub struct Queue {
    /// All steps' arguments, one after the other.
    values: Vec<Address>,
    /// What arguments are that are no addresses, but say how bulk copies see a tensor; their values say where these lie.
    #[expect(clippy::vec_box, reason = "values hold their addresses")]
    _boxed: Vec<Box<CUtensorMap>>,
    /// Where the arguments of each step start; one more at the end.
    starts: Vec<usize>,
    /// Arguments that point into the caller's tensors: position in `values`, which tensor, offset, and the alignment relied on.
    inputs: Vec<Given>,
    outputs: Vec<Given>,
    /// Steps that touch the caller's tensors.
    pub given: Vec<usize>,
    /// The libraries' state of this thread's engine.
    pub handles: Handles,
    /// A byte that is set ahead of each library call where no graph orders them. Library kernels may start before the one ahead of them is
    /// done, be it a library's or ours, of this engine or of the one before it; they know nothing of others that use the same memory.
    spacer: Buffer,
    /// Every step is waited for, so that a failure names its layer.
    blocking: bool,
}

/// Has `CUDA_LAUNCH_BLOCKING` been set, which has CUDA wait for every kernel?
pub fn is_blocking() -> bool {
    static SET: OnceLock<bool> = OnceLock::new();
    *SET.get_or_init(|| std::env::var_os("CUDA_LAUNCH_BLOCKING").is_some_and(|v| v == "1"))
}

#[derive(Clone, Copy)]
struct Given {
    value: usize,
    tensor: usize,
    offset: isize,
    alignment: usize,
}

impl Queue {
    /// `addresses`: of every slot, 0 for the caller's tensors.
    pub fn new(loaded: &Loaded, addresses: &[Address]) -> Result<Queue, String> {
        let program = &loaded.program;
        let calls = program.steps.iter().any(|s| matches!(s.action, Action::Call(_)));
        let handles = if calls { Handles::new(&loaded.device)? } else { Handles::none() };
        let spacer = Buffer::new(&loaded.device, usize::from(calls))?;
        let mut out = Queue {
            values: vec![],
            _boxed: vec![],
            starts: vec![0],
            inputs: vec![],
            outputs: vec![],
            given: vec![],
            handles,
            spacer,
            blocking: is_blocking(),
        };
        for (at, step) in program.steps.iter().enumerate() {
            if step
                .arguments
                .iter()
                .any(|a| matches!(program.slots[a.slot.0 as usize], Source::Input(_) | Source::Output(_)))
            {
                out.given.push(at);
            }
            for argument in &step.arguments {
                let value = out.values.len();
                let given =
                    |tensor| Given { value, tensor, offset: argument.offset, alignment: argument.alignment };
                match program.slots[argument.slot.0 as usize] {
                    Source::Input(i) => out.inputs.push(given(i)),
                    Source::Output(i) => out.outputs.push(given(i)),
                    _ => {}
                }
                let address = addresses[argument.slot.0 as usize].wrapping_add_signed(argument.offset as i64);
                out.values.push(match &argument.boxes {
                    Some(boxes) => {
                        let map = Box::new(boxes.encode(loaded.device.driver, address)?);
                        let place = &raw const *map as Address;
                        out._boxed.push(map);
                        place
                    }
                    None => address,
                });
            }
            out.starts.push(out.values.len());
        }
        Ok(out)
    }

    /// The argument values of a step.
    pub fn arguments(&self, step: usize) -> &[Address] {
        &self.values[self.starts[step]..self.starts[step + 1]]
    }

    /// Does the step touch the caller's tensors?
    pub fn is_given(&self, step: usize) -> bool {
        self.given.binary_search(&step).is_ok()
    }

    /// Enqueues all steps: through `replay` where there is one, as a part of the caller's graph if one is being captured.
    ///
    /// # Safety
    /// `io` has the program's tensors on the device, `stream` is a stream of it, every slot has its memory.
    pub unsafe fn run(
        &mut self,
        loaded: &Loaded,
        replay: Option<&mut Replay>,
        io: &Io<'_>,
        stream: CUstream,
    ) -> Result<(), String> {
        let _current = loaded.device.enter()?;
        if !self.bind(io) {
            // SAFETY: the caller's promise.
            return unsafe { self.run_aligned(loaded, replay, io, stream) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.start(loaded, replay, stream) }
    }

    /// Fills in the addresses of the caller's tensors. Are they aligned as steps rely on it?
    pub fn bind(&mut self, io: &Io<'_>) -> bool {
        for g in &self.inputs {
            self.values[g.value] = (io.inputs[g.tensor] as Address).wrapping_add_signed(g.offset as i64);
        }
        for g in &self.outputs {
            self.values[g.value] = (io.outputs[g.tensor] as Address).wrapping_add_signed(g.offset as i64);
        }
        let aligned = |g: &Given| self.values[g.value].is_multiple_of(g.alignment as Address);
        self.inputs.iter().chain(&self.outputs).all(aligned)
    }

    /// # Safety
    /// Every argument has its value; see [`Queue::run`].
    unsafe fn start(
        &mut self,
        loaded: &Loaded,
        replay: Option<&mut Replay>,
        stream: CUstream,
    ) -> Result<(), String> {
        let driver = loaded.device.driver;
        let mut capturing = 0;
        match replay {
            // SAFETY: a place for the answer; the caller's promise.
            Some(replay) => unsafe {
                driver.check("cuStreamIsCapturing", (driver.cuStreamIsCapturing)(stream, &mut capturing))?;
                if capturing == 0 {
                    replay.launch(loaded, self, stream)
                } else {
                    replay.join(loaded, self, stream)
                }
            },
            // SAFETY: as above.
            None => unsafe {
                if self.blocking {
                    driver
                        .check("cuStreamIsCapturing", (driver.cuStreamIsCapturing)(stream, &mut capturing))?;
                }
                self.enqueue(loaded, stream, self.blocking && capturing == 0)
            },
        }
    }

    /// # Safety
    /// Every argument has its value; see [`Queue::run`].
    unsafe fn enqueue(&mut self, loaded: &Loaded, stream: CUstream, wait: bool) -> Result<(), String> {
        let driver = loaded.device.driver;
        let (mut few, mut many) = ([std::ptr::null_mut::<c_void>(); 32], Vec::new());
        for (at, step) in loaded.program.steps.iter().enumerate() {
            let values = &self.values[self.starts[at]..self.starts[at + 1]];
            let result = match &step.action {
                Action::Launch(l) => {
                    let pointers = match values.len() {
                        n if n <= few.len() => &mut few[..n],
                        n => {
                            many.resize(n, std::ptr::null_mut());
                            &mut many[..n]
                        }
                    };
                    for ((to, value), a) in pointers.iter_mut().zip(values).zip(&step.arguments) {
                        *to = passed(value, a);
                    }
                    let ([x, y, z], none) = (l.grid, std::ptr::null_mut());
                    let function = loaded.functions[l.kernel];
                    // SAFETY: the kernel takes as many pointers as the step has arguments.
                    let result = unsafe {
                        let launch = driver.cuLaunchKernel;
                        launch(
                            function,
                            x,
                            y,
                            z,
                            l.threads,
                            1,
                            1,
                            l.shared,
                            stream,
                            pointers.as_mut_ptr(),
                            none,
                        )
                    };
                    driver.check("launching a kernel", result)
                }
                Action::Call(call) => {
                    // SAFETY: the spacer is there where there are calls; the caller's promise.
                    unsafe {
                        let spaced = (driver.cuMemsetD8Async)(self.spacer.address(), 0, 1, stream);
                        driver
                            .check("setting apart a library's call", spaced)
                            .and_then(|()| call.enqueue(&self.handles, values, stream))
                    }
                }
            };
            // SAFETY: the caller's stream, which is not captured.
            let done = || driver.check("its kernel", unsafe { (driver.cuStreamSynchronize)(stream) });
            let result = if wait { result.and_then(|()| done()) } else { result };
            result.map_err(|why| format!("{}: {why}", step.origin))?;
        }
        Ok(())
    }

    /// Runs on aligned copies of the caller's tensors, allocated in the stream's order.
    ///
    /// # Safety
    /// As [`Queue::run`].
    unsafe fn run_aligned(
        &mut self,
        loaded: &Loaded,
        replay: Option<&mut Replay>,
        io: &Io<'_>,
        stream: CUstream,
    ) -> Result<(), String> {
        let driver = loaded.device.driver;
        let staged = |given: &[Given], tensor: usize| given.iter().any(|g| g.tensor == tensor);
        let mut copies: Vec<(Address, Address, usize, bool)> = Vec::new();
        let (inputs, outputs) = (self.inputs.clone(), self.outputs.clone());
        for (given, tensors, write) in [(&inputs, io.inputs.len(), false), (&outputs, io.outputs.len(), true)]
        {
            for tensor in (0..tensors).filter(|&t| staged(given, t)) {
                let bytes = loaded.reach(tensor, write);
                let (mut copy, original) =
                    (0, if write { io.outputs[tensor] as Address } else { io.inputs[tensor] as Address });
                // SAFETY: the tensor has all bytes that steps may touch.
                unsafe {
                    driver.check(
                        "allocating an aligned copy",
                        (driver.cuMemAllocAsync)(&mut copy, bytes.max(1), stream),
                    )?;
                    if !write {
                        let result = (driver.cuMemcpyDtoDAsync_v2)(copy, original, bytes, stream);
                        driver.check("copying an input", result)?;
                    }
                }
                for g in given.iter().filter(|g| g.tensor == tensor) {
                    self.values[g.value] = copy.wrapping_add_signed(g.offset as i64);
                }
                copies.push((copy, original, bytes, write));
            }
        }
        // SAFETY: the caller's promise, with copies in place of the caller's tensors.
        let result = unsafe { self.start(loaded, replay, stream) };
        for (copy, original, bytes, write) in copies {
            // SAFETY: allocated above; freed behind the work that uses it.
            unsafe {
                if write && result.is_ok() {
                    let copied = (driver.cuMemcpyDtoDAsync_v2)(original, copy, bytes, stream);
                    driver.check("copying an output", copied)?;
                }
                driver.check("freeing an aligned copy", (driver.cuMemFreeAsync)(copy, stream))?;
            }
        }
        result
    }
}

/// What the driver gets for an argument of this value.
pub fn passed(value: &Address, argument: &Argument) -> *mut c_void {
    match argument.boxes {
        Some(_) => *value as *mut c_void,
        None => (value as *const Address).cast_mut().cast(),
    }
}
