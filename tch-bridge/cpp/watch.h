// Tensors that an engine was made from: are they still what they were?
#pragma once

#include <array>
#include <atomic>

#include "tch-bridge/cpp/shim.h"

namespace tch_trt {

// One more than the number of gradients that a tensor was given since it is watched.
using Arrivals = std::shared_ptr<std::atomic<uint64_t>>;

// Whether gradients are accumulated in the tensor.
bool takes_gradients(const at::Tensor& tensor);

// What the tensor is a view of, be it a detached one; an undefined tensor where it is none.
at::Tensor base_of(const at::Tensor& tensor);

// The count of a tensor that takes gradients, kept from now on; null where somebody else has the place of the hook that counts.
Arrivals arrivals_of(const at::Tensor& tensor);

// A tensor for the sake of whose gradients a watched one may be written.
struct Trained {
  at::Tensor tensor;
  // Set once, when it is first seen to take gradients; `kept` owns it.
  mutable std::atomic<std::atomic<uint64_t>*> arrivals{nullptr};
  mutable Arrivals kept;
};

struct WatchedTensor {
  at::Tensor tensor;
  // Itself, and what it is a view of.
  std::array<Trained, 2> trained;
  // As engines have it: of all its bytes, or `kUnknown`.
  mutable std::atomic<uint64_t> checksum{0};
  // Gradients that had arrived when engines read it.
  mutable std::atomic<uint64_t> arrived{0};
  // It had no gradient, and was as engines have it, when this many had arrived.
  mutable std::atomic<uint64_t> calm{0};
};

struct Watched {
  explicit Watched(size_t count) : tensors(count) {}
  std::vector<WatchedTensor> tensors;
  mutable std::atomic<uint64_t> look{0};
  mutable std::mutex settling;
  // Keeps nothing alive; but as long as it is held, nothing new comes to lie where the memory was.
  mutable std::vector<c10::weak_intrusive_ptr<at::StorageImpl>> storages;
};

// What tensors were at one moment: all, or those that may have been written uncounted.
struct WatchedState {
  struct One {
    size_t tensor;
    uint64_t arrived, calm, checksum;
  };
  uint64_t look = 0;
  std::vector<One> ones;
  // Of `ones`, those whose bytes are to be summed, and these as dense tensors.
  std::vector<size_t> summed;
  std::vector<at::Tensor> dense;
  std::vector<c10::weak_intrusive_ptr<at::StorageImpl>> storages;
};

}  // namespace tch_trt
