// Attributes of a module, found by their paths once and watched from then on.
#pragma once

#include <torch/csrc/jit/api/object.h>
#include <torch/custom_class.h>

#include <optional>

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
  bool owner_lives() const { return life_ && !life_->expired(); }
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
  // The module and its type. Nothing may refer to the module itself, not even weakly: it keeps its attributes while anything does, and
  // engines and forms, which hold places, are among these. At the address of one that is gone there may be another.
  const Object* address_;
  std::shared_ptr<c10::ClassType> type_;
  // An attribute that only such modules have: it goes when the module does.
  std::optional<c10::weak_intrusive_ptr<torch::CustomClassHolder>> life_;
  std::vector<Step> steps_;
  std::vector<Found> found_;
};

}  // namespace tch_trt
