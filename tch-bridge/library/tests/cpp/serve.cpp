// A C++ program that is linked with libtch_trt.so: `serve MODEL` fails unless engines serve, with the answer of the host.
#include <iostream>

#include <torch/csrc/jit/runtime/operator.h>
#include <torch/script.h>

namespace {

// Calls one of the library's operators.
c10::IValue call(const char* name, c10::IValue argument) {
  torch::jit::Stack stack{std::move(argument)};
  torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(name)).at(0)->getOperation()(stack);
  return stack.empty() ? c10::IValue() : stack.back();
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return 2;
  c10::InferenceMode inference;
  auto model = torch::jit::load(arguments[1]);
  auto answer = [&](const at::Tensor& x) { return model.forward({x}).toTupleRef().elements()[0].toTensor(); };
  auto x = at::randn({4, 8});
  call("trt::set_enabled", true);
  auto ready = call("trt::build", model._ivalue()).toInt();
  auto got = answer(x);
  auto report = call("trt::report", model._ivalue()).toStringRef();
  call("trt::set_enabled", false);
  auto want = answer(x);
  bool served = report.find("\"served\":1") != std::string::npos;
  std::cout << ready << " engines ready, " << (served ? "served" : "not served") << "\n" << report << "\n";
  return ready > 0 && served && at::allclose(got, want, 1e-4, 1e-5) ? 0 : 1;
}
