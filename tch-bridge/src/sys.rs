//! The boundary to `cpp/`: one declaration for both sides. Only [`crate::jit`] uses it.
//!
//! A `*mut Tensor` that comes from C++ is a fresh heap allocation that the receiver owns; `jit::tensor::adopt`
//! takes it over. Numbers of values, nodes and blocks are those of `Index` in `cpp/graph.h`.

pub(crate) use crate::jit::engine::{
    EngineHandle, engine_build, engine_load, engine_refit, engine_report, engine_share, engine_state,
    engine_try_run,
};
pub(crate) use crate::jit::kinds::{
    KindsHandle, kinds_fit, kinds_read, kinds_recorded, kinds_share, kinds_text,
};
pub(crate) use crate::jit::trace::{TraceClosure, trace_call};
use crate::switch::set_enabled;

#[cxx::bridge(namespace = "tch_trt")]
#[allow(clippy::missing_safety_doc, missing_docs)]
pub(crate) mod ffi {
    /// What an IValue holds; `Other` covers objects, enums, futures and the like.
    enum ValueKind {
        None,
        Tensor,
        Double,
        Int,
        Bool,
        String,
        Device,
        IntList,
        DoubleList,
        BoolList,
        StringList,
        TensorList,
        List,
        Tuple,
        Dict,
        Other,
    }

    enum Role {
        Parameter,
        Buffer,
        Attribute,
    }

    struct RawTensor {
        name: String,
        tensor: *mut Tensor,
        role: Role,
    }

    struct RawArgument {
        name: String,
        type_name: String,
        has_default: bool,
    }

    /// Memory of a dense tensor: its address and bytes, and the GPU that it is on, -1 for the CPU.
    struct RawRun {
        address: usize,
        bytes: usize,
        device: i32,
    }

    /// What a look at watched tensors tells.
    enum Glance {
        Same,
        Changed,
        /// Only their bytes tell.
        Doubtful,
    }

    struct RawDevice {
        kind: i8,
        index: i8,
    }

    /// A tensor as plain data; the pointers live as long as the tensor that it was read from is not resized.
    struct RawView {
        tensor: *const Tensor,
        data: *mut u8,
        sizes: *const i64,
        strides: *const i64,
        storage: usize,
        dim: usize,
        version: u32,
        dtype: i8,
        device: RawDevice,
        requires_grad: bool,
        contiguous: bool,
        plain: bool,
    }

    /// A mark in the description of arguments; `Open` and `Close` enclose the elements of a container.
    enum Mark {
        Tensor,
        None,
        Other,
        Open,
        Close,
    }

    /// The view is a tensor's.
    struct RawKind {
        mark: Mark,
        view: RawView,
    }

    struct RawEngine {
        name: String,
        handle: Box<EngineHandle>,
    }

    struct RawValue {
        name: String,
        type_name: String,
        written: bool,
        may_alias_input: bool,
        may_alias_output: bool,
        shared: bool,
        asked: bool,
    }

    struct RawNode {
        kind: String,
        overload: String,
        schema: String,
        inputs: Vec<u32>,
        outputs: Vec<u32>,
        blocks: Vec<u32>,
        block: u32,
        file: String,
        line: u32,
        text: String,
        module: String,
        attribute: String,
        role: Role,
        tensor: *mut Tensor,
        mutates: bool,
        side_effects: bool,
        nondeterministic: bool,
        view: bool,
        fresh: bool,
    }

    struct RawBlock {
        inputs: Vec<u32>,
        outputs: Vec<u32>,
        nodes: Vec<u32>,
    }

    struct RawGraph {
        values: Vec<RawValue>,
        nodes: Vec<RawNode>,
        blocks: Vec<RawBlock>,
        /// Attributes that became constants, by qualified name.
        folded: Vec<String>,
        /// Names of attributes that some method sets.
        assigned: Vec<String>,
        repeatable: bool,
    }

    struct RawFact {
        kind: ValueKind,
        dtype: i8,
        device: RawDevice,
        requires_grad: bool,
        plain: bool,
        sizes: Vec<i64>,
        strides: Vec<i64>,
        number: i64,
        real: f64,
    }

    struct RawSeen {
        value: u32,
        count: u64,
        first: RawFact,
        last: RawFact,
    }

    struct RawItem {
        cluster: bool,
        index: u32,
    }

    struct RawOrder {
        block: u32,
        items: Vec<RawItem>,
    }

