// Names of attributes that a TorchScript file cannot hold: torch writes such a file, and nobody reads it. A file is Python code, in which
// attributes of these names would be keywords, methods, or text that ends early.
#include <torch/csrc/jit/frontend/lexer.h>

#include "tch-bridge/cpp/calls.h"

namespace tch_trt {

namespace {

bool is_keyword(const std::string& name) {
  if (name == "torch" || name == "__annotations__" || name == "__parameters__" || name == "__buffers__") return true;
  if (std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  auto is_in_words = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
  if (!std::all_of(name.begin(), name.end(), is_in_words)) return false;
  return torch::jit::Lexer(std::make_shared<torch::jit::Source>(name)).cur().kind != torch::jit::TK_IDENT;
}

bool ends_text(const std::string& name) {
  return std::any_of(name.begin(), name.end(), [](char c) { return c < ' ' || c > '~' || c == '"' || c == '\\'; });
}

void check(const torch::jit::Module& module, const std::string& path) {
  auto type = module.type();
  for (size_t i = 0; i < type->numAttributes(); ++i) {
    const std::string& name = type->getAttributeName(i);
    const char* why = ends_text(name) ? "has characters other than plain ASCII, or a quote or backslash"
                      : is_keyword(name) ? "is a keyword of TorchScript"
                      : type->findMethod(name) ? "is a method of the module too"
                                               : nullptr;
    if (why) {
      throw Failure(FailureKind::Argument, "the attribute `" + path + name + "` cannot be written to a TorchScript file, since `" +
                                               name + "` " + why + "; rename it");
    }
    if (type->getAttribute(i)->is_module()) check(module._ivalue()->getSlot(i).toModule(), path + name + ".");
  }
}

}  // namespace

void check_names(const Module& module) { check(module.module, ""); }

}  // namespace tch_trt
