// Writes to memory that nobody else sees become values: `x.relu_()` is `relu(x)` from there on, and a write through a view is a
// scatter into what the view shows.
//
// The memory is that of a value whose node makes fresh memory, in the block of the write. All its aliases then come from the
// uses of that value. Those before the write that only read are no concern; views are made anew of the new value; where anything
// else may hold the memory and is used after the write, the write stays as it is.
#include <unordered_set>

#include <torch/csrc/jit/ir/constants.h>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Block;
using JitGraph = torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;
namespace aten = torch::jit::aten;
namespace prim = torch::jit::prim;

namespace {

bool has_alias(const std::vector<c10::Argument>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [](const c10::Argument& argument) { return argument.alias_info() != nullptr; });
}

}  // namespace

bool may_give_its_argument(const Node* node) {
  // A product of two or more has memory of its own.
  if (is_any_of(node, {"aten::einsum"}) && node->input(1)->node()->kind() == prim::ListConstruct &&
      node->input(1)->node()->inputs().size() > 1) {
    return false;
  }
  return is_any_of(node, {"aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout",
                          "aten::type_as", "aten::einsum", "aten::_unsafe_view", "aten::atleast_1d", "aten::atleast_2d",
                          "aten::atleast_3d", "aten::pixel_shuffle", "aten::pixel_unshuffle", "aten::meshgrid",
                          "aten::broadcast_tensors", "aten::_to_copy", "aten::data", "aten::unsafe_chunk",
                          "aten::unsafe_split", "aten::unsafe_split_with_sizes"});
}

bool reshapes_in_place(const Node* node) {
  return is_any_of(node, {"aten::resize_", "aten::resize_as_", "aten::_resize_output_", "aten::set_", "aten::set_data",
                          "aten::squeeze_", "aten::unsqueeze_", "aten::t_", "aten::transpose_", "aten::swapaxes_",
                          "aten::swapdims_", "aten::as_strided_"});
}

bool is_pure(const Node* node) {
  // It may give its first argument, which nothing else reads: see `Write::lay`.
  if (is_any_of(node, {"trt::laid_as"})) return true;
  const auto* schema = node->maybeSchema();
  // `list(t[] l) -> t[]` and its like: a list of their own, but of the very elements.
  auto of_any_type = [](const c10::Argument& result) { return result.type()->hasFreeVariables(); };
  return schema && std::none_of(schema->returns().begin(), schema->returns().end(), of_any_type) && (node->kind().is_aten() || is_any_of(node, {"prim::dtype", "prim::device", "prim::layout"})) &&
         node->blocks().empty() && !node->hasSideEffects() && !may_give_its_argument(node) &&
         !has_alias(schema->arguments()) && !has_alias(schema->returns());
}

