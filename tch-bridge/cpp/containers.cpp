// Lists and dicts that a graph makes and fills, and that nobody else holds, become values.
//
// A container is private where its node makes it and each use, in whatever block, reads it, or changes it in the block that made it.
// Then what it holds at a place follows from the changes before that place.
#include <torch/csrc/jit/ir/constants.h>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Block;
using JitGraph = torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;
namespace prim = torch::jit::prim;

namespace {

// Whether the container is private; `change` is the operator that changes it.
bool is_private(const Value* container, const char* change) {
  return std::all_of(container->uses().begin(), container->uses().end(), [&](const Use& use) {
    bool is_result = use.user->kind() == prim::Return && use.user->owningBlock() == use.user->owningGraph()->block();
    bool changes = use.offset == 0 && is_any_of(use.user, {change}) &&
                   use.user->owningBlock() == container->node()->owningBlock();
    return changes || is_result || only_reads(use);
  });
}

// `append`: a list of one element more in the place of the list, from there on.
void append(JitGraph& graph, Node* node) {
  Value* list = node->input(0);
  if (list->node()->kind() != prim::ListConstruct || list->node()->owningBlock() != node->owningBlock() ||
      !is_private(list, "aten::append")) {
    return;
  }
  torch::jit::WithInsertPoint guard(node);
  std::vector<Value*> elements = list->node()->inputs().vec();
  elements.push_back(node->input(1));
  Value* longer = graph.insertNode(graph.createList(list->type()->expectRef<c10::ListType>().getElementType(), elements))->output();
  list->replaceAllUsesAfterNodeWith(node, longer);
  if (node->hasUses()) node->output()->replaceAllUsesWith(longer);
  node->destroy();
}

// The value under a constant key, as the last change before `node` left it; null where that is not certain.
Value* looked_up(Node* node) {
  Value* dict = node->input(0);
  auto key = torch::jit::toIValue(node->input(1));
  if (!key || !makes_dict(dict->node()) || !is_private(dict, "aten::_set_item")) return nullptr;
  Value* found = nullptr;
  const Node* last = dict->node();
  auto pairs = dict->node()->inputs();
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    auto name = torch::jit::toIValue(pairs[i]);
    if (!name) return nullptr;
    if (*name == *key) found = pairs[i + 1];
  }
  for (const Use& use : dict->uses()) {
    if (!is_any_of(use.user, {"aten::_set_item"}) || use.user->isAfter(node)) continue;
    auto name = torch::jit::toIValue(use.user->input(1));
    if (!name) return nullptr;
    if (*name == *key && use.user->isAfter(last)) std::tie(found, last) = std::pair(use.user->input(2), use.user);
  }
  return found;
}

void make_functional(JitGraph& graph, Block* block) {
  for (auto at = block->nodes().begin(); at != block->nodes().end();) {
    Node* node = *at++;
    for (Block* inner : node->blocks()) make_functional(graph, inner);
    if (is_any_of(node, {"aten::append"})) {
      append(graph, node);
    } else if (is_any_of(node, {"aten::__getitem__"}) && node->input(0)->type()->kind() == c10::TypeKind::DictType) {
      Value* value = looked_up(node);
      if (!value || !value->type()->isSubtypeOf(*node->output()->type())) continue;
      node->output()->replaceAllUsesWith(value);
      node->destroy();
    }
  }
}

}  // namespace

bool takes_values(const Use& use) {
  const auto* schema = use.user->maybeSchema();
  return schema && use.user->kind().is_aten() && use.user->blocks().empty() && use.offset < schema->arguments().size() &&
         !schema->arguments()[use.offset].alias_info();
}

bool only_reads(const Use& use) {
  if (takes_values(use) || use.user->kind() == prim::ListUnpack) return true;
  return use.offset == 0 && is_any_of(use.user, {"aten::__getitem__", "aten::slice", "aten::list", "aten::copy",
                                                 "aten::__contains__", "aten::keys", "aten::values", "aten::items"});
}

bool makes_dict(const Node* node) {
  return node->kind() == prim::DictConstruct || (is_any_of(node, {"aten::dict"}) && node->inputs().empty());
}

void make_containers_functional(JitGraph& graph) { make_functional(graph, graph.block()); }

}  // namespace tch_trt
