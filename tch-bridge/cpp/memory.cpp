// A points-to analysis: inclusions between the sets of pieces that values may lie in, repeated until nothing is new. It knows no order
// of nodes, so what is true anywhere is true everywhere.
#include "tch-bridge/cpp/memory.h"

#include <torch/csrc/jit/ir/constants.h>

namespace tch_trt {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

// The piece that stands for all memory from outside of the graph.
constexpr size_t kOutside = 0;

bool is_tensor(const c10::TypePtr& type) { return type->isSubtypeOf(*c10::TensorType::get()); }

// Numbers, strings and the like, of which nobody can tell two apart.
bool is_plain(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::IntType:
    case c10::TypeKind::FloatType:
    case c10::TypeKind::ComplexType:
    case c10::TypeKind::BoolType:
    case c10::TypeKind::NumberType:
    case c10::TypeKind::StringType:
    case c10::TypeKind::NoneType:
    case c10::TypeKind::DeviceObjType:
      return true;
    case c10::TypeKind::OptionalType:
    case c10::TypeKind::UnionType: {
      auto inner = type->containedTypes();
      return std::all_of(inner.begin(), inner.end(), is_plain);
    }
    default:
      return false;
  }
}

bool is_optional_tensor(const c10::TypePtr& type) {
  auto optional = type->cast<c10::OptionalType>();
  return is_tensor(type) || (optional && is_tensor(optional->getElementType()));
}

bool is_list_or_dict(const c10::TypePtr& type) {
  return type->kind() == c10::TypeKind::ListType || type->kind() == c10::TypeKind::DictType;
}

bool takes_part(const c10::Argument& argument) { return argument.alias_info() || argument.type()->hasFreeVariables(); }

bool is_written_by(const c10::Argument& argument) { return argument.alias_info() && argument.alias_info()->isWrite(); }

// Whether the schema says all about what is shared and written.
bool has_honest_schema(const Node* node) {
  const auto* schema = node->maybeSchema();
  if (is_any_of(node, {"aten::format", "aten::percentFormat", "aten::warn"})) return true;
  if (!schema || !node->blocks().empty() || schema->is_vararg() || schema->is_varret()) return false;
  // These exchange a tensor's memory.
  if (is_any_of(node, {"aten::set_", "aten::set_data"})) return false;
  if (node->kind().is_aten() || is_any_of(node, {"trt::laid_as"})) return true;
  auto kind = node->getOperator().aliasAnalysisKind();
  return kind == c10::AliasAnalysisKind::FROM_SCHEMA || kind == c10::AliasAnalysisKind::PURE_FUNCTION;
}

// Made by the graph, so none of the module's.
bool is_own_object(const Value* value) { return value->node()->kind() == prim::CreateObject; }

}  // namespace

bool updates_statistics(Node* node) {
  bool batch = node->matches("aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, "
                             "Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) "
                             "-> Tensor");
  if (!batch && node->kind() != c10::aten::instance_norm) return false;
  auto training = torch::jit::constant_as<bool>(node->input(5));
  return (!training || *training) && !node->input(3)->mustBeNone();
}

Memory::Memory(const torch::jit::Graph& graph, const std::vector<std::vector<Value*>>& attributes) {
  contents_.push_back({kOutside});
  for (const auto& group : attributes) {
    for (const Value* read : group) attributes_[read] = contents_.size();
    contents_.emplace_back();
  }
  for (const Value* input : graph.inputs()) {
    if (!is_plain(input->type())) of(input).insert(kOutside);
  }
  do {
    changed_ = false;
    visit(graph.block());
  } while (changed_);
}

bool Memory::is_written(const Value* value) const {
  auto found = pieces_.find(value);
  if (found == pieces_.end()) return false;
  // A tensor holds nothing, and is no container that changes.
  bool is_container = !is_optional_tensor(value->type());
  Pieces all = is_container ? reach(found->second) : found->second;
  return std::any_of(all.begin(), all.end(), [&](size_t piece) {
    return written_tensors_.count(piece) > 0 || (is_container && written_containers_.count(piece) > 0);
  });
}

bool Memory::may_be_outside(const Value* value) const {
  auto found = pieces_.find(value);
  return found != pieces_.end() && found->second.count(kOutside) > 0;
}

void Memory::visit(const Block* block) {
  for (const Node* node : block->nodes()) visit(node);
}

