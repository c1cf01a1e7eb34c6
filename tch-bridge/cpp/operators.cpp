// Calls of single operators by name.
#include <set>

#include <torch/csrc/jit/runtime/operator.h>

#include "tch-bridge/cpp/calls.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;

namespace {

// The value as a parameter of this type holds it: torch's operators unpack their arguments without conversions. As in
// TorchScript source, one value stands for a list of it.
IValue as_type(const IValue& value, const c10::TypePtr& type) {
  if (auto optional = type->cast<c10::OptionalType>()) {
    return value.isNone() ? value : as_type(value, optional->getElementType());
  }
  if (auto list = type->cast<c10::ListType>(); list && value.isList()) {
    auto wanted = list->getElementType();
    std::vector<IValue> elements;
    for (const IValue& element : value.toListRef()) elements.push_back(as_type(element, wanted));
    bool open = wanted->kind() == c10::TypeKind::VarType;
    if (open) wanted = elements.empty() ? c10::TypePtr(c10::TensorType::get()) : elements[0].type();
    c10::impl::GenericList typed(wanted);
    for (IValue& element : elements) typed.push_back(std::move(element));
    return typed;
  }
  if (auto list = type->cast<c10::ListType>(); list && !value.isNone()) {
    c10::impl::GenericList single(list->getElementType());
    single.push_back(as_type(value, list->getElementType()));
    return single;
  }
  if (type->kind() == c10::TypeKind::FloatType && value.isInt()) return static_cast<double>(value.toInt());
  if (type->kind() == c10::TypeKind::DeviceObjType && value.isString()) return c10::Device(value.toStringRef());
  return value;
}

}  // namespace

bool operator_exists(rust::Str name, rust::Str overload) {
  std::string base(name), wanted(overload);
  auto colons = base.find("::");
  if (colons == std::string::npos || colons == 0 || colons + 2 == base.size()) return false;
  const auto& found = torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(base));
  return std::any_of(found.begin(), found.end(), [&](const auto& candidate) {
    return wanted.empty() || candidate->schema().overload_name() == wanted;
  });
}

rust::Vec<rust::String> operator_names() {
  std::set<std::string> names;
  for (const auto& op : torch::jit::getAllOperators()) {
    const auto& schema = op->schema();
    names.insert(schema.overload_name().empty() ? schema.name() : schema.name() + "." + schema.overload_name());
  }
  rust::Vec<rust::String> out;
  for (const std::string& name : names) out.push_back(name);
  return out;
}

void call_operator(rust::Str name, rust::Str overload, Stack& stack) {
  std::string base(name), wanted(overload);
  for (const auto& candidate : torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(base))) {
    const auto& schema = candidate->schema();
    if (schema.overload_name() != wanted) continue;
    const auto& parameters = schema.arguments();
    if (!schema.is_vararg() && parameters.size() != stack.values.size()) {
      throw Failure(FailureKind::Argument, "wrong number of arguments for " + toString(schema));
    }
    for (size_t at = 0; at < std::min(parameters.size(), stack.values.size()); ++at) {
      stack.values[at] = as_type(stack.values[at], parameters[at].type());
    }
    candidate->getOperation()(stack.values);
    return;
  }
  throw Failure(FailureKind::Operator, base + (wanted.empty() ? "" : "." + wanted));
}

}  // namespace tch_trt
