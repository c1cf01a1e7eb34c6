"""Where somebody looks at each of the host's operators, or a tensor is more than memory, the host serves the call."""

import torch
import torch.autograd.forward_ad as forward_ad
from check import *
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

model = load(sys.argv[2])
for parameter in model.parameters():
    parameter.requires_grad_(False)
assert torch.ops.trt.build(model) > 0
x, tangent = torch.randn(4, 8), torch.randn(4, 8)


def left_to_the_host(call):
    """The call's result with engines switched on, which is as without them; no engine served it."""
    before = served(model)
    got = call()
    assert served(model) == before, torch.ops.trt.report(model)
    torch.ops.trt.set_enabled(False)
    want = call()
    torch.ops.trt.set_enabled(True)
    same(got, want)
    return got


def twice(x):
    return model.twice(x)


agrees(model, x, method="twice")


# Tangents of arguments, with and without gradients recorded.
def dual():
    with torch.no_grad(), forward_ad.dual_level():
        return tuple(forward_ad.unpack_dual(twice(forward_ad.make_dual(x, tangent))))


assert left_to_the_host(dual)[1].abs().max() > 0


# Tangents of parameters; calls beside them are the engines'.
def dual_weight():
    with torch.no_grad(), forward_ad.dual_level():
        w = model.w
        model.w = forward_ad.make_dual(w, torch.ones_like(w))
        try:
            return tuple(forward_ad.unpack_dual(twice(x)))
        finally:
            model.w = w


assert left_to_the_host(dual_weight)[1].abs().max() > 0
with forward_ad.dual_level():
    torch.ops.trt.build(model)
    agrees(model, x, method="twice")
agrees(model, x, method="twice")

# Transforms of functions.
assert left_to_the_host(lambda: torch.func.jvp(twice, (x,), (tangent,)))[1].abs().max() > 0
left_to_the_host(lambda: torch.func.vmap(twice)(torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))))
left_to_the_host(lambda: torch.func.grad(lambda x: twice(x).sum())(x))
left_to_the_host(lambda: torch.func.vmap(lambda _: twice(x), in_dims=0)(x))


# Modes of the dispatcher.
class Names(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def names():
    with torch.no_grad(), Names() as mode:
        out = twice(x)
    assert any("mm" in name for name in mode.names), mode.names
    return out


def operations():
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twice(x)
    return torch.tensor(counter.get_total_flops())


left_to_the_host(names)
assert left_to_the_host(operations) == 2 * 4 * 8 * 8
with torch.no_grad():
    graph = make_fx(twice)(x)
    assert "tanh" in graph.code, graph.code
    same(graph(x + 1), twice(x + 1))
    fake = make_fx(twice, tracing_mode="fake", _allow_non_fake_inputs=True)(x)
    assert "tanh" in fake.code, fake.code


# Tensors that are more than memory, or less.
class Wrapped(torch.Tensor):
    seen = 0
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        Wrapped.seen += 1
        return func(*[a.inner if isinstance(a, Wrapped) else a for a in args], **(kwargs or {}))


def wrapped():
    with torch.no_grad():
        return twice(Wrapped(x))


left_to_the_host(wrapped)
assert Wrapped.seen > 0
before = served(model)
with torch.no_grad():
    copy = torch.jit.load(sys.argv[2]).eval()
    copy.w = torch.empty(8, 8, device="meta")
    assert copy.twice(x.to("meta")).device.type == "meta"
    try:
        nested = torch.nested.nested_tensor([x, x[:2]], layout=torch.strided)
        torch.ops.trt.set_enabled(False)
        want = [t.clone() for t in twice(nested).unbind()]
    except RuntimeError:
        want = None
    torch.ops.trt.set_enabled(True)
    if want is not None:
        same([t.clone() for t in twice(nested).unbind()], want)
    else:
        try:
            twice(nested)
        except RuntimeError as e:
            assert "doesn't support sizes" not in str(e), e
assert served(model) == before

# And all is as it was.
agrees(model, x, method="twice")
print("fine")
