// Numbers for the values, nodes and blocks of a graph. Copies of one graph get the same numbers.
#pragma once

#include <unordered_map>

#include <torch/csrc/jit/ir/ir.h>

#include "tch-bridge/cpp/calls.h"

namespace tch_trt {

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

// The names of attributes that the graph sets.
std::unordered_set<std::string> assigned_attributes(torch::jit::Graph& graph);

// Calls `visit` for each node, those of sub-blocks included, in order.
template <typename Visit>
void each_node(torch::jit::Block* block, const Visit& visit) {
  for (torch::jit::Node* node : block->nodes()) {
    visit(node);
    for (torch::jit::Block* inner : node->blocks()) each_node(inner, visit);
  }
}

// Turns attributes that list parameters, as torch's recurrent modules have, into lists of those parameters.
std::vector<Folded> expand_tensor_lists(torch::jit::Graph& graph, const torch::jit::Module& owner);

// Reads each attribute once, at the top of the graph, in the order of first use. Attributes that the graph assigns
// stay where they are.
void hoist_attributes(torch::jit::Graph& graph, const torch::jit::Module& owner);

// Makes constants of attributes that hold numbers, strings, None and the like, and adds them to `folded`.
void fold_scalars(torch::jit::Graph& graph, const torch::jit::Module& owner, std::vector<Folded>& folded);

// Makes conditions that lead to `prim::RaiseException` constant where they depend on ranks, dtypes, devices and
// None-ness only. The graph then assumes inputs that pass those checks.
void assume_rank_checks(const std::shared_ptr<torch::jit::Graph>& graph);

// Copies lists and tuples that are built and never written so that each copy has one reader, in its own block.
void split_packings(const std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace tch_trt
