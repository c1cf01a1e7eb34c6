// Lists, dicts and objects that a graph makes and fills, and that nobody else holds, become values.
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

// Whether the container is private; `changes` are the operators that change it.
bool is_private(const Value* container, std::initializer_list<const char*> operators) {
  return std::all_of(container->uses().begin(), container->uses().end(), [&](const Use& use) {
    bool is_result = use.user->kind() == prim::Return && use.user->owningBlock() == use.user->owningGraph()->block();
    bool changes = use.offset == 0 && is_any_of(use.user, operators) &&
                   use.user->owningBlock() == container->node()->owningBlock();
    return changes || is_result || only_reads(use);
  });
}

Value* make_list(JitGraph& graph, const Value* like, const std::vector<Value*>& elements) {
  return graph.insertNode(graph.createList(like->type()->expectRef<c10::ListType>().getElementType(), elements))->output();
}

// `append` and `list[0] = x`: another list in the place of the list, from there on.
void change(JitGraph& graph, Node* node) {
  Value* list = node->input(0);
  if (list->node()->kind() != prim::ListConstruct || list->node()->owningBlock() != node->owningBlock() ||
      !is_private(list, {"aten::append", "aten::_set_item"})) {
    return;
  }
  std::vector<Value*> elements = list->node()->inputs().vec();
  if (is_any_of(node, {"aten::append"})) {
    elements.push_back(node->input(1));
  } else {
    auto at = torch::jit::constant_as<int64_t>(node->input(1));
    auto count = static_cast<int64_t>(elements.size());
    if (!at || *at < -count || *at >= count) return;
    elements.at(static_cast<size_t>(*at < 0 ? *at + count : *at)) = node->input(2);
  }
  torch::jit::WithInsertPoint guard(node);
  Value* changed = make_list(graph, list, elements);
  list->replaceAllUsesAfterNodeWith(node, changed);
  if (node->hasUses()) node->output()->replaceAllUsesWith(changed);
  node->destroy();
}

// An element of a list that stays as it was made.
void element(Node* node) {
  Value* list = node->input(0);
  auto at = torch::jit::constant_as<int64_t>(node->input(1));
  if (!at || list->node()->kind() != prim::ListConstruct || !is_private(list, {})) return;
  auto count = static_cast<int64_t>(list->node()->inputs().size());
  if (*at < -count || *at >= count) return;
  Value* found = list->node()->input(static_cast<size_t>(*at < 0 ? *at + count : *at));
  if (!found->type()->isSubtypeOf(*node->output()->type())) return;
  node->output()->replaceAllUsesWith(found);
  node->destroy();
}

// A part of a list that stays as it was made: a list of its own, of the very elements.
void part(JitGraph& graph, Node* node) {
  Value* list = node->input(0);
  if (list->node()->kind() != prim::ListConstruct || !is_private(list, {})) return;
  auto count = static_cast<int64_t>(list->node()->inputs().size());
  auto bound = [&](size_t input, int64_t otherwise) -> std::optional<int64_t> {
    if (node->input(input)->mustBeNone()) return otherwise;
    auto given = torch::jit::constant_as<int64_t>(node->input(input));
    if (!given) return std::nullopt;
    return std::clamp<int64_t>(*given < 0 ? *given + count : *given, 0, count);
  };
  auto start = bound(1, 0), end = bound(2, count);
  auto step = torch::jit::constant_as<int64_t>(node->input(3));
  if (!start || !end || !step || *step < 1) return;
  int64_t stride = std::min(*step, count + 1);
  std::vector<Value*> elements;
  for (int64_t at = *start; at < *end; at += stride) elements.push_back(list->node()->input(static_cast<size_t>(at)));
  torch::jit::WithInsertPoint guard(node);
  node->output()->replaceAllUsesWith(make_list(graph, node->output(), elements));
  node->destroy();
}

// A copy of a list whose elements are known where it is made: a list of its own.
void copy(JitGraph& graph, Node* node) {
  Value* list = node->input(0);
  torch::jit::WithInsertPoint guard(node);
  std::vector<Value*> elements;
  if (auto constant = torch::jit::toIValue(list); constant && constant->isList() && list->type()->kind() == c10::TypeKind::ListType) {
    for (const c10::IValue& element : constant->toList()) elements.push_back(graph.insertConstant(element));
  } else if (list->node()->kind() == prim::ListConstruct && is_private(list, {})) {
    elements = list->node()->inputs().vec();
  } else {
    return;
  }
  node->output()->replaceAllUsesWith(make_list(graph, node->output(), elements));
  node->destroy();
}

