// A prepared graph with clusters as a new method of a module: each cluster's nodes become the else-branch of
//   %ok, %tensors, %ints = trt::try_run(inputs, ints, engine, the module)
//   outputs = prim::If(%ok) { unpack } else { the nodes }
// Where inputs could be None the first of these is in a branch of its own, which is taken if none is.
#include <map>

#include <torch/csrc/jit/ir/node_hashing.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

bool is_inside(const Node* node, const Block* block) {
  for (const Block* at = node->owningBlock(); at; at = at->owningNode() ? at->owningNode()->owningBlock() : nullptr) {
    if (at == block) return true;
  }
  return false;
}

struct Stitcher {
  Stitcher(const Graph& from, torch::jit::Module target, std::string name)
      : source(from),
        target(std::move(target)),
        name(std::move(name)),
        graph(from.graph->copy()),
        index(*graph),
        assigned(from.assigned) {}

  const Graph& source;
  torch::jit::Module target;
  // The new method's.
  std::string name;
  std::shared_ptr<torch::jit::Graph> graph;
  Index index;
  const std::unordered_set<std::string>& assigned;
  // What stands for an output of a cluster outside of it.
  std::unordered_map<Value*, Value*> exposed;

  // Constants and the attribute reads that `prepare` put on top: never moved, and no part of a cluster.
  bool is_read(Node* node) const {
    return node->kind() == prim::Constant || (node->kind() == prim::GetAttr && !assigned.count(node->s(attr::name)) &&
                                              resolve(*node, *graph, source.owner));
  }

  std::vector<Value*> values(const rust::Vec<uint32_t>& ids, const c10::TypePtr& type) {
    std::vector<Value*> out;
    auto optional = c10::OptionalType::create(type);
    for (uint32_t id : ids) {
      out.push_back(index.value(id));
      if (!out.back()->type()->isSubtypeOf(*optional)) {
        throw Failure(FailureKind::Graph, "%" + out.back()->debugName() + " crosses the border of a cluster as " +
                                              type->str() + " but is " + out.back()->type()->str());
      }
    }
    return out;
  }

  std::vector<Value*> visible(std::vector<Value*> values) const {
    for (Value*& value : values) {
      if (auto found = exposed.find(value); found != exposed.end()) value = found->second;
    }
    return values;
  }

  // Registers the engine as an attribute of the target and reads it at the top of the graph.
  Value* engine_value(const RawCluster& cluster, size_t number) {
    c10::IValue engine = make_engine(*cluster.engine, cluster.outputs.size(), cluster.int_outputs.size());
    std::string attribute = engine_prefix() + std::to_string(number);
    auto type = engine.type();
    target.register_attribute(attribute, type, std::move(engine));
    torch::jit::WithInsertPoint guard(*graph->nodes().begin());
    return graph->insertGetAttr(graph->inputs()[0], attribute);
  }

  // Puts the cluster before `end` and moves its nodes into the else-branch.
  void place(const RawCluster& cluster, size_t number, Node* end) {
    auto inputs = visible(values(cluster.inputs, c10::TensorType::get()));
    auto ints = visible(values(cluster.ints, c10::IntType::get()));
    auto outputs = values(cluster.outputs, c10::TensorType::get());
    auto int_outputs = values(cluster.int_outputs, c10::IntType::get());
    Value* engine = engine_value(cluster, number);
    torch::jit::WithInsertPoint guard(end);
    Node* call = guarded(inputs, ints, engine);
    Node* choice = graph->insertNode(graph->create(prim::If, {call->output(0)}, 0));
    Block* served = choice->addBlock();
    Block* host = choice->addBlock();
    unpack(served, call->output(1), outputs.size());
    unpack(served, call->output(2), int_outputs.size());
    for (uint32_t id : cluster.nodes) {
      Node* node = index.node(id);
      if (!is_read(node)) node->moveBefore(host->return_node());
    }
    expose(choice, host, outputs, apart(host, outputs));
    expose(choice, host, int_outputs, int_outputs);
    check_closed(cluster, host);
  }

