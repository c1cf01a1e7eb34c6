// A copy of a method's graph in the form that `extract`, `observe` and `stitch` expect: calls inlined, each
// attribute read once and first, scalars that are attributes folded, private in-place operators functional.
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

using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

// Reads each attribute once, at the top of the graph, in the order of first use. Attributes that the graph
// assigns stay where they are.
void hoist_attributes(torch::jit::Graph& graph, const torch::jit::Module& owner) {
  auto assigned = assigned_attributes(graph);
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

bool is_scalar(const c10::IValue& value) {
  if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    return std::all_of(elements.begin(), elements.end(), is_scalar);
  }
  return value.isNone() || value.isInt() || value.isDouble() || value.isBool() || value.isString() ||
         value.isDevice();
}

std::vector<Folded> fold_scalars(torch::jit::Graph& graph, const torch::jit::Module& owner) {
  auto assigned = assigned_attributes(graph);
  std::vector<std::pair<Node*, Place>> reads;
  for (Node* node : graph.nodes()) {
    if (node->kind() != prim::GetAttr || assigned.count(node->s(attr::name))) continue;
    auto place = resolve(*node, graph, owner);
    if (place && is_scalar(place->value())) reads.emplace_back(node, *place);
  }
  std::vector<Folded> folded;
  for (auto& [node, place] : reads) {
    torch::jit::WithInsertPoint guard(node);
    Value* constant = graph.insertConstant(place.value());
    node->output()->replaceAllUsesWith(constant);
    node->destroy();
    folded.push_back(Folded{place.object, place.slot, place.value(), place.path});
  }
  return folded;
}

}  // namespace

std::unique_ptr<Graph> prepare(const Module& module, rust::Str method, bool assume_ranks) {
  std::string name(method);
  auto found = module.module.find_method(name);
  if (!found) throw Failure(FailureKind::Argument, "the module has no method `" + name + "`");
  auto graph = found->graph()->copy();
  torch::jit::Inline(*graph);
  torch::jit::EraseShapeInformation(graph);
  hoist_attributes(*graph, module.module);
  auto folded = fold_scalars(*graph, module.module);
  torch::jit::ConstantPropagationImmutableTypes(graph);
  torch::jit::LowerSimpleTuples(graph);
  if (assume_ranks) {
    assume_rank_checks(graph);
    torch::jit::ConstantPropagationImmutableTypes(graph);
  }
  torch::jit::PeepholeOptimize(graph, /*disable_shape_peepholes=*/true);
  torch::jit::RemoveListMutation(graph);
  torch::jit::RemoveTensorMutation(graph);
  torch::jit::EliminateDeadCode(graph);
  split_packings(graph);
  graph->lint();
  return std::make_unique<Graph>(Graph{std::move(graph), module.module, std::move(name), std::move(folded)});
}

rust::String graph_text(const Graph& graph) { return rust::String::lossy(graph.graph->toString(false)); }

bool still_holds(const Graph& graph) {
  return std::all_of(graph.folded.begin(), graph.folded.end(),
                     [](const Folded& folded) { return folded.object->getSlot(folded.slot).is(folded.value); });
}

}  // namespace tch_trt
