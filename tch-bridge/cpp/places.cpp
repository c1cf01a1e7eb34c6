#include "tch-bridge/cpp/places.h"

#include <unordered_map>

#include "tch-bridge/src/sys.rs.h"

namespace tch_trt {

using c10::IValue;

Places::Places(const Owner& owner, const std::vector<std::string>& paths)
    : address_(owner.object.get()), type_(owner.object->type()) {
  for (const IValue& attribute : address_->slots()) {
    if (attribute.isCustomClass() && attribute.toObjectRef().name().rfind("__torch__.torch.classes.trt.", 0) == 0) {
      life_.emplace(attribute.toObjectRef().getSlot(0).toCapsule());
      break;
    }
  }
  std::unordered_map<std::string, const Object*> holders{{"", address_}};
  for (const std::string& path : paths) {
    auto slot_of = [&](const Object* holder, const std::string& name) {
      auto slot = holder->type()->findAttributeSlot(name);
      if (!slot) throw Failure(FailureKind::Argument, "the module has no attribute `" + path + "`");
      return *slot;
    };
    const Object* holder = address_;
    size_t start = 0;
    for (size_t dot = path.find('.'); dot != std::string::npos; start = dot + 1, dot = path.find('.', start)) {
      auto [known, is_new] = holders.emplace(path.substr(0, dot), nullptr);
      if (is_new) {
        size_t slot = slot_of(holder, path.substr(start, dot - start));
        const IValue& child = holder->getSlot(slot);
        if (!child.isObject()) throw Failure(FailureKind::Argument, "`" + path + "` leads through no module");
        steps_.push_back(Step{holder, slot, child.toObject()});
        known->second = steps_.back().child.get();
      }
      holder = known->second;
    }
    size_t slot = slot_of(holder, path.substr(start));
    found_.push_back(Found{holder, slot, holder->getSlot(slot)});
  }
}

bool Places::hold(const Owner& owner) const {
  return owner.object.get() == address_ && owner.object->type() == type_ &&
         std::all_of(steps_.begin(), steps_.end(),
                     [](const Step& step) {
                       const IValue& value = step.parent->getSlot(step.slot);
                       return value.isObject() && &value.toObjectRef() == step.child.get();
                     }) &&
         std::all_of(found_.begin(), found_.end(),
                     [](const Found& found) { return found.holder->getSlot(found.slot).is(found.value); });
}

std::unique_ptr<Places> find_places(const Owner& owner, rust::Slice<const rust::String> paths) {
  return std::make_unique<Places>(owner, std::vector<std::string>(paths.begin(), paths.end()));
}

bool places_hold(const Places& places, const Owner& owner) { return places.hold(owner); }
bool places_same_owner(const Places& a, const Places& b) { return a.same_owner(b); }
bool places_owner_lives(const Places& places) { return places.owner_lives(); }

std::unique_ptr<Stack> place_values(const Places& places) {
  auto stack = std::make_unique<Stack>();
  for (size_t at = places.size(); at > 0; --at) stack->values.push_back(places.value(at - 1));
  return stack;
}

}  // namespace tch_trt
