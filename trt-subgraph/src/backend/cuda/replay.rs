//! A program as a CUDA graph: one launch a call, with the caller's addresses put into the few nodes that read or write them.

use super::capture::{Graph, capture};
use super::device::Device;
use super::library::Address;
use super::load::Loaded;
use super::program::{Action, Launch, Step};
use super::queue::{Queue, passed};
use super::stream::OwnStream;
use cudarc::driver::sys::{CUDA_KERNEL_NODE_PARAMS, CUgraphEdgeData, CUgraphExec, CUgraphNode, CUstream};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::Arc;

/// An instantiated graph.
pub struct Replay {
    device: Arc<Device>,
    graph: Graph,
    executable: CUgraphExec,
    /// By step: its node, and the addresses that it holds.
    nodes: Vec<(CUgraphNode, Vec<Address>)>,
}

// SAFETY: the handles may be used by any thread, one at a time.
unsafe impl Send for Replay {}

impl Replay {
    /// A chain of the program's steps with their present arguments. `None` where a library's work, whose nodes cannot be changed, touches
    /// the caller's tensors.
    pub fn new(loaded: &Loaded, queue: &Queue) -> Result<Option<Replay>, String> {
        let steps = &loaded.program.steps;
        let fixed = |at: usize| matches!(steps[at].action, Action::Call(_)) && queue.is_given(at);
        if (0..steps.len()).any(fixed) {
            return Ok(None);
        }
        Replay::of(loaded, queue, 0..steps.len()).map(Some)
    }

    /// A chain of these steps with their present arguments, to be [timed](Replay::time).
    pub fn of(
        loaded: &Loaded,
        queue: &Queue,
        chain: impl IntoIterator<Item = usize>,
    ) -> Result<Replay, String> {
        let steps = &loaded.program.steps;
        let (_current, driver) = (loaded.device.enter()?, loaded.device.driver);
        let mut out = Replay {
            device: loaded.device.clone(),
            graph: Graph::new(driver)?,
            executable: std::ptr::null_mut(),
            nodes: Vec::with_capacity(steps.len()),
        };
        let (mut ours_ahead, mut captured) = (false, HashMap::new());
        // SAFETY: places for the answers; nodes belong to this graph.
        unsafe {
            for at in chain {
                let step = &steps[at];
                let addresses = queue.arguments(at).to_vec();
                let mut before: Vec<CUgraphNode> = out.nodes.last().map(|(n, _)| *n).into_iter().collect();
                let mut node = std::ptr::null_mut();
                // Our kernels wait for each other themselves.
                let ours = matches!(step.action, Action::Launch(_));
                let both = ours && ours_ahead && loaded.device.target.capability >= 90;
                ours_ahead = ours;
                let ahead = if both { before.pop() } else { None };
                match &step.action {
                    Action::Launch(launch) => {
                        with_parameters(loaded, launch, step, &addresses, |parameters| {
                            let add = driver.cuGraphAddKernelNode_v2;
                            driver.check(
                                "cuGraphAddKernelNode",
                                add(&mut node, out.graph.raw, before.as_ptr(), before.len(), parameters),
                            )
                        })?
                    }
                    Action::Call(call) => {
                        let part = match captured.entry(at) {
                            Entry::Occupied(there) => there.into_mut(),
                            Entry::Vacant(free) => free.insert(capture(&loaded.device, |stream| {
                                call.enqueue(&queue.handles, &addresses, stream)
                            })?),
                        };
                        let add = driver.cuGraphAddChildGraphNode;
                        let result = add(&mut node, out.graph.raw, before.as_ptr(), before.len(), part.raw);
                        driver.check("cuGraphAddChildGraphNode", result)?;
                    }
                }
                if let Some(ahead) = ahead {
                    let add = driver.cuGraphAddDependencies_v2;
                    driver.check(
                        "cuGraphAddDependencies",
                        add(out.graph.raw, &ahead, &node, &PROGRAMMATIC, 1),
                    )?;
                }
                out.nodes.push((node, addresses));
            }
            let instantiate = driver.cuGraphInstantiateWithFlags;
            driver.check("cuGraphInstantiate", instantiate(&mut out.executable, out.graph.raw, 0))?;
            // Now rather than at the first launch.
            driver.check(
                "cuGraphUpload",
                (driver.cuGraphUpload)(out.executable, OwnStream::new(&loaded.device)?.raw),
            )?;
        }
        Ok(out)
    }

    /// Launches the graph of all steps with the queue's present addresses of the caller's tensors.
    ///
    /// # Safety
    /// As [`Queue::run`]; no other address has changed since the graph was made.
    pub unsafe fn launch(&mut self, loaded: &Loaded, queue: &Queue, stream: CUstream) -> Result<(), String> {
        let driver = self.device.driver;
        for &at in &queue.given {
            let (node, held) = &mut self.nodes[at];
            let addresses = queue.arguments(at);
            if held == addresses {
                continue;
            }
            held.copy_from_slice(addresses);
            let step = &loaded.program.steps[at];
            if let Action::Launch(launch) = &step.action {
                // SAFETY: the node is this step's, of the graph that was instantiated.
                with_parameters(loaded, launch, step, held, |parameters| unsafe {
                    let set = driver.cuGraphExecKernelNodeSetParams_v2;
                    driver.check("cuGraphExecKernelNodeSetParams", set(self.executable, *node, parameters))
                })?;
            }
        }
        // SAFETY: the caller's promise.
        driver.check("launching the graph", unsafe { (driver.cuGraphLaunch)(self.executable, stream) })
    }
}

