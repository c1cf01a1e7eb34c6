// Whether the weights behind an engine have changed.
//
// torch counts most writes. Those of its own C++ SGD among others it does not, since they go through `data()`; they are made for the
// sake of a gradient. So a tensor counts as changed once a gradient has arrived, and is compared as a whole as long as it has one; at other
// times a look at what torch counts, and at a few elements, is enough. A gradient is never more than a pointer here: other threads replace it.
#include "tch-bridge/cpp/watch.h"

#include <cstring>

#include "tch-bridge/cpp/calls.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

namespace {

// Tensors of up to `kWhole` elements are looked at whole, others at so many elements.
constexpr int64_t kWhole = 16, kSamples = 8;

// Of a tensor that was not summed; equal to none.
constexpr uint64_t kUnknown = 0;

// Of a tensor that has a gradient; no count of arrivals.
constexpr uint64_t kNever = ~uint64_t{0};

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdull;
}

bool has_memory(const at::Tensor& tensor) { return tensor.layout() == at::kStrided && tensor.has_storage(); }

// Where an element lies, in elements from the first: in the order of memory where nothing lies between, else in that of the axes.
int64_t place(const at::Tensor& tensor, int64_t element, bool dense) {
  if (dense) return element;
  int64_t at = 0;
  for (int64_t axis = tensor.dim() - 1; axis >= 0; --axis) {
    at += element % tensor.size(axis) * tensor.stride(axis);
    element /= tensor.size(axis);
  }
  return at;
}

// The element that sample `i` looks at: by multiples of the golden ratio, which no length of a row divides.
int64_t sampled(int64_t i, int64_t count) {
  const uint64_t fraction = static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15ull;
  return static_cast<int64_t>(static_cast<double>(fraction >> 11) * 0x1p-53 * static_cast<double>(count));
}

uint64_t sample(uint64_t hash, const at::Tensor& tensor) {
  const int64_t count = tensor.numel();
  const auto size = static_cast<int64_t>(tensor.element_size());
  const auto* bytes = static_cast<const char*>(tensor.const_data_ptr());
  const bool dense = tensor.is_non_overlapping_and_dense();
  for (int64_t i = 0; i < (count <= kWhole ? count : kSamples); ++i) {
    uint64_t bits = 0;
    const int64_t element = count <= kWhole ? i : sampled(i, count);
    std::memcpy(&bits, bytes + place(tensor, element, dense) * size, static_cast<size_t>(std::min<int64_t>(size, sizeof bits)));
    hash = mix(hash, bits);
  }
  return hash;
}

// What torch counts, and a few elements.
uint64_t look_at(uint64_t hash, const at::Tensor& tensor) {
  hash = mix(hash, tensor.is_inference() ? 0 : tensor.unsafeGetTensorImpl()->version_counter().current_version());
  if (!has_memory(tensor)) return hash;
  hash = mix(hash, reinterpret_cast<uint64_t>(tensor.storage().unsafeGetStorageImpl()));
  hash = mix(hash, reinterpret_cast<uint64_t>(tensor.const_data_ptr()));
  hash = mix(hash, static_cast<uint64_t>(tensor.scalar_type()));
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
    hash = mix(hash, static_cast<uint64_t>(tensor.size(axis)));
    hash = mix(hash, static_cast<uint64_t>(tensor.stride(axis)));
  }
  return tensor.device().is_cpu() ? sample(hash, tensor) : hash;
}

uint64_t look_at_all(const Watched& watched) {
  uint64_t hash = 0;
  for (const auto& one : watched.tensors) hash = look_at(hash, one.tensor);
  return hash;
}

// The gradients for whose sake a tensor may be written. In this order: one that arrives after its count was read is counted later.
struct Gradients {
  Gradients(const Watched& watched, const WatchedTensor& one) {
    for (const Trained& trained : one.trained) {
      if (!trained.tensor.defined()) continue;
      auto* counter = trained.arrivals.load(std::memory_order_acquire);
      if (counter == nullptr && takes_gradients(trained.tensor)) {
        const std::lock_guard<std::mutex> lock(watched.settling);
        if (!trained.kept) trained.kept = arrivals_of(trained.tensor);
        trained.arrivals.store(counter = trained.kept.get(), std::memory_order_release);
      }
      const uint64_t count = counter == nullptr ? 0 : counter->load(std::memory_order_acquire);
      arrived += count;
      any_came |= count > 1;
      has_gradient |= trained.tensor.unsafeGetTensorImpl()->grad().defined();
    }
    std::atomic_thread_fence(std::memory_order_acquire);
  }

  bool never_came() const { return !has_gradient && !any_came; }
  bool is_doubtful(const WatchedTensor& one) const { return has_gradient || arrived != one.calm.load(std::memory_order_relaxed); }
  uint64_t calm() const { return has_gradient ? kNever : arrived; }

