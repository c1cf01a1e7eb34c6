// Counts the gradients that arrive at a tensor, for whoever watches it.
//
// Whoever evaluates beside a training thread must not touch a gradient, which that thread replaces at any time. So torch's own accumulation
// of gradients counts them, after each is in its place: what is written for the sake of one is written later. The hook is one of the tensor, not
// of its node in the graph of gradients: nothing of that graph is kept alive, and a variable that is given another shape trains on. It stays as long
// as the tensor lives, for all who watch it: a training thread may be about to call it at any time.
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "tch-bridge/cpp/watch.h"

namespace tch_trt {

namespace {

struct Counter : torch::autograd::PostAccumulateGradHook {
  void operator()(const at::Tensor&) override { arrivals->fetch_add(1, std::memory_order_acq_rel); }
  // To a compiled graph of gradients there is nothing to call: Python's optimisers, which belong to it, write so that torch counts it.
  void compiled_args(torch::dynamo::autograd::CompiledNodeArgs&) const override {}
  void apply_with_saved(at::Tensor&, torch::dynamo::autograd::SwapSavedVariables&) override {}

  Arrivals arrivals = std::make_shared<std::atomic<uint64_t>>(1);
};

}  // namespace

bool takes_gradients(const at::Tensor& tensor) {
  const auto* meta = torch::autograd::impl::get_autograd_meta(tensor);
  return meta != nullptr && meta->requires_grad_ && !meta->grad_fn_;
}

at::Tensor base_of(const at::Tensor& tensor) {
  // What is detached is still a view as far as tangents go.
  const auto* view = torch::autograd::impl::get_view_autograd_meta(tensor);
  return view != nullptr && view->has_fw_view() ? view->get_forward_view().base_ : at::Tensor();
}

Arrivals arrivals_of(const at::Tensor& tensor) {
  static std::mutex placing;
  const std::lock_guard<std::mutex> lock(placing);
  const auto& place = torch::autograd::impl::post_acc_grad_hooks(tensor);
  if (place) {
    const auto* counter = dynamic_cast<const Counter*>(place.get());
    return counter == nullptr ? nullptr : counter->arrivals;
  }
  auto counter = std::make_unique<Counter>();
  Arrivals arrivals = counter->arrivals;
  torch::autograd::impl::set_post_acc_grad_hooks(tensor, std::move(counter));
  return arrivals;
}

}  // namespace tch_trt
