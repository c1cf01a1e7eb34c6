// What `prepare` does with attributes: each is read once and first; scalars and lists of parameters are folded.
#include <map>

#include <torch/csrc/jit/ir/constants.h>

#include "tch-bridge/cpp/memory.h"

namespace tch_trt {

using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

// A tensor's memory and shape: what makes two tensors the same after loading, when they are different objects.
using Extent = std::tuple<const void*, int64_t, std::vector<int64_t>, std::vector<int64_t>>;

std::optional<Extent> extent(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage() || tensor.layout() != at::kStrided) return std::nullopt;
  return Extent{tensor.storage().unsafeGetStorageImpl(), tensor.storage_offset(), tensor.sizes().vec(),
                tensor.strides().vec()};
}

// Attribute names that lead from a module to each of its tensors.
void find_tensors(const torch::jit::Module& module, std::vector<std::string>& path,
                  std::map<Extent, std::vector<std::string>>& found) {
  auto type = module.type();
  for (size_t i = 0; i < type->numAttributes(); ++i) {
    const c10::IValue& value = module._ivalue()->getSlot(i);
    path.push_back(type->getAttributeName(i));
    if (type->getAttribute(i)->is_module()) {
      find_tensors(value.toModule(), path, found);
    } else if (value.isTensor()) {
      if (auto key = extent(value.toTensor())) found.emplace(*key, path);
    }
    path.pop_back();
  }
}

bool is_scalar(const c10::IValue& value) {
  if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    return std::all_of(elements.begin(), elements.end(), is_scalar);
  }
  return value.isNone() || value.isInt() || value.isDouble() || value.isBool() || value.isString() ||
         value.isDevice();
}

// The most entries of a list or dict that is folded: each call compares it with what it held.
constexpr size_t kEntries = 64;

bool is_list_of_numbers(const c10::IValue& value) {
  return (value.isIntList() || value.isDoubleList() || value.isBoolList()) && value.toListRef().size() <= kEntries;
}

bool is_dict_of_scalars(const c10::IValue& value) {
  if (!value.isGenericDict() || value.toGenericDict().size() > kEntries) return false;
  auto dict = value.toGenericDict();
  return std::all_of(dict.begin(), dict.end(), [](const auto& entry) { return is_scalar(entry.value()); });
}

// Whether the graph may write a list or a dict of numbers and the like that it did not make.
bool writes_containers(torch::jit::Graph& graph) {
  Memory memory(graph, {});
  bool found = false;
  each_node(graph.block(), [&](Node* node) {
    const auto* schema = node->maybeSchema();
    if (!schema) return;
    for (size_t i = 0; i < std::min(node->inputs().size(), schema->arguments().size()); ++i) {
      const auto* alias = schema->arguments()[i].alias_info();
      const Value* input = node->input(i);
      auto kind = input->type()->kind();
      bool is_container = (kind == c10::TypeKind::DictType || kind == c10::TypeKind::ListType) && !holds_tensors(input->type());
      found |= alias && alias->isWrite() && is_container && memory.may_be_outside(input);
    }
  });
  return found;
}

// Makes constants of what is looked up in the dict that `read` gives; whether something was.
bool fold_lookups(torch::jit::Graph& graph, Node* read, const c10::Dict<c10::IValue, c10::IValue>& dict) {
  std::vector<std::pair<Node*, c10::IValue>> found;
  for (const auto& use : read->output()->uses()) {
    if (use.user->inputs().size() != 2 || use.offset != 0) continue;
    auto key = torch::jit::toIValue(use.user->input(1));
    if (!key) continue;
    if (is_any_of(use.user, {"aten::__contains__"})) found.emplace_back(use.user, dict.contains(*key));
    if (is_any_of(use.user, {"aten::__getitem__"}) && dict.contains(*key)) found.emplace_back(use.user, dict.at(*key));
  }
  for (auto& [node, value] : found) {
    torch::jit::WithInsertPoint guard(node);
    node->output()->replaceAllUsesWith(graph.insertConstant(value));
    node->destroy();
  }
  return !found.empty();
}

