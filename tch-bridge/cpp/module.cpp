// Modules: load, save, build, enumerate, run.
#include <cctype>
#include <set>
#include <sstream>

#include <caffe2/serialize/file_adapter.h>
#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/import.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;

namespace {

// Reads an archive in memory; a damaged one may ask for bytes past its end.
struct Bytes : caffe2::serialize::ReadAdapterInterface {
  explicit Bytes(rust::Slice<const uint8_t> bytes) : bytes(bytes) {}
  size_t size() const override { return bytes.size(); }
  size_t read(uint64_t from, void* to, size_t count, const char*) const override {
    size_t length = from < bytes.size() ? std::min(count, bytes.size() - static_cast<size_t>(from)) : 0;
    if (length > 0) std::memcpy(to, bytes.data() + from, length);
    return length;
  }
  rust::Slice<const uint8_t> bytes;
};

std::optional<c10::Device> optional_device(rust::Slice<const RawDevice> device) {
  if (device.empty()) return std::nullopt;
  return c10::Device(static_cast<c10::DeviceType>(device[0].kind), device[0].index);
}

std::unique_ptr<Module> owned(torch::jit::Module module) {
  return std::make_unique<Module>(Module{std::move(module)});
}

torch::jit::Module fresh(const std::string& name, std::shared_ptr<torch::jit::CompilationUnit> unit) {
  torch::jit::Module module(c10::QualifiedName("__torch__." + name), std::move(unit), true);
  module.register_attribute("training", c10::BoolType::get(), false);
  return module;
}

// A class's name for a submodule of this name: TorchScript files hold it as an identifier, which `0` is not.
std::string class_of(const std::string& name) {
  std::string out = name;
  for (char& c : out) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return out.empty() || std::isdigit(static_cast<unsigned char>(out[0])) ? "_" + out : out;
}

// The submodule that holds the last component of `path`, made on the way, and that component.
std::pair<torch::jit::Module, std::string> holder(const Module& root, rust::Str path) {
  torch::jit::Module module = root.module;
  std::istringstream parts{std::string(path)};
  std::string name, next;
  std::getline(parts, name, '.');
  while (std::getline(parts, next, '.')) {
    if (!module.hasattr(name)) module.register_module(name, fresh(class_of(name), module._ivalue()->compilation_unit()));
    IValue child = module.attr(name);
    if (!child.isModule()) {
      throw Failure(FailureKind::Argument, "the attribute name `" + std::string(path) + "` takes `" + name +
                                               "` for a submodule, which is an attribute of every module; rename it");
    }
    module = child.toModule();
    name = next;
  }
  if (name.empty() || module.hasattr(name)) {
    throw Failure(FailureKind::Argument, "the attribute name `" + std::string(path) + "` is empty or taken; rename it");
  }
  return {module, name};
}

void collect(const torch::jit::Module& module, const std::string& prefix, rust::Vec<RawTensor>& out) {
  auto type = module.type();
  for (size_t i = 0; i < type->numAttributes(); ++i) {
    const IValue& value = module._ivalue()->getSlot(i);
    std::string name = prefix + type->getAttributeName(i);
    if (type->getAttribute(i)->is_module()) {
      collect(value.toModule(), name + ".", out);
    } else if (value.isTensor() && value.toTensor().defined()) {
      auto role = type->is_parameter(i) ? Role::Parameter : type->is_buffer(i) ? Role::Buffer : Role::Attribute;
      out.push_back(RawTensor{name, new at::Tensor(value.toTensor()), role});
    }
  }
}

// Rebuilds containers whose static element type is vaguer than the declared one, as when they are empty.
IValue coerce(IValue value, const c10::TypePtr& formal) {
  if (auto optional = formal->cast<c10::OptionalType>()) {
    return value.isNone() ? value : coerce(std::move(value), optional->getElementType());
  }
  if (value.type()->isSubtypeOf(*formal)) return value;
  if (auto list_type = formal->cast<c10::ListType>(); list_type && value.isList()) {
    c10::impl::GenericList list(list_type->getElementType());
    for (const IValue& element : value.toListRef()) list.push_back(coerce(element, list_type->getElementType()));
    return list;
  }
  if (auto tuple_type = formal->cast<c10::TupleType>(); tuple_type && value.isTuple()) {
    auto elements = value.toTupleRef().elements().vec();
    if (elements.size() != tuple_type->elements().size()) return value;
    for (size_t i = 0; i < elements.size(); ++i) elements[i] = coerce(elements[i], tuple_type->elements()[i]);
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (auto dict_type = formal->cast<c10::DictType>(); dict_type && value.isGenericDict()) {
    c10::impl::GenericDict dict(dict_type->getKeyType(), dict_type->getValueType());
    for (const auto& entry : value.toGenericDict()) {
      dict.insert(entry.key(), coerce(entry.value(), dict_type->getValueType()));
    }
    return dict;
  }
  return value;
}

// The module, and the files that its maker put beside it.
std::unique_ptr<Module> load(std::shared_ptr<caffe2::serialize::ReadAdapterInterface> reader, rust::Slice<const RawDevice> device) {
  torch::jit::ExtraFilesMap extra;
  const std::string folder = "extra/";
  caffe2::serialize::PyTorchStreamReader archive(reader);
  for (const std::string& name : archive.getAllRecords()) {
    if (name.compare(0, folder.size(), folder) == 0) extra.emplace(name.substr(folder.size()), "");
  }
  auto module = owned(torch::jit::load(std::move(reader), optional_device(device), extra));
  module->extra = std::move(extra);
  return module;
}

// A copy of a hook of `from`, of the type of `fork`.
torch::jit::Function* clone_hook(torch::jit::Function& hook, const torch::jit::Module& from, const torch::jit::Module& fork) {
  auto remap = [&](const c10::TypePtr& type) { return type == from.type() ? c10::TypePtr(fork.type()) : type; };
  auto graph = torch::jit::toGraphFunction(hook).graph()->copy();
  graph->remapTypes(remap);
  auto* copy = fork._ivalue()->compilation_unit()->create_function(c10::QualifiedName(*fork.type()->name(), hook.name()), graph);
  copy->setSchema(hook.getSchema().cloneWithRemappedTypes(remap));
  return copy;
}

}  // namespace

std::unique_ptr<Module> load_path(rust::Str path, rust::Slice<const RawDevice> device) {
  return load(std::make_shared<caffe2::serialize::FileAdapter>(std::string(path)), device);
}

std::unique_ptr<Module> load_bytes(rust::Slice<const uint8_t> bytes, rust::Slice<const RawDevice> device) {
  return load(std::make_shared<Bytes>(bytes), device);
}

std::unique_ptr<std::string> save_bytes(const Module& module) {
  auto bytes = std::make_unique<std::string>();
  auto append = [&](const void* data, size_t size) {
    bytes->append(static_cast<const char*>(data), size);
    return size;
  };
  torch::jit::ExportModule(module.module, append, module.extra);
  return bytes;
}

std::unique_ptr<Module> share_torch(const TorchModule* module) { return owned(*module); }
TorchModule* to_torch(const Module& module) { return new TorchModule(module.module); }

std::unique_ptr<Module> new_module(rust::Str name) {
  return owned(fresh(std::string(name), std::make_shared<torch::jit::CompilationUnit>()));
}

void register_tensor(const Module& module, rust::Str path, const at::Tensor& tensor, Role role) {
  auto [target, name] = holder(module, path);
  target.register_attribute(name, c10::TensorType::get(), tensor, role == Role::Parameter, role == Role::Buffer);
}

void register_value(const Module& module, rust::Str path, Stack& stack) {
  auto [target, name] = holder(module, path);
  IValue value = std::move(stack.values.at(0));
  stack.values.clear();
  auto type = value.type();
  target.register_attribute(name, type, std::move(value));
}

void define(const Module& module, rust::Str source) {
  torch::jit::Module target = module.module;
  try {
    target.define(std::string(source) + "\n");
  } catch (const c10::Error& e) {
    throw Failure(FailureKind::Source, e.what_without_backtrace());
  } catch (const std::exception& e) {
    throw Failure(FailureKind::Source, e.what());
  }
}

std::unique_ptr<Module> fork_type(const Module& module, rust::Slice<const rust::String> dropped) {
  const auto& from = module.module;
  auto type = from.type();
  torch::jit::Module fork(*type->name(), from._ivalue()->compilation_unit(), true);
  auto is_dropped = [&](const std::string& name) {
    return std::any_of(dropped.begin(), dropped.end(), [&](const rust::String& other) { return name == std::string(other); });
  };
  for (size_t i = 0; i < type->numAttributes(); ++i) {
    if (is_dropped(type->getAttributeName(i))) continue;
    fork.register_attribute(type->getAttributeName(i), type->getAttribute(i), from._ivalue()->getSlot(i),
                            type->is_parameter(i), type->is_buffer(i));
  }
  for (size_t i = 0; i < type->numConstants(); ++i) {
    fork.type()->addConstant(type->getConstantName(i), type->getConstant(i));
  }
  for (torch::jit::Function* function : type->methods()) {
    if (!is_dropped(function->name())) fork.clone_method(from, function->name());
  }
  // Python runs them around `forward`.
  for (auto* hook : type->getForwardPreHooks()) fork.type()->addForwardPreHook(clone_hook(*hook, from, fork));
  for (auto* hook : type->getForwardHooks()) fork.type()->addForwardHook(clone_hook(*hook, from, fork));
  auto made = owned(std::move(fork));
  made->extra = module.extra;
  return made;
}

std::unique_ptr<Module> shell(const Module& module) {
  // In a unit of its own, which goes with it: types and methods stay in theirs for good.
  torch::jit::Module outer = fresh("Shell", std::make_shared<torch::jit::CompilationUnit>());
  outer.register_attribute(kInside, module.module.type(), module.module._ivalue());
  return owned(std::move(outer));
}

std::unique_ptr<Module> deep_copy(const Module& module) {
  at::NoGradGuard guard;
  return owned(module.module.deepcopy());
}

rust::Vec<rust::String> method_names(const Module& module) {
  rust::Vec<rust::String> names;
  for (torch::jit::Function* function : module.module.type()->methods()) names.push_back(function->name());
  return names;
}

rust::Vec<rust::String> attribute_names(const Module& module) {
  rust::Vec<rust::String> names;
  auto type = module.module.type();
  for (size_t i = 0; i < type->numAttributes(); ++i) names.push_back(type->getAttributeName(i));
  return names;
}

rust::Vec<rust::String> submodule_names(const Module& module) {
  rust::Vec<rust::String> names;
  for (const auto& named : module.module.named_modules()) {
    if (!named.name.empty()) names.push_back(named.name);
  }
  return names;
}

rust::Vec<RawTensor> named_tensors(const Module& module) {
  rust::Vec<RawTensor> out;
  collect(module.module, "", out);
  return out;
}

std::unique_ptr<Module> optimize_for_inference(const Module& module, rust::Str method) {
  std::string name(method);
  std::vector<std::string> others;
  if (name != "forward") others.push_back(name);
  torch::jit::Module frozen = torch::jit::freeze(module.module, others);
  return owned(torch::jit::optimize_for_inference(frozen, others));
}

bool is_training(const Module& module) { return module.module.is_training(); }

void set_training(const Module& module, bool on) {
  torch::jit::Module target = module.module;
  target.train(on);
}

std::unique_ptr<Method> method(const Module& module, rust::Str name) {
  auto found = module.module.find_method(std::string(name));
  if (!found) throw Failure(FailureKind::Argument, "the module has no method `" + std::string(name) + "`");
  return std::make_unique<Method>(Method{*found, std::nullopt, nullptr});
}

rust::Vec<rust::String> training_operators(const Method& method) {
  std::set<std::string> names;
  each_node(method.method.graph()->block(), [&](torch::jit::Node* node) {
    for (const char* flag : {"train", "training"}) {
      if (!node->maybeSchema() || !node->schema().argumentIndexWithName(flag)) continue;
      if (torch::jit::constant_as<bool>(node->namedInput(flag)).value_or(false)) names.insert(node->kind().toQualString());
    }
  });
  rust::Vec<rust::String> out;
  for (const std::string& name : names) out.push_back(name);
  return out;
}

std::unique_ptr<Method> stepwise(const Method& method) {
  auto graph = method.method.graph()->copy();
  torch::jit::Inline(*graph);
  return std::make_unique<Method>(Method{method.method, torch::jit::Code(graph, method.method.name()), nullptr});
}

std::unique_ptr<Method> twin(const Method& method) {
  auto function = std::make_shared<torch::jit::GraphFunction>(method.method.name(), method.method.graph()->copy(), nullptr);
  return std::make_unique<Method>(Method{method.method, std::nullopt, std::move(function)});
}

rust::Vec<RawArgument> method_arguments(const Method& method) {
  rust::Vec<RawArgument> out;
  const auto& arguments = method.method.function().getSchema().arguments();
  for (size_t i = 1; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    out.push_back(RawArgument{argument.name(), argument.type()->annotation_str(), argument.default_value().has_value()});
  }
  return out;
}

rust::String method_source(const Method& method) { return method.method.graph()->toString(); }

void bind_arguments(const torch::jit::ObjectPtr& self, const torch::jit::Function& function,
                    std::vector<IValue>& values) {
  const auto& schema = function.getSchema();
  values.insert(values.begin(), IValue(self));
  try {
    for (size_t i = 1; i < values.size() && i < schema.arguments().size(); ++i) {
      if (!values[i].isTensor()) values[i] = coerce(std::move(values[i]), schema.arguments()[i].type());
    }
    schema.checkAndNormalizeInputs(values);
  } catch (const c10::Error& e) {
    throw Failure(FailureKind::Argument, e.what_without_backtrace());
  }
}

void run_method(const Method& method, Stack& stack) {
  bind_arguments(method.method.raw_owner(), method.method.function(), stack.values);
  if (method.steps) {
    torch::jit::InterpreterState(*method.steps).run(stack.values);
  } else if (method.twin) {
    method.twin->run(stack.values);
  } else {
    method.method.function().run(stack.values);
  }
}

}  // namespace tch_trt
