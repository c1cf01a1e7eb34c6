// What of a graph's values is the same in all calls whose tensors have the same sizes.
#pragma once

#include <torch/csrc/jit/ir/alias_analysis.h>

#include "tch-bridge/cpp/memory.h"

namespace tch_trt {

// How much of a value the kinds and sizes of the arguments decide.
enum class Settled : uint8_t {
  Nothing,
  // All but the elements of the tensors in it.
  Form,
  Everything,
};

class SettledValues {
 public:
  SettledValues(const Graph& from, const std::shared_ptr<torch::jit::Graph>& graph);

  Settled of(const torch::jit::Value* value) const;

  // Whether some node may write to it.
  bool is_written(const torch::jit::Value* value) const { return aliases_.hasWriters(value) && memory_.is_written(value); }

  // The attributes whose forms decide it: tensors that no method sets.
  const std::vector<Folded>& relied() const { return relied_; }

 private:
  using Value = torch::jit::Value;
  using Node = torch::jit::Node;
  using Block = torch::jit::Block;

  void visit(Block* block);
  void change(const Node* node);
  void branch(Node* node);
  void loop(Node* node);
  void set(const Value* value, Settled settled);
  Settled result(Node* node, const Value* value);
  // That of operands: a number or a list of numbers is decided or not.
  Settled least(at::ArrayRef<const Value*> values) const;
  Settled attribute(Node* node);
  bool has_integers(const Value* value) const;
  bool may_have_any_shape(const Node* node) const;

  const Graph& from_;
  torch::jit::Graph& graph_;
  torch::jit::AliasDb aliases_;
  Memory memory_;
  std::unordered_map<const Value*, Settled> settled_;
  std::unordered_map<const Node*, size_t> read_;
  // Lists that this graph makes and changes in ways that are not settled.
  std::unordered_set<const Value*> unsettled_;
  // Is it settled that the node that is looked at runs?
  bool runs_ = true;
  bool found_unsettled_ = false;
  std::vector<Folded> relied_;
};

}  // namespace tch_trt
