// Records what a Rust closure does with tensors as a method of a module.
#include <ATen/Functions.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/lower_tuples.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

namespace {

std::unordered_set<const at::TensorImpl*> tensors_of(const torch::jit::Module& module) {
  std::unordered_set<const at::TensorImpl*> found;
  for (const auto& attribute : module.attributes(/*recurse=*/true)) {
    if (attribute.isTensor()) found.insert(attribute.toTensor().unsafeGetTensorImpl());
  }
  return found;
}

// The same result, made by an operator: torch's tracer cannot give what its graph does not compute, as a variable itself is.
c10::IValue computed(const c10::IValue& result, const std::unordered_set<const at::TensorImpl*>& variables) {
  if (result.isTuple()) {
    auto elements = result.toTupleRef().elements().vec();
    for (auto& element : elements) element = computed(element, variables);
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (!result.isTensor() || !result.toTensor().defined()) return result;
  const at::Tensor& tensor = result.toTensor();
  bool is_computed = torch::jit::tracer::getTracingState()->hasValue(result) && !variables.count(tensor.unsafeGetTensorImpl());
  return is_computed ? result : c10::IValue(at::alias(tensor));
}

// Whether somebody beside the graph can write to a constant of it.
bool is_held_elsewhere(const at::Tensor& tensor) {
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) return false;
  return tensor.use_count() > 1 || (tensor.has_storage() && tensor.storage().use_count() > 1);
}

// Tensors from elsewhere that the code uses, such as the mean of a normaliser or the weights of another store, become attributes where they
// are held elsewhere: what is written to them, and gradients that come to be recorded for them, are then seen as for any other.
void hold_captured(torch::jit::Graph& graph, torch::jit::Module& self) {
  size_t number = 0;
  each_node(graph.block(), [&](torch::jit::Node* node) {
    auto value = torch::jit::attr::value;
    if (node->kind() != torch::jit::prim::Constant || !node->hasAttribute(value) ||
        node->kindOf(value) != torch::jit::AttributeKind::t || !is_held_elsewhere(node->t(value))) {
      return;
    }
    std::string name;
    do name = "captured_" + std::to_string(number++);
    while (self.hasattr(name));
    self.register_attribute(name, c10::TensorType::get(), node->t(value));
    torch::jit::WithInsertPoint guard(node);
    node->output()->replaceAllUsesWith(graph.insertGetAttr(graph.inputs()[0], name));
  });
}

}  // namespace

void trace(const Module& module, rust::Str method, rust::Slice<const rust::String> names, Stack& stack,
           TraceClosure& closure) {
  torch::jit::Module self = module.module;
  std::vector<std::string> argument_names(names.begin(), names.end());
  auto variables = tensors_of(self);
  auto run = [&](torch::jit::Stack inputs) -> torch::jit::Stack {
    Stack values{std::move(inputs)};
    if (!trace_call(closure, values)) throw Failure(FailureKind::Closure, "the traced closure failed");
    for (auto& value : values.values) value = computed(value, variables);
    return std::move(values.values);
  };
  auto [state, outputs] =
      torch::jit::tracer::trace(std::move(stack.values), run, [](const at::Tensor&) { return std::string(); },
                                /*strict=*/true, /*force_outplace=*/false, &self, argument_names);
  auto graph = state->graph;
  hold_captured(*graph, self);
  torch::jit::EliminateDeadCode(graph);
  torch::jit::LowerSimpleTuples(graph);
  graph->lint();
  auto* function = self._ivalue()->compilation_unit()->create_function(
      c10::QualifiedName(*self.type()->name(), std::string(method)), graph);
  self.type()->addMethod(function);
  stack.values = std::move(outputs);
}

}  // namespace tch_trt