namespace {

// Dropout in evaluation: it gives its argument.
bool is_idle_dropout(const Node* node) {
  if (!is_any_of(node, {"aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::dropout_",
                        "aten::feature_dropout_", "aten::alpha_dropout_"})) {
    return false;
  }
  auto train = torch::jit::constant_as<bool>(node->input(2));
  return train && !*train;
}

// Views that `put_back` inverts.
bool is_view(const Node* node) {
  if (!is_any_of(node, {"aten::select", "aten::slice", "aten::narrow", "aten::diagonal", "aten::transpose", "aten::t",
                        "aten::view", "aten::unsqueeze", "aten::squeeze", "aten::alias"})) {
    return false;
  }
  auto inputs = node->inputs();
  bool by_number = std::all_of(inputs.begin() + 1, inputs.end(), [](const Value* value) {
    auto kind = value->type()->kind();
    return kind == c10::TypeKind::IntType || kind == c10::TypeKind::ListType || kind == c10::TypeKind::OptionalType ||
           kind == c10::TypeKind::NoneType;
  });
  bool reinterprets = node->kind() == aten::view && inputs[1]->type()->kind() != c10::TypeKind::ListType;
  return by_number && !reinterprets && inputs[0]->type()->isSubtypeOf(*c10::TensorType::get());
}

// Whether the value is memory that its node made: also where each branch of a choice makes it.
bool is_made_here(const Value* value) {
  const Node* node = value->node();
  if (node->kind() != prim::If) return is_pure(node);
  return std::all_of(node->blocks().begin(), node->blocks().end(), [&](const Block* branch) {
    const Value* made = branch->outputs().at(value->offset());
    const auto& uses = made->uses();
    return made->node()->owningBlock() == branch && is_pure(made->node()) &&
           std::all_of(uses.begin(), uses.end(), [&](const Use& use) {
             return is_pure(use.user) || (use.user == branch->return_node() && use.offset == value->offset());
           });
  });
}

// The whole of what `view` showed of `base`, with `part` in its place.
Value* put_back(JitGraph& graph, Node* view, Value* base, Value* part) {
  auto make = [&](const char* name, std::vector<Value*> inputs) {
    return graph.insertNode(graph.create(c10::Symbol::fromQualString(name), inputs))->output();
  };
  auto rest = view->inputs().slice(1).vec();
  auto with_rest = [&](const char* name) {
    std::vector<Value*> inputs{base, part};
    inputs.insert(inputs.end(), rest.begin(), rest.end());
    return make(name, inputs);
  };
  if (view->kind() == aten::select) return with_rest("aten::select_scatter");
  if (view->kind() == aten::slice) return with_rest("aten::slice_scatter");
  if (is_any_of(view, {"aten::diagonal"})) return with_rest("aten::diagonal_scatter");
  if (is_any_of(view, {"aten::transpose"})) return make("aten::transpose", {part, rest[0], rest[1]});
  if (view->kind() == aten::t) return make("aten::t", {part});
  if (is_any_of(view, {"aten::alias"})) return part;
  if (is_any_of(view, {"aten::narrow"})) {
    Value* end = make("aten::add", {rest[1], rest[2]});
    end->setType(c10::IntType::get());
    return make("aten::slice_scatter", {base, part, rest[0], rest[1], end, graph.insertConstant(int64_t{1})});
  }
  return make("aten::reshape_as", {part, base});
}

// The operator of a write without the write; empty where the node is no write of its first argument alone.
std::string functional_name(const Node* node) {
  const auto* schema = node->maybeSchema();
  if (!schema || !node->kind().is_aten() || node->outputs().size() != 1 || node->isNondeterministic()) return "";
  const auto& arguments = schema->arguments();
  auto writes = [](const c10::Argument& argument) { return argument.alias_info() && argument.alias_info()->isWrite(); };
  if (arguments.empty() || !writes(arguments[0]) || std::count_if(arguments.begin(), arguments.end(), writes) != 1 ||
      !node->output()->type()->isSubtypeOf(*c10::TensorType::get())) {
    return "";
  }
  std::string name = node->kind().toQualString();
  if (is_any_of(node, {"aten::resize_", "aten::resize_as_", "aten::set_", "aten::requires_grad_", "aten::_resize_output_"})) {
    return "";
  }
  if (name.rfind("aten::__i", 0) == 0) return "aten::__" + name.substr(std::strlen("aten::__i"));
  if (name.size() < 2 || name.back() != '_' || name[name.size() - 2] == '_') return "";
  name.pop_back();
  return name;
}

// Whether the result of the operator without the write always has the element type of its first argument.
bool keeps_type(const Node* node) {
  return is_any_of(node, {"aten::masked_fill_", "aten::masked_scatter_", "aten::index_put_", "aten::index_fill_",
                          "aten::index_copy_", "aten::index_add_", "aten::index_reduce_", "aten::scatter_",
                          "aten::scatter_add_", "aten::scatter_reduce_"});
}

// Whether that is so unless the host refuses the write: of whole numbers what only floating-point ones hold, say.
bool keeps_type_or_fails(const Node* node) {
  auto inputs = node->inputs().slice(1);
  bool tensors = std::any_of(inputs.begin(), inputs.end(), [](const Value* value) {
    return value->type()->isSubtypeOf(*c10::TensorType::get());
  });
  return !tensors && !is_any_of(node, {"aten::eq_", "aten::ne_", "aten::lt_", "aten::le_", "aten::gt_", "aten::ge_",
                                       "aten::logical_not_"});
}

bool is_same_number(const Value* a, const Value* b) {
  if (a == b) return true;
  auto x = torch::jit::toIValue(a), y = torch::jit::toIValue(b);
  return x && y && (x->isInt() || x->isNone()) && *x == *y;
}

// Whether both show the same of the same memory, given that their first arguments do.
bool is_same_view(const Node* a, const Node* b) {
  auto x = a->inputs().slice(1), y = b->inputs().slice(1);
  return a == b || (a->kind() == b->kind() && std::equal(x.begin(), x.end(), y.begin(), y.end(), is_same_number));
}

std::optional<int64_t> number(const Value* value) {
  auto constant = torch::jit::toIValue(value);
  return constant && constant->isInt() ? std::optional(constant->toInt()) : std::nullopt;
}

// Whether the view, a row or a slice, ends at or before the place where the other one along the axis begins.
bool ends_before(const Node* view, const Node* other) {
  const Value* start = other->input(2);
  auto first = number(start);
  if (view->kind() == aten::select) {
    auto row = number(view->input(2));
    return row && first && (*row < 0) == (*first < 0) && *row < *first;
  }
  const Value* end = view->input(3);
  auto last = number(end);
  bool meet = end == start && end->type()->kind() == c10::TypeKind::IntType;
  return meet || (last && first && (*last < 0) == (*first < 0) && *last <= *first);
}

// Whether two views of one value, neither the same, have no element in common: rows, or slices one after the other.
bool are_apart(const Node* a, const Node* b) {
  auto along = [](const Node* view) { return view->kind() == aten::select || view->kind() == aten::slice; };
  if (!along(a) || !along(b) || !is_same_number(a->input(1), b->input(1))) return false;
  bool rows = a->kind() == aten::select && b->kind() == aten::select;
  return rows || ends_before(a, b) || ends_before(b, a);
}

struct Write {
  JitGraph& graph;
  Node* node;
  // Results of `put_back` and of casts: memory of their own.
  std::unordered_set<const Value*>& fresh;
  // From the written value to the base.
  std::vector<Node*> chain;
  Value* base = nullptr;
  // Views of the base, in any order.
  std::vector<Node*> views;

