// What a stitched module holds of an engine.
#pragma once

#include <torch/custom_class.h>

#include "tch-bridge/cpp/calls.h"
#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

struct Engine : torch::CustomClassHolder {
  Engine(rust::Box<EngineHandle> handle, size_t tensors, size_t ints)
      : handle(std::move(handle)), tensors(tensors), ints(ints) {}
  // When only weak references are left.
  void release_resources() override { auto gone = std::move(handle); }

  rust::Box<EngineHandle> handle;
  // How many of each it gives.
  size_t tensors, ints;
};

}  // namespace tch_trt
