// A method that asks its forms in turn, and calls the first one that fits, else the host's own:
//   if trt::fits((arguments...), self, form 0): method 0(arguments...)
//   else if ... else: host(arguments...)
#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

void add_method(const torch::jit::Module& to, const std::string& name, std::shared_ptr<torch::jit::Graph> graph,
                c10::FunctionSchema schema) {
  auto type = to.type();
  auto* function =
      to._ivalue()->compilation_unit()->create_function(c10::QualifiedName(*type->name(), name), std::move(graph));
  type->addMethod(function);
  function->setSchema(std::move(schema));
}

struct Selector {
  const torch::jit::Module& module;
  std::shared_ptr<torch::jit::Graph> graph;
  c10::TypePtr result;

  Value* call(const std::string& method) const {
    Node* node = graph->insertNode(graph->create(prim::CallMethod, graph->inputs()));
    node->s_(attr::name, method);
    return node->output()->setType(result);
  }

  // At the insertion point: the call of the first form from `at` on that fits.
  Value* choose(Value* arguments, rust::Slice<const rust::String> methods, rust::Slice<const rust::String> forms,
                size_t at, const std::string& host) const {
    if (at == methods.size()) return call(host);
    Value* self = graph->inputs()[0];
    Value* form = graph->insertGetAttr(self, std::string(forms[at]));
    Node* fits = graph->insertNode(graph->create(c10::Symbol::fromQualString("trt::fits"), {arguments, self, form}));
    fits->output()->setType(c10::BoolType::get());
    Node* choice = graph->insertNode(graph->create(prim::If, {fits->output()}));
    choice->output()->setType(result);
    Block* served = choice->addBlock();
    Block* rest = choice->addBlock();
    {
      torch::jit::WithInsertPoint guard(served);
      served->registerOutput(call(std::string(methods[at])));
    }
    {
      torch::jit::WithInsertPoint guard(rest);
      rest->registerOutput(choose(arguments, methods, forms, at + 1, host));
    }
    return choice->output();
  }
};

}  // namespace

void copy_method(const Module& from, rust::Str method, const Module& to, rust::Str name) {
  auto source = from.module.get_method(std::string(method));
  auto old_type = from.module.type();
  auto new_type = to.module.type();
  auto remap = [&](const c10::TypePtr& type) { return type == old_type ? c10::TypePtr(new_type) : type; };
  auto graph = source.graph()->copy();
  graph->remapTypes(remap);
  add_method(to.module, std::string(name), std::move(graph),
             source.function().getSchema().cloneWithRemappedTypes(remap));
}

void select_form(const Module& module, rust::Str name, rust::Str host, rust::Slice<const rust::String> methods,
                 rust::Slice<const rust::String> forms) {
  std::string fallback(host);
  auto original = module.module.get_method(fallback);
  const auto& schema = original.function().getSchema();
  auto graph = std::make_shared<torch::jit::Graph>();
  for (const c10::Argument& argument : schema.arguments()) graph->addInput(argument.name())->setType(argument.type());
  graph->inputs()[0]->setType(module.module.type());
  Value* arguments = graph->insertNode(graph->createTuple(graph->inputs().slice(1)))->output();
  Selector selector{module.module, graph, schema.returns().at(0).type()};
  graph->registerOutput(selector.choose(arguments, methods, forms, 0, fallback));
  graph->lint();
  add_method(module.module, std::string(name), graph, schema);
}

std::unique_ptr<Stack> method_defaults(const Method& method) {
  auto stack = std::make_unique<Stack>();
  const auto& arguments = method.method.function().getSchema().arguments();
  for (size_t at = arguments.size(); at > 1; --at) {
    stack->values.push_back(arguments[at - 1].default_value().value_or(c10::IValue()));
  }
  return stack;
}

}  // namespace tch_trt