void Memory::visit(const Node* node) {
  auto blocks = node->blocks();
  if (node->kind() == prim::If) {
    for (const Block* branch : blocks) {
      visit(branch);
      for (size_t i = 0; i < node->outputs().size(); ++i) add(node->outputs()[i], of(branch->outputs()[i]));
    }
  } else if (node->kind() == prim::Loop) {
    const Block* body = blocks[0];
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      const Value* carried = body->inputs()[i + 1];
      add(carried, of(node->inputs()[i + 2]));
      add(carried, of(body->outputs()[i + 1]));
      add(node->outputs()[i], of(carried));
    }
    visit(body);
  } else if (node->kind() == prim::ListConstruct || node->kind() == prim::TupleConstruct ||
             node->kind() == prim::DictConstruct || node->kind() == prim::CreateObject) {
    add(node->output(), {made(node->output())});
    for (const Value* input : node->inputs()) put(made(node->output()), of(input));
  } else if (node->kind() == prim::ListUnpack || node->kind() == prim::TupleUnpack || node->kind() == prim::TupleIndex) {
    for (const Value* output : node->outputs()) add(output, held(of(node->input(0))));
  } else if (node->kind() == prim::unchecked_cast || is_any_of(node, {"prim::unchecked_unwrap_optional", "aten::_unwrap_optional"})) {
    add(node->output(), of(node->input(0)));
  } else if (node->kind() == prim::SetAttr) {
    // What comes from outside was there before: only who reads the attribute anew gets what is put there.
    Pieces objects = of(node->input(0));
    if (objects.erase(kOutside) > 0) merge(assigned_[node->s(attr::name)], of(node->input(1)));
    for (size_t object : objects) put(object, of(node->input(1)));
    merge(written_containers_, objects);
  } else if (node->kind() == prim::GetAttr) {
    auto known = attributes_.find(node->output());
    add(node->output(), known == attributes_.end() ? held(of(node->input(0))) : Pieces{known->second});
    if (auto assigned = assigned_.find(node->s(attr::name)); assigned != assigned_.end()) add(node->output(), assigned->second);
  } else if (node->kind() == prim::Constant) {
    // Nobody but the graph holds it.
    add(node->output(), {made(node->output())});
    put(made(node->output()), {made(node->output())});
  } else if (node->kind() == prim::Uninitialized || node->kind() == prim::RaiseException || node->kind() == prim::Print ||
             is_any_of(node, {"prim::isinstance"})) {
    return;
  } else if (is_any_of(node, {"aten::__getitem__"}) && is_list_or_dict(node->input(0)->type())) {
    add(node->output(), held(of(node->input(0))));
  } else if (has_honest_schema(node)) {
    call(node);
  } else {
    unknown(node);
  }
}

// Whoever it is may write and keep all that he gets or finds outside, and give any of that.
void Memory::unknown(const Node* node) {
  Pieces all{kOutside};
  for (const auto& [read, piece] : attributes_) all.insert(piece);
  auto take = [&](const Value* value) {
    Pieces own = reach(of(value));
    all.insert(own.begin(), own.end());
  };
  for (const auto& [name, pieces] : assigned_) {
    Pieces own = reach(pieces);
    all.insert(own.begin(), own.end());
  }
  for (const Value* input : node->inputs()) take(input);
  for (const Block* block : node->blocks()) {
    for (const Value* input : block->inputs()) add(input, {kOutside});
    visit(block);
    for (const Value* output : block->outputs()) take(output);
  }
  merge(written_tensors_, all);
  merge(written_containers_, all);
  give_away(all);
  for (const Value* output : node->outputs()) add(output, {kOutside});
}

