#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace aten = torch::jit::aten;
namespace prim = torch::jit::prim;

namespace {

bool raises(Block* block) {
  for (Node* node : block->nodes()) {
    if (node->kind() == prim::RaiseException) return true;
  }
  return false;
}

bool is_any_of(Node* node, std::initializer_list<const char*> names) {
  const char* kind = node->kind().toQualString();
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return std::strcmp(kind, name) == 0; });
}

bool rank_only(Value* value);

// Whether the length of a list follows from ranks alone.
bool has_rank_only_length(Value* list) {
  Node* node = list->node();
  if (is_any_of(node, {"aten::size", "prim::ListConstruct", "prim::Constant"})) return true;
  if (node->kind() == aten::list) return has_rank_only_length(node->input(0));
  if (node->kind() == aten::slice && list->type()->kind() == c10::TypeKind::ListType) {
    return has_rank_only_length(node->input(0)) &&
           std::all_of(node->inputs().begin() + 1, node->inputs().end(), rank_only);
  }
  return false;
}

// Whether ranks, dtypes, devices and None-ness of tensors alone determine the value.
bool rank_only(Value* value) {
  Node* node = value->node();
  if (node->kind() == prim::Constant) return true;
  if (is_any_of(node, {"aten::dim", "prim::dtype", "prim::device", "prim::is_cuda", "aten::is_floating_point",
                       "aten::__is__", "aten::__isnot__"})) {
    return true;
  }
  if (node->kind() == aten::len) return has_rank_only_length(node->input());
  if (node->kind() == prim::If) {
    if (!rank_only(node->input())) return false;
    for (Block* block : node->blocks()) {
      if (!rank_only(block->outputs().at(value->offset()))) return false;
    }
    return true;
  }
  if (is_any_of(node, {"aten::eq", "aten::ne", "aten::lt", "aten::le", "aten::gt", "aten::ge", "aten::__not__",
                       "aten::__and__", "aten::__or__", "aten::__contains__", "prim::ListConstruct",
                       "prim::TupleConstruct", "aten::add", "aten::sub"})) {
    return std::all_of(node->inputs().begin(), node->inputs().end(), [](Value* input) {
      return !input->type()->isSubtypeOf(*c10::TensorType::get()) && rank_only(input);
    });
  }
  return false;
}

}  // namespace

void assume_rank_checks(const std::shared_ptr<torch::jit::Graph>& graph) {
  std::vector<std::pair<Node*, bool>> known;
  each_node(graph->block(), [&](Node* node) {
    if (node->kind() != prim::If || !rank_only(node->input())) return;
    bool then_raises = raises(node->blocks()[0]), else_raises = raises(node->blocks()[1]);
    if (then_raises != else_raises) known.emplace_back(node, else_raises);
  });
  for (auto [node, condition] : known) {
    torch::jit::WithInsertPoint guard(node);
    node->replaceInput(0, graph->insertConstant(condition));
  }
}

}  // namespace tch_trt
