// Branches that are the same for all arguments of one kind: those on ranks, element types, devices and None-ness.
#include <torch/csrc/jit/passes/constant_propagation.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace aten = torch::jit::aten;
namespace prim = torch::jit::prim;

namespace {

bool is_tensor(const Value* value) { return value->type()->isSubtypeOf(*c10::TensorType::get()); }

bool rank_only(const Value* value);

bool all_rank_only(at::ArrayRef<const Value*> values) { return std::all_of(values.begin(), values.end(), rank_only); }

// Whether the length of a list follows from the kinds of the arguments.
bool has_known_length(const Value* list);

// Whether the rank, element type and None-ness of a tensor follow from those of the arguments.
bool has_known_kind(const Value* value) {
  const Node* node = value->node();
  if (node->kind() == prim::Param) return node->owningBlock() == value->owningGraph()->block();
  if (node->kind() == prim::Constant || node->kind() == prim::GetAttr) return true;
  if (node->kind() == prim::If) {
    return rank_only(node->input()) &&
           std::all_of(node->blocks().begin(), node->blocks().end(), [&](const Block* branch) {
             return has_known_kind(branch->outputs().at(value->offset()));
           });
  }
  if (node->kind() == prim::unchecked_cast || node->kind() == prim::ListUnpack) return has_known_kind(node->input(0));
  if (!node->kind().is_aten() || !node->blocks().empty() ||
      is_any_of(node, {"aten::squeeze", "aten::index", "aten::nonzero", "aten::masked_select", "aten::_unwrap_optional",
                       "aten::__getitem__", "aten::get", "aten::pop", "aten::select_copy", "aten::item"})) {
    return false;
  }
  return std::all_of(node->inputs().begin(), node->inputs().end(), [](const Value* input) {
    if (input->type()->kind() == c10::TypeKind::ListType) return has_known_length(input);
    return !holds_tensors(input->type()) || has_known_kind(input);
  });
}

bool has_known_length(const Value* list) {
  const Node* node = list->node();
  if (node->kind() == prim::Constant) return true;
  if (node->kind() == prim::ListConstruct) {
    return std::all_of(node->inputs().begin(), node->inputs().end(),
                       [](const Value* input) { return !holds_tensors(input->type()) || has_known_kind(input); });
  }
  if (is_any_of(node, {"aten::size"})) return has_known_kind(node->input(0));
  if (node->kind() == aten::list) return has_known_length(node->input(0));
  if (node->kind() == aten::slice && list->type()->kind() == c10::TypeKind::ListType) {
    return has_known_length(node->input(0)) && all_rank_only(node->inputs().slice(1));
  }
  return false;
}

bool rank_only(const Value* value) {
  const Node* node = value->node();
  if (node->kind() == prim::Constant) return true;
  if (is_any_of(node, {"aten::dim", "prim::dtype", "prim::device", "prim::is_cuda", "aten::is_floating_point",
                       "aten::is_complex", "prim::is_nested", "aten::__is__", "aten::__isnot__"})) {
    return std::all_of(node->inputs().begin(), node->inputs().end(), has_known_kind);
  }
  if (node->kind() == aten::len) return has_known_length(node->input());
  if (node->kind() == prim::If) {
    return rank_only(node->input()) &&
           std::all_of(node->blocks().begin(), node->blocks().end(), [&](const Block* branch) {
             return rank_only(branch->outputs().at(value->offset()));
           });
  }
  if (is_any_of(node, {"aten::eq", "aten::ne", "aten::lt", "aten::le", "aten::gt", "aten::ge", "aten::__not__",
                       "aten::__and__", "aten::__or__", "aten::__contains__", "prim::ListConstruct",
                       "prim::TupleConstruct", "aten::add", "aten::sub"})) {
    return std::all_of(node->inputs().begin(), node->inputs().end(),
                       [](const Value* input) { return !is_tensor(input) && rank_only(input); });
  }
  return false;
}

}  // namespace

std::unique_ptr<Graph> assume(const Graph& from, rust::Slice<const uint32_t> values, rust::Slice<const bool> truths) {
  auto graph = from.graph->copy();
  Index index(*graph);
  std::vector<std::pair<Node*, bool>> known;
  for (size_t i = 0; i < values.size(); ++i) {
    Value* value = index.value(values[i]);
    if (!rank_only(value)) continue;
    for (const auto& use : value->uses()) {
      if (use.user->kind() == prim::If) known.emplace_back(use.user, truths[i]);
    }
  }
  if (known.empty()) return nullptr;
  for (auto [node, condition] : known) {
    torch::jit::WithInsertPoint guard(node);
    node->replaceInput(0, graph->insertConstant(condition));
  }
  torch::jit::ConstantPropagationImmutableTypes(graph);
  tidy(graph);
  return std::make_unique<Graph>(Graph{std::move(graph), from.owner, from.method, from.folded, from.assigned});
}

}  // namespace tch_trt
