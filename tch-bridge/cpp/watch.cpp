// Whether the weights behind an engine have changed, in one number.
#include <cstring>

#include "tch-bridge/cpp/calls.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

namespace {

constexpr int64_t kSamples = 8;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdull;
}

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

// A few elements: some writers (torch's own C++ SGD among them) go through `data()`, which no version counts.
uint64_t sample(uint64_t hash, const at::Tensor& tensor) {
  const int64_t count = tensor.numel();
  const auto size = static_cast<int64_t>(tensor.element_size());
  const auto* bytes = static_cast<const char*>(tensor.const_data_ptr());
  const bool dense = tensor.is_non_overlapping_and_dense();
  for (int64_t i = 0; i < std::min(kSamples, count); ++i) {
    uint64_t bits = 0;
    const int64_t element = count <= kSamples ? i : (2 * i + 1) * (count / (2 * kSamples));
    std::memcpy(&bits, bytes + place(tensor, element, dense) * size, static_cast<size_t>(std::min<int64_t>(size, sizeof bits)));
    hash = mix(hash, bits);
  }
  return hash;
}

// Its gradient where it has one, else null.
at::TensorImpl* gradient_of(const at::Tensor& tensor) {
  if (!tensor.requires_grad()) return nullptr;
  const at::Tensor& grad = tensor.unsafeGetTensorImpl()->grad();
  return grad.defined() ? grad.unsafeGetTensorImpl() : nullptr;
}

bool has_memory(const at::Tensor& tensor) { return tensor.layout() == at::kStrided && tensor.has_storage(); }

uint64_t version_of(at::TensorImpl& tensor) {
  return tensor.is_inference() ? 0 : tensor.version_counter().current_version();
}

}  // namespace

std::unique_ptr<Watched> watch(const Stack& stack) {
  auto watched = std::make_unique<Watched>();
  for (const auto& value : stack.values) watched->tensors.push_back(value.toTensor());
  return watched;
}

bool any_is_recorded(const Watched& watched, uint8_t recording) {
  return std::any_of(watched.tensors.begin(), watched.tensors.end(),
                     [&](const at::Tensor& tensor) { return is_recorded(tensor, recording); });
}

uint64_t fingerprint(const Watched& watched) {
  uint64_t hash = 0;
  for (const at::Tensor& tensor : watched.tensors) {
    hash = mix(hash, version_of(*tensor.unsafeGetTensorImpl()));
    if (!has_memory(tensor)) continue;
    hash = mix(hash, reinterpret_cast<uint64_t>(tensor.storage().unsafeGetStorageImpl()));
    hash = mix(hash, reinterpret_cast<uint64_t>(tensor.const_data_ptr()));
    hash = mix(hash, static_cast<uint64_t>(tensor.numel()));
    if (tensor.device().is_cpu()) hash = sample(hash, tensor);
    at::TensorImpl* gradient = gradient_of(tensor);
    if (gradient == nullptr) continue;
    hash = mix(hash, reinterpret_cast<uint64_t>(gradient));
    hash = mix(hash, version_of(*gradient));
  }
  return hash;
}

uint64_t note(const Watched& watched) {
  const std::lock_guard<std::mutex> lock(watched.noting);
  watched.storages.clear();
  watched.gradients.clear();
  for (const at::Tensor& tensor : watched.tensors) {
    if (!has_memory(tensor)) continue;
    watched.storages.push_back(tensor.storage().getWeakStorageImpl());
    if (gradient_of(tensor) == nullptr) continue;
    watched.gradients.emplace_back(tensor.unsafeGetTensorImpl()->grad().getIntrusivePtr());
  }
  return fingerprint(watched);
}

}  // namespace tch_trt
