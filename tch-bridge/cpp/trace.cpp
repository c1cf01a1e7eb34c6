// Records what a Rust closure does with tensors as a method of a module.
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/lower_tuples.h>

#include "tch-bridge/cpp/calls.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

void trace(const Module& module, rust::Str method, rust::Slice<const rust::String> names, Stack& stack,
           TraceClosure& closure) {
  torch::jit::Module self = module.module;
  std::vector<std::string> argument_names(names.begin(), names.end());
  auto run = [&](torch::jit::Stack inputs) -> torch::jit::Stack {
    Stack values{std::move(inputs)};
    if (!trace_call(closure, values)) throw Failure(FailureKind::Closure, "the traced closure failed");
    return std::move(values.values);
  };
  auto [state, outputs] =
      torch::jit::tracer::trace(std::move(stack.values), run, [](const at::Tensor&) { return std::string(); },
                                /*strict=*/true, /*force_outplace=*/false, &self, argument_names);
  auto graph = state->graph;
  torch::jit::EliminateDeadCode(graph);
  torch::jit::LowerSimpleTuples(graph);
  graph->lint();
  auto* function = self._ivalue()->compilation_unit()->create_function(
      c10::QualifiedName(*self.type()->name(), std::string(method)), graph);
  self.type()->addMethod(function);
  stack.values = std::move(outputs);
}

}  // namespace tch_trt