    struct RawCluster {
        nodes: Vec<u32>,
        inputs: Vec<u32>,
        ints: Vec<u32>,
        outputs: Vec<u32>,
        int_outputs: Vec<u32>,
        engine: Box<EngineHandle>,
    }

    extern "Rust" {
        type EngineHandle;
        fn engine_try_run(
            engine: &EngineHandle,
            inputs: &[RawView],
            ints: &[i64],
            recording: u8,
            owner: &Owner,
            outputs: Pin<&mut Outputs>,
        ) -> bool;
        fn engine_share(engine: &EngineHandle) -> Box<EngineHandle>;
        fn engine_state(engine: &EngineHandle) -> Vec<u8>;
        fn engine_load(state: &RawView) -> Box<EngineHandle>;
        fn engine_build(engine: &EngineHandle, owner: &Owner) -> bool;
        fn engine_refit(engine: &EngineHandle) -> bool;
        fn engine_report(engine: &EngineHandle, name: &str) -> String;

        type KindsHandle;
        fn kinds_fit(kinds: &KindsHandle, arguments: &[RawKind]) -> bool;
        fn kinds_share(kinds: &KindsHandle) -> Box<KindsHandle>;
        fn kinds_recorded();
        fn kinds_text(kinds: &KindsHandle) -> String;
        fn kinds_read(text: &str, usable: bool) -> Box<KindsHandle>;

        fn set_enabled(on: bool);

        type TraceClosure<'a>;
        unsafe fn trace_call<'a>(closure: &mut TraceClosure<'a>, stack: Pin<&mut Stack>) -> bool;
    }

    unsafe extern "C++" {
        include!("tch-bridge/cpp/shim.h");
        include!("tch-bridge/cpp/calls.h");
        include!("tch-bridge/cpp/places.h");
        include!("tch-bridge/cpp/watch.h");

        #[namespace = "at"]
        type Tensor;
        #[namespace = "c10"]
        type IValue;
        #[namespace = "torch::jit"]
        #[cxx_name = "Module"]
        type TorchModule;
        type Stack;
        type Module;
        type Method;
        type Graph;
        type Outputs;
        type Watched;
        type WatchedState;
        type Owner;
        type Places;

        fn new_stack() -> UniquePtr<Stack>;
        fn stack_len(stack: &Stack) -> usize;
        fn push_none(stack: Pin<&mut Stack>);
        fn push_tensor(stack: Pin<&mut Stack>, value: &Tensor);
        fn push_double(stack: Pin<&mut Stack>, value: f64);
        fn push_int(stack: Pin<&mut Stack>, value: i64);
        fn push_bool(stack: Pin<&mut Stack>, value: bool);
        fn push_string(stack: Pin<&mut Stack>, value: &str);
        fn push_device(stack: Pin<&mut Stack>, value: RawDevice);
        fn push_ints(stack: Pin<&mut Stack>, values: &[i64]);
        fn push_doubles(stack: Pin<&mut Stack>, values: &[f64]);
        fn push_bools(stack: Pin<&mut Stack>, values: &[bool]);
        unsafe fn push_ivalue(stack: Pin<&mut Stack>, value: *const IValue);
        fn pack_strings(stack: Pin<&mut Stack>, count: usize);
        fn pack_tensors(stack: Pin<&mut Stack>, count: usize);
        fn pack_list(stack: Pin<&mut Stack>, count: usize);
        fn pack_tuple(stack: Pin<&mut Stack>, count: usize);
        fn pack_dict(stack: Pin<&mut Stack>, pairs: usize);
        fn top_kind(stack: &Stack) -> Result<ValueKind>;
        fn pop(stack: Pin<&mut Stack>);
        fn pop_tensor(stack: Pin<&mut Stack>) -> Result<*mut Tensor>;
        fn pop_double(stack: Pin<&mut Stack>) -> Result<f64>;
        fn pop_int(stack: Pin<&mut Stack>) -> Result<i64>;
        fn pop_bool(stack: Pin<&mut Stack>) -> Result<bool>;
        fn pop_string(stack: Pin<&mut Stack>) -> Result<String>;
        fn pop_device(stack: Pin<&mut Stack>) -> Result<RawDevice>;
        fn pop_ints(stack: Pin<&mut Stack>) -> Result<Vec<i64>>;
        fn pop_doubles(stack: Pin<&mut Stack>) -> Result<Vec<f64>>;
        fn pop_bools(stack: Pin<&mut Stack>) -> Result<Vec<bool>>;
        fn pop_ivalue(stack: Pin<&mut Stack>) -> Result<*mut IValue>;
        /// Replaces the list, tuple or dict on top by its elements, the first one on top; returns their number.
        fn unpack(stack: Pin<&mut Stack>) -> Result<usize>;

        fn load_path(path: &str, device: &[RawDevice]) -> Result<UniquePtr<Module>>;
        fn load_bytes(bytes: &[u8], device: &[RawDevice]) -> Result<UniquePtr<Module>>;
        fn check_names(module: &Module) -> Result<()>;
        fn save_bytes(module: &Module) -> Result<UniquePtr<CxxString>>;
        unsafe fn share_torch(module: *const TorchModule) -> UniquePtr<Module>;
        fn to_torch(module: &Module) -> *mut TorchModule;
        fn new_module(name: &str) -> Result<UniquePtr<Module>>;
        fn register_tensor(module: &Module, path: &str, tensor: &Tensor, role: Role) -> Result<()>;
        fn register_value(module: &Module, path: &str, stack: Pin<&mut Stack>) -> Result<()>;
        fn define(module: &Module, source: &str) -> Result<()>;
        fn fork_type(module: &Module, dropped: &[String]) -> Result<UniquePtr<Module>>;
        fn shell(module: &Module) -> Result<UniquePtr<Module>>;
        fn deep_copy(module: &Module) -> Result<UniquePtr<Module>>;
        fn method_names(module: &Module) -> Vec<String>;
        fn attribute_names(module: &Module) -> Vec<String>;
        fn submodule_names(module: &Module) -> Vec<String>;
        fn named_tensors(module: &Module) -> Result<Vec<RawTensor>>;
        fn optimize_for_inference(module: &Module, method: &str) -> Result<UniquePtr<Module>>;
        fn is_training(module: &Module) -> Result<bool>;
        fn set_training(module: &Module, on: bool) -> Result<()>;
        fn method(module: &Module, name: &str) -> Result<UniquePtr<Method>>;
        fn method_arguments(method: &Method) -> Vec<RawArgument>;
        fn training_operators(method: &Method) -> Vec<String>;
        fn stepwise(method: &Method) -> Result<UniquePtr<Method>>;
        fn twin(method: &Method) -> Result<UniquePtr<Method>>;
        fn method_source(method: &Method) -> Result<String>;
        /// Replaces the arguments on the stack by the one result.
        fn run_method(method: &Method, stack: Pin<&mut Stack>) -> Result<()>;

        fn view(tensor: &Tensor) -> RawView;
        fn clone_tensor(tensor: &Tensor) -> *mut Tensor;
        fn host_is_watched() -> bool;
        fn tf32_allowed() -> u8;
        fn recording() -> u8;
        fn is_recorded(tensor: &Tensor, recording: u8) -> bool;
        fn module_is_recorded(module: &Module, recording: u8) -> bool;
        fn current_stream(device: RawDevice) -> Result<usize>;
        fn current_stream_id(device: RawDevice) -> Result<i64>;
        fn use_stream(device: RawDevice, id: i64) -> Result<()>;
        fn out_empty(
            outputs: Pin<&mut Outputs>,
            sizes: &[i64],
            strides: &[i64],
            dtype: i8,
            device: RawDevice,
        ) -> Result<RawView>;
        fn out_tensor(outputs: Pin<&mut Outputs>, tensor: &Tensor);
        fn out_int(outputs: Pin<&mut Outputs>, value: i64);

        fn operator_names() -> Vec<String>;
        fn operator_exists(name: &str, overload: &str) -> bool;
        /// Replaces the arguments on the stack by the results.
        fn call_operator(name: &str, overload: &str, stack: Pin<&mut Stack>) -> Result<()>;

        fn find_places(owner: &Owner, paths: &[String]) -> Result<UniquePtr<Places>>;
        fn places_hold(places: &Places, owner: &Owner) -> bool;
        fn places_same_owner(a: &Places, b: &Places) -> bool;
        fn places_owner_lives(places: &Places) -> bool;
        /// What was found, the first one on top.
        fn place_values(places: &Places) -> UniquePtr<Stack>;

        fn register_form(module: &Module, name: &str, kinds: &KindsHandle, graph: &Graph) -> Result<()>;
        fn copy_method(from: &Module, method: &str, to: &Module, name: &str) -> Result<()>;
        fn select_form(
            module: &Module,
            name: &str,
            host: &str,
            methods: &[String],
            forms: &[String],
        ) -> Result<()>;
        /// The default of each argument, the first one on top; None where there is none.
        fn method_defaults(method: &Method) -> UniquePtr<Stack>;
        fn engines(module: &Module) -> Vec<RawEngine>;

        fn watch(stack: &Stack) -> Result<UniquePtr<Watched>>;
        fn any_is_recorded(watched: &Watched, recording: u8) -> bool;
        fn glance(watched: &Watched) -> Glance;
        fn state(watched: &Watched) -> UniquePtr<WatchedState>;
        fn state_of_doubtful(watched: &Watched) -> UniquePtr<WatchedState>;
        fn to_be_summed(state: &WatchedState) -> Vec<RawRun>;
        fn set_sums(state: Pin<&mut WatchedState>, sums: &[u64]);
        /// Are those of the state as they were when they were settled?
        fn is_still(watched: &Watched, state: &WatchedState) -> bool;
        fn settle(watched: &Watched, state: UniquePtr<WatchedState>);

        fn prepare(module: &Module, method: &str) -> Result<UniquePtr<Graph>>;
        /// Whether the calling thread records gradients, and casts types automatically on the CPU and on CUDA, as bits from the lowest on.
        fn modes() -> u8;
        /// Null where nothing follows from these truths, and from these values being None.
        fn assume(graph: &Graph, values: &[u32], truths: &[bool], nones: &[u32]) -> Result<UniquePtr<Graph>>;
        /// Null where no branch or loop follows from the sizes of the arguments.
        fn settle_sizes(graph: &Graph, arguments: &Stack, apart: bool) -> Result<UniquePtr<Graph>>;
        fn graph_text(graph: &Graph) -> String;
        fn graph_reads_modes(graph: &Graph) -> bool;
        fn still_holds(graph: &Graph) -> bool;
        fn extract(graph: &Graph) -> Result<RawGraph>;
        /// The values of the `prim::Constant` nodes, the first one on top.
        fn constants(graph: &Graph) -> Result<UniquePtr<Stack>>;
        /// Puts the first contents of the wanted values on `kept`, the last one on top; None for one that was not computed.
        fn observe(
            graph: &Graph,
            stack: Pin<&mut Stack>,
            apart: bool,
            wanted: &[u32],
            kept: Pin<&mut Stack>,
        ) -> Result<Vec<RawSeen>>;
        fn stitch(
            graph: &Graph,
            target: &Module,
            name: &str,
            orders: &[RawOrder],
            clusters: &[RawCluster],
        ) -> Result<()>;

        fn carve(graph: &Graph, inputs: &[u32], outputs: &[u32]) -> Result<UniquePtr<Module>>;
        fn widen(graph: &Graph) -> Result<UniquePtr<Graph>>;

        unsafe fn trace<'a>(
            module: &Module,
            method: &str,
            names: &[String],
            stack: Pin<&mut Stack>,
            closure: &mut TraceClosure<'a>,
        ) -> Result<()>;
    }
}

// SAFETY: a torch::jit::Module is a reference-counted handle; torch runs methods of one module from many threads.
unsafe impl Send for ffi::Module {}
// SAFETY: as above; registration is guarded by the module's own lock and happens before sharing.
unsafe impl Sync for ffi::Module {}
// SAFETY: a method is an object handle and a pointer to a function that the object's type keeps alive.
unsafe impl Send for ffi::Method {}
// SAFETY: GraphFunction guards its executor with a lock; running it is thread-safe by torch's contract.
unsafe impl Sync for ffi::Method {}
// SAFETY: the list never changes, what is noted beside it is atomic or under a lock, and torch's tensor accessors may be called from any thread.
unsafe impl Send for ffi::Watched {}
// SAFETY: as above.
unsafe impl Sync for ffi::Watched {}
// SAFETY: places never change; what they read of a module is what torch's interpreter reads, from any thread.
unsafe impl Send for ffi::Places {}
// SAFETY: as above.
unsafe impl Sync for ffi::Places {}
// SAFETY: a prepared graph is immutable; each use copies it.
unsafe impl Send for ffi::Graph {}
// SAFETY: as above: `Graph::copy` only reads.
unsafe impl Sync for ffi::Graph {}
