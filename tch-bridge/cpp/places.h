// Attributes of a module, found by their paths once and watched from then on.
#pragma once

#include <torch/csrc/jit/api/object.h>

#include "tch-bridge/cpp/calls.h"

namespace tch_trt {

// The module that a method runs on.
struct Owner {
  torch::jit::ObjectPtr object;
};

class Places {
 public:
  // Throws `Failure` where a path (attribute names joined by dots) leads nowhere.
  Places(const Owner& owner, const std::vector<std::string>& paths);

  // Whether this is the module that they were found in, and each path leads to the very value that it led to then.
  bool hold(const Owner& owner) const;
  bool same_owner(const Places& other) const { return address_ == other.address_; }
  // Whether the module that they were found in is still there.
  bool owner_lives() const { return !root_.expired(); }
  // What the paths led to, in their order.
  const c10::IValue& value(size_t at) const { return found_.at(at).value; }
  size_t size() const { return found_.size(); }

 private:
  using Object = c10::ivalue::Object;
  struct Step {
    const Object* parent;
    size_t slot;
    torch::jit::ObjectPtr child;
  };
  struct Found {
    const Object* holder;
    size_t slot;
    c10::IValue value;
  };
  // Weak: engines and forms, which hold places, are attributes of this very module. Objects that are alive, or remembered
  // weakly, never share an address.
  c10::weak_intrusive_ptr<Object> root_;
  const Object* address_;
  std::vector<Step> steps_;
  std::vector<Found> found_;
};

}  // namespace tch_trt
