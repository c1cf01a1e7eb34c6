// Which submodule a node of an inlined graph comes from.
#include <torch/csrc/jit/api/function_impl.h>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

namespace {

// The attribute names from a graph's own module to the module `value`; none where it is something else.
std::optional<std::string> path_in(const torch::jit::Graph& graph, const torch::jit::Value* value) {
  if (graph.inputs().empty()) return std::nullopt;
  std::string path;
  while (value != graph.inputs()[0]) {
    const torch::jit::Node* read = value->node();
    if (read->kind() != torch::jit::prim::GetAttr) return std::nullopt;
    path = read->s(torch::jit::attr::name) + (path.empty() ? "" : "." + path);
    value = read->input(0);
  }
  return path;
}

// The path, in the module of the function `caller`, of the module that it calls here. A call site that a loop unrolls stands
// there several times: the last name and the type of what is called tell which.
std::string called(torch::jit::Graph& caller, const torch::jit::SourceRange& site,
                   const torch::jit::ModuleInstanceInfo& instance) {
  std::string found;
  each_node(caller.block(), [&](torch::jit::Node* node) {
    if (!found.empty() || node->kind() != torch::jit::prim::CallMethod || node->sourceRange() != site) return;
    if (node->input(0)->type()->cast<c10::ClassType>() != instance.class_type()) return;
    auto path = path_in(caller, node->input(0));
    if (!path) return;
    auto last = path->rfind('.');
    auto name = last == std::string::npos ? *path : path->substr(last + 1);
    if (name == instance.instance_name()) found = *path;
  });
  return found;
}

}  // namespace

std::string Origins::of(torch::jit::Node* node) {
  auto stack = node->callstack();
  if (!stack) return "";
  auto [known, fresh] = paths.try_emplace(stack->get());
  if (!fresh) return known->second;
  std::string path;
  torch::jit::Graph* caller = top.get();
  for (const auto& [function, site, instance] : (*stack)->vec()) {
    if (caller && instance) {
      auto step = called(*caller, site, *instance);
      path += path.empty() || step.empty() ? step : "." + step;
    }
    auto* own = function ? torch::jit::tryToGraphFunction(*function) : nullptr;
    caller = own ? own->graph().get() : nullptr;
  }
  known->second = path;
  return path;
}

Origins::Origins(const Graph& graph) {
  if (auto method = graph.owner.find_method(graph.method)) top = method->graph();
}

}  // namespace tch_trt
