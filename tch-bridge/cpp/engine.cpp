// The operator `trt::try_run` and the class of its engines. Registered when this file is linked.
#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/forward_grad.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/runtime/custom_operator.h>

#include "tch-bridge/cpp/engine.h"
#include "tch-bridge/cpp/places.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;

struct Outputs {
  c10::List<at::Tensor> tensors;
  c10::List<int64_t> ints;
};

namespace {

using EngineState = std::tuple<at::Tensor, int64_t, int64_t>;

EngineState engine_to_state(const c10::intrusive_ptr<Engine>& engine) {
  auto bytes = engine_state(*engine->handle);
  auto tensor = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::copy(bytes.begin(), bytes.end(), tensor.mutable_data_ptr<uint8_t>());
  return {tensor, static_cast<int64_t>(engine->tensors), static_cast<int64_t>(engine->ints)};
}

c10::intrusive_ptr<Engine> engine_from_state(const EngineState& state) {
  // The host serves what is said on the meta device, which has no bytes, or says that it has more than there are.
  const auto& saved = std::get<0>(state);
  auto bytes = saved.is_meta() ? at::empty({0}, at::kByte) : saved.cpu().contiguous();
  if (bytes.nbytes() > bytes.storage().nbytes()) bytes = at::empty({0}, at::kByte);
  return c10::make_intrusive<Engine>(engine_load(view(bytes)), std::get<1>(state), std::get<2>(state));
}

// Where torch looks at each operator: Python's modes, transforms of functions.
constexpr c10::DispatchKeySet kWatchers({c10::DispatchKey::Python, c10::DispatchKey::PythonDispatcher,
                                         c10::DispatchKey::FuncTorchDynamicLayerFrontMode,
                                         c10::DispatchKey::FuncTorchVmapMode, c10::DispatchKey::Functionalize});

// Tensors of which it knows more than memory.
constexpr c10::DispatchKeySet kWrappers({c10::DispatchKey::Python, c10::DispatchKey::FuncTorchBatched,
                                         c10::DispatchKey::FuncTorchGradWrapper, c10::DispatchKey::Functionalize,
                                         c10::DispatchKey::NestedTensor});

constexpr uint8_t kGradients = 1, kTangents = 2;
constexpr uint8_t kConvolutions = 1, kProducts = 2;

bool serves(const Engine& engine, const IValue& inputs, const IValue& ints, const IValue& owner, Outputs& outputs) {
  if (host_is_watched() || !owner.isObject()) return false;
  c10::SmallVector<RawView, 16> views;
  for (const IValue& input : inputs.toListRef()) {
    views.push_back(view(input.toTensor()));
    if (!views.back().plain) return false;
  }
  c10::SmallVector<int64_t, 16> numbers;
  for (const IValue& number : ints.toListRef()) numbers.push_back(number.toInt());
  bool served = engine_try_run(*engine.handle, rust::Slice<const RawView>(views.data(), views.size()),
                               rust::Slice<const int64_t>(numbers.data(), numbers.size()), recording(), Owner{owner.toObject()}, outputs);
  return served && outputs.tensors.size() == engine.tensors && outputs.ints.size() == engine.ints;
}

void try_run(torch::jit::Stack& stack) {
  IValue owner = torch::jit::pop(stack);
  auto engine = torch::jit::pop(stack).toCustomClass<Engine>();
  IValue ints = torch::jit::pop(stack);
  IValue inputs = torch::jit::pop(stack);
  Outputs outputs;
  bool served = serves(*engine, inputs, ints, owner, outputs);
  stack.emplace_back(served);
  stack.emplace_back(std::move(outputs.tensors));
  stack.emplace_back(std::move(outputs.ints));
}

// A second copy of this library leaves the work to the first.
const bool engine_registered = [] {
  if (torch::getCustomClass("__torch__.torch.classes.trt.Engine")) return false;
  static const auto engine_class =
      torch::class_<Engine>("trt", "Engine")
          .def_pickle([](const c10::intrusive_ptr<Engine>& engine) { return engine_to_state(engine); },
                      [](const EngineState& state) { return engine_from_state(state); });
  static const torch::jit::RegisterOperators operators({torch::jit::Operator(
      "trt::try_run(Tensor[] inputs, int[] ints, __torch__.torch.classes.trt.Engine engine, Any owner)"
      " -> (bool, Tensor[], int[])",
      [](torch::jit::Stack& stack) { try_run(stack); }, c10::AliasAnalysisKind::FROM_SCHEMA)});
  return true;
}();

}  // namespace

