// Which values the caller can come to hold together with other handles to the same memory, and which are views that have to lie in
// memory as they do on the host.
//
// torch's alias analysis lumps together all that ever was in a list; here memory is followed from the node that made it
// through views, packings and branches to the results.
#include <memory>
#include <set>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;
namespace prim = torch::jit::prim;

namespace {

bool is_packing(const Node* node) {
  return node->kind() == prim::ListConstruct || node->kind() == prim::TupleConstruct ||
         node->kind() == prim::DictConstruct;
}

// Nodes whose results share memory with arguments and with nothing else.
bool passes_memory(const Node* node) {
  return is_packing(node) || node->kind() == prim::ListUnpack || node->kind() == prim::TupleUnpack ||
         node->kind() == prim::TupleIndex || node->kind() == prim::unchecked_cast ||
         (node->kind().is_aten() && node->maybeSchema() && node->blocks().empty());
}

// What changes its first argument, a list or a dict, to hold the others.
bool puts_into(const Node* node) {
  const auto* schema = node->maybeSchema();
  return schema && schema->is_mutable() && !node->input(0)->type()->isSubtypeOf(*c10::TensorType::get());
}

// What tells how a tensor lies in memory, or depends on it.
bool asks_how_it_lies(const Node* node) {
  return is_any_of(node, {"aten::stride", "aten::storage_offset", "aten::is_contiguous", "aten::as_strided",
                          "aten::as_strided_", "aten::is_set_to", "aten::is_non_overlapping_and_dense",
                          "aten::is_strides_like_format", "aten::sym_stride", "aten::sym_storage_offset"});
}

bool is_asked(const Value* value, std::set<const Value*>& seen) {
  if (!seen.insert(value).second) return false;
  for (const Use& use : value->uses()) {
    const Node* user = use.user;
    if (asks_how_it_lies(user)) return true;
    std::vector<const Value*> next;
    if (user->kind() == prim::Return) {
      const Node* around = user->owningBlock()->owningNode();
      if (around == nullptr) continue;
      if (around->kind() == prim::If) next.push_back(around->outputs().at(use.offset));
      if (around->kind() == prim::Loop && use.offset > 0) {
        next.push_back(around->outputs().at(use.offset - 1));
        next.push_back(around->blocks()[0]->inputs().at(use.offset));
      }
    } else if (user->kind() == prim::Loop && use.offset > 1) {
      next.push_back(user->outputs().at(use.offset - 2));
      next.push_back(user->blocks()[0]->inputs().at(use.offset - 1));
    } else if (puts_into(user) && use.offset > 0) {
      next.push_back(user->input(0));
    } else if (!is_pure(user) && passes_memory(user)) {
      next.insert(next.end(), user->outputs().begin(), user->outputs().end());
    }
    for (const Value* other : next) {
      if (holds_tensors(other->type()) && is_asked(other, seen)) return true;
    }
  }
  return false;
}

// Whether elements of the value overlap in memory, as windows do.
bool is_of_windows(const Value* value) {
  for (const Node* node = value->node();; node = node->input(0)->node()) {
    if (is_any_of(node, {"aten::unfold"})) return true;
    if (is_pure(node) || !node->kind().is_aten() || node->inputs().empty()) return false;
  }
}

struct Tracer {
  const torch::jit::Block* body;
  // Where the memory leaves to the caller: packings, what puts it into lists and dicts, and returns, by argument.
  std::set<std::pair<const Node*, size_t>> exits;
  std::set<const Value*> followed;
  // Somebody may keep it: an attribute, a list that grows, a loop.
  bool kept = false;
  // Lists and dicts that were followed because it was put into them.
  std::shared_ptr<std::set<const Value*>> holders = std::make_shared<std::set<const Value*>>();

  // Returns whether the caller gets memory of `value` from one of its uses; notes each such use in `exits`.
  bool follow(const Value* value) {
    if (!followed.insert(value).second) return false;
    bool leaves = false;
    for (const Use& use : value->uses()) leaves |= follow(use);
    return leaves;
  }

  bool follow(const Use& use) {
    const Node* user = use.user;
    if (is_pure(user)) return false;
    if (user == body->return_node()) {
      exits.emplace(user, use.offset);
      return true;
    }
    if (user->kind() == prim::Return) {
      const Node* choice = user->owningBlock()->owningNode();
      if (choice->kind() == prim::If) return follow(choice->outputs().at(use.offset));
      kept = true;
      return true;
    }
    if (user->kind() == prim::RaiseException || user->kind() == prim::Print || user->kind() == prim::If) return false;
    if (!passes_memory(user)) {
      kept = true;
      return true;
    }
    if (puts_into(user) && use.offset > 0) {
      bool leaves = follow_holder(user->input(0));
      if (leaves) exits.emplace(user, use.offset);
      // Each round may put an alias of the same memory there.
      kept |= leaves && is_in_loop(user);
      return leaves;
    }
    bool leaves = false;
    for (const Value* output : user->outputs()) leaves |= follow(output);
    if (leaves && is_packing(user)) exits.emplace(user, use.offset);
    return leaves;
  }

  // Returns whether the caller gets a list or dict that it was put into.
  bool follow_holder(const Value* holder) {
    if (!holders->insert(holder).second) return true;
    Tracer other{body, {}, {}, false, holders};
    bool leaves = other.follow(holder);
    kept |= other.kept;
    return leaves;
  }
};

// The values whose nodes made the memory of `value`; false where some of it is an argument's, an attribute's or unknown.
bool find_makers(const Value* value, std::set<const Value*>& makers, std::set<const Value*>& seen) {
  if (!seen.insert(value).second) return true;
  const Node* node = value->node();
  if (!holds_tensors(value->type())) return true;
  if (is_pure(node)) {
    makers.insert(value);
    return true;
  }
  if (node->kind() == prim::If) {
    return std::all_of(node->blocks().begin(), node->blocks().end(), [&](const torch::jit::Block* branch) {
      return find_makers(branch->outputs().at(value->offset()), makers, seen);
    });
  }
  if (!passes_memory(node)) return false;
  return std::all_of(node->inputs().begin(), node->inputs().end(),
                     [&](const Value* input) { return find_makers(input, makers, seen); });
}

}  // namespace

bool is_asked_how_it_lies(const Value* value) {
  std::set<const Value*> seen;
  return is_asked(value, seen);
}

bool is_shared(const Value* value) {
  const torch::jit::Block* body = value->owningGraph()->block();
  Tracer own{body, {}, {}};
  if (!own.follow(value)) return false;
  if (is_of_windows(value)) return true;
  std::set<const Value*> makers, seen;
  if (own.kept || !find_makers(value, makers, seen)) return true;
  Tracer all{body, {}, {}};
  for (const Value* maker : makers) all.follow(maker);
  return all.kept || all.exits.size() > own.exits.size() || own.exits.size() > 1;
}

}  // namespace tch_trt
