//! What a library enqueues, as a graph.
//!
//! While a stream of a context is captured, nobody can wait for that context: the driver refuses, and the capture is spoiled. A program
//! whose threads wait for the device (`torch.cuda.synchronize()`) would fail while an engine is built in the background. So we capture in a
//! context of our own, a green one: it shares the primary context's memory and kernels, and who waits for that is let through. The nodes are
//! then made anew for the primary context, because going from one context to another between kernels costs time.

use super::device::Device;
use super::library::Driver;
use cudarc::driver::sys::{
    CUDA_KERNEL_NODE_PARAMS, CUDA_MEMCPY3D, CUDA_MEMSET_NODE_PARAMS, CUcontext, CUdevice, CUgraph,
    CUgraphEdgeData, CUgraphNode, CUgraphNodeType as NodeType, CUgreenCtx, CUstream, CUstreamCaptureMode,
};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, PoisonError};

/// A graph that is not instantiated.
pub struct Graph {
    driver: &'static Driver,
    pub raw: CUgraph,
}

impl Graph {
    /// An empty one.
    pub fn new(driver: &'static Driver) -> Result<Graph, String> {
        let mut raw = null_mut();
        // SAFETY: a place for the answer.
        driver.check("cuGraphCreate", unsafe { (driver.cuGraphCreate)(&mut raw, 0) })?;
        Ok(Graph { driver, raw })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: ours; what was made of it has copies.
        unsafe { (self.driver.cuGraphDestroy)(self.raw) };
    }
}

/// A context for captures, which has the whole device and lives as long as the process. It is current in one thread at a time, as green ones
/// have to be.
pub struct Apart(Mutex<Green>);

/// The context, and the name by which it is made current.
struct Green(CUgreenCtx, CUcontext);

// SAFETY: handles that any thread may use.
unsafe impl Send for Green {}

impl Apart {
    /// A context on this device.
    pub fn new(driver: &Driver, device: CUdevice) -> Result<Apart, String> {
        const MULTIPROCESSORS: u32 = 1;
        const DEFAULT_STREAM: u32 = 1;
        // Its size differs between versions; this is more than any has.
        let mut all = [0u64; 64];
        let (mut what, mut green, mut context) = (null_mut(), null_mut(), null_mut());
        // SAFETY: places for the answers; `all` is as the driver filled it.
        unsafe {
            let found = (driver.cuDeviceGetDevResource)(device, all.as_mut_ptr().cast(), MULTIPROCESSORS);
            driver.check("cuDeviceGetDevResource", found)?;
            let named = (driver.cuDevResourceGenerateDesc)(&mut what, all.as_mut_ptr().cast(), 1);
            driver.check("cuDevResourceGenerateDesc", named)?;
            let made = (driver.cuGreenCtxCreate)(&mut green, what, device, DEFAULT_STREAM);
            driver.check("cuGreenCtxCreate", made)?;
            driver.check("cuCtxFromGreenCtx", (driver.cuCtxFromGreenCtx)(&mut context, green))?;
        }
        Ok(Apart(Mutex::new(Green(green, context))))
    }

    /// `None` where somebody spoiled the capture.
    fn capture(
        &self,
        driver: &'static Driver,
        enqueue: &mut dyn FnMut(CUstream) -> Result<(), String>,
    ) -> Result<Option<Graph>, String> {
        let green = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // cuDNN enters the context of its stream, and some of its engines only where that is current already.
        // SAFETY: the context lives as long as the process.
        driver.check("cuCtxPushCurrent", unsafe { (driver.cuCtxPushCurrent_v2)(green.1) })?;
        let captured = Stream::of(driver, Some(green.0)).and_then(|stream| stream.capture(enqueue));
        let mut popped = null_mut();
        // SAFETY: pops what was pushed.
        driver.check("cuCtxPopCurrent", unsafe { (driver.cuCtxPopCurrent_v2)(&mut popped) })?;
        captured
    }
}

/// The graph of what `enqueue` puts into the stream that it is given; the device's context is current.
pub fn capture(
    device: &Arc<Device>,
    mut enqueue: impl FnMut(CUstream) -> Result<(), String>,
) -> Result<Graph, String> {
    /// Times that a capture which others spoil is begun again.
    const PATIENCE: usize = 50;
    let (_current, driver) = (device.enter()?, device.driver);
    if let Some(apart) = device.apart() {
        let captured = apart.capture(driver, &mut enqueue)?;
        return copy(device, &captured.ok_or("somebody has spoiled a capture that is ours alone")?);
    }
    let stream = Stream::of(driver, None)?;
    for _ in 0..PATIENCE {
        if let Some(graph) = stream.capture(&mut enqueue)? {
            return Ok(graph);
        }
        std::thread::yield_now();
    }
    Err("other threads wait for the device again and again, which spoils every capture".to_string())
}

