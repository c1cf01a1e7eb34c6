// What `prepare` does with attributes: each is read once and first; scalars and lists of parameters are folded.
#include <map>

#include "tch-bridge/cpp/graph.h"

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

bool is_only_read(const Value* list) {
  return std::all_of(list->uses().begin(), list->uses().end(), [](const torch::jit::Use& use) {
    const auto* schema = use.user->maybeSchema();
    if (!schema || use.offset >= schema->arguments().size()) return false;
    return schema->arguments()[use.offset].alias_info() == nullptr && use.user->kind().is_aten();
  });
}

bool is_scalar(const c10::IValue& value) {
  if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    return std::all_of(elements.begin(), elements.end(), is_scalar);
  }
  return value.isNone() || value.isInt() || value.isDouble() || value.isBool() || value.isString() ||
         value.isDevice();
}

}  // namespace

std::vector<Folded> expand_tensor_lists(torch::jit::Graph& graph, const torch::jit::Module& owner,
                                        const std::unordered_set<std::string>& assigned) {
  std::vector<std::pair<Node*, Place>> reads;
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() != prim::GetAttr || !is_only_read(node->output())) return;
    auto place = resolve(*node, graph, owner);
    if (place && place->value().isTensorList()) reads.emplace_back(node, *place);
  });
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
  for (Node* node : graph.nodes()) {
    if (node->kind() != prim::GetAttr || assigned.count(node->s(attr::name))) continue;
    auto place = resolve(*node, graph, owner);
    if (place && is_scalar(place->value())) reads.emplace_back(node, *place);
  }
  for (auto& [node, place] : reads) {
    torch::jit::WithInsertPoint guard(node);
    Value* constant = graph.insertConstant(place.value());
    node->output()->replaceAllUsesWith(constant);
    node->destroy();
    folded.push_back(Folded{place.object, place.slot, place.value(), place.path, {}});
  }
}

}  // namespace tch_trt