  // The attempt, or what fails without one where inputs are None.
  Node* guarded(std::vector<Value*> inputs, std::vector<Value*> ints, Value* engine) {
    std::vector<Value*> given;
    for (const auto& list : {inputs, ints}) {
      std::copy_if(list.begin(), list.end(), std::back_inserter(given), is_optional);
    }
    if (given.empty()) return attempt(inputs, ints, engine);
    Value* none = graph->insertConstant(c10::IValue());
    Value* all = nullptr;
    for (Value* value : given) {
      Value* is_there = flag("aten::__isnot__", {value, none});
      all = all ? flag("aten::__and__", {all, is_there}) : is_there;
    }
    Node* choice = graph->insertNode(graph->create(prim::If, {all}, 0));
    auto ends_with = [](Block* block, std::vector<Value*> results) {
      for (Value* result : results) block->registerOutput(result);
    };
    {
      Block* block = choice->addBlock();
      torch::jit::WithInsertPoint inner(block);
      for (auto* list : {&inputs, &ints}) {
        for (Value*& value : *list) value = is_optional(value) ? present(value) : value;
      }
      Node* call = attempt(inputs, ints, engine);
      ends_with(block, {call->output(0), call->output(1), call->output(2)});
    }
    {
      Block* block = choice->addBlock();
      torch::jit::WithInsertPoint inner(block);
      Value* tensors = graph->insertNode(graph->createList(c10::TensorType::get(), {}))->output();
      Value* numbers = graph->insertNode(graph->createList(c10::IntType::get(), {}))->output();
      ends_with(block, {graph->insertConstant(false), tensors, numbers});
    }
    for (const auto& type : attempt_types()) choice->addOutput()->setType(type);
    return choice;
  }

  Node* attempt(const std::vector<Value*>& inputs, const std::vector<Value*>& ints, Value* engine) {
    Value* tensor_list = graph->insertNode(graph->createList(c10::TensorType::get(), inputs))->output();
    Value* int_list = graph->insertNode(graph->createList(c10::IntType::get(), ints))->output();
    Node* call = graph->insertNode(
        graph->create(c10::Symbol::fromQualString("trt::try_run"), {tensor_list, int_list, engine, graph->inputs()[0]}, 3));
    auto types = attempt_types();
    for (size_t i = 0; i < types.size(); ++i) call->output(i)->setType(types[i]);
    return call;
  }

  static std::array<c10::TypePtr, 3> attempt_types() {
    return {c10::BoolType::get(), c10::ListType::ofTensors(), c10::ListType::ofInts()};
  }

  static bool is_optional(const Value* value) { return value->type()->kind() == c10::TypeKind::OptionalType; }

  Value* flag(const char* name, std::vector<Value*> operands) {
    Node* node = graph->insertNode(graph->create(c10::Symbol::fromQualString(name), operands, 1));
    return node->output()->setType(c10::BoolType::get());
  }

  Value* present(Value* value) {
    Node* node = graph->insertNode(graph->create(prim::unchecked_cast, {value}, 1));
    return node->output()->setType(value->type()->expectRef<c10::OptionalType>().getElementType());
  }

  // Does the value tell whether an engine served?
  static bool tells_served(const Value* value) {
    const Node* node = value->node();
    if (node->kind() == prim::If) node = node->blocks().at(0)->outputs().at(value->offset())->node();
    return is_any_of(node, {"trt::try_run"});
  }

  void unpack(Block* served, Value* list, size_t count) {
    if (count == 0) return;
    Node* node = served->appendNode(graph->createListUnpack(list, count));
    for (Value* output : node->outputs()) served->registerOutput(output);
  }

  // The host branch's tensors, those that torch's executor would compute once copied: it does not see that both leave the branch, and
  // whoever writes one in place later is not to change the other.
  std::vector<Value*> apart(Block* host, std::vector<Value*> tensors) {
    if (tensors.size() < 2) return tensors;
    std::unordered_map<const Value*, const Value*> firsts;
    std::unordered_set<Node*, torch::jit::HashNode, torch::jit::EqualNode> constants;
    auto first = [&](const Value* value) {
      auto* node = const_cast<Node*>(value->node());
      if (node->kind() == prim::Constant) return static_cast<const Value*>((*constants.insert(node).first)->output());
      auto found = firsts.find(value);
      return found == firsts.end() ? value : found->second;
    };
    std::map<std::pair<c10::Symbol, std::vector<const Value*>>, const Value*> known;
    for (const Node* node : host->nodes()) {
      if (node->outputs().size() != 1 || !node->blocks().empty() || node->hasAttributes()) continue;
      std::vector<const Value*> inputs;
      for (const Value* input : node->inputs()) inputs.push_back(first(input));
      auto [there, is_new] = known.emplace(std::make_pair(node->kind(), std::move(inputs)), node->output());
      if (!is_new) firsts.emplace(node->output(), there->second);
    }
    std::unordered_set<const Value*> seen;
    torch::jit::WithInsertPoint guard(host->return_node());
    for (Value*& tensor : tensors) {
      if (seen.insert(first(tensor)).second) continue;
      Value* none = graph->insertConstant(c10::IValue());
      Node* copy = graph->insertNode(graph->create(torch::jit::aten::clone, {tensor, none}, 1));
      tensor = copy->output()->setType(tensor->type());
    }
    return tensors;
  }

