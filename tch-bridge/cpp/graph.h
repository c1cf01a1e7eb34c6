// Numbers for the values, nodes and blocks of a graph. Copies of one graph get the same numbers.
#pragma once

#include <unordered_map>

#include <torch/csrc/jit/ir/ir.h>

#include "tch-bridge/cpp/calls.h"

namespace tch_trt {

// The attribute of a shell that holds the module inside.
inline constexpr const char* kInside = "inside";

// Marks an `aten::type_as` that stands for the cast of an in-place write.
inline const c10::Symbol kWrite = c10::Symbol::attr("write");

struct Index {
  explicit Index(torch::jit::Graph& graph);

  // Throws `Failure` where `id` is out of range.
  torch::jit::Value* value(uint32_t id) const;
  torch::jit::Node* node(uint32_t id) const;
  torch::jit::Block* block(uint32_t id) const;

  // Block 0 is the body; a node comes before its blocks; a block's inputs come before its nodes.
  std::vector<torch::jit::Value*> values;
  std::vector<torch::jit::Node*> nodes;
  std::vector<torch::jit::Block*> blocks;
  std::unordered_map<const torch::jit::Value*, uint32_t> value_ids;
  std::unordered_map<const torch::jit::Block*, uint32_t> block_ids;

 private:
  void add(torch::jit::Value* value);
  void add(torch::jit::Block* block);
};

// Where a chain of `prim::GetAttr` that starts at the graph's self leads.
struct Place {
  torch::jit::ObjectPtr object;
  size_t slot;
  std::string path;

  const c10::IValue& value() const { return object->getSlot(slot); }
};

// The place that a `prim::GetAttr` node reads, if its chain starts at self and runs through modules only.
std::optional<Place> resolve(const torch::jit::Node& get_attr, const torch::jit::Graph& graph,
                             const torch::jit::Module& owner);

// Which submodules the nodes of a graph come from.
class Origins {
 public:
  explicit Origins(const Graph& graph);

  // The path of the submodule whose method made the node, or called the function that did; empty for the module itself.
  std::string of(torch::jit::Node* node);

 private:
  // The graph of the method before its calls were inlined.
  std::shared_ptr<torch::jit::Graph> top;
  std::unordered_map<const torch::jit::InlinedCallStack*, std::string> paths;
};

// Takes out assignments that give an attribute the very tensor that it holds, written in place: `self.n += 1`.
void drop_idle_assignments(torch::jit::Graph& graph);

// The names of attributes that the graph, or a method of the module or its submodules, sets.
std::unordered_set<std::string> assigned_attributes(torch::jit::Graph& graph, const torch::jit::Module& owner);

// Whether it is a loop or may run several times because it is within one.
inline bool is_in_loop(const torch::jit::Node* node) {
  for (; node != nullptr; node = node->owningBlock()->owningNode()) {
    if (node->kind() == torch::jit::prim::Loop) return true;
  }
  return false;
}

// Calls `visit` for each node, those of sub-blocks included, in order.
template <typename Visit>
void each_node(torch::jit::Block* block, const Visit& visit) {
  for (torch::jit::Node* node : block->nodes()) {
    visit(node);
    for (torch::jit::Block* inner : node->blocks()) each_node(inner, visit);
  }
}

// Element type, rank and device of a tensor, which branches may depend on.
c10::IValue tensor_kind(const at::Tensor& tensor);

// The same and its sizes.
c10::IValue tensor_form(const at::Tensor& tensor);

// Whether an attribute still holds what a graph relies on: `wanted` is `Folded::value`. Allocates nothing.
bool holds_still(const c10::IValue& found, const c10::IValue& wanted);

// Turns attributes that list parameters, as torch's recurrent modules have, into lists of those parameters.
std::vector<Folded> expand_tensor_lists(torch::jit::Graph& graph, const torch::jit::Module& owner,
                                        const std::unordered_set<std::string>& assigned);

// Reads each attribute once, at the top of the graph, in the order of first use. Attributes of the names in `assigned`
// stay where they are.
void hoist_attributes(torch::jit::Graph& graph, const torch::jit::Module& owner,
                      const std::unordered_set<std::string>& assigned);

// Makes constants of attributes that hold numbers, strings, None and the like or list numbers, and of what is looked up in dicts of
// those; adds them to `folded`.
void fold_scalars(torch::jit::Graph& graph, const torch::jit::Module& owner,
                  const std::unordered_set<std::string>& assigned, std::vector<Folded>& folded);

// Makes constants of flags that are the same in every run because something is None in every run, and takes the branches on them.
void fold_nones(const std::shared_ptr<torch::jit::Graph>& graph);

// While it lives, torch's passes leave draws of random numbers and writes of loops where they are, even where nobody uses their results. To other
// passes each of them has a reader with effects.
class KeptEffects {
 public:
  explicit KeptEffects(torch::jit::Graph& graph);
  ~KeptEffects();
  KeptEffects(const KeptEffects&) = delete;
  KeptEffects& operator=(const KeptEffects&) = delete;