RawView view(const at::Tensor& tensor) {
  RawView out{};
  out.tensor = &tensor;
  if (!tensor.defined()) return out;
  const auto& impl = *tensor.unsafeGetTensorImpl();
  const auto keys = tensor.key_set();
  out.dtype = static_cast<int8_t>(tensor.scalar_type());
  out.device = RawDevice{static_cast<int8_t>(tensor.device().type()), tensor.device().index()};
  out.requires_grad = tensor.requires_grad();
  out.version = tensor.is_inference() ? 0 : impl.version_counter().current_version();
  out.plain = tensor.layout() == at::kStrided && impl.has_storage() && !tensor.is_conj() && !tensor.is_neg() &&
              !tensor.is_quantized() && !tensor._is_zerotensor() && !keys.has_any(kWrappers);
  if (!out.plain) return out;
  out.dim = static_cast<size_t>(tensor.dim());
  out.sizes = tensor.sizes().data();
  out.strides = tensor.strides().data();
  out.data = static_cast<uint8_t*>(const_cast<void*>(tensor.const_data_ptr()));
  out.storage = reinterpret_cast<size_t>(impl.unsafe_storage().unsafeGetStorageImpl());
  out.contiguous = tensor.is_contiguous();
  return out;
}

at::Tensor* clone_tensor(const at::Tensor& tensor) { return new at::Tensor(tensor); }

bool host_is_watched() {
  const auto keys = c10::impl::tls_local_dispatch_key_set();
  return (keys.included_ - keys.excluded_).has_any(kWatchers) || torch::jit::tracer::isTracing() ||
         at::autocast::is_autocast_enabled(at::kCPU) || at::autocast::is_autocast_enabled(at::kCUDA);
}

uint8_t tf32_allowed() {
  auto allowed = [](at::Float32Op op) {
    return at::globalContext().float32Precision(at::Float32Backend::CUDA, op) == at::Float32Precision::TF32;
  };
  return (allowed(at::Float32Op::CONV) ? kConvolutions : 0) | (allowed(at::Float32Op::MATMUL) ? kProducts : 0);
}

uint8_t recording() {
  // Tangents have one level, of the whole process.
  bool tangents = at::AutogradState::get_tls_state().get_fw_grad_mode() &&
                  torch::autograd::ForwardADLevel::try_get_by_idx(0) != nullptr;
  return (at::GradMode::is_enabled() ? kGradients : 0) | (tangents ? kTangents : 0);
}

bool is_recorded(const at::Tensor& tensor, uint8_t recording) {
  return ((recording & kGradients) != 0 && tensor.requires_grad()) ||
         ((recording & kTangents) != 0 && tensor._fw_grad(0).defined());
}

bool holds_recorded(const IValue& value, uint8_t recording) {
  auto any = [&](const auto& values) {
    return std::any_of(values.begin(), values.end(), [&](const IValue& v) { return holds_recorded(v, recording); });
  };
  if (value.isTensor()) return value.toTensor().defined() && is_recorded(value.toTensor(), recording);
  if (value.isObject()) return any(value.toObjectRef().slots());
  if (value.isTuple()) return any(value.toTupleRef().elements());
  if (value.isTensorList() || value.isList()) {
    bool holds_numbers = value.isIntList() || value.isDoubleList() || value.isBoolList();
    return !holds_numbers && any(value.toListRef());
  }
  if (!value.isGenericDict()) return false;
  auto dict = value.toGenericDict();
  return std::any_of(dict.begin(), dict.end(), [&](const auto& entry) { return holds_recorded(entry.value(), recording); });
}

bool module_is_recorded(const Module& module, uint8_t recording) {
  return holds_recorded(IValue(module.module._ivalue()), recording);
}

c10::Device device_of(RawDevice device) {
  return c10::Device(static_cast<c10::DeviceType>(device.kind), device.index);
}

size_t current_stream(RawDevice device) {
  auto where = device_of(device);
  c10::impl::VirtualGuardImpl guard(where.type());
  return reinterpret_cast<size_t>(guard.getStreamNativeHandle(guard.getStream(where)));
}

int64_t current_stream_id(RawDevice device) {
  auto where = device_of(device);
  return c10::impl::VirtualGuardImpl(where.type()).getStream(where).id();
}

void use_stream(RawDevice device, int64_t id) {
  auto where = device_of(device);
  c10::impl::VirtualGuardImpl(where.type()).exchangeStream(c10::Stream(c10::Stream::UNSAFE, where, id));
}

RawView out_empty(Outputs& outputs, rust::Slice<const int64_t> sizes, rust::Slice<const int64_t> strides, int8_t dtype,
                  RawDevice device) {
  auto options = at::TensorOptions(static_cast<at::ScalarType>(dtype))
                     .device(c10::Device(static_cast<c10::DeviceType>(device.kind), device.index));
  auto tensor = at::empty_strided(at::IntArrayRef(sizes.data(), sizes.size()),
                                  at::IntArrayRef(strides.data(), strides.size()), options);
  outputs.tensors.push_back(tensor);
  return view(tensor);
}

void out_tensor(Outputs& outputs, const at::Tensor& tensor) { outputs.tensors.push_back(tensor); }
void out_int(Outputs& outputs, int64_t value) { outputs.ints.push_back(value); }

IValue make_engine(const EngineHandle& handle, size_t tensors, size_t ints) {
  return IValue(c10::make_intrusive<Engine>(engine_share(handle), tensors, ints));
}

}  // namespace tch_trt
