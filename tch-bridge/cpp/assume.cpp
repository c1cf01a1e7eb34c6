// Branches that are the same for all calls of one kind: those on ranks, element types, devices and None-ness of the arguments, and on
// whether gradients are recorded or types cast automatically.
#include <ATen/autocast_mode.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/lower_tuples.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace aten = torch::jit::aten;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

bool is_tensor(const Value* value) { return value->type()->isSubtypeOf(*c10::TensorType::get()); }

// The same value twice, or one that is compared with None. Whether two tensors are one object is no matter of their kinds.
bool compares_with_none(const Node* node) {
  return node->input(0) == node->input(1) ||
         std::any_of(node->inputs().begin(), node->inputs().end(),
                     [](const Value* value) { return value->type()->kind() == c10::TypeKind::NoneType; });
}

// Whether nothing changes the list after it was made, be it that a branch hands it on.
bool stays_as_made(const Value* list) {
  const auto& uses = list->uses();
  return std::all_of(uses.begin(), uses.end(), [](const torch::jit::Use& use) {
    return only_reads(use) || use.user->kind() == prim::Return;
  });
}

// What follows from the kinds of the arguments and the modes of the call.
class Known {
 public:
  // What conditions were in a run of the graph.
  using Truths = std::unordered_map<const Value*, bool>;

  Known(const Truths& truths, const torch::jit::Graph& graph, const Graph& from) : truths(truths), graph(graph), from(from) {}

  // The attributes whose kinds were asked for.
  std::vector<Folded> relied;

  // A number, flag or string, or a list of those.
  bool scalar(const Value* value) {
    return remembered(scalars, value, [&] { return is_settled(value) && find_scalar(origin(value)); });
  }

 private:
  // The rank, element type and None-ness of a tensor.
  bool kind(const Value* value) {
    return remembered(kinds, value, [&] { return find_kind(origin(value)); });
  }

  // The length of a list.
  bool length(const Value* list) {
    return remembered(lengths, list, [&] { return is_settled(list) && find_length(origin(list)); });
  }

  using Memory = std::unordered_map<const Value*, bool>;

  template <typename Find>
  static bool remembered(Memory& memory, const Value* value, const Find& find) {
    if (auto found = memory.find(value); found != memory.end()) return found->second;
    return memory[value] = find();
  }

  // Where the value comes from, through branches that are known to be taken and out of tuples.
  const Value* origin(const Value* value) {
    const Node* node = value->node();
    if (node->kind() == prim::If) {
      auto truth = truths.find(node->input());
      if (truth == truths.end() || !scalar(node->input())) return value;
      return origin(node->blocks().at(truth->second ? 0 : 1)->outputs().at(value->offset()));
    }
    if (node->kind() == prim::TupleUnpack) {
      const Node* tuple = origin(node->input())->node();
      if (tuple->kind() == prim::TupleConstruct) return origin(tuple->input(value->offset()));
    }
    return value;
  }

  bool is_settled(const Value* value) {
    return !is_list(value) || (stays_as_made(value) && stays_as_made(origin(value)));
  }

  template <typename Holds>
  static bool in_both_branches(const Value* value, const Holds& holds) {
    auto branches = value->node()->blocks();
    return std::all_of(branches.begin(), branches.end(),
                       [&](const Block* branch) { return holds(branch->outputs().at(value->offset())); });
  }

  bool element(const Value* value) { return !holds_tensors(value->type()) || kind(value); }

  bool find_kind(const Value* value) {
    const Node* node = value->node();
    if (node->kind() == prim::Param) return node->owningBlock() == value->owningGraph()->block();
    if (node->kind() == prim::Constant) return true;
    if (node->kind() == prim::GetAttr) return attribute(*node);
    if (node->kind() == prim::If) {
      return scalar(node->input()) && in_both_branches(value, [&](const Value* made) { return kind(made); });
    }
    if (node->kind() == prim::unchecked_cast || node->kind() == prim::ListUnpack) return kind(node->input(0));
    bool keeps_form = is_any_of(node, {"trt::laid_as"});
    if ((!node->kind().is_aten() && !keeps_form) || !node->blocks().empty() ||
        is_any_of(node, {"aten::squeeze", "aten::index", "aten::nonzero", "aten::masked_select", "aten::_unwrap_optional",
                         "aten::__getitem__", "aten::get", "aten::pop", "aten::select_copy", "aten::item"})) {
      return false;
    }
    // Pools, resizing and padding keep the rank, whatever their lists say.
    bool keeps_rank = is_any_of(node, {"aten::adaptive_avg_pool1d", "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d",
                                       "aten::adaptive_max_pool1d", "aten::adaptive_max_pool2d", "aten::adaptive_max_pool3d",
                                       "aten::upsample_nearest2d", "aten::upsample_bilinear2d", "aten::upsample_bicubic2d",
                                       "aten::pad"});
    return std::all_of(node->inputs().begin(), node->inputs().end(), [&](const Value* input) {
      return is_list(input) ? keeps_rank || length(input) : element(input);
    });
  }

  // That of a tensor that no method sets, and only while it keeps its kind.
  bool attribute(const Node& read) {
    auto place = resolve(read, graph, from.owner);
    if (!place || from.assigned.count(read.s(attr::name)) > 0 || !place->value().isTensor()) return false;
    relied.push_back(Folded{place->object, place->slot, tensor_kind(place->value().toTensor()), place->path, {}});
    return true;
  }