impl Replay {
    /// Puts the graph, with the queue's present addresses of the caller's tensors, into the one that the caller is capturing on this stream.
    ///
    /// # Safety
    /// As [`Replay::launch`]; the stream is capturing.
    pub unsafe fn join(&mut self, loaded: &Loaded, queue: &Queue, stream: CUstream) -> Result<(), String> {
        let driver = self.device.driver;
        for &at in &queue.given {
            let step = &loaded.program.steps[at];
            if let Action::Launch(launch) = &step.action {
                let node = self.nodes[at].0;
                // SAFETY: the node is this step's, of our graph.
                with_parameters(loaded, launch, step, queue.arguments(at), |parameters| unsafe {
                    let set = driver.cuGraphKernelNodeSetParams_v2;
                    driver.check("cuGraphKernelNodeSetParams", set(node, parameters))
                })?;
            }
        }
        const SET: u32 = 1;
        let (mut status, mut id, mut graph) = (0, 0, std::ptr::null_mut());
        let (mut before, mut count, mut node) = (std::ptr::null(), 0, std::ptr::null_mut());
        // SAFETY: places for the answers; `before` has `count` nodes of the caller's graph until it changes.
        unsafe {
            let info = driver.cuStreamGetCaptureInfo_v2;
            let result = info(stream, &mut status, &mut id, &mut graph, &mut before, &mut count);
            driver.check("cuStreamGetCaptureInfo", result)?;
            let add = driver.cuGraphAddChildGraphNode;
            driver.check("cuGraphAddChildGraphNode", add(&mut node, graph, before, count, self.graph.raw))?;
            let update = driver.cuStreamUpdateCaptureDependencies;
            driver.check("cuStreamUpdateCaptureDependencies", update(stream, &node, 1, SET))
        }
    }

    /// Milliseconds of a launch with the arguments that it was made with, the least of some rounds after a first one.
    ///
    /// # Safety
    /// What the arguments point to is alive, and nobody else uses it now.
    pub unsafe fn time(&self, rounds: usize) -> Result<f32, String> {
        let (_current, driver) = (self.device.enter()?, self.device.driver);
        let (mut start, mut end) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mut least = f32::INFINITY;
        let own = OwnStream::new(&self.device)?;
        let stream = own.raw;
        // SAFETY: places for the answers; the events are ours; the caller's promise.
        unsafe {
            driver.check("cuEventCreate", (driver.cuEventCreate)(&mut start, 0))?;
            driver.check("cuEventCreate", (driver.cuEventCreate)(&mut end, 0))?;
            let round = || -> Result<f32, String> {
                let mut time = 0f32;
                driver.check("cuEventRecord", (driver.cuEventRecord)(start, stream))?;
                driver.check("launching the graph", (driver.cuGraphLaunch)(self.executable, stream))?;
                driver.check("cuEventRecord", (driver.cuEventRecord)(end, stream))?;
                driver.check("running it", (driver.cuEventSynchronize)(end))?;
                driver.check("cuEventElapsedTime", (driver.cuEventElapsedTime)(&mut time, start, end))?;
                Ok(time)
            };
            let done: Result<(), String> = (0..=rounds).try_for_each(|n| {
                let time = round()?;
                least = if n == 0 { least } else { least.min(time) };
                Ok(())
            });
            (driver.cuEventDestroy_v2)(start);
            (driver.cuEventDestroy_v2)(end);
            done.map(|()| least)
        }
    }
}

/// Between kernels of which the second may start before the first is done, and waits for it in its own time.
const PROGRAMMATIC: CUgraphEdgeData = CUgraphEdgeData {
    // CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC and CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC.
    from_port: 1,
    to_port: 0,
    type_: 1,
    reserved: [0; 5],
};

/// What `use_them` makes of the launch's parameters as the driver wants them.
fn with_parameters(
    loaded: &Loaded,
    launch: &Launch,
    step: &Step,
    addresses: &[Address],
    use_them: impl FnOnce(*const CUDA_KERNEL_NODE_PARAMS) -> Result<(), String>,
) -> Result<(), String> {
    let mut pointers: Vec<*mut c_void> =
        addresses.iter().zip(&step.arguments).map(|(a, argument)| passed(a, argument)).collect();
    let [x, y, z] = launch.grid;
    use_them(&CUDA_KERNEL_NODE_PARAMS {
        func: loaded.functions[launch.kernel],
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: launch.threads,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: launch.shared,
        kernelParams: pointers.as_mut_ptr(),
        extra: std::ptr::null_mut(),
        kern: std::ptr::null_mut(),
        ctx: std::ptr::null_mut(),
    })
}

impl Drop for Replay {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.enter() {
            let driver = self.device.driver;
            // SAFETY: ours; the driver keeps a running graph until it is done.
            unsafe {
                if !self.executable.is_null() {
                    (driver.cuGraphExecDestroy)(self.executable);
                }
            }
        }
    }
}
