// A copy of a method's graph in the form that `extract`, `observe` and `stitch` expect: calls inlined, each
// attribute read once and first, scalars that are attributes folded, private in-place operators functional.
#include <ATen/autocast_mode.h>
#include <torch/csrc/jit/passes/autocast.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/passes/lower_tuples.h>
#include <torch/csrc/jit/passes/peephole.h>
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/csrc/jit/passes/shape_analysis.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

namespace {

// `x + 0` and its like by numbers that are constants here only because they are attributes. To torch's peephole such a sum is
// its operand; to the host, which does not know the number, it is a new tensor, of another element type at times.
struct Neutral {
  explicit Neutral(torch::jit::Graph& graph) : graph(graph) {
    each_node(graph.block(), [&](torch::jit::Node* node) {
      if (!is_any_of(node, {"aten::add", "aten::sub", "aten::mul", "aten::div", "aten::pow"})) return;
      if (node->inputs().size() < 2 || !holds_tensors(node->input(0)->type())) return;
      auto number = torch::jit::toIValue(node->input(1));
      if (!number || !(number->isInt() || number->isDouble())) return;
      torch::jit::Value* stand_in = graph.addInput()->setType(node->input(1)->type());
      stand_ins.emplace_back(std::move(*number), stand_in);
      node->replaceInput(1, stand_in);
    });
  }

  ~Neutral() {
    torch::jit::WithInsertPoint guard(*graph.nodes().begin());
    for (auto at = stand_ins.rbegin(); at != stand_ins.rend(); ++at) {
      if (at->second->hasUses()) at->second->replaceAllUsesWith(graph.insertConstant(at->first));
      graph.eraseInput(graph.inputs().size() - 1);
    }
  }

  torch::jit::Graph& graph;
  // The number, and what stands for it.
  std::vector<std::pair<c10::IValue, torch::jit::Value*>> stand_ins;
};

// Says in the graph what `with torch.autocast(...)` casts within it, as torch's executor does before it runs one. Whether the thread
// itself casts is no matter of the graph: such calls are the host's.
void spell_out_casts(std::shared_ptr<torch::jit::Graph>& graph) {
  bool scopes = false;
  each_node(graph->block(), [&](torch::jit::Node* node) { scopes |= node->kind() == torch::jit::prim::Enter; });
  if (!scopes || !torch::jit::autocastEnabled()) return;
  KeptEffects kept(*graph);
  torch::jit::ConstantPropagationImmutableTypes(graph);
  struct Outside {
    Outside() {
      for (auto [device, on] : was) at::autocast::set_autocast_enabled(device, false);
    }
    ~Outside() {
      for (auto [device, on] : was) at::autocast::set_autocast_enabled(device, on);
    }
    std::array<std::pair<at::DeviceType, bool>, 2> was{{{at::kCPU, at::autocast::is_autocast_enabled(at::kCPU)},
                                                       {at::kCUDA, at::autocast::is_autocast_enabled(at::kCUDA)}}};
  } outside;
  torch::jit::Autocast(graph);
}

}  // namespace

std::unique_ptr<Graph> prepare(const Module& module, rust::Str method) {
  std::string name(method);
  auto found = module.module.find_method(name);
  if (!found) throw Failure(FailureKind::Argument, "the module has no method `" + name + "`");
  auto graph = found->graph()->copy();
  torch::jit::Inline(*graph);
  torch::jit::EraseShapeInformation(graph);
  torch::jit::PeepholeOptimize(graph, /*disable_shape_peepholes=*/true);
  spell_out_casts(graph);
  drop_dead_draws(graph);
  note_writes(*graph);
  drop_idle_assignments(*graph);
  auto assigned = assigned_attributes(*graph, module.module);
  auto folded = expand_tensor_lists(*graph, module.module, assigned);
  hoist_attributes(*graph, module.module, assigned);
  fold_scalars(*graph, module.module, assigned, folded);
  {
    KeptEffects kept(*graph);
    torch::jit::ConstantPropagationImmutableTypes(graph);
    torch::jit::LowerSimpleTuples(graph);
  }
  tidy(graph);
  return std::make_unique<Graph>(
      Graph{std::move(graph), module.module, std::move(name), std::move(folded), std::move(assigned)});
}

void tidy(const std::shared_ptr<torch::jit::Graph>& graph) {
  {
    KeptEffects kept(*graph);
    fold_nones(graph);
    Neutral neutral(*graph);
    torch::jit::PeepholeOptimize(graph, /*disable_shape_peepholes=*/true);
  }
  // Each clears the way for the other: a list may hold what is written, a write may stand between a list and its growth.
  for (int round = 0; round < 2; ++round) {
    make_writes_functional(graph);
    make_containers_functional(*graph);
    torch::jit::RemoveListMutation(graph);
  }
  {
    KeptEffects kept(*graph);
    torch::jit::EliminateDeadCode(graph);
  }
  split_packings(graph);
  graph->lint();
}

rust::String graph_text(const Graph& graph) { return rust::String::lossy(graph.graph->toString(false)); }

bool still_holds(const Graph& graph) {
  return std::all_of(graph.folded.begin(), graph.folded.end(), [](const Folded& folded) {
    return holds_still(folded.object->getSlot(folded.slot), folded.value);
  });
}

}  // namespace tch_trt
