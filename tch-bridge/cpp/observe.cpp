// One run of an instrumented copy of a graph: after each value, `trt::observe` records what it holds.
#include <ATen/Context.h>
#include <torch/csrc/jit/runtime/custom_operator.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/custom_class.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;

namespace {

RawFact fact_of(const IValue& value) {
  RawFact fact{};
  fact.kind = kind_of(value);
  if (value.isInt()) fact.number = value.toInt();
  if (value.isBool()) fact.number = value.toBool();
  if (value.isDouble()) fact.real = value.toDouble();
  if (value.isList()) fact.number = static_cast<int64_t>(value.toListRef().size());
  if (fact.kind != ValueKind::Tensor) return fact;
  RawView seen = view(value.toTensor());
  fact.dtype = seen.dtype;
  fact.device = seen.device;
  fact.requires_grad = seen.requires_grad;
  fact.plain = seen.plain;
  if (!seen.plain) return fact;
  std::copy(seen.sizes, seen.sizes + seen.dim, std::back_inserter(fact.sizes));
  std::copy(seen.strides, seen.strides + seen.dim, std::back_inserter(fact.strides));
  return fact;
}

struct Observer : torch::CustomClassHolder {
  std::vector<RawSeen> seen;
  // Copies of the first contents of the values whose slots were put here.
  std::unordered_map<size_t, IValue> kept;
  std::mutex lock;

  void record(const IValue& value, size_t slot) {
    std::lock_guard<std::mutex> guard(lock);
    RawSeen& entry = seen[slot];
    RawFact fact = fact_of(value);
    if (entry.count++ == 0) {
      entry.first = fact;
      if (auto wanted = kept.find(slot); wanted != kept.end()) wanted->second = value.deepcopy();
    }
    entry.last = std::move(fact);
  }
};

const torch::jit::RegisterOperators observation({torch::jit::Operator(
    "trt::observe(Any value, int slot, Any observer) -> ()",
    [](torch::jit::Stack& stack) {
      auto observer = torch::jit::pop(stack).toCapsule();
      auto slot = static_cast<size_t>(torch::jit::pop(stack).toInt());
      static_cast<Observer&>(*observer).record(torch::jit::pop(stack), slot);
    },
    c10::AliasAnalysisKind::CONSERVATIVE)});

// What the host says of an in-place write whose result does not fit the type of what it is written to.
const torch::jit::RegisterOperators write_check({torch::jit::Operator(
    "trt::check_write(Tensor value, Tensor target) -> ()",
    [](torch::jit::Stack& stack) {
      auto target = torch::jit::pop(stack).toTensor();
      auto value = torch::jit::pop(stack).toTensor();
      TORCH_CHECK(c10::canCast(value.scalar_type(), target.scalar_type()), "result type ", value.scalar_type(),
                  " can't be cast to the desired output type ", target.scalar_type());
    },
    c10::AliasAnalysisKind::CONSERVATIVE)});

bool is_observed(const Value* value) {
  auto kind = value->node()->kind();
  if (kind == prim::GetAttr && value->type()->is_module()) return false;
  return kind != prim::Constant && kind != prim::Uninitialized && value->type()->kind() != c10::TypeKind::ClassType;
}

void observe_before(Node* place, Value* value, size_t slot, Value* observer) {
  torch::jit::Graph& graph = *value->owningGraph();
  torch::jit::WithInsertPoint guard(place);
  Value* number = graph.insertConstant(static_cast<int64_t>(slot));
  graph.insertNode(graph.create(c10::Symbol::fromQualString("trt::observe"), {value, number, observer}, 0));
}

// Takes away what only speaks: it was said, or will be.
void silence(torch::jit::Block* block) {
  for (auto at = block->nodes().begin(); at != block->nodes().end();) {
    Node* node = *at++;
    for (torch::jit::Block* inner : node->blocks()) silence(inner);
    if (node->kind() == prim::Print || is_any_of(node, {"aten::warn"})) node->destroy();
  }
}

// Puts copies in the place of the values, the module among them, that share with each other what those share; the host's random
// numbers go on afterwards as though none had been drawn.
class Rehearsal {
 public:
  explicit Rehearsal(std::vector<IValue>& values) {
    at::NoGradGuard guard;
    IValue all = IValue(c10::ivalue::Tuple::create(values)).deepcopy();
    values = all.toTupleRef().elements().vec();
    std::unordered_set<c10::Device> devices{c10::Device(at::kCPU)};
    all.visit([&](const IValue& value) {
      if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_cuda()) {
        devices.insert(value.toTensor().device());
      }
      return false;
    });
    for (c10::Device device : devices) remember(at::globalContext().defaultGenerator(device));
  }

  ~Rehearsal() {
    for (auto& [generator, state] : generators) {
      std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(state);
    }
  }

 private:
  void remember(at::Generator generator) {
    std::lock_guard<std::mutex> lock(generator.mutex());
    generators.emplace_back(generator, generator.get_state());
  }

  std::vector<std::pair<at::Generator, at::Tensor>> generators;
};

}  // namespace

rust::Vec<RawSeen> observe(const Graph& graph, Stack& stack, bool apart, rust::Slice<const uint32_t> wanted, Stack& kept) {
  auto copy = graph.graph->copy();
  Index index(*copy);
  Value* observer = copy->insertInput(1, "observer")->setType(c10::AnyType::get());
  for (size_t i = 0; i < index.values.size(); ++i) {
    Value* value = index.values[i];
    if (!is_observed(value)) continue;
    observe_before(value->node()->next(), value, i, observer);
  }
  for (Node* node : index.nodes) {
    if (!node->hasAttribute(kWrite)) continue;
    torch::jit::WithInsertPoint guard(node);
    copy->insertNode(copy->create(c10::Symbol::fromQualString("trt::check_write"), node->inputs(), 0));
  }
  if (apart) silence(copy->block());
  auto record = c10::make_intrusive<Observer>();
  record->seen.resize(index.values.size());
  for (size_t i = 0; i < record->seen.size(); ++i) record->seen[i].value = static_cast<uint32_t>(i);
  for (uint32_t id : wanted) record->kept.emplace(id, IValue());
  bind_arguments(graph.owner._ivalue(), graph.owner.get_method(graph.method).function(), stack.values);
  std::optional<Rehearsal> rehearsal;
  if (apart) rehearsal.emplace(stack.values);
  stack.values.insert(stack.values.begin() + 1, IValue::make_capsule(record));
  torch::jit::Code code(copy, graph.method);
  torch::jit::InterpreterState(code).run(stack.values);
  for (uint32_t id : wanted) kept.values.push_back(record->kept.at(id));
  rust::Vec<RawSeen> out;
  for (RawSeen& entry : record->seen) {
    if (entry.count > 0) out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace tch_trt
