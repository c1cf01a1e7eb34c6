//! Execution plans: what cuDNN offers for a problem.

use super::super::device::Device;
use super::super::library::{Address, Cudnn, Handles};
use super::super::program::{Call, WORKSPACE_ALIGNMENT};
use super::descriptor::Descriptor;
use super::graph::{Graph, OPERANDS, Problem, W, X, Y, graph};
use crate::DType;
use crate::backend::Level;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Kind,
    cudnnBackendDescriptorType_t as Object, cudnnBackendHeurMode_t as Mode,
    cudnnBackendNumericalNote_t as Note,
};
use cudarc::driver::sys::CUstream;
use std::ffi::c_void;
use std::sync::Arc;

/// A built plan.
pub struct Plan {
    dnn: &'static Cudnn,
    execution: Descriptor,
    /// What the plan was made from stays alive with it.
    graph: Arc<Graph>,
    _engine: Descriptor,
    operands: usize,
    /// Bytes of working memory.
    pub workspace: usize,
    /// For reports.
    pub name: String,
}

/// At most so many configurations are asked for.
const CONFIGURATIONS: usize = 18;

/// Most plans that are built for a problem, unless all are.
const PLANS: usize = 4;

/// The place of a plan of this name in the library's order of preference; `None` where it is none of the library's.
pub fn rank(name: &str) -> Option<usize> {
    name.strip_prefix("cuDNN ")?.rsplit_once(", choice ")?.1.parse().ok()
}

/// The library's best plans for a problem, in its own order of preference; with `only` the one at that place.
pub fn plans(
    device: &Arc<Device>,
    p: &Problem,
    only: Option<usize>,
    level: Level,
) -> Result<Vec<Plan>, String> {
    let dnn = Cudnn::get()?;
    let handles = Handles::new(device)?;
    let _current = device.enter()?;
    let most = if level == Level::Exhaustive { CONFIGURATIONS } else { PLANS };
    let (graph, configurations) = configurations(dnn, &handles, p)?;
    let graph = Arc::new(graph);
    let mut out = Vec::new();
    for (rank, engine) in configurations.into_iter().enumerate().take(most) {
        if only.is_none_or(|only| only == rank) {
            match plan(dnn, &handles, p, graph.clone(), (rank, engine)) {
                Ok(plan) => out.push(plan),
                Err(why) => log::debug!("cuDNN plan {rank}: {why}"),
            }
        }
    }
    Ok(out)
}

/// The graph, and the engine configurations that keep its precision.
fn configurations(
    dnn: &'static Cudnn,
    handles: &Handles,
    p: &Problem,
) -> Result<(Graph, Vec<Descriptor>), String> {
    let graph = graph(dnn, handles.dnn, p)?;
    let heuristic = Descriptor::new(dnn, Object::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
        .descriptors(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&graph.operations])?
        .one_of(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Kind::CUDNN_TYPE_HEUR_MODE, Mode::CUDNN_HEUR_MODE_A)?
        .finish()?;
    let found = heuristic.fill(
        Name::CUDNN_ATTR_ENGINEHEUR_RESULTS,
        Object::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
        CONFIGURATIONS,
    )?;
    Ok((graph, found.into_iter().filter(|c| keeps_precision(c, p).unwrap_or(false)).collect()))
}

fn keeps_precision(configuration: &Descriptor, p: &Problem) -> Result<bool, String> {
    let engine =
        configuration.fill(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Object::CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)?;
    let engine = engine.first().ok_or("no engine")?;
    let notes =
        engine.enumeration(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, Kind::CUDNN_TYPE_NUMERICAL_NOTE)?;
    let has = |note: Note| notes.contains(&(note as u32));
    let coarse = has(Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
        || has(Note::CUDNN_NUMERICAL_NOTE_FFT)
        || has(Note::CUDNN_NUMERICAL_NOTE_WINOGRAD)
        || has(Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
    let narrow = has(Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)
        || (p.x.dtype == DType::F32 && has(Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE));
    Ok(!coarse && (!narrow || (p.x.dtype == DType::F32 && p.tf32)))
}

/// The library's number of a configuration's engine.
fn number(configuration: &Descriptor) -> Result<i64, String> {
    let engine =
        configuration.fill(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Object::CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)?;
    engine.first().ok_or("no engine")?.integer(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX)
}

fn plan(
    dnn: &'static Cudnn,
    handles: &Handles,
    p: &Problem,
    graph: Arc<Graph>,
    (rank, engine): (usize, Descriptor),
) -> Result<Plan, String> {
    let execution = Descriptor::new(dnn, Object::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?
        .handle(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handles.dnn)?
        .descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[&engine])?
        .finish()?;
    let workspace = execution.integer(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?.max(0) as usize;
    let number = number(&engine).map_or("of unknown number".to_string(), |n| n.to_string());
    let what = if p.epilogue.is_some() { "fused engine" } else { "engine" };
    Ok(Plan {
        dnn,
        execution,
        graph,
        _engine: engine,
        operands: p.operands.len(),
        workspace,
        name: format!("cuDNN {what} {number}, choice {rank}"),
    })
}

/// A plan as a step: its arguments are x, w, y, the operands and the workspace.
pub struct Planned(pub Arc<Plan>);

impl Call for Planned {
    fn describe(&self) -> String {
        self.0.name.clone()
    }

    unsafe fn enqueue(
        &self,
        handles: &Handles,
        addresses: &[Address],
        stream: CUstream,
    ) -> Result<(), String> {
        let plan = &*self.0;
        let Some((workspace, tensors)) = addresses.split_last().filter(|(_, t)| t.len() == 3 + plan.operands)
        else {
            return Err("as many addresses as the plan has tensors".to_string());
        };
        let mut numbers = vec![X, W, Y];
        numbers.extend((0..plan.operands as i64).map(|i| OPERANDS + i));
        let mut pointers: Vec<*mut c_void> = tensors.iter().map(|&a| a as *mut c_void).collect();
        for (number, value) in &plan.graph.scalars {
            numbers.push(*number);
            pointers.push((&raw const **value).cast_mut().cast());
        }
        let pack = Descriptor::new(plan.dnn, Object::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
            .pointers(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &pointers)?
            .integers(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &numbers)?
            .pointers(
                Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                &[workspace.next_multiple_of(WORKSPACE_ALIGNMENT) as *mut c_void],
            )?
            .finish()?;
        // SAFETY: the caller's promise; the plan is finished.
        unsafe {
            plan.dnn.check("cudnnSetStream", (plan.dnn.cudnnSetStream)(handles.dnn, stream))?;
            let execute = plan.dnn.cudnnBackendExecute;
            plan.dnn.check("cudnnBackendExecute", execute(handles.dnn, plan.execution.raw, pack.raw))
        }
    }
}