// An operator of which the schema says what it writes, and from which arguments its results come.
void Memory::call(const Node* node) {
  const auto* schema = node->maybeSchema();
  const auto& arguments = schema->arguments();
  size_t count = std::min(arguments.size(), node->inputs().size());
  bool gives_any = may_give_its_argument(node);
  Pieces tensors, containers, everything;
  for (size_t i = 0; i < count; ++i) {
    const Value* input = node->input(i);
    Pieces own = of(input);
    Pieces all = reach(own);
    everything.insert(all.begin(), all.end());
    // Of the argument `other`, `type_as` reads the type.
    bool is_asked_only = i > 0 && is_any_of(node, {"aten::type_as"});
    if (is_asked_only || !(gives_any || takes_part(arguments[i]))) continue;
    auto& kind = is_optional_tensor(input->type()) ? tensors : containers;
    kind.insert(own.begin(), own.end());
  }
  // Norms in training write their statistics, of which their schemas say nothing.
  bool statistics = updates_statistics(const_cast<Node*>(node));
  for (size_t i = 0; i < count; ++i) {
    if (!is_written_by(arguments[i]) && !(statistics && (i == 3 || i == 4))) continue;
    Pieces own = of(node->input(i));
    bool is_container = !is_optional_tensor(node->input(i)->type());
    merge(is_container ? written_containers_ : written_tensors_, own);
    if (!is_container) continue;
    // Into a container goes what is among the other arguments.
    for (size_t j = 0; j < count; ++j) {
      if (j == i) continue;
      Pieces put_in = of(node->input(j));
      if (is_list_or_dict(node->input(j)->type())) {
        Pieces elements = held(put_in);
        put_in.insert(elements.begin(), elements.end());
      }
      for (size_t container : own) put(container, put_in);
    }
    // A list of which the tensors are written, as `_foreach_add_` does.
    if (!arguments[i].alias_info()->containedTypes().empty()) merge(written_tensors_, reach(own));
    if (own.count(kOutside) > 0) give_away(everything);
  }
  for (size_t i = 0; i < node->outputs().size(); ++i) {
    const Value* output = node->output(i);
    if (is_plain(output->type())) continue;
    const auto& result = schema->returns().at(i);
    bool shares = gives_any || takes_part(result);
    bool is_self = result.alias_info() && !result.alias_info()->isWildcardBefore();
    Pieces inside = held(containers);
    if (is_tensor(output->type())) {
      // A write's result is what it wrote.
      bool is_fresh = !is_self || gives_any;
      if (is_fresh) add(output, {made(output)});
      if (shares) {
        add(output, tensors);
        add(output, inside);
      }
      continue;
    }
    // A container of its own, whose elements may be containers too.
    Pieces elements = inside;
    elements.insert(tensors.begin(), tensors.end());
    auto contained = output->type()->containedTypes();
    bool is_nested = !is_list_or_dict(output->type()) ||
                     std::any_of(contained.begin(), contained.end(), [](const c10::TypePtr& type) { return !is_tensor(type) && !is_plain(type); });
    add(output, {made(output)});
    put(made(output), {made(output)});
    if (shares) put(made(output), is_nested ? reach(elements) : elements);
    if (shares && (is_self || is_nested)) add(output, is_nested ? reach(containers) : containers);
  }
}

Memory::Pieces Memory::held(const Pieces& containers) const {
  Pieces out;
  for (size_t container : containers) out.insert(contents_[container].begin(), contents_[container].end());
  return out;
}

Memory::Pieces Memory::reach(const Pieces& from) const {
  Pieces out = from;
  std::vector<size_t> open(from.begin(), from.end());
  while (!open.empty()) {
    size_t next = open.back();
    open.pop_back();
    for (size_t inner : contents_[next]) {
      if (out.insert(inner).second) open.push_back(inner);
    }
  }
  return out;
}

size_t Memory::made(const Value* value) {
  auto [known, fresh] = made_.try_emplace(value, contents_.size());
  if (fresh) contents_.emplace_back();
  return known->second;
}

void Memory::add(const Value* value, const Pieces& more) {
  if (!is_plain(value->type())) merge(of(value), more);
}

void Memory::put(size_t container, const Pieces& more) {
  merge(contents_[container], more);
}

void Memory::merge(Pieces& into, const Pieces& more) {
  size_t before = into.size();
  into.insert(more.begin(), more.end());
  changed_ |= into.size() > before;
}

void Memory::give_away(const Pieces& pieces) {
  Pieces all = reach(pieces);
  put(kOutside, all);
  for (size_t piece : all) put(piece, {kOutside});
}

std::optional<std::vector<std::vector<Value*>>> attribute_memory(const torch::jit::Graph& graph, const torch::jit::Module& owner) {
  std::unordered_map<const void*, std::vector<Value*>> reads;
  bool known = true;
  each_node(const_cast<Block*>(graph.block()), [&](Node* node) {
    known = known && !updates_statistics(node);
    if (node->kind() == prim::SetAttr && holds_tensors(node->input(1)->type()) && !is_own_object(node->input(0))) known = false;
    if (!known || node->kind() != prim::GetAttr || is_own_object(node->input(0))) return;
    auto place = resolve(*node, graph, owner);
    if (!place) {
      known = false;
      return;
    }
    const c10::IValue& value = place->value();
    if (value.isModule() || !holds_tensors(node->output()->type())) return;
    known = value.isTensor() && value.toTensor().has_storage();
    if (known) reads[value.toTensor().storage().unsafeGetStorageImpl()].push_back(node->output());
  });
  if (!known) return std::nullopt;
  std::vector<std::vector<Value*>> groups;
  for (auto& [storage, values] : reads) groups.push_back(std::move(values));
  return groups;
}

}  // namespace tch_trt