// The list that `read` gives, of constants, at the insertion point; what is picked from it by a constant index becomes a constant.
Value* spelled_out(torch::jit::Graph& graph, Node* read, at::ArrayRef<c10::IValue> items) {
  std::vector<Value*> elements;
  for (const c10::IValue& item : items) elements.push_back(graph.insertConstant(item));
  auto uses = read->output()->uses();
  for (const auto& use : uses) {
    if (!is_any_of(use.user, {"aten::__getitem__"})) continue;
    auto index = torch::jit::constant_as<int64_t>(use.user->input(1));
    auto size = static_cast<int64_t>(elements.size());
    if (!index || *index < -size || *index >= size) continue;
    use.user->output()->replaceAllUsesWith(elements[*index < 0 ? *index + size : *index]);
    use.user->destroy();
  }
  auto type = read->output()->type()->expectRef<c10::ListType>().getElementType();
  return graph.insertNode(graph.createList(type, elements))->output();
}

}  // namespace

c10::IValue tensor_kind(const at::Tensor& tensor) {
  auto number = [](auto value) { return c10::IValue(static_cast<int64_t>(value)); };
  if (!tensor.defined()) return c10::ivalue::Tuple::create({number(-1), number(0), number(0), number(0)});
  return c10::ivalue::Tuple::create({number(tensor.scalar_type()), number(tensor.dim()),
                                     number(tensor.device().type()), number(tensor.device().index())});
}

c10::IValue tensor_form(const at::Tensor& tensor) {
  auto form = tensor_kind(tensor).toTupleRef().elements().vec();
  if (tensor.defined()) form.insert(form.end(), tensor.sizes().begin(), tensor.sizes().end());
  return c10::ivalue::Tuple::create(std::move(form));
}

bool holds_still(const c10::IValue& found, const c10::IValue& wanted) {
  if (found.isTensor()) {
    if (!wanted.isTuple()) return false;
    const auto& kind = wanted.toTupleRef().elements();
    const at::Tensor& tensor = found.toTensor();
    if (!tensor.defined()) return kind[0].toInt() == -1;
    return kind[0].toInt() == static_cast<int64_t>(tensor.scalar_type()) && kind[1].toInt() == tensor.dim() &&
           kind[2].toInt() == static_cast<int64_t>(tensor.device().type()) &&
           kind[3].toInt() == static_cast<int64_t>(tensor.device().index()) &&
           std::equal(kind.begin() + 4, kind.end(), tensor.sizes().begin(),
                      [](const c10::IValue& size, int64_t found) { return size.toInt() == found; });
  }
  // A dict or a list of numbers may have been written since.
  bool is_content = wanted.isGenericDict() || (wanted.isList() && !wanted.isTensorList());
  return is_content ? found == wanted : found.is(wanted);
}

std::vector<Folded> expand_tensor_lists(torch::jit::Graph& graph, const torch::jit::Module& owner,
                                        const std::unordered_set<std::string>& assigned) {
  std::vector<std::pair<Node*, Place>> reads;
  // Lists that somebody may change: an empty one waits for that.
  std::vector<c10::IValue> changing;
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() != prim::GetAttr) return;
    auto place = resolve(*node, graph, owner);
    if (!place || !place->value().isTensorList()) return;
    const auto& uses = node->output()->uses();
    if (std::all_of(uses.begin(), uses.end(), takes_values) && !place->value().toListRef().empty()) {
      reads.emplace_back(node, *place);
    } else {
      changing.push_back(place->value());
    }
  });
  auto changes = [&](const std::pair<Node*, Place>& read) {
    return std::any_of(changing.begin(), changing.end(), [&](const c10::IValue& list) { return list.is(read.second.value()); });
  };
  reads.erase(std::remove_if(reads.begin(), reads.end(), changes), reads.end());
  std::vector<Folded> folded;
  if (reads.empty()) return folded;
  std::map<Extent, std::vector<std::string>> paths;
  std::vector<std::string> path;
  find_tensors(owner, path, paths);
  for (auto& [node, place] : reads) {
    auto tensors = place.value().toTensorVector();
    auto known = [&](const at::Tensor& tensor) {
      auto key = extent(tensor);
      return key && paths.count(*key) > 0;
    };
    if (assigned.count(node->s(attr::name)) || !std::all_of(tensors.begin(), tensors.end(), known)) continue;
    torch::jit::WithInsertPoint guard(node);
    std::vector<Value*> elements;
    std::vector<std::string> named;
    for (const auto& tensor : tensors) {
      Value* value = graph.inputs()[0];
      const auto& names = paths.at(*extent(tensor));
      for (const auto& name : names) value = graph.insertGetAttr(value, name);
      elements.push_back(value);
      named.push_back(c10::Join(".", names));
    }
    Value* list = graph.insertNode(graph.createList(c10::TensorType::get(), elements))->output();
    node->output()->replaceAllUsesWith(list);
    node->destroy();
    folded.push_back(Folded{place.object, place.slot, place.value(), place.path, std::move(named)});
  }
  return folded;
}

