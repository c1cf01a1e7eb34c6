#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

template <typename T>
T at_id(const std::vector<T>& items, uint32_t id, const char* what) {
  if (id >= items.size()) {
    throw Failure(FailureKind::Graph, std::string("no ") + what + " has the number " + std::to_string(id));
  }
  return items[id];
}

}  // namespace

Index::Index(torch::jit::Graph& graph) { add(graph.block()); }

Value* Index::value(uint32_t id) const { return at_id(values, id, "value"); }
Node* Index::node(uint32_t id) const { return at_id(nodes, id, "node"); }
Block* Index::block(uint32_t id) const { return at_id(blocks, id, "block"); }

void Index::add(Value* value) {
  value_ids.emplace(value, static_cast<uint32_t>(values.size()));
  values.push_back(value);
}

void Index::add(Block* block) {
  block_ids.emplace(block, static_cast<uint32_t>(blocks.size()));
  blocks.push_back(block);
  for (Value* input : block->inputs()) add(input);
  for (Node* node : block->nodes()) {
    nodes.push_back(node);
    for (Value* output : node->outputs()) add(output);
    for (Block* inner : node->blocks()) add(inner);
  }
}

std::optional<Place> resolve(const Node& get_attr, const torch::jit::Graph& graph,
                             const torch::jit::Module& owner) {
  const Value* from = get_attr.input();
  Place place{owner._ivalue(), 0, get_attr.s(attr::name)};
  if (from != graph.inputs().at(0)) {
    if (from->node()->kind() != prim::GetAttr) return std::nullopt;
    auto parent = resolve(*from->node(), graph, owner);
    if (!parent || !parent->value().isModule()) return std::nullopt;
    place.object = parent->value().toObject();
    place.path = parent->path + "." + place.path;
  }
  auto slot = place.object->type()->findAttributeSlot(get_attr.s(attr::name));
  if (!slot) return std::nullopt;
  place.slot = *slot;
  return place;
}

std::unordered_set<std::string> assigned_attributes(torch::jit::Graph& graph) {
  std::unordered_set<std::string> names;
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() == prim::SetAttr) names.insert(node->s(attr::name));
  });
  return names;
}

}  // namespace tch_trt
