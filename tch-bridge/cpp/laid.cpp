// The operator `trt::laid_as`: what a functional form of an in-place write needs to be of the type of what was written, and to lie in memory
// as that does.
#include <torch/csrc/jit/runtime/custom_operator.h>

#include "tch-bridge/cpp/graph.h"

namespace tch_trt {

namespace {

// `value` with the element type and the strides of `base`, which has its sizes: `value` itself where it has them already.
at::Tensor laid_as(at::Tensor value, const at::Tensor& base) {
  if (value.scalar_type() != base.scalar_type()) {
    TORCH_CHECK(c10::canCast(value.scalar_type(), base.scalar_type()), "result type ", value.scalar_type(),
                " can't be cast to the desired output type ", base.scalar_type());
    value = value.to(base.scalar_type());
  }
  bool strided = value.layout() == at::kStrided && base.layout() == at::kStrided && value.sizes() == base.sizes();
  if (!strided || value.strides() == base.strides() || !base.is_non_overlapping_and_dense()) return value;
  at::Tensor out = at::empty_strided(base.sizes(), base.strides(), value.options());
  return out.copy_(value);
}

// The schema tells of the sharing so that no pass of torch's takes two such values for one.
const torch::jit::RegisterOperators laying({torch::jit::Operator(
    "trt::laid_as(Tensor(a) self, Tensor base) -> Tensor(a)",
    [](torch::jit::Stack& stack) {
      auto base = torch::jit::pop(stack).toTensor();
      auto value = torch::jit::pop(stack).toTensor();
      stack.emplace_back(laid_as(std::move(value), base));
    },
    c10::AliasAnalysisKind::FROM_SCHEMA)});

}  // namespace

}  // namespace tch_trt
