// Flags and None that are the same in every run, whatever the arguments are, also where loops carry them from round to round.
//
// torch's constant propagation stops at a loop: `targets` that a caller left out is None before it, and what each round makes of it
// while it is None is None again.
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/lower_tuples.h>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace aten = torch::jit::aten;
namespace prim = torch::jit::prim;

namespace {

// A branch that goes hands on what the next one asks for.
constexpr int kFolds = 8;

enum class Always : uint8_t {
  Unknown,
  None,
  True,
  False,
};

class Constants {
 public:
  explicit Constants(Block* body) { visit(body); }

  Always of(const Value* value) const {
    auto found = always_.find(value);
    return found == always_.end() ? Always::Unknown : found->second;
  }

 private:
  void visit(Block* block) {
    for (Node* node : block->nodes()) {
      if (node->kind() == prim::If) {
        branch(node);
      } else if (node->kind() == prim::Loop) {
        loop(node);
      } else {
        for (Block* inner : node->blocks()) visit(inner);
        if (node->outputs().size() == 1) always_[node->output()] = result(node);
      }
    }
  }

  void branch(Node* node) {
    for (Block* block : node->blocks()) visit(block);
    Always condition = of(node->input());
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      Always yes = of(node->blocks().at(0)->outputs().at(i)), no = of(node->blocks().at(1)->outputs().at(i));
      always_[node->output(i)] = condition == Always::True    ? yes
                                 : condition == Always::False ? no
                                 : yes == no                  ? yes
                                                              : Always::Unknown;
    }
  }

  // What is carried is what it was before the loop, as long as a round that starts so ends so.
  void loop(Node* node) {
    Block* body = node->blocks().at(0);
    std::vector<Always> carried;
    for (const Value* value : node->inputs().slice(2)) carried.push_back(of(value));
    for (bool stable = false; !stable;) {
      for (size_t i = 0; i < carried.size(); ++i) always_[body->inputs().at(i + 1)] = carried[i];
      visit(body);
      stable = true;
      for (size_t i = 0; i < carried.size(); ++i) {
        if (carried[i] == Always::Unknown || of(body->outputs().at(i + 1)) == carried[i]) continue;
        carried[i] = Always::Unknown;
        stable = false;
      }
    }
    for (size_t i = 0; i < carried.size(); ++i) always_[node->output(i)] = carried[i];
  }

  Always result(const Node* node) const {
    auto flag = [](bool is) { return is ? Always::True : Always::False; };
    if (node->kind() == prim::Constant) {
      if (node->mustBeNone()) return Always::None;
      if (node->output()->type()->kind() != c10::TypeKind::BoolType) return Always::Unknown;
      return flag(*torch::jit::constant_as<bool>(node->output()));
    }
    if (is_any_of(node, {"aten::__is__", "aten::__isnot__"})) {
      bool none = of(node->input(0)) == Always::None && of(node->input(1)) == Always::None;
      return none ? flag(is_any_of(node, {"aten::__is__"})) : Always::Unknown;
    }
    if (is_any_of(node, {"aten::__not__"})) {
      Always operand = of(node->input(0));
      return operand == Always::True ? Always::False : operand == Always::False ? Always::True : Always::Unknown;
    }
    return Always::Unknown;
  }

  std::unordered_map<const Value*, Always> always_;
};

}  // namespace

namespace {

// Replaces the flags by constants; whether there were any.
bool fold(std::shared_ptr<torch::jit::Graph>& graph) {
  Constants constants(graph->block());
  std::vector<Value*> flags;
  each_node(graph->block(), [&](Node* node) {
    if (node->kind() == prim::Constant) return;
    for (Value* value : node->outputs()) {
      Always always = constants.of(value);
      if ((always == Always::True || always == Always::False) && value->hasUses()) flags.push_back(value);
    }
  });
  for (Value* value : flags) {
    torch::jit::WithInsertPoint guard(value->node());
    value->replaceAllUsesWith(graph->insertConstant(constants.of(value) == Always::True));
  }
  if (flags.empty()) return false;
  torch::jit::ConstantPropagationImmutableTypes(graph);
  torch::jit::LowerSimpleTuples(graph);
  return true;
}

}  // namespace

void fold_nones(const std::shared_ptr<torch::jit::Graph>& graph) {
  std::shared_ptr<torch::jit::Graph> whole = graph;
  for (int round = 0; round < kFolds && fold(whole); ++round) {
  }
}

}  // namespace tch_trt
