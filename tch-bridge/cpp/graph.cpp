#include "tch-bridge/cpp/graph.h"

#include <torch/csrc/jit/api/function_impl.h>

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

bool is_any_of(const Node* node, std::initializer_list<const char*> names) {
  const char* kind = node->kind().toQualString();
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return std::strcmp(kind, name) == 0; });
}

bool reads_mode(const Node* node) {
  return is_any_of(node, {"aten::is_grad_enabled", "aten::is_autocast_enabled", "aten::is_autocast_cpu_enabled"});
}

bool holds_tensors(const c10::TypePtr& type) {
  if (type->isSubtypeOf(*c10::TensorType::get()) || type->kind() == c10::TypeKind::AnyType) return true;
  auto inner = type->containedTypes();
  return type->kind() == c10::TypeKind::ClassType || std::any_of(inner.begin(), inner.end(), holds_tensors);
}

std::unordered_set<std::string> assigned_attributes(torch::jit::Graph& graph, const torch::jit::Module& owner) {
  std::unordered_set<std::string> names;
  auto collect = [&](Node* node) {
    if (node->kind() == prim::SetAttr) names.insert(node->s(attr::name));
  };
  each_node(graph.block(), collect);
  std::unordered_set<const c10::Type*> types;
  auto visit = [&](const torch::jit::Module& module) {
    if (!types.insert(module.type().get()).second) return;
    for (torch::jit::Function* method : module.type()->methods()) {
      if (auto* own = torch::jit::tryToGraphFunction(*method)) each_node(own->graph()->block(), collect);
    }
  };
  for (const torch::jit::Module& module : owner.modules()) visit(module);
  return names;
}

}  // namespace tch_trt
