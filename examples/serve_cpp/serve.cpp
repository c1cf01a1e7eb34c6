// Serves a file that `tch-trt compile` made: `serve MODEL SIZES`, where SIZES are those of an f32 tensor, 1,3,224,224.
//
// Times libtorch and the engines by turns and holds their answers against each other. Fails unless engines served and agree.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <torch/csrc/jit/runtime/operator.h>
#include <torch/script.h>

namespace {

constexpr int ROUNDS = 20;

// Calls one of the operators of libtch_trt.so.
c10::IValue call(const char* name, c10::IValue argument) {
  torch::jit::Stack stack{std::move(argument)};
  torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(name)).at(0)->getOperation()(stack);
  return stack.empty() ? c10::IValue() : stack.back();
}

// The sizes in `1,3,224,224`.
std::vector<int64_t> sizes_of(const std::string& text) {
  std::vector<int64_t> sizes;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) sizes.push_back(std::stoll(word));
  return sizes;
}

// The tensor that a model answers with, or the first of several.
at::Tensor first(const c10::IValue& answer) {
  return answer.isTuple() ? first(answer.toTupleRef().elements().at(0)) : answer.toTensor();
}

// What the model answers with engines or without, and the milliseconds it took.
std::pair<at::Tensor, double> timed(torch::jit::Module& model, const at::Tensor& x, bool engines) {
  call("trt::set_enabled", engines);
  auto start = std::chrono::steady_clock::now();
  auto answer = first(model.forward({x}));
  std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
  return {answer, taken.count()};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int serve(const std::string& path, const std::string& sizes) {
  c10::InferenceMode inference;
  auto model = torch::jit::load(path);
  model.eval();
  auto x = at::randn(sizes_of(sizes));

  // Without this, the first call has engines built in the background and libtorch answers until they are ready.
  call("trt::set_enabled", true);
  timed(model, x, true);
  auto ready = call("trt::build", model._ivalue()).toInt();

  std::vector<double> host, engines;
  at::Tensor want, got;
  for (int round = 0; round < ROUNDS; ++round) {
    double ms;
    std::tie(want, ms) = timed(model, x, false);
    host.push_back(ms);
    std::tie(got, ms) = timed(model, x, true);
    engines.push_back(ms);
  }
  auto report = call("trt::report", model._ivalue()).toStringRef();
  bool served = report.find("\"served\":" + std::to_string(ROUNDS)) != std::string::npos;
  bool agree = at::allclose(got, want, 1e-3, 1e-4);
  std::cout << ready << " engines are ready; they " << (served ? "served" : "did not serve") << " all " << ROUNDS << " calls\n"
            << "libtorch " << median(host) << " ms, engines " << median(engines) << " ms; the answers "
            << (agree ? "agree" : "differ") << "\n";
  if (!served) std::cout << report << "\n";
  return served && agree ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: serve MODEL SIZES, for instance: serve resnet18.trt.pt 1,3,224,224\n";
    return 2;
  }
  try {
    return serve(arguments[1], arguments[2]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
}
