// A part of a graph as a module of its own.
#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

// Copies what the wanted values depend on, down to the given ones. What the source reads from its module becomes an
// attribute of the new one.
struct Carver {
  Carver(const Graph& source, torch::jit::Module module)
      : source(source), module(std::move(module)), self(graph->addInput("self")->setType(this->module.type())) {}

  const Graph& source;
  torch::jit::Module module;
  std::shared_ptr<torch::jit::Graph> graph = std::make_shared<torch::jit::Graph>();
  Value* self;
  std::unordered_map<Value*, Value*> copies;
  size_t attributes = 0;

  void give(Value* value) {
    Value* input = graph->addInput("x" + std::to_string(graph->inputs().size() - 1));
    copies.emplace(value, input->setType(value->type()));
  }

  Value* copy(Value* value) {
    if (auto known = copies.find(value); known != copies.end()) return known->second;
    Node* node = value->node();
    if (node->kind() == prim::Param || !node->blocks().empty()) {
      throw Failure(FailureKind::Graph, "%" + value->debugName() + " is needed and not given");
    }
    if (node->kind() == prim::GetAttr) {
      if (auto place = resolve(*node, *source.graph, source.owner)) return read(value, *place);
    }
    for (Value* input : node->inputs()) copy(input);
    Node* clone = graph->insertNode(graph->createClone(node, [&](Value* input) { return copy(input); }));
    for (size_t i = 0; i < node->outputs().size(); ++i) copies.emplace(node->output(i), clone->output(i));
    return copies.at(value);
  }

  Value* read(Value* value, const Place& place) {
    std::string name = "attribute" + std::to_string(attributes++);
    module.register_attribute(name, value->type(), place.value());
    return copies.emplace(value, graph->insertGetAttr(self, name)->setType(value->type())).first->second;
  }
};

}  // namespace

std::unique_ptr<Module> carve(const Graph& graph, rust::Slice<const uint32_t> inputs,
                              rust::Slice<const uint32_t> outputs) {
  torch::jit::Module module(c10::QualifiedName("__torch__.Carved"), std::make_shared<torch::jit::CompilationUnit>(), true);
  module.register_attribute("training", c10::BoolType::get(), false);
  Index index(*graph.graph);
  Carver carver(graph, module);
  for (uint32_t id : inputs) carver.give(index.value(id));
  std::vector<Value*> results;
  for (uint32_t id : outputs) results.push_back(carver.copy(index.value(id)));
  if (results.size() == 1) {
    carver.graph->registerOutput(results[0]);
  } else {
    carver.graph->registerOutput(carver.graph->insertNode(carver.graph->createTuple(results))->output());
  }
  carver.graph->lint();
  auto* function = module._ivalue()->compilation_unit()->create_function(
      c10::QualifiedName(*module.type()->name(), "forward"), carver.graph);
  module.type()->addMethod(function);
  return std::make_unique<Module>(Module{std::move(module)});
}

}  // namespace tch_trt
