// A graph that computes in float64 what it computed in narrower floating-point types.
#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

// Element types that are given as constant arguments: casts, and types of fresh tensors.
void widen_arguments(Node* node) {
  const auto* schema = node->maybeSchema();
  if (!schema) return;
  for (size_t i = 0; i < node->inputs().size() && i < schema->arguments().size(); ++i) {
    if (schema->arguments()[i].name() != "dtype") continue;
    auto constant = torch::jit::toIValue(node->input(i));
    if (!constant || !constant->isInt() || !at::isFloatingType(constant->toScalarType())) continue;
    torch::jit::WithInsertPoint guard(node);
    node->replaceInput(i, node->owningGraph()->insertConstant(static_cast<int64_t>(at::kDouble)));
  }
}

void widen_constant(Node* node) {
  if (node->kind() != prim::Constant || !node->hasAttribute(attr::value)) return;
  if (node->kindOf(attr::value) != torch::jit::AttributeKind::t) return;
  at::Tensor value = node->t(attr::value);
  if (value.is_floating_point()) node->t_(attr::value, value.to(at::kDouble));
}

}  // namespace

std::unique_ptr<Graph> widen(const Graph& from) {
  auto graph = from.graph->copy();
  each_node(graph->block(), [](Node* node) {
    widen_constant(node);
    widen_arguments(node);
  });
  return std::make_unique<Graph>(Graph{std::move(graph), from.owner, from.method, from.folded, from.assigned});
}

}  // namespace tch_trt
