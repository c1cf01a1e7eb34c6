// Everything the Rust side sees of torch::jit: a few owning handles and free functions over them.
// Every function may throw; `trycatch` below turns what it throws into "<kind><message>" for `jit::JitError`.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/frontend/error_report.h>
#include <torch/csrc/jit/runtime/interpreter.h>

#include "rust/cxx.h"

namespace tch_trt {

// The first byte of an error message; `jit::error` reads it.
enum class FailureKind : char {
  Argument = 'a',
  Closure = 'c',
  Graph = 'g',
  Memory = 'm',
  Operator = 'o',
  Runtime = 'r',
  Source = 's',
};

struct Failure : std::runtime_error {
  Failure(FailureKind kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
  FailureKind kind;
};

inline std::string tagged(FailureKind kind, const char* message) {
  return static_cast<char>(kind) + std::string(message);
}

// A stack of IValues: arguments go in with `push_*`, results come out with `pop_*`.
struct Stack {
  std::vector<c10::IValue> values;
};

struct Module {
  torch::jit::Module module;
  // What else was in its file, by name.
  torch::jit::ExtraFilesMap extra = {};
};

struct Method {
  torch::jit::Method method;
  // Its operators as they are written, where they are not torch's executor's to change.
  std::optional<torch::jit::Code> steps;
  // The same graph with an executor of its own.
  std::shared_ptr<torch::jit::GraphFunction> twin;
};

// An attribute on which the graph relies: `prepare` folded it in as a constant, or branches were left out because of its kind.
struct Folded {
  torch::jit::ObjectPtr object;
  size_t slot;
  // What it holds; of a tensor its `tensor_kind`.
  c10::IValue value;
  std::string path;
  // Where it lists parameters: their paths.
  std::vector<std::string> elements;
};

// A prepared copy of a method's graph. Immutable after `prepare`: every user works on a copy,
// and the numbering of `Index` is the same in each copy.
struct Graph {
  std::shared_ptr<torch::jit::Graph> graph;
  torch::jit::Module owner;
  std::string method;
  std::vector<Folded> folded;
  // Names of attributes that some method of the module sets.
  std::unordered_set<std::string> assigned;
};

struct Outputs;
struct Watched;
struct WatchedState;
struct Owner;
class Places;

}  // namespace tch_trt

namespace rust::behavior {

template <typename Try, typename Fail>
static void trycatch(Try&& run, Fail&& fail) noexcept try {
  run();
} catch (const tch_trt::Failure& e) {
  fail(tch_trt::tagged(e.kind, e.what()).c_str());
} catch (const torch::jit::ErrorReport& e) {
  fail(tch_trt::tagged(tch_trt::FailureKind::Source, e.what()).c_str());
} catch (const c10::OutOfMemoryError& e) {
  fail(tch_trt::tagged(tch_trt::FailureKind::Memory, e.what_without_backtrace()).c_str());
} catch (const std::bad_alloc& e) {
  fail(tch_trt::tagged(tch_trt::FailureKind::Memory, e.what()).c_str());
} catch (const c10::Error& e) {
  fail(tch_trt::tagged(tch_trt::FailureKind::Runtime, e.what_without_backtrace()).c_str());
} catch (const std::exception& e) {
  fail(tch_trt::tagged(tch_trt::FailureKind::Runtime, e.what()).c_str());
} catch (...) {
  fail(tch_trt::tagged(tch_trt::FailureKind::Runtime, "an exception of unknown type").c_str());
}

}  // namespace rust::behavior
