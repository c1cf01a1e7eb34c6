"""Ways to run a network on a GPU, each as a function without arguments that leaves its results in `.results`."""

import subprocess
import tempfile

import torch
from formats import spec, traced


class Captured:
    """Calls replay a CUDA graph of the module's call."""

    def __init__(self, module, arguments):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                module(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=side):
            self.results = module(*arguments)

    def __call__(self):
        self.graph.replay()


class Compiled:
    """torch.compile at its most thorough, which replays CUDA graphs of its own."""

    def __init__(self, module, arguments):
        torch._dynamo.reset()
        self.module, self.arguments = torch.compile(module, mode="max-autotune"), arguments
        for _ in range(3):
            self()

    def __call__(self):
        torch.compiler.cudagraph_mark_step_begin()
        self.results = self.module(*self.arguments)


def frozen(module, arguments):
    return torch.jit.optimize_for_inference(torch.jit.freeze(traced(module, arguments)))


def engines(module, arguments, tool):
    """The module with engines, saved by `tch-trt compile` and loaded into this process."""
    with tempfile.TemporaryDirectory() as folder:
        plain, saved = f"{folder}/plain.pt", f"{folder}/engines.pt"
        traced(module, arguments).save(plain)
        command = [tool, "compile", plain, "-o", saved, "--device", "cuda"]
        for argument in arguments:
            command += ["-i", spec(argument)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        loaded = torch.jit.load(saved).eval()
    torch.ops.trt.set_enabled(True)
    if not torch.ops.trt.build(loaded):
        raise RuntimeError("there is no engine")
    return loaded


CONTENDERS = {
    "engines": lambda module, arguments, tool: Captured(engines(module, arguments, tool), arguments),
    "eager": lambda module, arguments, tool: Captured(module, arguments),
    "frozen": lambda module, arguments, tool: Captured(frozen(module, arguments), arguments),
    "compiled": lambda module, arguments, tool: Compiled(module, arguments),
}
