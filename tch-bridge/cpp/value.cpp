// IValues by a stack: the Rust side builds and reads nested values without seeing their C++ types.
#include <ATen/core/Dict.h>
#include <ATen/core/List.h>

#include "tch-bridge/cpp/calls.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;

namespace {

IValue take(Stack& stack) {
  if (stack.values.empty()) throw Failure(FailureKind::Argument, "the value stack is empty");
  IValue value = std::move(stack.values.back());
  stack.values.pop_back();
  return value;
}

std::vector<IValue> take(Stack& stack, size_t count) {
  auto first = stack.values.end() - static_cast<std::ptrdiff_t>(count);
  std::vector<IValue> taken(std::make_move_iterator(first), std::make_move_iterator(stack.values.end()));
  stack.values.erase(first, stack.values.end());
  return taken;
}

// The type that all of the values share, or Any.
c10::TypePtr shared_type(const std::vector<IValue>& values) {
  if (values.empty()) return c10::AnyType::get();
  auto type = values[0].isTensor() ? c10::TypePtr(c10::TensorType::get()) : values[0].type();
  for (const auto& value : values) {
    if (!value.type()->isSubtypeOf(*type)) return c10::AnyType::get();
  }
  return type;
}

template <typename T>
rust::Vec<T> copied(const c10::List<T>& list) {
  rust::Vec<T> out;
  out.reserve(list.size());
  for (const auto& element : list) out.push_back(static_cast<T>(element));
  return out;
}

template <typename T>
void push_list(Stack& stack, rust::Slice<const T> values) {
  c10::List<T> list;
  list.reserve(values.size());
  for (T value : values) list.push_back(value);
  stack.values.emplace_back(std::move(list));
}

}  // namespace

std::unique_ptr<Stack> new_stack() { return std::make_unique<Stack>(); }
size_t stack_len(const Stack& stack) { return stack.values.size(); }

void push_none(Stack& stack) { stack.values.emplace_back(); }
void push_tensor(Stack& stack, const at::Tensor& value) { stack.values.emplace_back(value); }
void push_double(Stack& stack, double value) { stack.values.emplace_back(value); }
void push_int(Stack& stack, int64_t value) { stack.values.emplace_back(value); }
void push_bool(Stack& stack, bool value) { stack.values.emplace_back(value); }
void push_string(Stack& stack, rust::Str value) { stack.values.emplace_back(std::string(value)); }
void push_device(Stack& stack, RawDevice value) {
  stack.values.emplace_back(c10::Device(static_cast<c10::DeviceType>(value.kind), value.index));
}
void push_ints(Stack& stack, rust::Slice<const int64_t> values) { push_list(stack, values); }
void push_doubles(Stack& stack, rust::Slice<const double> values) { push_list(stack, values); }
void push_bools(Stack& stack, rust::Slice<const bool> values) { push_list(stack, values); }
void push_ivalue(Stack& stack, const IValue* value) { stack.values.push_back(*value); }

void pack_strings(Stack& stack, size_t count) {
  c10::List<std::string> list;
  for (auto& value : take(stack, count)) list.push_back(value.toStringRef());
  stack.values.emplace_back(std::move(list));
}

void pack_tensors(Stack& stack, size_t count) {
  c10::List<at::Tensor> list;
  for (auto& value : take(stack, count)) list.push_back(std::move(value).toTensor());
  stack.values.emplace_back(std::move(list));
}

void pack_list(Stack& stack, size_t count) {
  auto values = take(stack, count);
  c10::impl::GenericList list(shared_type(values));
  for (auto& value : values) list.push_back(std::move(value));
  stack.values.emplace_back(std::move(list));
}

void pack_tuple(Stack& stack, size_t count) {
  stack.values.emplace_back(c10::ivalue::Tuple::create(take(stack, count)));
}

void pack_dict(Stack& stack, size_t pairs) {
  auto flat = take(stack, 2 * pairs);
  std::vector<IValue> keys, values;
  for (size_t i = 0; i < pairs; ++i) {
    keys.push_back(flat[2 * i]);
    values.push_back(flat[2 * i + 1]);
  }
  auto key_type = pairs == 0 ? c10::TypePtr(c10::StringType::get()) : shared_type(keys);
  c10::impl::GenericDict dict(key_type, shared_type(values));
  for (size_t i = 0; i < pairs; ++i) dict.insert(keys[i], values[i]);
  stack.values.emplace_back(std::move(dict));
}

ValueKind kind_of(const IValue& value) {
  if (value.isNone()) return ValueKind::None;
  if (value.isTensor()) return value.toTensor().defined() ? ValueKind::Tensor : ValueKind::None;
  if (value.isDouble()) return ValueKind::Double;
  if (value.isInt()) return ValueKind::Int;
  if (value.isBool()) return ValueKind::Bool;
  if (value.isString()) return ValueKind::String;
  if (value.isDevice()) return ValueKind::Device;
  if (value.isIntList()) return ValueKind::IntList;
  if (value.isDoubleList()) return ValueKind::DoubleList;
  if (value.isBoolList()) return ValueKind::BoolList;
  if (value.isTensorList()) return ValueKind::TensorList;
  if (value.isList()) {
    auto list = value.toList();
    return list.elementType()->kind() == c10::TypeKind::StringType ? ValueKind::StringList : ValueKind::List;
  }
  if (value.isTuple()) return ValueKind::Tuple;
  if (value.isGenericDict()) return ValueKind::Dict;
  return ValueKind::Other;
}

ValueKind top_kind(const Stack& stack) {
  if (stack.values.empty()) throw Failure(FailureKind::Argument, "the value stack is empty");
  return kind_of(stack.values.back());
}

void pop(Stack& stack) { take(stack); }
at::Tensor* pop_tensor(Stack& stack) { return new at::Tensor(take(stack).toTensor()); }
double pop_double(Stack& stack) { return take(stack).toDouble(); }
int64_t pop_int(Stack& stack) { return take(stack).toInt(); }
bool pop_bool(Stack& stack) { return take(stack).toBool(); }
rust::String pop_string(Stack& stack) { return rust::String::lossy(take(stack).toStringRef()); }
RawDevice pop_device(Stack& stack) {
  auto device = take(stack).toDevice();
  return RawDevice{static_cast<int8_t>(device.type()), device.index()};
}
rust::Vec<int64_t> pop_ints(Stack& stack) { return copied(take(stack).toIntList()); }
rust::Vec<double> pop_doubles(Stack& stack) { return copied(take(stack).toDoubleList()); }
rust::Vec<bool> pop_bools(Stack& stack) { return copied(take(stack).toBoolList()); }
IValue* pop_ivalue(Stack& stack) { return new IValue(take(stack)); }

size_t unpack(Stack& stack) {
  IValue value = take(stack);
  std::vector<IValue> flat;
  size_t count = 0;
  if (value.isTuple()) {
    flat = value.toTupleRef().elements().vec();
    count = flat.size();
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      flat.push_back(entry.key());
      flat.push_back(entry.value());
      ++count;
    }
  } else {
    flat = value.toListRef().vec();
    count = flat.size();
  }
  stack.values.insert(stack.values.end(), std::make_move_iterator(flat.rbegin()),
                      std::make_move_iterator(flat.rend()));
  return count;
}

}  // namespace tch_trt