 private:
  torch::jit::Graph& graph;
  // Is there no other one around it?
  bool is_first;
};

// Notes which writes stand in loops or beside lists of tensors that change, ahead of all that may unroll the ones and make the others as a whole.
void note_writes(torch::jit::Graph& graph);

// Gives draws and writes whose results nobody uses a reader for good, so that torch's executor leaves them too.
void keep_dead_effects(torch::jit::Graph& graph);

// Removes those draws that the host removes too, which knows neither attributes nor sizes nor kinds of arguments.
void drop_dead_draws(std::shared_ptr<torch::jit::Graph>& graph);

// What follows each change of a graph: writes and lists that are private become values, dead code goes, packings split.
void tidy(const std::shared_ptr<torch::jit::Graph>& graph);

// Whether the node's qualified name is one of these.
bool is_any_of(const torch::jit::Node* node, std::initializer_list<const char*> names);

inline bool is_list(const torch::jit::Value* value) { return value->type()->kind() == c10::TypeKind::ListType; }

// Whether values of the type are, or may hold, tensors.
bool holds_tensors(const c10::TypePtr& type);

// Whether the node gives its first argument another shape, or other memory, in place.
bool reshapes_in_place(const torch::jit::Node* node);

// An operator that reads its arguments and gives memory of its own.
bool is_pure(const torch::jit::Node* node);

// Operators that may give their argument, or a view of it, although their schema does not say so.
bool may_give_its_argument(const torch::jit::Node* node);

// Whether the caller gets the value, or a part or a view of it, and has another handle to the same memory: an argument, an
// attribute, another result.
bool is_shared(const torch::jit::Value* value);

// Whether the program asks how the value, or a view of it, lies in memory.
bool is_asked_how_it_lies(const torch::jit::Value* value);

// Whether the node asks for a mode of the calling thread: are gradients recorded, are types cast automatically?
bool reads_mode(const torch::jit::Node* node);

// Removes questions for modes whose answers nobody uses: torch keeps them, as though they did something.
void forget_modes(torch::jit::Block* block);

// A use of a list by an operator whose result holds neither the list nor its elements.
bool takes_values(const torch::jit::Use& use);

// A use of a list or dict that neither changes it nor gives another handle to it. What it holds may be given.
bool only_reads(const torch::jit::Use& use);

// Whether the node makes a dict of the pairs that are its inputs.
bool makes_dict(const torch::jit::Node* node);

// Makes values of lists and dicts that only this graph sees and that grow: `items.append(x)` is a new list from there on, and
// `items["a"]` is what was put there.
void make_containers_functional(torch::jit::Graph& graph);

// Makes values of in-place writes to memory that nothing outside of the graph sees.
void make_writes_functional(const std::shared_ptr<torch::jit::Graph>& graph);

// Copies lists and tuples that are built and never written so that each copy has one reader, in its own block.
void split_packings(const std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace tch_trt