  uint64_t arrived = 0;
  bool any_came = false, has_gradient = false;
};

// Notes that the bytes of the latest tensor are to be summed. Where there are none, or no room for a dense copy, it stays unknown.
void sum_later(WatchedState& state, const at::Tensor& tensor) {
  if (!has_memory(tensor)) return;
  try {
    const at::NoGradGuard guard;
    state.dense.push_back(tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous());
    state.summed.push_back(state.ones.size() - 1);
  } catch (const std::exception&) {
  }
}

int32_t number_of(const at::Device& device) { return device.is_cpu() ? -1 : device.is_cuda() ? device.index() : -2; }

}  // namespace

std::unique_ptr<Watched> watch(const Stack& stack) {
  auto watched = std::make_unique<Watched>(stack.values.size());
  for (size_t i = 0; i < stack.values.size(); ++i) {
    WatchedTensor& one = watched->tensors[i];
    one.tensor = stack.values[i].toTensor();
    one.trained[0].tensor = one.tensor;
    one.trained[1].tensor = base_of(one.tensor);
  }
  return watched;
}

bool any_is_recorded(const Watched& watched, uint8_t recording) {
  return std::any_of(watched.tensors.begin(), watched.tensors.end(),
                     [&](const WatchedTensor& one) { return is_recorded(one.tensor, recording); });
}

Glance glance(const Watched& watched) {
  if (look_at_all(watched) != watched.look.load(std::memory_order_acquire)) return Glance::Changed;
  Glance found = Glance::Same;
  for (const auto& one : watched.tensors) {
    const Gradients gradients(watched, one);
    if (gradients.arrived != one.arrived.load(std::memory_order_relaxed)) return Glance::Changed;
    if (!gradients.is_doubtful(one)) continue;
    if (one.checksum.load(std::memory_order_relaxed) == kUnknown) return Glance::Changed;
    found = Glance::Doubtful;
  }
  return found;
}

std::unique_ptr<WatchedState> state(const Watched& watched) {
  auto state = std::make_unique<WatchedState>();
  state->look = look_at_all(watched);
  for (size_t i = 0; i < watched.tensors.size(); ++i) {
    const auto& one = watched.tensors[i];
    const Gradients gradients(watched, one);
    state->ones.push_back({i, gradients.arrived, gradients.calm(), kUnknown});
    if (!gradients.never_came()) sum_later(*state, one.tensor);
    if (has_memory(one.tensor)) state->storages.push_back(one.tensor.storage().getWeakStorageImpl());
  }
  return state;
}

std::unique_ptr<WatchedState> state_of_doubtful(const Watched& watched) {
  auto state = std::make_unique<WatchedState>();
  for (size_t i = 0; i < watched.tensors.size(); ++i) {
    const auto& one = watched.tensors[i];
    const Gradients gradients(watched, one);
    if (!gradients.is_doubtful(one)) continue;
    state->ones.push_back({i, gradients.arrived, gradients.calm(), kUnknown});
    sum_later(*state, one.tensor);
  }
  return state;
}

rust::Vec<RawRun> to_be_summed(const WatchedState& state) {
  rust::Vec<RawRun> runs;
  for (const at::Tensor& dense : state.dense)
    runs.push_back({reinterpret_cast<size_t>(dense.const_data_ptr()), dense.nbytes(), number_of(dense.device())});
  return runs;
}

void set_sums(WatchedState& state, rust::Slice<const uint64_t> sums) {
  for (size_t i = 0; i < state.summed.size(); ++i) state.ones[state.summed[i]].checksum = sums[i] == kUnknown ? 1 : sums[i];
  state.dense.clear();
}

bool is_still(const Watched& watched, const WatchedState& state) {
  for (const auto& [tensor, arrived, calm, checksum] : state.ones) {
    const auto& one = watched.tensors[tensor];
    if (checksum == kUnknown || checksum != one.checksum.load(std::memory_order_relaxed)) return false;
    if (arrived != one.arrived.load(std::memory_order_relaxed)) return false;
  }
  for (const auto& one : state.ones) watched.tensors[one.tensor].calm.store(one.calm, std::memory_order_relaxed);
  return true;
}

void settle(const Watched& watched, std::unique_ptr<WatchedState> state) {
  const std::lock_guard<std::mutex> lock(watched.settling);
  for (const auto& [tensor, arrived, calm, checksum] : state->ones) {
    const auto& one = watched.tensors[tensor];
    one.checksum.store(checksum, std::memory_order_relaxed);
    one.arrived.store(arrived, std::memory_order_relaxed);
    one.calm.store(calm, std::memory_order_relaxed);
  }
  watched.storages = std::move(state->storages);
  watched.look.store(state->look, std::memory_order_release);
}

}  // namespace tch_trt
