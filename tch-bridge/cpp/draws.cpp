// Draws of random numbers whose results nobody uses any more, because a branch was taken once for all that the host decides anew in
// each call: they are still draws of the host's, and those after them depend on them. torch's passes take them for dead code.
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/runtime/custom_operator.h>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Node;

namespace {

const c10::Symbol kKeep = c10::Symbol::fromQualString("trt::keep");

const torch::jit::RegisterOperators keeping({torch::jit::Operator(
    "trt::keep(Any value) -> ()", [](torch::jit::Stack& stack) { torch::jit::pop(stack); },
    c10::AliasAnalysisKind::CONSERVATIVE)});

template <typename Is>
std::vector<Node*> all(torch::jit::Graph& graph, const Is& is) {
  std::vector<Node*> found;
  each_node(graph.block(), [&](Node* node) {
    if (is(node)) found.push_back(node);
  });
  return found;
}

std::vector<Node*> keepers(torch::jit::Graph& graph) {
  return all(graph, [](Node* node) { return node->kind() == kKeep; });
}

std::vector<Node*> draws(torch::jit::Graph& graph) {
  return all(graph, [](Node* node) { return !node->outputs().empty() && node->isNondeterministic(); });
}

void keep(torch::jit::Graph& graph, Node* draw) { graph.create(kKeep, {draw->output(0)}, 0)->insertAfter(draw); }

}  // namespace

KeptDraws::KeptDraws(torch::jit::Graph& graph) : graph(graph), is_first(keepers(graph).empty()) {
  if (!is_first) return;
  for (Node* node : draws(graph)) keep(graph, node);
}

KeptDraws::~KeptDraws() {
  if (!is_first) return;
  for (Node* node : keepers(graph)) node->destroy();
}

void keep_dead_draws(torch::jit::Graph& graph) {
  for (Node* node : draws(graph)) {
    if (std::none_of(node->outputs().begin(), node->outputs().end(), [](const auto* value) { return value->hasUses(); })) {
      keep(graph, node);
    }
  }
}

void drop_dead_draws(std::shared_ptr<torch::jit::Graph>& graph) {
  if (draws(*graph).empty()) return;
  torch::jit::ConstantPropagationImmutableTypes(graph);
  torch::jit::EliminateDeadCode(graph);
}

}  // namespace tch_trt
