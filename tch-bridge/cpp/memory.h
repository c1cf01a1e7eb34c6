// Which memory each value of a graph may lie in, or hold.
#pragma once

#include <set>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

// Torch's alias analysis takes all that was ever in lists and dicts of one type for one, once something of unknown origin was in one of
// them. Here memory is followed from the node that made it, whatever it was put into; what comes from outside of the graph is one piece
// of memory, apart from attributes that are known not to be shared.
class Memory {
 public:
  // `attributes` are the reads of attributes that hold tensors, each group of one piece of memory; other reads are of memory from outside.
  Memory(const torch::jit::Graph& graph, const std::vector<std::vector<torch::jit::Value*>>& attributes);

  // Whether some node of the graph may write to it, or to what it holds.
  bool is_written(const torch::jit::Value* value) const;

  // Whether it may be something that was there before the graph ran: an argument, an attribute, or a part of one.
  bool may_be_outside(const torch::jit::Value* value) const;

 private:
  using Value = torch::jit::Value;
  using Node = torch::jit::Node;
  // Pieces of memory: tensors' or containers'.
  using Pieces = std::set<size_t>;

  void visit(const torch::jit::Block* block);
  void visit(const Node* node);
  void call(const Node* node);
  void unknown(const Node* node);

  Pieces& of(const Value* value) { return pieces_[value]; }
  // What is in the containers among these pieces.
  Pieces held(const Pieces& containers) const;
  // These pieces and all that is in them, however deep.
  Pieces reach(const Pieces& from) const;
  // The piece that this result of a node is, if it makes one.
  size_t made(const Value* value);
  // Each notes whether something is new.
  void add(const Value* value, const Pieces& more);
  void put(size_t container, const Pieces& more);
  void merge(Pieces& into, const Pieces& more);
  // What the graph hands to somebody who may keep it, change it and give it back.
  void give_away(const Pieces& pieces);

  std::unordered_map<const Value*, Pieces> pieces_;
  std::unordered_map<const Value*, size_t> made_;
  std::unordered_map<const Value*, size_t> attributes_;
  // What the graph puts into attributes of objects from outside, by their names.
  std::unordered_map<std::string, Pieces> assigned_;
  std::vector<Pieces> contents_;
  // The pieces whose elements change, as tensors and as containers.
  Pieces written_tensors_, written_containers_;
  bool changed_ = false;
};

// Whether a norm writes its running statistics; torch's schema does not say so.
bool updates_statistics(torch::jit::Node* node);

// The reads of attributes that hold tensors, grouped by the memory that they hold now. None where that cannot be told: an attribute is
// something else than a tensor, gets another one, or is written without telling.
std::optional<std::vector<std::vector<torch::jit::Value*>>> attribute_memory(const torch::jit::Graph& graph,
                                                                            const torch::jit::Module& owner);

}  // namespace tch_trt
