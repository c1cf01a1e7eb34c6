"""What the Python side of the tests shares: the library is loaded, engines are on, answers are compared."""

import json
import sys

import torch

torch.manual_seed(0)
torch.ops.load_library(sys.argv[1])
torch.ops.trt.set_enabled(True)


def load(path):
    return torch.jit.load(path).eval()


def engines(model):
    """What each engine of the model tells of itself."""
    return json.loads(torch.ops.trt.report(model))


def served(model):
    """How many calls the model's engines served."""
    return sum(e["engine"]["served"] for e in engines(model) if e["engine"])


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    return [t for v in value for t in tensors(v)] if hasattr(value, "__iter__") else []


def same(got, want, atol=1e-5):
    got, want = tensors(got), tensors(want)
    assert len(got) == len(want) > 0
    for a, b in zip(got, want):
        assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, a.shape, b.dtype, b.shape)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol * float(b.abs().max() + 1) if b.is_floating_point() else 0)


def agrees(model, *arguments, method="forward"):
    """The engines serve the call, and the host's answer is the same."""
    call = getattr(model, method)
    with torch.no_grad():
        before = served(model)
        got = call(*arguments)
        assert served(model) > before, torch.ops.trt.report(model)
        torch.ops.trt.set_enabled(False)
        want = call(*arguments)
        torch.ops.trt.set_enabled(True)
    same(got, want)
    return got
