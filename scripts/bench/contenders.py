"""Whom the engines are timed against. Each function makes a network ready and gives a function that runs it on its inputs."""

import io
import pathlib
import subprocess
import tempfile

import torch


def eager(network, inputs, options):
    return lambda: network(*inputs)


def traced(network, inputs):
    return torch.jit.trace(network, inputs, check_trace=False)


def jit(network, inputs, options):
    """What torch itself makes of TorchScript: frozen and optimised for inference."""
    made = torch.jit.optimize_for_inference(torch.jit.freeze(traced(network, inputs)))
    for _ in range(3):  # Its executor rewrites the graph in the first calls.
        made(*inputs)
    return lambda: made(*inputs)


def compiled(network, inputs, options):
    torch._dynamo.reset()
    made = torch.compile(network, mode="max-autotune")
    made(*inputs)
    return lambda: made(*inputs)


def engines(network, inputs, options):
    """`tch-trt compile`, then the file that it wrote."""
    names = {torch.float32: "f32", torch.int64: "i64[0,50)"}
    specs = [f"({','.join(map(str, t.shape))})@{names[t.dtype]}" for t in inputs]
    with tempfile.TemporaryDirectory() as folder:
        model, saved = f"{folder}/model.pt", f"{folder}/model.trt.pt"
        traced(network, inputs).save(model)
        command = [options.tool, "compile", model, "-o", saved, "--threads", str(options.threads)]
        for spec in specs:
            command += ["-i", spec]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        made = torch.jit.load(saved).eval()
    torch.ops.trt.set_enabled(True)
    ready = torch.ops.trt.build(made)

    def run():
        return made(*inputs)

    run.model, run.ready = made, ready
    return run


def exported(network, inputs):
    file = io.BytesIO()
    torch.onnx.export(network, inputs, file, dynamo=False, opset_version=17)
    return file.getvalue()


def onnxruntime(network, inputs, options):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(exported(network, inputs), settings, providers=["CPUExecutionProvider"])
    feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), inputs)}
    return lambda: session.run(None, feed)


def openvino(network, inputs, options):
    import openvino

    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        path.write_bytes(exported(network, inputs))
        model = core.read_model(path)
    model.reshape({i.any_name: list(t.shape) for i, t in zip(model.inputs, inputs)})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    arrays = [t.numpy() for t in inputs]
    return lambda: list(request.infer(arrays).values())


CONTENDERS = {
    "engines": engines,
    "eager": eager,
    "jit": jit,
    "torch.compile": compiled,
    "ONNX Runtime": onnxruntime,
    "OpenVINO": openvino,
}
