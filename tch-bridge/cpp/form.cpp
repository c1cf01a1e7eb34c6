// The operator `trt::fits` and the class of its forms: may this compiled form of a method serve this call?
// A form knows the kinds of arguments that it was made for, and the attributes that its graph has as constants.
#include <torch/csrc/jit/runtime/custom_operator.h>
#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/custom_class.h>

#include "tch-bridge/cpp/graph.h"
#include "tch-bridge/cpp/places.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;

namespace {

struct Form : torch::CustomClassHolder {
  Form(rust::Box<KindsHandle> kinds, std::vector<std::string> paths, std::vector<IValue> values)
      : kinds(std::move(kinds)), paths(std::move(paths)), values(std::move(values)) {}

  // When only weak references are left.
  void release_resources() override {
    auto gone = std::move(kinds);
    places.reset();
    values.clear();
  }

  rust::Box<KindsHandle> kinds;
  std::vector<std::string> paths;
  // What the attribute at each path holds: a scalar; where it lists parameters, their paths.
  std::vector<IValue> values;
  // The attributes of the module that was served last, when they held these values.
  std::shared_ptr<const Places> places;
};

bool is_same_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.has_storage() && b.has_storage() && a.is_alias_of(b) && a.storage_offset() == b.storage_offset() &&
         a.sizes() == b.sizes() && a.strides() == b.strides();
}

bool has_value(const Owner& owner, const IValue& found, const IValue& wanted) {
  if (found.isTensor()) return holds_still(found, wanted);
  if (!found.isTensorList()) return found.type()->isSubtypeOf(*wanted.type()) && found == wanted;
  if (!wanted.isList()) return false;
  std::vector<std::string> paths;
  for (const IValue& path : wanted.toListRef()) paths.push_back(path.toStringRef());
  Places tensors(owner, paths);
  auto list = found.toTensorVector();
  if (list.size() != tensors.size()) return false;
  for (size_t i = 0; i < list.size(); ++i) {
    const IValue& tensor = tensors.value(i);
    if (!tensor.isTensor() || !is_same_memory(list[i], tensor.toTensor())) return false;
  }
  return true;
}

bool attributes_hold(Form& form, const Owner& owner) {
  auto known = std::atomic_load(&form.places);
  // The same tensor, list or dict may hold something else now.
  auto still = [&] {
    for (size_t i = 0; i < form.values.size(); ++i) {
      const IValue& value = known->value(i);
      bool may_change = value.isTensor() || value.isGenericDict() || (value.isList() && !value.isTensorList());
      if (may_change && !holds_still(value, form.values[i])) return false;
    }
    return true;
  };
  if (known && known->hold(owner) && still()) return true;
  try {
    auto places = std::make_shared<const Places>(owner, form.paths);
    for (size_t i = 0; i < form.values.size(); ++i) {
      if (!has_value(owner, places->value(i), form.values[i])) return false;
    }
    std::atomic_store(&form.places, std::shared_ptr<const Places>(std::move(places)));
    return true;
  } catch (const std::exception&) {
    // Of another module, which lacks such an attribute.
    return false;
  }
}

using Kinds = c10::SmallVector<RawKind, 16>;

void describe(const IValue& value, Kinds& out) {
  auto mark = [&](Mark mark) { out.push_back(RawKind{mark, {}}); };
  auto all = [&](const auto& items) {
    mark(Mark::Open);
    for (const IValue& item : items) describe(item, out);
    mark(Mark::Close);
  };
  switch (kind_of(value)) {
    case ValueKind::Tensor: out.push_back(RawKind{Mark::Tensor, view(value.toTensor())}); return;
    case ValueKind::None: return mark(Mark::None);
    case ValueKind::Tuple: return all(value.toTupleRef().elements());
    case ValueKind::TensorList:
    case ValueKind::List: return all(value.toListRef());
    case ValueKind::Dict: {
      mark(Mark::Open);
      for (const auto& entry : value.toGenericDict()) {
        describe(entry.key(), out);
        describe(entry.value(), out);
      }
      return mark(Mark::Close);
    }
    default: return mark(Mark::Other);
  }
}

void fits(torch::jit::Stack& stack) {
  auto form = torch::jit::pop(stack).toCustomClass<Form>();
  IValue owner = torch::jit::pop(stack);
  IValue arguments = torch::jit::pop(stack);
  Kinds kinds;
  for (const IValue& argument : arguments.toTupleRef().elements()) describe(argument, kinds);
  bool fitting = owner.isObject() && kinds_fit(*form->kinds, {kinds.data(), kinds.size()}) &&
                 attributes_hold(*form, Owner{owner.toObject()});
  uint8_t recorded = recording();
  if (fitting && recorded != 0 && (holds_recorded(arguments, recorded) || holds_recorded(owner, recorded))) {
    // The host's method differentiates in one piece, as it would without forms.
    kinds_recorded();
    fitting = false;
  }
  stack.emplace_back(fitting);
}

using FormState = std::tuple<std::string, std::vector<std::string>, at::Tensor>;

FormState form_to_state(const c10::intrusive_ptr<Form>& form) {
  auto bytes = torch::jit::pickle(c10::ivalue::Tuple::create(form->values));
  auto tensor = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::copy(bytes.begin(), bytes.end(), tensor.mutable_data_ptr<uint8_t>());
  return {std::string(kinds_text(*form->kinds)), form->paths, tensor};
}

c10::intrusive_ptr<Form> form_from_state(FormState state) {
  auto& [kinds, paths, tensor] = state;
  std::vector<IValue> values;
  bool read = false;
  try {
    auto bytes = tensor.cpu().contiguous();
    auto size = static_cast<size_t>(bytes.numel());
    values = torch::jit::unpickle(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), size)
                 .toTupleRef()
                 .elements()
                 .vec();
    read = values.size() == paths.size();
  } catch (const std::exception&) {
    // Said below.
  }
  if (!read) values.clear();
  return c10::make_intrusive<Form>(kinds_read(rust::String::lossy(kinds), read), std::move(paths), std::move(values));
}

// A second copy of this library leaves the work to the first.
const bool form_registered = [] {
  if (torch::getCustomClass("__torch__.torch.classes.trt.Form")) return false;
  static const auto form_class =
      torch::class_<Form>("trt", "Form")
          .def_pickle([](const c10::intrusive_ptr<Form>& form) { return form_to_state(form); },
                      [](FormState state) { return form_from_state(std::move(state)); });
  static const torch::jit::RegisterOperators operators({torch::jit::Operator(
      "trt::fits(Any arguments, Any owner, __torch__.torch.classes.trt.Form form) -> bool",
      [](torch::jit::Stack& stack) { fits(stack); }, c10::AliasAnalysisKind::FROM_SCHEMA)});
  return true;
}();

}  // namespace

void register_form(const Module& module, rust::Str name, const KindsHandle& kinds, const Graph& graph) {
  std::vector<std::string> paths;
  std::vector<IValue> values;
  for (const Folded& folded : graph.folded) {
    paths.push_back(folded.path);
    if (folded.value.isTensorList()) {
      values.emplace_back(c10::List<std::string>(folded.elements));
    } else {
      values.push_back(folded.value);
    }
  }
  IValue form(c10::make_intrusive<Form>(kinds_share(kinds), std::move(paths), std::move(values)));
  auto type = form.type();
  torch::jit::Module(module.module).register_attribute(std::string(name), type, std::move(form));
}

}  // namespace tch_trt