// A dict of pairs that are known where it is made.
void dict(JitGraph& graph, Node* node) {
  Value* list = node->input(0);
  if (list->node()->kind() != prim::ListConstruct || !is_private(list, {})) return;
  std::vector<Value*> keys, held;
  for (Value* pair : list->node()->inputs()) {
    if (pair->node()->kind() != prim::TupleConstruct) return;
    keys.push_back(pair->node()->input(0));
    held.push_back(pair->node()->input(1));
  }
  auto type = node->output()->type()->expect<c10::DictType>();
  torch::jit::WithInsertPoint guard(node);
  Node* made = graph.insertNode(graph.createDict(type->getKeyType(), type->getValueType(), keys, held));
  made->output()->setType(type);
  node->output()->replaceAllUsesWith(made->output());
  node->destroy();
}

// The values of a dict that was filled under constant keys in the block of the node, in the order in which the keys came.
void values(JitGraph& graph, Node* node) {
  Value* dict = node->input(0);
  if (!makes_dict(dict->node()) || dict->node()->owningBlock() != node->owningBlock() || !is_private(dict, {"aten::_set_item"})) return;
  std::vector<std::pair<c10::IValue, Value*>> entries;
  auto put = [&](Value* key, Value* value) {
    auto name = torch::jit::toIValue(key);
    if (!name) return false;
    auto same = [&](const auto& entry) { return entry.first == *name; };
    auto known = std::find_if(entries.begin(), entries.end(), same);
    if (known == entries.end()) entries.emplace_back(*name, value);
    else known->second = value;
    return true;
  };
  auto pairs = dict->node()->inputs();
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (!put(pairs[i], pairs[i + 1])) return;
  }
  for (Node* at = dict->node()->next(); at != node; at = at->next()) {
    bool fills = is_any_of(at, {"aten::_set_item"}) && at->input(0) == dict;
    if (fills && !put(at->input(1), at->input(2))) return;
  }
  std::vector<Value*> elements;
  for (const auto& entry : entries) elements.push_back(entry.second);
  torch::jit::WithInsertPoint guard(node);
  node->output()->replaceAllUsesWith(make_list(graph, node->output(), elements));
  node->destroy();
}

// The value under a constant key, as the last change before `node` left it; null where that is not certain.
Value* looked_up(Node* node) {
  Value* dict = node->input(0);
  auto key = torch::jit::toIValue(node->input(1));
  if (!key || !makes_dict(dict->node()) || !is_private(dict, {"aten::_set_item"})) return nullptr;
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

// An object whose attributes are set once each, in the block that made it and before they are read: what was set is what is read.
void take_apart(Node* made) {
  std::unordered_map<std::string, Node*> set;
  std::vector<Node*> reads;
  for (const Use& use : made->output()->uses()) {
    bool sets = use.user->kind() == prim::SetAttr && use.offset == 0 && use.user->owningBlock() == made->owningBlock();
    if (sets && !set.emplace(use.user->s(torch::jit::attr::name), use.user).second) return;
    if (use.user->kind() == prim::GetAttr) reads.push_back(use.user);
    else if (!sets) return;
  }
  for (Node* read : reads) {
    auto found = set.find(read->s(torch::jit::attr::name));
    if (found == set.end() || !read->isAfter(found->second)) return;
    if (!found->second->input(1)->type()->isSubtypeOf(*read->output()->type())) return;
  }
  for (Node* read : reads) {
    read->output()->replaceAllUsesWith(set.at(read->s(torch::jit::attr::name))->input(1));
    read->destroy();
  }
  for (auto& [name, node] : set) node->destroy();
}

void make_functional(JitGraph& graph, Block* block) {
  std::vector<Node*> objects;
  for (Node* node : block->nodes()) {
    if (node->kind() == prim::CreateObject) objects.push_back(node);
  }
  for (Node* node : objects) take_apart(node);
  for (auto at = block->nodes().begin(); at != block->nodes().end();) {
    Node* node = *at++;
    for (Block* inner : node->blocks()) make_functional(graph, inner);
    bool is_list = !node->inputs().empty() && node->input(0)->type()->kind() == c10::TypeKind::ListType;
    if (is_list && is_any_of(node, {"aten::append", "aten::_set_item"})) {
      change(graph, node);
    } else if (is_list && is_any_of(node, {"aten::__getitem__"})) {
      element(node);
    } else if (is_list && is_any_of(node, {"aten::slice"})) {
      part(graph, node);
    } else if (is_list && is_any_of(node, {"aten::copy", "aten::list"})) {
      copy(graph, node);
    } else if (is_list && is_any_of(node, {"aten::dict"})) {
      dict(graph, node);
    } else if (is_any_of(node, {"aten::values"}) && node->input(0)->type()->kind() == c10::TypeKind::DictType) {
      values(graph, node);
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
  if (!schema || !use.user->kind().is_aten() || !use.user->blocks().empty()) return false;
  // What is beyond the arguments that have names is printed.
  if (use.offset >= schema->arguments().size()) return schema->is_vararg();
  return !schema->arguments()[use.offset].alias_info();
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
