// A graph for calls of one set of sizes: numbers that follow from sizes are constants, branches on them go the way they went, and loops
// of so many rounds are laid out.
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/lower_tuples.h>

#include "tch-bridge/cpp/settled.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;

namespace {

// What one round makes constant can decide more in the next.
constexpr int kRounds = 12;

// No loop becomes more nodes than this.
constexpr int64_t kMostNodes = 2048;

int64_t nodes_in(Block* block) {
  int64_t count = 0;
  each_node(block, [&](const Node*) { ++count; });
  return count;
}

bool makes_tensors(const Node* node) {
  return node->kind() != prim::Constant && node->kind() != prim::GetAttr &&
         std::any_of(node->outputs().begin(), node->outputs().end(), [](const Value* value) { return holds_tensors(value->type()); });
}

// The branches and loops that give something or compute with tensors.
size_t control_nodes(torch::jit::Graph& graph) {
  size_t count = 0;
  each_node(graph.block(), [&](const Node* node) {
    if (node->kind() != prim::If && node->kind() != prim::Loop) return;
    bool matters = !node->outputs().empty();
    for (const Block* block : node->blocks()) {
      each_node(const_cast<Block*>(block), [&](const Node* inner) { matters |= makes_tensors(inner); });
    }
    count += matters ? 1 : 0;
  });
  return count;
}

bool is_scalar(const c10::TypePtr& type) {
  auto kind = type->kind();
  return kind == c10::TypeKind::IntType || kind == c10::TypeKind::FloatType || kind == c10::TypeKind::BoolType;
}

// Numbers, flags, and lists of them.
bool can_be_constant(const Value* value) {
  const auto& type = value->type();
  auto kind = value->node()->kind();
  if (kind == prim::Constant || kind == prim::Param || kind == prim::GetAttr) return false;
  if (auto list = type->cast<c10::ListType>()) return kind != prim::ListConstruct && is_scalar(list->getElementType());
  return is_scalar(type);
}

void make_constant(Value* value, const IValue& held) {
  auto& graph = *value->owningGraph();
  torch::jit::WithInsertPoint guard(value->node());
  Value* constant = nullptr;
  if (auto list = value->type()->cast<c10::ListType>()) {
    std::vector<Value*> elements;
    for (const IValue& element : held.toList()) elements.push_back(graph.insertConstant(element));
    constant = graph.insertNode(graph.createList(list->getElementType(), elements))->output();
  } else {
    constant = graph.insertConstant(held);
  }
  value->replaceAllUsesWith(constant);
}

// The rounds of a loop one after the other, where their number is constant.
bool lay_out(Node* loop) {
  Block* body = loop->blocks().at(0);
  auto rounds = torch::jit::constant_as<int64_t>(loop->input(0));
  auto enters = torch::jit::constant_as<bool>(loop->input(1)), goes_on = torch::jit::constant_as<bool>(body->outputs().at(0));
  if (!rounds || !enters || !goes_on) return false;
  int64_t count = *enters ? std::max<int64_t>(*goes_on ? *rounds : std::min<int64_t>(*rounds, 1), 0) : 0;
  if (count > kMostNodes || count * nodes_in(body) > kMostNodes) return false;
  auto& graph = *loop->owningGraph();
  torch::jit::WithInsertPoint guard(loop);
  std::vector<Value*> carried = loop->inputs().slice(2).vec();
  for (int64_t round = 0; round < count; ++round) {
    std::unordered_map<Value*, Value*> made{{body->inputs().at(0), graph.insertConstant(round)}};
    for (size_t i = 0; i < carried.size(); ++i) made.emplace(body->inputs().at(i + 1), carried[i]);
    auto known = [&](Value* value) {
      auto found = made.find(value);
      return found == made.end() ? value : found->second;
    };
    for (Node* node : body->nodes()) {
      Node* copy = graph.insertNode(graph.createClone(node, known));
      for (size_t i = 0; i < node->outputs().size(); ++i) made.emplace(node->output(i), copy->output(i));
    }
    for (size_t i = 0; i < carried.size(); ++i) carried[i] = known(body->outputs().at(i + 1));
  }
  for (size_t i = 0; i < carried.size(); ++i) loop->output(i)->replaceAllUsesWith(carried[i]);
  loop->destroy();
  return true;
}

bool lay_out_loops(Block* block) {
  bool any = false;
  for (auto at = block->nodes().begin(); at != block->nodes().end();) {
    Node* node = *at++;
    for (Block* inner : node->blocks()) any |= lay_out_loops(inner);
    if (node->kind() == prim::Loop) any |= lay_out(node);
  }
  return any;
}

// Whether each loop around the value went round once, all in all.
bool in_one_round(const Value* value, const Index& index, const std::unordered_map<uint32_t, uint64_t>& counts) {
  const Block* block = value->node()->owningBlock();
  while (const Node* owner = block->owningNode()) {
    if (owner->kind() == prim::Loop) {
      auto rounds = counts.find(index.value_ids.at(block->inputs().at(0)));
      if (rounds == counts.end() || rounds->second != 1) return false;
    }
    block = owner->owningBlock();
  }
  return true;
}

// Makes constants of what is settled, as one run shows it; whether there was something.
bool fold_settled(Graph& graph, const std::vector<IValue>& arguments, bool apart) {
  Index index(*graph.graph);
  std::vector<uint32_t> wanted;
  {
    SettledValues settled(graph, graph.graph);
    for (size_t i = 0; i < index.values.size(); ++i) {
      const Value* value = index.values[i];
      if (settled.of(value) == Settled::Everything && can_be_constant(value) && value->hasUses() && !settled.is_written(value)) {
        wanted.push_back(static_cast<uint32_t>(i));
      }
    }
    if (wanted.empty()) return false;
    for (const Folded& one : settled.relied()) {
      auto same = [&](const Folded& other) { return other.path == one.path && !other.value.isTensorList(); };
      auto known = std::find_if(graph.folded.begin(), graph.folded.end(), same);
      if (known == graph.folded.end()) graph.folded.push_back(one);
      else known->value = one.value;
    }
  }
  Stack stack{arguments}, kept;
  std::unordered_map<uint32_t, uint64_t> counts;
  for (const RawSeen& seen : observe(graph, stack, apart, {wanted.data(), wanted.size()}, kept)) counts[seen.value] = seen.count;
  bool any = false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    // One that was computed once may be computed in several rounds of a loop, and be another in each.
    if (counts[wanted[i]] != 1 || !in_one_round(index.value(wanted[i]), index, counts)) continue;
    make_constant(index.value(wanted[i]), kept.values.at(i));
    any = true;
  }
  return any;
}

}  // namespace

std::unique_ptr<Graph> settle_sizes(const Graph& from, const Stack& arguments, bool apart) {
  bool decided = false;
  Graph graph{from.graph->copy(), from.owner, from.method, from.folded, from.assigned};
  for (int round = 0; round < kRounds; ++round) {
    size_t before = control_nodes(*graph.graph);
    if (before == 0) break;
    bool any = fold_settled(graph, arguments.values, apart);
    std::optional<KeptEffects> draws(std::in_place, *graph.graph);
    torch::jit::ConstantPropagationImmutableTypes(graph.graph);
    bool fewer = control_nodes(*graph.graph) < before;
    bool laid_out = lay_out_loops(graph.graph->block());
    decided |= fewer || laid_out;
    if (!any && !fewer && !laid_out) break;
    torch::jit::ConstantPropagationImmutableTypes(graph.graph);
    forget_modes(graph.graph->block());
    torch::jit::LowerSimpleTuples(graph.graph);
    draws.reset();
    tidy(graph.graph);
  }
  if (!decided) return nullptr;
  return std::make_unique<Graph>(std::move(graph));
}

}  // namespace tch_trt
