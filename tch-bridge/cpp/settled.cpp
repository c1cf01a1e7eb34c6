#include "tch-bridge/cpp/settled.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/ir/constants.h>

namespace tch_trt {

namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;
using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;

namespace {

bool has_tag(const Node* node, at::Tag tag) {
  const auto* schema = node->maybeSchema();
  auto found = c10::Dispatcher::singleton().findSchema({schema->name(), schema->overload_name()});
  return found && found->hasTag(tag);
}

// An operator whose results depend on its arguments and the thread's modes alone.
bool is_function(const Node* node) {
  const auto* schema = node->maybeSchema();
  if (!schema || !node->blocks().empty() || node->hasSideEffects() || node->inputs().empty()) return false;
  return node->kind().is_aten() || is_any_of(node, {"prim::dtype", "prim::device", "prim::layout", "prim::is_cuda", "prim::is_nested",
                                                    "prim::NumToTensor", "prim::tolist", "prim::min", "prim::max",
                                                    "prim::abs", "prim::type", "trt::laid_as"});
}

bool is_random(const Node* node) { return node->isNondeterministic() || has_tag(node, at::Tag::nondeterministic_seeded); }

// What the form of a tensor tells.
bool asks_form(const Node* node) {
  return is_any_of(node, {"aten::size", "aten::dim", "aten::len", "aten::numel", "prim::dtype", "prim::device", "prim::layout",
                          "prim::is_cuda", "prim::is_nested", "aten::is_floating_point", "aten::is_complex",
                          "aten::__is__", "aten::__isnot__"});
}

// Whether two operands are one object is no matter of their forms; whether one is None is.
bool compares_tensors(const Node* node) {
  auto is_none = [](const Value* value) { return value->type()->kind() == c10::TypeKind::NoneType; };
  return is_any_of(node, {"aten::__is__", "aten::__isnot__"}) &&
         std::none_of(node->inputs().begin(), node->inputs().end(), is_none);
}

bool changes_list(const Node* node) {
  return is_any_of(node, {"aten::append", "aten::_set_item"}) && is_list(node->input(0));
}

// A list that the graph makes, and that only this value names.
bool is_own_list(const Value* value) {
  bool is_made = value->node()->kind() == prim::ListConstruct || is_any_of(value->node(), {"aten::copy", "aten::list"});
  return is_list(value) && is_made && std::all_of(value->uses().begin(), value->uses().end(), [](const torch::jit::Use& use) {
    bool changes = use.offset == 0 && changes_list(use.user) && !use.user->hasUses();
    return changes || only_reads(use);
  });
}

bool changes_something(Block* block) {
  bool found = false;
  each_node(block, [&](const Node* node) {
    const auto* schema = node->maybeSchema();
    bool changes = schema && schema->is_mutable() && !(changes_list(node) && is_own_list(node->input(0)));
    found |= node->kind() == prim::SetAttr || changes;
  });
  return found;
}

}  // namespace

SettledValues::SettledValues(const Graph& from, const std::shared_ptr<torch::jit::Graph>& graph)
    : from_(from), graph_(*graph), aliases_(graph), memory_(*graph, {}) {
  bool reshapes = false;
  each_node(graph->block(), [&](const Node* node) {
    reshapes |= reshapes_in_place(node);
  });
  if (reshapes) return;
  auto holds_only_tensors = [](auto&& self, const c10::TypePtr& type) -> bool {
    if (type->isSubtypeOf(*c10::TensorType::get()) || type->kind() == c10::TypeKind::NoneType) return true;
    auto inner = type->containedTypes();
    bool holder = type->kind() == c10::TypeKind::ListType || type->kind() == c10::TypeKind::TupleType ||
                  type->kind() == c10::TypeKind::OptionalType || type->kind() == c10::TypeKind::UnionType;
    return holder && std::all_of(inner.begin(), inner.end(), [&](const auto& one) { return self(self, one); });
  };
  for (const Value* input : graph->inputs().slice(1)) {
    if (holds_only_tensors(holds_only_tensors, input->type())) set(input, Settled::Form);
  }
  // Each round takes lists out, of which there are so many.
  do {
    found_unsettled_ = false;
    visit(graph->block());
  } while (found_unsettled_);
}

Settled SettledValues::of(const Value* value) const {
  auto found = settled_.find(value);
  return found == settled_.end() ? Settled::Nothing : found->second;
}

void SettledValues::set(const Value* value, Settled settled) {
  if (settled != Settled::Nothing && value->type()->kind() != c10::TypeKind::NoneType && is_written(value)) {
    bool holds = holds_tensors(value->type());
    bool keeps_form = value->type()->isSubtypeOf(*c10::TensorType::get());
    if (is_own_list(value)) {
      settled = unsettled_.count(value) > 0 ? Settled::Nothing : holds ? Settled::Form : settled;
    } else {
      settled = keeps_form ? Settled::Form : Settled::Nothing;
    }
  }
  settled_[value] = settled;
}

void SettledValues::visit(Block* block) {
  for (Node* node : block->nodes()) {
    if (node->kind() == prim::If) {
      branch(node);
    } else if (node->kind() == prim::Loop) {
      loop(node);
    } else if (node->kind() != prim::Enter) {
      if (changes_list(node)) change(node);
      for (const Value* value : node->outputs()) set(value, result(node, value));
    }
  }
}

// A list that is changed at settled places, to settled values, holds the same each time.
void SettledValues::change(const Node* node) {
  std::vector<const Value*> put(node->inputs().begin() + 1, node->inputs().end());
  if (runs_ && least(put) != Settled::Nothing) return;
  found_unsettled_ |= unsettled_.insert(node->input(0)).second;
}

void SettledValues::branch(Node* node) {
  bool known = of(node->input()) == Settled::Everything;
  bool ran = std::exchange(runs_, runs_ && known);
  for (Block* block : node->blocks()) visit(block);
  runs_ = ran;
  for (size_t i = 0; i < node->outputs().size(); ++i) {
    Settled settled = known ? Settled::Everything : Settled::Nothing;
    for (const Block* block : node->blocks()) settled = std::min(settled, of(block->outputs().at(i)));
    set(node->output(i), settled);
  }
}

// A loop of a settled number of rounds goes the same way each time.
void SettledValues::loop(Node* node) {
  Block* body = node->blocks().at(0);
  bool known = of(node->input(0)) == Settled::Everything && of(node->input(1)) == Settled::Everything;
  // What is carried on may be written in the next round.
  Settled most = changes_something(body) ? Settled::Form : Settled::Everything;
  std::vector<Settled> carried;
  for (const Value* value : node->inputs().slice(2)) carried.push_back(known ? std::min(most, of(value)) : Settled::Nothing);
  bool ran = runs_;
  for (bool stable = false; !stable;) {
    runs_ = ran && known;
    set(body->inputs().at(0), known ? Settled::Everything : Settled::Nothing);
    for (size_t i = 0; i < carried.size(); ++i) {
      bool is_number = !holds_tensors(body->inputs().at(i + 1)->type());
      set(body->inputs().at(i + 1), is_number && carried[i] == Settled::Form ? Settled::Nothing : carried[i]);
    }
    visit(body);
    stable = true;
    if (known && of(body->outputs().at(0)) != Settled::Everything) known = stable = false;
    for (size_t i = 0; i < carried.size(); ++i) {
      Settled next = known ? std::min(carried[i], of(body->outputs().at(i + 1))) : Settled::Nothing;
      stable &= next == carried[i];
      carried[i] = next;
    }
  }
  runs_ = ran;
  for (size_t i = 0; i < carried.size(); ++i) set(node->output(i), of(body->inputs().at(i + 1)));
}

Settled SettledValues::least(at::ArrayRef<const Value*> values) const {
  Settled settled = Settled::Everything;
  for (const Value* value : values) {
    Settled one = of(value);
    if (one == Settled::Form && !holds_tensors(value->type())) one = Settled::Nothing;
    settled = std::min(settled, one);
  }
  return settled;
}

Settled SettledValues::result(Node* node, const Value* value) {
  std::vector<const Value*> inputs(node->inputs().begin(), node->inputs().end());
  // Nobody reads what is not initialised.
  if (node->kind() == prim::Constant || node->kind() == prim::Uninitialized || reads_mode(node)) return Settled::Everything;
  if (node->kind() == prim::GetAttr) return attribute(node);
  Settled settled = least(inputs);
  if (settled == Settled::Nothing) return settled;
  bool is_number = !holds_tensors(value->type());
  if (node->kind() == prim::ListConstruct || node->kind() == prim::TupleConstruct) return settled;
  bool takes_apart = node->kind() == prim::ListUnpack || node->kind() == prim::TupleUnpack || node->kind() == prim::TupleIndex ||
                     node->kind() == prim::unchecked_cast || is_any_of(node, {"aten::_unwrap_optional", "prim::unchecked_unwrap_optional"});
  bool is_element = is_any_of(node, {"aten::__getitem__"}) && is_list(inputs[0]);
  if (takes_apart || is_element) return is_number ? Settled::Everything : settled;
  if (!is_function(node) || compares_tensors(node)) return Settled::Nothing;
  if (settled == Settled::Everything && !is_random(node)) return settled;
  if (is_number) return asks_form(node) ? Settled::Everything : Settled::Nothing;
  bool is_dict = value->type()->kind() == c10::TypeKind::DictType;
  return is_dict || may_have_any_shape(node) ? Settled::Nothing : Settled::Form;
}

Settled SettledValues::attribute(Node* node) {
  if (from_.assigned.count(node->s(attr::name)) > 0) return Settled::Nothing;
  if (read_.count(node) == 0) {
    auto place = resolve(*node, graph_, from_.owner);
    if (!place || !place->value().isTensor()) return Settled::Nothing;
    read_.emplace(node, relied_.size());
    relied_.push_back(Folded{place->object, place->slot, tensor_form(place->value().toTensor()), place->path, {}});
  }
  return Settled::Form;
}

// Positions, rather than a mask, in an attribute.
bool SettledValues::has_integers(const Value* value) const {
  const Node* node = value->node();
  if (is_any_of(node, {"aten::view", "aten::reshape", "aten::flatten", "aten::select", "aten::slice", "aten::contiguous"})) {
    return has_integers(node->input(0));
  }
  auto found = read_.find(node);
  if (found == read_.end()) return value->type()->kind() == c10::TypeKind::NoneType;
  auto type = static_cast<at::ScalarType>(relied_[found->second].value.toTupleRef().elements()[0].toInt());
  return type == at::kLong || type == at::kInt;
}

// Do elements decide the shape of the result?
bool SettledValues::may_have_any_shape(const Node* node) const {
  if (is_any_of(node, {"aten::index"})) {
    const Node* positions = node->input(1)->node();
    return positions->kind() != prim::ListConstruct ||
           !std::all_of(positions->inputs().begin(), positions->inputs().end(),
                        [&](const Value* value) { return has_integers(value); });
  }
  return has_tag(node, at::Tag::dynamic_output_shape) || has_tag(node, at::Tag::data_dependent_output) ||
         is_any_of(node, {"aten::argwhere", "aten::nonzero_numpy", "aten::one_hot", "aten::combinations", "aten::tensor_split",
                          "aten::repeat_interleave", "aten::masked_select", "aten::to_sparse", "aten::histogramdd",
                          "aten::unique_dim", "aten::_pack_padded_sequence", "aten::_pad_packed_sequence", "aten::linspace",
                          "aten::arange", "aten::range", "aten::embedding_bag", "aten::segment_reduce"}) ||
         (is_any_of(node, {"aten::where"}) && node->inputs().size() == 1);
}

}  // namespace tch_trt
