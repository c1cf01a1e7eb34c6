"""A network as others read it: as TorchScript, as ONNX; and how the tool names an input."""

import contextlib
import io

import torch


@contextlib.contextmanager
def plain_operators():
    """Eager calls may take attention's fast path, which is one operator that nobody else knows; here they do not."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def traced(network, inputs):
    with plain_operators():
        return torch.jit.trace(network, inputs, check_trace=False)


def exported(network, inputs):
    """The bytes of an ONNX file."""
    file = io.BytesIO()
    with plain_operators():
        torch.onnx.export(network, inputs, file, dynamo=False, opset_version=17)
    return file.getvalue()


def spec(tensor):
    """The tensor's type as `tch-trt --input` has it."""
    names = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.int64: "i64", torch.uint8: "u8"}
    range_ = f"[0,{max(1, int(tensor.max()) + 1)})" if not tensor.is_floating_point() else ""
    return f"({','.join(map(str, tensor.shape))})@{names[tensor.dtype]}{range_}"