/// A stream for captures.
struct Stream {
    driver: &'static Driver,
    raw: CUstream,
}

impl Stream {
    /// Of this context, or of the current one.
    fn of(driver: &'static Driver, context: Option<CUgreenCtx>) -> Result<Stream, String> {
        const NON_BLOCKING: u32 = 1;
        let mut raw = null_mut();
        // SAFETY: a place for the answer.
        let made = unsafe {
            match context {
                Some(context) => (driver.cuGreenCtxStreamCreate)(&mut raw, context, NON_BLOCKING, 0),
                None => (driver.cuStreamCreate)(&mut raw, NON_BLOCKING),
            }
        };
        driver.check("a stream for captures", made)?;
        Ok(Stream { driver, raw })
    }

    /// `None` where another thread spoiled it.
    fn capture(
        &self,
        enqueue: &mut dyn FnMut(CUstream) -> Result<(), String>,
    ) -> Result<Option<Graph>, String> {
        const SPOILED: u32 = 901;
        let (driver, mut raw) = (self.driver, null_mut());
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is ours, a place for the answer.
        let (enqueued, ended) = unsafe {
            driver.check("cuStreamBeginCapture", (driver.cuStreamBeginCapture_v2)(self.raw, mode))?;
            (enqueue(self.raw), (driver.cuStreamEndCapture)(self.raw, &mut raw))
        };
        let graph = (!raw.is_null()).then_some(Graph { driver, raw });
        if ended == SPOILED {
            return Ok(None);
        }
        enqueued.and(driver.check("cuStreamEndCapture", ended))?;
        graph.ok_or("a capture without a graph".to_string()).map(Some)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { (self.driver.cuStreamDestroy_v2)(self.raw) };
    }
}

/// The graph with nodes for the device's primary context.
fn copy(device: &Device, from: &Graph) -> Result<Graph, String> {
    let driver = device.driver;
    let (nodes, mut to) = (nodes(driver, from)?, Graph::new(driver)?);
    let new = nodes.iter().map(|&node| copy_node(device, node, &mut to)).collect::<Result<Vec<_>, _>>()?;
    let place = |node: CUgraphNode| {
        let at = nodes.iter().position(|n| *n == node);
        at.map(|at| new[at]).ok_or("an edge to a node of another graph")
    };
    for (before, after, data) in edges(driver, from)? {
        let (before, after) = (place(before)?, place(after)?);
        // SAFETY: nodes of this graph.
        let added = unsafe { (driver.cuGraphAddDependencies_v2)(to.raw, &before, &after, &data, 1) };
        driver.check("cuGraphAddDependencies", added)?;
    }
    Ok(to)
}

fn nodes(driver: &Driver, graph: &Graph) -> Result<Vec<CUgraphNode>, String> {
    let mut count = 0;
    // SAFETY: a place for the number, then places for so many nodes.
    unsafe {
        driver.check("cuGraphGetNodes", (driver.cuGraphGetNodes)(graph.raw, null_mut(), &mut count))?;
        let mut nodes = vec![null_mut(); count];
        if count > 0 {
            let found = (driver.cuGraphGetNodes)(graph.raw, nodes.as_mut_ptr(), &mut count);
            driver.check("cuGraphGetNodes", found)?;
        }
        Ok(nodes)
    }
}

fn edges(driver: &Driver, graph: &Graph) -> Result<Vec<(CUgraphNode, CUgraphNode, CUgraphEdgeData)>, String> {
    const PLAIN: CUgraphEdgeData = CUgraphEdgeData { from_port: 0, to_port: 0, type_: 0, reserved: [0; 5] };
    let (call, mut count) = (driver.cuGraphGetEdges_v2, 0);
    // SAFETY: a place for the number, then places for so many edges.
    unsafe {
        let counted = call(graph.raw, null_mut(), null_mut(), null_mut(), &mut count);
        driver.check("cuGraphGetEdges", counted)?;
        let (mut from, mut to, mut data) =
            (vec![null_mut(); count], vec![null_mut(); count], vec![PLAIN; count]);
        if count > 0 {
            let found = call(graph.raw, from.as_mut_ptr(), to.as_mut_ptr(), data.as_mut_ptr(), &mut count);
            driver.check("cuGraphGetEdges", found)?;
        }
        Ok(from.into_iter().zip(to).zip(data).map(|((from, to), data)| (from, to, data)).collect())
    }
}