  // Makes `values` outputs of the choice, which are `results` of the host branch, and sends the uses outside of that branch there.
  void expose(Node* choice, Block* host, const std::vector<Value*>& values, const std::vector<Value*>& results) {
    for (size_t i = 0; i < values.size(); ++i) {
      Value* value = values[i];
      auto uses = value->uses();
      host->registerOutput(results[i]);
      Value* output = choice->addOutput()->setType(value->type());
      exposed.emplace(value, output);
      for (const auto& use : uses) {
        if (!is_inside(use.user, host)) use.user->replaceInput(use.offset, output);
      }
    }
  }

  void check_closed(const RawCluster& cluster, Block* host) {
    for (uint32_t id : cluster.nodes) {
      Node* node = index.node(id);
      if (is_read(node)) continue;
      for (Value* output : node->outputs()) {
        for (const auto& use : output->uses()) {
          if (use.user != host->return_node() && !is_inside(use.user, host)) {
            throw Failure(FailureKind::Graph, "%" + output->debugName() + " leaves a cluster but is no output of it");
          }
        }
      }
    }
  }

  // Attributes that only one else-branch reads are read there, so that the engine's path does not pay for them.
  void sink_reads() {
    std::vector<Node*> reads;
    for (Node* node : graph->nodes()) {
      if (node->kind() == prim::GetAttr && !assigned.count(node->s(attr::name))) reads.push_back(node);
    }
    for (auto read = reads.rbegin(); read != reads.rend(); ++read) sink(*read);
  }

  void sink(Node* read) {
    std::unordered_map<Block*, std::vector<torch::jit::Use>> by_branch;
    for (const auto& use : read->output()->uses()) {
      Block* branch = host_branch(use.user);
      if (!branch) return;
      by_branch[branch].push_back(use);
    }
    for (auto& [branch, uses] : by_branch) {
      Node* copy = graph->createClone(read, [](Value* value) { return value; });
      branch->prependNode(copy);
      for (const auto& use : uses) use.user->replaceInput(use.offset, copy->output());
    }
    read->destroy();
  }

  // The outermost else-branch of a cluster that holds the node.
  Block* host_branch(Node* node) {
    for (Block* at = node->owningBlock(); at && at->owningNode(); at = at->owningNode()->owningBlock()) {
      bool is_host = at->owningNode()->kind() == prim::If && tells_served(at->owningNode()->input()) &&
                     at == at->owningNode()->blocks()[1];
      if (is_host && node != at->return_node()) {
        return at;
      }
    }
    return nullptr;
  }

  // In a shell, what the graph does to the module it does to the module inside.
  void reach_inside() {
    Value* self = graph->inputs()[0];
    torch::jit::WithInsertPoint guard(*graph->nodes().begin());
    Value* inside = graph->insertGetAttr(self, kInside);
    auto uses = self->uses();
    for (const auto& use : uses) {
      bool engine = use.user->kind() == prim::GetAttr && use.user->s(attr::name).rfind(engine_prefix(), 0) == 0;
      if (use.user != inside->node() && !engine) use.user->replaceInput(use.offset, inside);
    }
  }

  std::string engine_prefix() const { return name + "_engine_"; }

  void finish() {
    auto from = source.owner.type();
    auto to = target.type();
    auto remap = [&](const c10::TypePtr& type) { return type == from ? c10::TypePtr(to) : type; };
    if (to->findAttributeSlot(kInside)) {
      reach_inside();
    } else {
      graph->remapTypes(remap);
    }
    try {
      graph->lint();
    } catch (const c10::Error& e) {
      throw Failure(FailureKind::Graph, std::string("the order breaks a dependency: ") + e.what_without_backtrace());
    }
    auto schema = source.owner.get_method(source.method).function().getSchema().cloneWithRemappedTypes(remap);
    auto* function = target._ivalue()->compilation_unit()->create_function(
        c10::QualifiedName(*to->name(), name), graph);
    to->addMethod(function);
    function->setSchema(std::move(schema));
  }
};

}  // namespace

void stitch(const Graph& graph, const Module& target, rust::Str name, rust::Slice<const RawOrder> orders,
            rust::Slice<const RawCluster> clusters) {
  std::string method(name);
  if (target.module.find_method(method)) {
    throw Failure(FailureKind::Graph, "the target already has a method `" + method + "`");
  }
  Stitcher stitcher(graph, target.module, std::move(method));
  stitcher.graph->inputs()[0]->setType(target.module.type());
  for (const RawOrder& order : orders) {
    Node* end = stitcher.index.block(order.block)->return_node();
    for (const RawItem& item : order.items) {
      if (item.cluster) {
        if (item.index >= clusters.size()) throw Failure(FailureKind::Graph, "an order names an unknown cluster");
        stitcher.place(clusters[item.index], item.index, end);
      } else if (Node* node = stitcher.index.node(item.index); !stitcher.is_read(node)) {
        node->moveBefore(end);
      }
    }
  }
  stitcher.sink_reads();
  keep_dead_effects(*stitcher.graph);
  stitcher.finish();
}

}  // namespace tch_trt
