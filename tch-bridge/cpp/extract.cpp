// A prepared graph as plain data, with what torch's alias analysis knows about it.
#include <sstream>

#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/constants.h>

#include "tch-bridge/cpp/memory.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using torch::jit::AliasDb;
using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = torch::jit::prim;
namespace attr = torch::jit::attr;

namespace {

bool writes(Node* node, const AliasDb& aliases) {
  if (aliases.isMutable(node) || updates_statistics(node)) return true;
  for (Block* block : node->blocks()) {
    for (Node* inner : block->nodes()) {
      if (writes(inner, aliases)) return true;
    }
  }
  return false;
}

bool has_effects(Node* node) {
  if (node->hasSideEffects()) return true;
  for (Block* block : node->blocks()) {
    for (Node* inner : block->nodes()) {
      if (has_effects(inner)) return true;
    }
  }
  return false;
}

// Whether the node draws random numbers; networks in evaluation have nodes that could and do not.
bool draws(Node* node) {
  auto is = [&](size_t input, auto value) {
    auto known = torch::jit::constant_as<decltype(value)>(node->input(input));
    return known && *known == value;
  };
  if (is_any_of(node, {"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})) {
    const auto* schema = node->maybeSchema();
    size_t dropout = schema && schema->overload_name() == "input" ? 5 : 6;
    return !is(dropout, 0.0) && !is(dropout + 1, false);
  }
  if (is_any_of(node, {"aten::scaled_dot_product_attention"})) return !is(4, 0.0);
  if (is_any_of(node, {"aten::feature_dropout", "aten::alpha_dropout"})) return !is(2, false);
  return node->isNondeterministic();
}

// The values whose memory some node writes. What a loop carries from one round to the next is one memory with what it starts
// from and ends with: torch's analysis sees a loop's body once, and its results as those of a round that was run. So are the
// arguments and results of operators that may give an argument without their schema saying so, and each group in `carried`. Both that
// analysis and `memory` err on the safe side only, so what one of them knows to be left alone is.
std::unordered_set<const Value*> written_values(const Index& index, const AliasDb& aliases, const Memory& memory,
                                                std::vector<std::vector<Value*>> carried) {
  std::unordered_set<const Value*> written;
  for (const Value* value : index.values) {
    if (aliases.hasWriters(value)) written.insert(value);
  }
  for (Node* node : index.nodes) {
    // From then on two tensors are one memory.
    bool exchanges = is_any_of(node, {"aten::set_", "aten::set_data"});
    if (exchanges || may_give_its_argument(node)) {
      std::vector<Value*> tensors;
      // Nobody else can tell whether memory was written of which this node is the only reader.
      auto collect = [&](Value* value) {
        bool unread = is_pure(value->node()) && value->uses().size() == 1;
        if (holds_tensors(value->type()) && !unread) tensors.push_back(value);
      };
      // Of the argument `other` it reads the type.
      auto inputs = is_any_of(node, {"aten::type_as"}) ? node->inputs().slice(0, 1) : node->inputs();
      std::for_each(inputs.begin(), inputs.end(), collect);
      std::for_each(node->outputs().begin(), node->outputs().end(), collect);
      carried.push_back(std::move(tensors));
    }
    if (node->kind() != prim::Loop) continue;
    Block* body = node->blocks()[0];
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      if (!holds_tensors(node->outputs()[i]->type())) continue;
      carried.push_back({node->inputs()[i + 2], body->inputs()[i + 1], body->outputs()[i + 1], node->outputs()[i]});
    }
  }
  // Of a list, what it holds.
  auto is_written = [&](Value* value) {
    if (written.count(value) > 0 || value->type()->isSubtypeOf(*c10::TensorType::get())) return written.count(value) > 0;
    return std::any_of(index.values.begin(), index.values.end(), [&](Value* other) {
      return written.count(other) > 0 && holds_tensors(other->type()) &&
             aliases.mayContainAlias(at::ArrayRef<Value*>(value), at::ArrayRef<Value*>(other));
    });
  };
  // Each group once, when something in it is written; what may be the same memory as any of it then is.
  for (bool changed = true; changed;) {
    auto rest = std::stable_partition(carried.begin(), carried.end(), [&](const std::vector<Value*>& one) {
      return std::none_of(one.begin(), one.end(), is_written);
    });
    changed = rest != carried.end();
    for (auto one = rest; one != carried.end(); ++one) {
      for (Value* value : index.values) {
        if (holds_tensors(value->type()) && aliases.mayContainAlias(at::ArrayRef<Value*>(value), *one)) written.insert(value);
      }
      written.insert(one->begin(), one->end());
    }
    carried.erase(rest, carried.end());
  }
  for (const Value* value : index.values) {
    if (!memory.is_written(value)) written.erase(value);
  }
  return written;
}

// Whether running the graph once more changes nothing but time.
bool is_repeatable(const Index& index, const AliasDb& aliases, const std::unordered_set<const Value*>& written) {
  // Lists that the graph itself builds may grow, and memory that it makes may be written.
  auto own = [](const Value* value) {
    return value->node()->kind() == prim::ListConstruct || makes_dict(value->node()) || is_pure(value->node());
  };
  auto writes_unknown = [&](Node* node) {
    if (node->kind() == prim::SetAttr) return true;
    if (!node->blocks().empty() || !aliases.isMutable(node)) return false;
    return !node->maybeSchema() || !own(node->input(0));
  };
  return std::all_of(index.nodes.begin(), index.nodes.end(), [&](Node* node) {
    bool harmless = node->kind() == prim::RaiseException || reads_mode(node) || is_any_of(node, {"aten::warn"});
    bool outside = node->kind() == prim::GetAttr && written.count(node->output()) > 0;
    return (harmless || !has_effects(node) || !node->blocks().empty()) && !draws(node) && !updates_statistics(node) &&
           !writes_unknown(node) && !outside;
  }) && std::none_of(index.blocks[0]->inputs().begin(), index.blocks[0]->inputs().end(),
                     [&](const Value* argument) { return written.count(argument) > 0; });
}

void describe_schema(Node* node, RawNode& out) {
  const auto* schema = node->maybeSchema();
  if (!schema) return;
  std::ostringstream text;
  text << *schema;
  out.schema = text.str();
  out.overload = schema->overload_name();
  bool shares = std::any_of(schema->returns().begin(), schema->returns().end(), [](const c10::Argument& argument) {
    return argument.alias_info() && !argument.alias_info()->isWrite();
  });
  out.view = (shares && !is_pure(node)) || may_give_its_argument(node);
  out.fresh = is_pure(node);
}

// Reads a line of a Python stack as tracing records it: `file.py(12): function`.
bool read_frame(const std::string& line, RawNode& out) {
  auto close = line.find("): ");
  auto open = close == std::string::npos ? close : line.rfind('(', close);
  if (open == std::string::npos || close - open < 2 || close - open > 9) return false;
  std::string number = line.substr(open + 1, close - open - 1);
  if (number.find_first_not_of("0123456789") != std::string::npos) return false;
  out.file = rust::String::lossy(line.substr(0, open));
  out.line = static_cast<uint32_t>(std::stoul(number));
  std::string function = line.substr(close + 3);
  out.text = rust::String::lossy(function.substr(0, function.find_last_not_of(" \t\r\n") + 1));
  return true;
}

// Of a recorded stack, innermost frame first, the first frame outside of torch's own package.
bool describe_frame(const torch::jit::Source& source, RawNode& out) {
  if (!read_frame(source.get_line(0).str(), out)) return false;
  for (size_t i = 0; i < source.num_lines(); ++i) {
    std::string line = source.get_line(i).str();
    if (line.find("-packages/torch/") == std::string::npos && read_frame(line, out)) break;
  }
  return true;
}

void describe_place(Node* node, RawNode& out) {
  torch::jit::SourceRange range = node->sourceRange();
  if (!range.source()) return;
  if (auto origin = range.findSourceRangeThatGenerated()) range = *origin;
  auto& source = *range.source();
  if (describe_frame(source, out)) return;
  auto line = source.lineno_for_offset(range.start());
  out.file = rust::String::lossy(source.filename().value_or(""));
  out.line = static_cast<uint32_t>(source.lineno_to_source_lineno(line) + (source.filename() ? 0 : 1));
  std::string text = source.get_line(line).str();
  auto first = text.find_first_not_of(" \t\r\n");
  auto last = text.find_last_not_of(" \t\r\n");
  if (first != std::string::npos) out.text = rust::String::lossy(text.substr(first, last - first + 1));
}

void describe_attribute(Node* node, const Graph& graph, const torch::jit::Graph& copy, RawNode& out) {
  out.attribute = node->s(attr::name);
  auto place = resolve(*node, copy, graph.owner);
  if (!place) return;
  out.attribute = place->path;
  auto type = place->object->type();
  out.role = type->is_parameter(place->slot) ? Role::Parameter
             : type->is_buffer(place->slot)  ? Role::Buffer
                                             : Role::Attribute;
  const c10::IValue& value = place->value();
  if (value.isTensor() && value.toTensor().defined()) out.tensor = new at::Tensor(value.toTensor());
}

}  // namespace

RawGraph extract(const Graph& graph) {
  auto copy = graph.graph->copy();
  Index index(*copy);
  auto attributes = attribute_memory(*copy, graph.owner);
  AliasDb aliases(copy, /*isFrozen=*/attributes.has_value());
  auto ids = [&](at::ArrayRef<Value*> values) {
    rust::Vec<uint32_t> out;
    for (Value* value : values) out.push_back(index.value_ids.at(value));
    return out;
  };
  auto groups = attributes.value_or(std::vector<std::vector<Value*>>());
  Memory memory(*copy, groups);
  groups.erase(std::remove_if(groups.begin(), groups.end(), [](const auto& one) { return one.size() < 2; }), groups.end());
  auto written = written_values(index, aliases, memory, std::move(groups));
  RawGraph out;
  for (Value* value : index.values) {
    RawValue raw;
    raw.name = value->debugName();
    raw.type_name = rust::String::lossy(value->type()->annotation_str());
    raw.written = written.count(value) > 0;
    raw.may_alias_input = aliases.mayContainAlias(value, copy->inputs().slice(1));
    raw.may_alias_output = aliases.mayContainAlias(value, copy->outputs());
    raw.shared = is_shared(value);
    raw.asked = is_asked_how_it_lies(value);
    out.values.push_back(std::move(raw));
  }
  for (Block* block : index.blocks) {
    out.blocks.push_back(RawBlock{ids(block->inputs()), ids(block->outputs()), {}});
  }
  Origins origins(graph);
  for (size_t i = 0; i < index.nodes.size(); ++i) {
    Node* node = index.nodes[i];
    RawNode raw{};
    raw.kind = node->kind().toQualString();
    raw.inputs = ids(node->inputs());
    raw.outputs = ids(node->outputs());
    raw.block = index.block_ids.at(node->owningBlock());
    for (Block* block : node->blocks()) raw.blocks.push_back(index.block_ids.at(block));
    out.blocks[raw.block].nodes.push_back(static_cast<uint32_t>(i));
    describe_schema(node, raw);
    describe_place(node, raw);
    raw.module = rust::String::lossy(origins.of(node));
    raw.role = Role::Attribute;
    if (node->kind() == prim::SetAttr) raw.attribute = node->s(attr::name);
    if (node->kind() == prim::GetAttr) describe_attribute(node, graph, *copy, raw);
    raw.mutates = writes(node, aliases);
    raw.side_effects = has_effects(node);
    raw.nondeterministic = node->isNondeterministic();
    out.nodes.push_back(std::move(raw));
  }
  out.repeatable = is_repeatable(index, aliases, written);
  for (const Folded& folded : graph.folded) out.folded.push_back(folded.path);
  for (const std::string& name : graph.assigned) out.assigned.push_back(name);
  return out;
}

std::unique_ptr<Stack> constants(const Graph& graph) {
  auto stack = std::make_unique<Stack>();
  each_node(graph.graph->block(), [&](Node* node) {
    if (node->kind() == prim::Constant) stack->values.push_back(*torch::jit::toIValue(node->output()));
  });
  std::reverse(stack->values.begin(), stack->values.end());
  return stack;
}

}  // namespace tch_trt
