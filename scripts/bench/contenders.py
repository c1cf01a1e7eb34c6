"""Whom the engines are timed against.

A contender `writes` a network into a folder, as one would deploy it, and `loads` it from there: that gives a function that runs it on its
inputs. With `keep`, loading leaves in the folder what lets the next loading be quick, and uses what is left there.
"""

import os
import pickle
import subprocess
import typing

import torch
from formats import exported, spec, traced


class Contender(typing.NamedTuple):
    write: typing.Callable
    load: typing.Callable


def write_eager(network, inputs, folder, options):
    (folder / "model.pickle").write_bytes(pickle.dumps(network))


def load_eager(folder, inputs, options, keep=False):
    network = pickle.loads((folder / "model.pickle").read_bytes())
    return lambda: network(*inputs)


def write_script(network, inputs, folder, options):
    traced(network, inputs).save(folder / "model.pt")


def load_jit(folder, inputs, options, keep=False):
    """What torch itself makes of TorchScript: frozen and optimised for inference. What it optimises cannot be saved; what is frozen can."""
    frozen = folder / "frozen.pt"
    if keep and frozen.exists():
        made = torch.jit.load(frozen)
    else:
        made = torch.jit.freeze(torch.jit.load(folder / "model.pt").eval())
        if keep:
            made.save(frozen)
    made = torch.jit.optimize_for_inference(made)
    for _ in range(3):  # Its executor rewrites the graph in the first calls.
        made(*inputs)
    return lambda: made(*inputs)


def load_compiled(folder, inputs, options, keep=False):
    """Keeps what it does on disk by itself."""
    torch._dynamo.reset()
    made = torch.compile(pickle.loads((folder / "model.pickle").read_bytes()), mode="max-autotune")
    made(*inputs)
    return lambda: made(*inputs)


def compile_engines(inputs, folder, options, weights, *more):
    """`tch-trt compile`: engines are built where the file is loaded (`reference`), or are in it (`embed`)."""
    command = [options.tool, "compile", folder / "model.pt", "-o", folder / f"{weights}.pt", "--weights", weights]
    command += ["--threads", str(options.threads), *more]
    for tensor in inputs:
        command += ["-i", spec(tensor)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write_engines(network, inputs, folder, options):
    write_script(network, inputs, folder, options)
    compile_engines(inputs, folder, options, "reference")


def load_engines(folder, inputs, options, keep=False):
    if keep and not (folder / "embed.pt").exists():
        compile_engines(inputs, folder, options, "embed")
    made = torch.jit.load(folder / ("embed.pt" if keep else "reference.pt")).eval()
    torch.ops.trt.set_enabled(True)
    torch.ops.trt.build(made)

    def run():
        return made(*inputs)

    run.model = made
    return run


def write_onnx(network, inputs, folder, options):
    (folder / "model.onnx").write_bytes(exported(network, inputs))


def load_onnxruntime(folder, inputs, options, keep=False):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    file, kept = folder / "model.onnx", folder / "optimized.onnx"
    if keep and kept.exists():
        file = kept
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    elif keep:
        settings.optimized_model_filepath = str(kept)
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), inputs)}
    return lambda: session.run(None, feed)


def load_openvino(folder, inputs, options, keep=False):
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if keep:
        settings["CACHE_DIR"] = os.fspath(folder / "openvino")
    model = core.read_model(folder / "model.onnx")
    model.reshape({i.any_name: list(t.shape) for i, t in zip(model.inputs, inputs)})
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    arrays = [t.numpy() for t in inputs]
    return lambda: list(request.infer(arrays).values())


CONTENDERS = {
    "engines": Contender(write_engines, load_engines),
    "eager": Contender(write_eager, load_eager),
    "jit": Contender(write_script, load_jit),
    "torch.compile": Contender(write_eager, load_compiled),
    "ONNX Runtime": Contender(write_onnx, load_onnxruntime),
    "OpenVINO": Contender(write_onnx, load_openvino),
}
