// Draws of random numbers whose results nobody uses any more, because a branch was taken once for all that the host decides anew in
// each call: they are still draws of the host's, and those after them depend on them. And writes in place whose results nobody uses once their
// loop is unrolled, or once the list that they follow is made as a whole: what was written may lie in a list that somebody reads. torch's passes take
// both for dead code; where the host's own do so, of writes that stand in no loop and beside lists that do not change, its answer is without them.
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

bool is_draw(const Node* node) { return !node->outputs().empty() && node->isNondeterministic(); }

// Of a write that stands in a loop of the host's, or beside lists of tensors that change there.
const c10::Symbol kKept = c10::Symbol::attr("kept");

bool changes_first(const Node* node) {
  const auto* schema = node->maybeSchema();
  return schema != nullptr && !schema->arguments().empty() && schema->arguments()[0].alias_info() != nullptr &&
         schema->arguments()[0].alias_info()->isWrite();
}

bool is_write(const Node* node) { return !node->outputs().empty() && changes_first(node); }

std::vector<Node*> draws(torch::jit::Graph& graph) { return all(graph, is_draw); }

std::vector<Node*> draws_and_writes(torch::jit::Graph& graph) {
  return all(graph, [](const Node* node) { return is_draw(node) || node->hasAttribute(kKept); });
}

void keep(torch::jit::Graph& graph, Node* draw) { graph.create(kKeep, {draw->output(0)}, 0)->insertAfter(draw); }

}  // namespace

KeptEffects::KeptEffects(torch::jit::Graph& graph) : graph(graph), is_first(keepers(graph).empty()) {
  if (!is_first) return;
  for (Node* node : draws_and_writes(graph)) keep(graph, node);
}

KeptEffects::~KeptEffects() {
  if (!is_first) return;
  for (Node* node : keepers(graph)) node->destroy();
}

void keep_dead_effects(torch::jit::Graph& graph) {
  for (Node* node : draws_and_writes(graph)) {
    // What is still in its loop, torch leaves there as it does for the host.
    if (!is_draw(node) && is_in_loop(node)) continue;
    if (std::none_of(node->outputs().begin(), node->outputs().end(), [](const auto* value) { return value->hasUses(); })) {
      keep(graph, node);
    }
  }
}

void note_writes(torch::jit::Graph& graph) {
  auto is_of = [](const Node* node, c10::TypeKind kind) { return node->input(0)->type()->kind() == kind; };
  auto changes_list = [&](const Node* node) {
    return changes_first(node) && is_of(node, c10::TypeKind::ListType) && holds_tensors(node->input(0)->type());
  };
  if (!all(graph, changes_list).empty()) {
    each_node(graph.block(), [&](Node* node) {
      if (is_write(node) && is_of(node, c10::TypeKind::TensorType)) node->i_(kKept, 1);
    });
  }
  for (Node* loop : all(graph, [](const Node* node) { return node->kind() == torch::jit::prim::Loop; })) {
    each_node(loop->blocks().at(0), [](Node* node) {
      if (is_write(node)) node->i_(kKept, 1);
    });
  }
}

void drop_dead_draws(std::shared_ptr<torch::jit::Graph>& graph) {
  if (draws(*graph).empty()) return;
  torch::jit::ConstantPropagationImmutableTypes(graph);
  torch::jit::EliminateDeadCode(graph);
}

}  // namespace tch_trt