  bool is_after(const Node* user) const { return user != node && user->isAfter(node); }

  bool find_base() {
    base = node->input(0);
    while (is_view(base->node()) && base->node()->owningBlock() == node->owningBlock()) {
      chain.push_back(base->node());
      base = base->node()->input(0);
    }
    if (base->node()->owningBlock() != node->owningBlock()) return false;
    return fresh.count(base) > 0 || is_made_here(base);
  }

  // Whether something is read, other than what is written, that may share elements with it: the host refuses that, or sees some
  // of them written already.
  bool overlaps_partly() const {
    auto others = node->inputs().slice(1);
    return std::any_of(others.begin(), others.end(), [&](Value* other) { return shows_base(other) && !is_apart(other); });
  }

  bool shows_base(const Value* value) const {
    if (value == base) return true;
    if (is_pure(value->node())) return false;
    auto from = value->node()->inputs();
    return std::any_of(from.begin(), from.end(), [&](const Value* input) { return shows_base(input); });
  }

  // Whether `other` is what is written, or a view of the base that shares no element with it.
  bool is_apart(Value* other) const {
    std::vector<Node*> views;
    for (; other != base && is_view(other->node()); other = other->node()->input(0)) views.push_back(other->node());
    if (other != base) return false;
    auto mine = chain.rbegin();
    auto theirs = views.rbegin();
    while (mine != chain.rend() && theirs != views.rend() && is_same_view(*mine, *theirs)) ++mine, ++theirs;
    if (mine == chain.rend() && theirs == views.rend()) return true;
    return mine != chain.rend() && theirs != views.rend() && are_apart(*mine, *theirs);
  }

  // Whether every alias that comes from `value` is a view that can be made anew, or (unless `renewable`) is used no more.
  bool accounts_for(Value* value, bool renewable) {
    for (const Use& use : value->uses()) {
      Node* user = use.user;
      if (user == node) continue;
      if (is_after(user)) {
        if (!renewable) return false;
        continue;
      }
      if (is_pure(user)) continue;
      // Views that were made before would be made anew of another shape.
      if (reshapes_in_place(user)) return false;
      if (user->owningBlock() != node->owningBlock() || !user->blocks().empty()) return false;
      bool view = renewable && is_view(user) && use.offset == 0;
      bool passes = view || user->kind() == prim::ListConstruct || user->kind() == prim::TupleConstruct ||
                    (user->kind().is_aten() && user->maybeSchema() && only_tensors_written(user));
      if (!passes) return false;
      if (view) views.push_back(user);
      for (Value* output : user->outputs()) {
        if (!accounts_for(output, view)) return false;
      }
    }
    return true;
  }

  // An operator that puts its arguments into no list or dict.
  static bool only_tensors_written(const Node* user) {
    const auto& arguments = user->maybeSchema()->arguments();
    for (size_t i = 0; i < arguments.size(); ++i) {
      bool written = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
      if (written && !user->input(i)->type()->isSubtypeOf(*c10::TensorType::get())) return false;
    }
    return true;
  }