/// Adds a node that does the same, ahead and behind of no other.
fn copy_node(device: &Device, node: CUgraphNode, to: &mut Graph) -> Result<CUgraphNode, String> {
    let (driver, mut kind, mut new) = (device.driver, 0u32, null_mut());
    // SAFETY: places for the answers, each of the type that the node's kind has; parameters live as long as `node`.
    unsafe {
        driver.check("cuGraphNodeGetType", (driver.cuGraphNodeGetType)(node, &mut kind))?;
        if kind == NodeType::CU_GRAPH_NODE_TYPE_KERNEL as u32 {
            let mut launch: CUDA_KERNEL_NODE_PARAMS = std::mem::zeroed();
            let found = (driver.cuGraphKernelNodeGetParams_v2)(node, &mut launch);
            driver.check("cuGraphKernelNodeGetParams", found)?;
            // A function that is of no library belongs to the primary context as it is.
            if !launch.kern.is_null() {
                launch.func = null_mut();
            }
            launch.ctx = device.context;
            let added = (driver.cuGraphAddKernelNode_v2)(&mut new, to.raw, null(), 0, &launch);
            driver.check("cuGraphAddKernelNode", added)?;
            copy_attributes(device, node, new)?;
        } else if kind == NodeType::CU_GRAPH_NODE_TYPE_MEMSET as u32 {
            let mut set: CUDA_MEMSET_NODE_PARAMS = std::mem::zeroed();
            let found = (driver.cuGraphMemsetNodeGetParams)(node, &mut set);
            driver.check("cuGraphMemsetNodeGetParams", found)?;
            let added = (driver.cuGraphAddMemsetNode)(&mut new, to.raw, null(), 0, &set, device.context);
            driver.check("cuGraphAddMemsetNode", added)?;
        } else if kind == NodeType::CU_GRAPH_NODE_TYPE_MEMCPY as u32 {
            let mut moved: CUDA_MEMCPY3D = std::mem::zeroed();
            let found = (driver.cuGraphMemcpyNodeGetParams)(node, &mut moved);
            driver.check("cuGraphMemcpyNodeGetParams", found)?;
            let added = (driver.cuGraphAddMemcpyNode)(&mut new, to.raw, null(), 0, &moved, device.context);
            driver.check("cuGraphAddMemcpyNode", added)?;
        } else if kind == NodeType::CU_GRAPH_NODE_TYPE_EMPTY as u32 {
            let added = (driver.cuGraphAddEmptyNode)(&mut new, to.raw, null(), 0);
            driver.check("cuGraphAddEmptyNode", added)?;
        } else {
            return Err(format!("a library enqueues what no graph of ours can have: a node of kind {kind}"));
        }
    }
    Ok(new)
}

/// How a kernel is launched beyond its parameters: clusters above all.
fn copy_attributes(device: &Device, from: CUgraphNode, to: CUgraphNode) -> Result<(), String> {
    /// `CUlaunchAttributeID`s that a kernel's node can have: access policy, cooperative, cluster dimension and scheduling, priority, domain
    /// map and domain of memory synchronisation, shared memory's share.
    const ATTRIBUTES: [u32; 8] = [1, 2, 4, 5, 8, 9, 10, 14];
    /// The dimension of clusters that a kernel would rather have: before Blackwell there is none, and drivers call the question an error.
    const PREFERRED_CLUSTER: u32 = 11;
    let driver = device.driver;
    let newer = Some(PREFERRED_CLUSTER).filter(|_| device.target.capability >= 100);
    for attribute in ATTRIBUTES.into_iter().chain(newer) {
        let mut value = [0u64; 8];
        // SAFETY: a value has 64 bytes; both are kernels' nodes. What a node cannot have is not found.
        let copied = unsafe {
            let found = (driver.cuGraphKernelNodeGetAttribute)(from, attribute, value.as_mut_ptr().cast());
            if found != 0 || value == [0; 8] {
                continue;
            }
            (driver.cuGraphKernelNodeSetAttribute)(to, attribute, value.as_ptr().cast())
        };
        driver.check("an attribute of a kernel", copied)?;
    }
    Ok(())
}
