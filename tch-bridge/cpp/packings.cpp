// Every list or tuple that is built and never written gets one reader: it can then move with it.
#include <torch/csrc/jit/ir/alias_analysis.h>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;

void split_packings(const std::shared_ptr<torch::jit::Graph>& graph) {
  std::vector<Node*> packings;
  {
    torch::jit::AliasDb aliases(graph);
    each_node(graph->block(), [&](Node* node) {
      bool packs = node->kind() == prim::ListConstruct || node->kind() == prim::TupleConstruct;
      if (packs && !aliases.hasWriters(node->output())) packings.push_back(node);
    });
  }
  // A packing that holds another one comes after it, so the outer copies exist before the inner one is copied.
  for (auto packing = packings.rbegin(); packing != packings.rend(); ++packing) {
    auto uses = (*packing)->output()->uses();
    for (const auto& use : uses) {
      if (uses.size() == 1 && use.user->owningBlock() == (*packing)->owningBlock()) break;
      Node* copy = graph->createClone(*packing, [](Value* value) { return value; });
      copy->insertBefore(use.user);
      use.user->replaceInput(use.offset, copy->output());
    }
    if ((*packing)->output()->uses().empty()) (*packing)->destroy();
  }
}

}  // namespace tch_trt