  // What the written value holds after the write; null where the operator has no such form.
  Value* result(const std::string& name) {
    Value* old = node->input(0);
    auto make = [&](const char* kind, std::vector<Value*> inputs) {
      return graph.insertNode(graph.create(c10::Symbol::fromQualString(kind), inputs))->output();
    };
    Value* none = graph.insertConstant(c10::IValue());
    auto spread = [&](Value* value) {
      return make("aten::clone", {make("aten::expand_as", {make("aten::type_as", {value, old}), old}), none});
    };
    if (is_any_of(node, {"aten::copy_"})) return spread(node->input(1));
    if (is_any_of(node, {"aten::zero_"})) return make("aten::zeros_like", {old, none, none, none, none, none});
    if (is_any_of(node, {"aten::fill_"})) {
      bool tensor = node->input(1)->type()->isSubtypeOf(*c10::TensorType::get());
      if (tensor) return spread(node->input(1));
      return make("aten::full_like", {old, node->input(1), none, none, none, none, none});
    }
    Node* pure = graph.create(c10::Symbol::fromQualString(name), node->inputs());
    if (!pure->maybeSchema() || !is_pure(pure)) {
      pure->destroy();
      return nullptr;
    }
    Value* value = graph.insertNode(pure)->output();
    // `laid_as` refuses what the host does.
    if (keeps_type(node) || (chain.empty() && keeps_type_or_fails(node))) return value;
    // Marked for `observe`: the host refuses a write of floating-point numbers into whole ones, and one that needs more room.
    Value* cast = make("aten::type_as", {value, old});
    cast->node()->i_(kWrite, 1);
    return make("aten::expand_as", {cast, old});
  }

  // The new value of the base with the strides of the old one, as a write leaves it. What puts a part back keeps them.
  Value* lay(Value* value) {
    if (is_any_of(value->node(), {"aten::slice_scatter", "aten::select_scatter", "aten::diagonal_scatter"})) return value;
    return graph.insertNode(graph.create(c10::Symbol::fromQualString("trt::laid_as"), {value, base}))->output();
  }

  // Whether nobody sees what is written, though the host may fail on the way: `view` does where memory does not allow it.
  bool may_only_fail() const {
    if (std::none_of(chain.begin(), chain.end(), [](const Node* view) { return is_any_of(view, {"aten::view"}); })) return false;
    auto is_seen = [&](const Value* value) {
      return std::any_of(value->uses().begin(), value->uses().end(), [&](const Use& use) { return is_after(use.user); });
    };
    if (is_seen(base) || node->output()->hasUses()) return false;
    return std::none_of(views.begin(), views.end(), [&](const Node* view) { return is_seen(view->output()); });
  }

  bool replace() {
    std::string name = functional_name(node);
    if (name.empty() || !find_base() || overlaps_partly() || !accounts_for(base, true) || may_only_fail()) return false;
    torch::jit::WithInsertPoint guard(node);
    Node* before = node->prev();
    Value* value = result(name);
    if (!value) return false;
    for (Node* view : chain) value = put_back(graph, view, view->input(0), value);
    value = lay(value);
    // What stands for the write stands in its line.
    for (Node* made = before->next(); made != node; made = made->next()) made->copyMetadata(node);
    fresh.insert(value);
    std::sort(views.begin(), views.end(), [](const Node* a, const Node* b) { return a->isBefore(b); });
    std::unordered_map<Value*, Value*> renewed{{base, value}};
    for (Node* view : views) {
      Node* again = graph.createClone(view, [&](Value* input) {
        auto found = renewed.find(input);
        return found == renewed.end() ? input : found->second;
      });
      renewed.emplace(view->output(), graph.insertNode(again)->output());
    }
    Value* written = renewed.at(node->input(0));
    for (auto [before, after] : renewed) before->replaceAllUsesAfterNodeWith(node, after);
    node->output()->replaceAllUsesWith(written);
    node->destroy();
    return true;
  }
};

void make_functional(JitGraph& graph, Block* block, std::unordered_set<const Value*>& fresh) {
  for (auto at = block->nodes().begin(); at != block->nodes().end();) {
    Node* node = *at++;
    for (Block* inner : node->blocks()) make_functional(graph, inner, fresh);
    if (is_idle_dropout(node)) {
      // In place or not, its result is its argument.
      node->output()->replaceAllUsesWith(node->input(0));
      node->destroy();
    } else {
      Write{graph, node, fresh, {}, nullptr, {}}.replace();
    }
  }
}

}  // namespace

void make_writes_functional(const std::shared_ptr<torch::jit::Graph>& graph) {
  // Within `with torch.no_grad()` a write keeps the history that a value without gradient would lose.
  bool modes = false;
  each_node(graph->block(), [&](Node* node) { modes |= node->kind() == prim::Enter; });
  if (modes) return;
  std::unordered_set<const Value*> fresh;
  make_functional(*graph, graph->block(), fresh);
}

}  // namespace tch_trt