  bool find_length(const Value* list) {
    const Node* node = list->node();
    if (node->kind() == prim::Constant) return true;
    if (node->kind() == prim::ListConstruct) {
      return std::all_of(node->inputs().begin(), node->inputs().end(), [&](const Value* input) { return element(input); });
    }
    if (is_any_of(node, {"aten::size"})) return kind(node->input(0));
    if (node->kind() == aten::list) return length(node->input(0));
    if (node->kind() == aten::slice && is_list(list)) {
      auto bounds = node->inputs().slice(1);
      return length(node->input(0)) &&
             std::all_of(bounds.begin(), bounds.end(), [&](const Value* bound) { return scalar(bound); });
    }
    return false;
  }

  bool find_scalar(const Value* value) {
    const Node* node = value->node();
    if (node->kind() == prim::Constant || reads_mode(node)) return true;
    if (is_any_of(node, {"aten::__is__", "aten::__isnot__"}) && !compares_with_none(node)) return false;
    if (is_any_of(node, {"aten::dim", "prim::dtype", "prim::device", "prim::is_cuda", "aten::is_floating_point",
                         "aten::is_complex", "prim::is_nested", "aten::__is__", "aten::__isnot__"})) {
      return std::all_of(node->inputs().begin(), node->inputs().end(), [&](const Value* input) { return kind(input); });
    }
    if (node->kind() == aten::len) {
      const Value* of = node->input();
      return of->type()->kind() == c10::TypeKind::StringType ? scalar(of) : length(of);
    }
    if (node->kind() == prim::If) {
      return scalar(node->input()) && in_both_branches(value, [&](const Value* made) { return scalar(made); });
    }
    if (is_any_of(node, {"aten::eq", "aten::ne", "aten::lt", "aten::le", "aten::gt", "aten::ge", "aten::__not__",
                         "aten::__and__", "aten::__or__", "aten::__contains__", "aten::all", "aten::any", "prim::type",
                         "prim::ListConstruct", "prim::TupleConstruct", "aten::add", "aten::sub"})) {
      return std::all_of(node->inputs().begin(), node->inputs().end(),
                         [&](const Value* input) { return !is_tensor(input) && scalar(input); });
    }
    return false;
  }

  const Truths& truths;
  const torch::jit::Graph& graph;
  const Graph& from;
  Memory scalars, kinds, lengths;
};

// Has optional arguments that are None in calls of this kind be None in the graph, also for what loops carry; whether any was used.
bool settle_nones(torch::jit::Graph& graph, const std::unordered_set<const Value*>& nones) {
  std::vector<Value*> settled;
  for (Value* argument : graph.inputs()) {
    if (nones.count(argument) > 0 && argument->hasUses() && argument->type()->kind() == c10::TypeKind::OptionalType) settled.push_back(argument);
  }
  if (settled.empty()) return false;
  torch::jit::WithInsertPoint guard(*graph.nodes().begin());
  Value* none = graph.insertConstant(c10::IValue());
  for (Value* argument : settled) argument->replaceAllUsesWith(none);
  return true;
}

}  // namespace

void forget_modes(Block* block) {
  for (auto at = block->nodes().rbegin(); at != block->nodes().rend(); ++at) {
    for (Block* inner : at->blocks()) forget_modes(inner);
    if (reads_mode(*at) && !at->hasUses()) at.destroyCurrent();
  }
}

uint8_t modes() {
  return static_cast<uint8_t>(at::GradMode::is_enabled() | at::autocast::is_autocast_enabled(at::kCPU) << 1 |
                              at::autocast::is_autocast_enabled(at::kCUDA) << 2);
}

bool graph_reads_modes(const Graph& graph) {
  bool found = false;
  each_node(graph.graph->block(), [&](Node* node) { found |= reads_mode(node); });
  return found;
}

std::unique_ptr<Graph> assume(const Graph& from, rust::Slice<const uint32_t> values, rust::Slice<const bool> truths,
                              rust::Slice<const uint32_t> nones) {
  auto graph = from.graph->copy();
  Index index(*graph);
  std::vector<std::pair<Node*, bool>> branches;
  Known::Truths all;
  for (size_t i = 0; i < values.size(); ++i) all.emplace(index.value(values[i]), truths[i]);
  Known known(all, *graph, from);
  for (size_t i = 0; i < values.size(); ++i) {
    Value* value = index.value(values[i]);
    if (!known.scalar(value)) continue;
    for (const auto& use : value->uses()) {
      if (use.user->kind() == prim::If) branches.emplace_back(use.user, truths[i]);
    }
  }
  std::unordered_set<const Value*> none;
  for (uint32_t id : nones) none.insert(index.value(id));
  if (!settle_nones(*graph, none) && branches.empty()) return nullptr;
  for (auto [node, condition] : branches) {
    torch::jit::WithInsertPoint guard(node);
    node->replaceInput(0, graph->insertConstant(condition));
  }
  {
    KeptEffects kept(*graph);
    torch::jit::ConstantPropagationImmutableTypes(graph);
    forget_modes(graph->block());
    torch::jit::LowerSimpleTuples(graph);
  }
  tidy(graph);
  auto folded = from.folded;
  for (Folded& one : known.relied) {
    bool is_known = std::any_of(folded.begin(), folded.end(), [&](const Folded& other) { return other.path == one.path; });
    if (!is_known) folded.push_back(std::move(one));
  }
  return std::make_unique<Graph>(Graph{std::move(graph), from.owner, from.method, std::move(folded), from.assigned});
}

}  // namespace tch_trt
