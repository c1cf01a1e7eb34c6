// Declarations of the functions that `src/sys.rs` calls; their contracts are there and in `src/jit`.
#pragma once

#include "tch-bridge/cpp/shim.h"

namespace tch_trt {

using TorchModule = torch::jit::Module;
enum class ValueKind : uint8_t;
enum class Role : uint8_t;
enum class Glance : uint8_t;
struct RawRun;
struct RawTensor;
struct RawArgument;
struct RawDevice;
struct RawView;
struct RawGraph;
struct RawSeen;
struct RawOrder;
struct RawCluster;
struct RawEngine;
struct EngineHandle;
struct KindsHandle;
struct TraceClosure;

// value.cpp
std::unique_ptr<Stack> new_stack();
size_t stack_len(const Stack& stack);
void push_none(Stack& stack);
void push_tensor(Stack& stack, const at::Tensor& value);
void push_double(Stack& stack, double value);
void push_int(Stack& stack, int64_t value);
void push_bool(Stack& stack, bool value);
void push_string(Stack& stack, rust::Str value);
void push_device(Stack& stack, RawDevice value);
void push_ints(Stack& stack, rust::Slice<const int64_t> values);
void push_doubles(Stack& stack, rust::Slice<const double> values);
void push_bools(Stack& stack, rust::Slice<const bool> values);
void push_ivalue(Stack& stack, const c10::IValue* value);
void pack_strings(Stack& stack, size_t count);
void pack_tensors(Stack& stack, size_t count);
void pack_list(Stack& stack, size_t count);
void pack_tuple(Stack& stack, size_t count);
void pack_dict(Stack& stack, size_t pairs);
ValueKind kind_of(const c10::IValue& value);
ValueKind top_kind(const Stack& stack);
void pop(Stack& stack);
at::Tensor* pop_tensor(Stack& stack);
double pop_double(Stack& stack);
int64_t pop_int(Stack& stack);
bool pop_bool(Stack& stack);
rust::String pop_string(Stack& stack);
RawDevice pop_device(Stack& stack);
rust::Vec<int64_t> pop_ints(Stack& stack);
rust::Vec<double> pop_doubles(Stack& stack);
rust::Vec<bool> pop_bools(Stack& stack);
c10::IValue* pop_ivalue(Stack& stack);
size_t unpack(Stack& stack);

// module.cpp
std::unique_ptr<Module> load_path(rust::Str path, rust::Slice<const RawDevice> device);
std::unique_ptr<Module> load_bytes(rust::Slice<const uint8_t> bytes, rust::Slice<const RawDevice> device);
// Throws `Failure` where an attribute has a name that no file can hold.
void check_names(const Module& module);
std::unique_ptr<std::string> save_bytes(const Module& module);
std::unique_ptr<Module> share_torch(const TorchModule* module);
TorchModule* to_torch(const Module& module);
std::unique_ptr<Module> new_module(rust::Str name);
void register_tensor(const Module& module, rust::Str path, const at::Tensor& tensor, Role role);
void register_value(const Module& module, rust::Str path, Stack& stack);
void define(const Module& module, rust::Str source);
std::unique_ptr<Module> fork_type(const Module& module, rust::Slice<const rust::String> dropped);
std::unique_ptr<Module> shell(const Module& module);
std::unique_ptr<Module> deep_copy(const Module& module);
rust::Vec<rust::String> method_names(const Module& module);
rust::Vec<rust::String> attribute_names(const Module& module);
rust::Vec<rust::String> submodule_names(const Module& module);
rust::Vec<RawTensor> named_tensors(const Module& module);
std::unique_ptr<Module> optimize_for_inference(const Module& module, rust::Str method);
bool is_training(const Module& module);
void set_training(const Module& module, bool on);
std::unique_ptr<Method> method(const Module& module, rust::Str name);
rust::Vec<RawArgument> method_arguments(const Method& method);
rust::String method_source(const Method& method);
// The operators that are told by a constant to do what they do in training.
rust::Vec<rust::String> training_operators(const Method& method);
std::unique_ptr<Method> stepwise(const Method& method);
std::unique_ptr<Method> twin(const Method& method);
void run_method(const Method& method, Stack& stack);
// Puts `self` first, adds defaults and checks the types against the schema.
void bind_arguments(const torch::jit::ObjectPtr& self, const torch::jit::Function& function,
                    std::vector<c10::IValue>& values);

// engine.cpp
RawView view(const at::Tensor& tensor);
at::Tensor* clone_tensor(const at::Tensor& tensor);
// Is this thread in a mode in which each of the host's operators must run by itself?
bool host_is_watched();
uint8_t tf32_allowed();
// What autograd records in this thread, as bits from the lowest on: gradients, tangents.
uint8_t recording();
// Is some of that recorded for the tensor?
bool is_recorded(const at::Tensor& tensor, uint8_t recording);
// Is it recorded for a tensor in the value, or in the objects that it leads to?
bool holds_recorded(const c10::IValue& value, uint8_t recording);
bool module_is_recorded(const Module& module, uint8_t recording);
size_t current_stream(RawDevice device);
int64_t current_stream_id(RawDevice device);
void use_stream(RawDevice device, int64_t id);
RawView out_empty(Outputs& outputs, rust::Slice<const int64_t> sizes, rust::Slice<const int64_t> strides, int8_t dtype,
                  RawDevice device);
void out_tensor(Outputs& outputs, const at::Tensor& tensor);
void out_int(Outputs& outputs, int64_t value);
c10::IValue make_engine(const EngineHandle& handle, size_t tensors, size_t ints);

// places.cpp
std::unique_ptr<Places> find_places(const Owner& owner, rust::Slice<const rust::String> paths);
bool places_hold(const Places& places, const Owner& owner);
bool places_same_owner(const Places& a, const Places& b);
bool places_owner_lives(const Places& places);
std::unique_ptr<Stack> place_values(const Places& places);

// form.cpp, select.cpp, modules.cpp
void register_form(const Module& module, rust::Str name, const KindsHandle& kinds, const Graph& graph);
void copy_method(const Module& from, rust::Str method, const Module& to, rust::Str name);
void select_form(const Module& module, rust::Str name, rust::Str host, rust::Slice<const rust::String> methods,
                 rust::Slice<const rust::String> forms);
std::unique_ptr<Stack> method_defaults(const Method& method);
rust::Vec<RawEngine> engines(const Module& module);

// operators.cpp
rust::Vec<rust::String> operator_names();
bool operator_exists(rust::Str name, rust::Str overload);
// Replaces the arguments on the stack by the results.
void call_operator(rust::Str name, rust::Str overload, Stack& stack);

// watch.cpp
std::unique_ptr<Watched> watch(const Stack& stack);
bool any_is_recorded(const Watched& watched, uint8_t recording);
Glance glance(const Watched& watched);
std::unique_ptr<WatchedState> state(const Watched& watched);
std::unique_ptr<WatchedState> state_of_doubtful(const Watched& watched);
rust::Vec<RawRun> to_be_summed(const WatchedState& state);
void set_sums(WatchedState& state, rust::Slice<const uint64_t> sums);
bool is_still(const Watched& watched, const WatchedState& state);
void settle(const Watched& watched, std::unique_ptr<WatchedState> state);

// prepare.cpp, assume.cpp, sizes.cpp, extract.cpp, observe.cpp, stitch.cpp, trace.cpp, carve.cpp, widen.cpp
std::unique_ptr<Graph> prepare(const Module& module, rust::Str method);
uint8_t modes();
bool graph_reads_modes(const Graph& graph);
std::unique_ptr<Graph> assume(const Graph& graph, rust::Slice<const uint32_t> values, rust::Slice<const bool> truths,
                              rust::Slice<const uint32_t> nones);
std::unique_ptr<Graph> settle_sizes(const Graph& graph, const Stack& arguments, bool apart);
rust::String graph_text(const Graph& graph);
bool still_holds(const Graph& graph);
RawGraph extract(const Graph& graph);
std::unique_ptr<Stack> constants(const Graph& graph);
rust::Vec<RawSeen> observe(const Graph& graph, Stack& stack, bool apart, rust::Slice<const uint32_t> wanted, Stack& kept);
void stitch(const Graph& graph, const Module& target, rust::Str name, rust::Slice<const RawOrder> orders,
            rust::Slice<const RawCluster> clusters);
std::unique_ptr<Module> carve(const Graph& graph, rust::Slice<const uint32_t> inputs,
                              rust::Slice<const uint32_t> outputs);
std::unique_ptr<Graph> widen(const Graph& graph);
void trace(const Module& module, rust::Str method, rust::Slice<const rust::String> names, Stack& stack,
           TraceClosure& closure);

}  // namespace tch_trt