void drop_idle_assignments(torch::jit::Graph& graph) {
  std::unordered_map<std::string, std::vector<Node*>> by_name;
  bool calls = false;
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() == prim::SetAttr) by_name[node->s(attr::name)].push_back(node);
    calls = calls || is_any_of(node, {"prim::CallMethod", "prim::CallFunction", "prim::fork"});
  });
  if (calls) return;
  // What an operator in place gives back is its first operand.
  auto written = [](Value* value) {
    for (const auto* schema = value->node()->maybeSchema(); schema; schema = value->node()->maybeSchema()) {
      const auto &arguments = schema->arguments(), &returns = schema->returns();
      bool in_place = !arguments.empty() && returns.size() == 1 && arguments[0].alias_info() && arguments[0].alias_info()->isWrite() &&
                      returns[0].alias_info() && *returns[0].alias_info() == *arguments[0].alias_info();
      if (!in_place) break;
      value = value->node()->input(0);
    }
    return value;
  };
  for (auto& [name, sets] : by_name) {
    if (sets.size() != 1) continue;
    Node* read = written(sets[0]->input(1))->node();
    bool same = read->kind() == prim::GetAttr && read->s(attr::name) == name && read->input(0) == sets[0]->input(0);
    if (same) sets[0]->destroy();
  }
}

void hoist_attributes(torch::jit::Graph& graph, const torch::jit::Module& owner,
                      const std::unordered_set<std::string>& assigned) {
  std::vector<Node*> reads;
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() == prim::GetAttr) reads.push_back(node);
  });
  std::unordered_map<std::string, Value*> canonical;
  Node* top = *graph.nodes().begin();
  for (Node* read : reads) {
    auto place = resolve(*read, graph, owner);
    if (!place || assigned.count(read->s(attr::name))) continue;
    if (read == top) {
      top = read->next();
    } else {
      read->moveBefore(top);
    }
    auto [first, is_new] = canonical.emplace(place->path, read->output());
    if (!is_new) {
      read->output()->replaceAllUsesWith(first->second);
      read->destroy();
    }
  }
}

void fold_scalars(torch::jit::Graph& graph, const torch::jit::Module& owner,
                  const std::unordered_set<std::string>& assigned, std::vector<Folded>& folded) {
  std::vector<std::pair<Node*, Place>> reads;
  bool containers = !writes_containers(graph);
  for (Node* node : graph.nodes()) {
    if (node->kind() != prim::GetAttr || assigned.count(node->s(attr::name))) continue;
    auto place = resolve(*node, graph, owner);
    if (!place) continue;
    const c10::IValue& value = place->value();
    const auto& uses = node->output()->uses();
    bool fits = is_scalar(value) || (containers && is_dict_of_scalars(value)) ||
                (containers && is_list_of_numbers(value) && std::all_of(uses.begin(), uses.end(), only_reads));
    if (fits) reads.emplace_back(node, *place);
  }
  for (auto& [node, place] : reads) {
    if (place.value().isGenericDict()) {
      auto held = place.value().toGenericDict().copy();
      if (!fold_lookups(graph, node, held)) continue;
      if (!node->hasUses()) node->destroy();
      folded.push_back(Folded{place.object, place.slot, std::move(held), place.path, {}});
      continue;
    }
    torch::jit::WithInsertPoint guard(node);
    c10::IValue held = place.value().isList() ? place.value().deepcopy() : place.value();
    Value* constant = held.isList() ? spelled_out(graph, node, held.toListRef()) : graph.insertConstant(held);
    node->output()->replaceAllUsesWith(constant);
    node->destroy();
    folded.push_back(Folded{place.object, place.slot, std::move(held), place.path, {}});
  }
}

}  // namespace tch_trt
