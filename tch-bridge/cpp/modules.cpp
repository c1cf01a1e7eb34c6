// Operators on whole modules with engines, for Python and C++: `trt::build`, `trt::refit`, `trt::report`,
// `trt::set_enabled`.
#include <torch/csrc/jit/runtime/custom_operator.h>

#include "tch-bridge/cpp/engine.h"
#include "tch-bridge/cpp/places.h"

namespace tch_trt {

using c10::IValue;

namespace {

// Calls `visit(name, engine, owner)` for each engine in the module and its submodules.
template <typename Visit>
void each_engine(const torch::jit::ObjectPtr& module, const std::string& prefix, const Visit& visit) {
  auto type = module->type();
  for (size_t i = 0; i < type->numAttributes(); ++i) {
    const IValue& value = module->getSlot(i);
    std::string name = prefix + type->getAttributeName(i);
    if (type->getAttribute(i)->is_module()) {
      each_engine(value.toObject(), name + ".", visit);
    } else if (value.isObject() && value.type() == c10::getCustomClassType<c10::intrusive_ptr<Engine>>()) {
      visit(name, *value.toCustomClass<Engine>(), Owner{module});
    }
  }
}

torch::jit::ObjectPtr pop_module(torch::jit::Stack& stack) {
  IValue module = torch::jit::pop(stack);
  TORCH_CHECK(module.isModule(), "expected a module, found ", module.tagKind());
  return module.toObject();
}

void build(torch::jit::Stack& stack) {
  int64_t ready = 0;
  each_engine(pop_module(stack), "", [&](const std::string&, const Engine& engine, const Owner& owner) {
    ready += engine_build(*engine.handle, owner) ? 1 : 0;
  });
  stack.emplace_back(ready);
}

void refit(torch::jit::Stack& stack) {
  int64_t read = 0;
  each_engine(pop_module(stack), "", [&](const std::string&, const Engine& engine, const Owner&) {
    read += engine_refit(*engine.handle) ? 1 : 0;
  });
  stack.emplace_back(read);
}

void report(torch::jit::Stack& stack) {
  std::string text;
  each_engine(pop_module(stack), "", [&](const std::string& name, const Engine& engine, const Owner&) {
    text += (text.empty() ? "[" : ",\n") + std::string(engine_report(*engine.handle, name));
  });
  stack.emplace_back(text.empty() ? "[]" : text + "]");
}

// A second copy of this library leaves the work to the first.
const bool modules_registered = [] {
  using torch::jit::Operator;
  using torch::jit::Stack;
  auto effects = c10::AliasAnalysisKind::CONSERVATIVE;
  if (!torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString("trt::build")).empty()) return false;
  static const torch::jit::RegisterOperators operators({
      Operator("trt::build(Any module) -> int", [](Stack& stack) { build(stack); }, effects),
      Operator("trt::refit(Any module) -> int", [](Stack& stack) { refit(stack); }, effects),
      Operator("trt::report(Any module) -> str", [](Stack& stack) { report(stack); }, effects),
      Operator("trt::set_enabled(bool on) -> ()", [](Stack& stack) { set_enabled(torch::jit::pop(stack).toBool()); },
               effects),
  });
  return true;
}();

}  // namespace

rust::Vec<RawEngine> engines(const Module& module) {
  rust::Vec<RawEngine> out;
  each_engine(module.module._ivalue(), "", [&](const std::string& name, const Engine& engine, const Owner&) {
    out.push_back(RawEngine{name, engine_share(*engine.handle)});
  });
  return out;
}

}  // namespace tch_trt
