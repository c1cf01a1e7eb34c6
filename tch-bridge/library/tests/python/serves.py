"""A saved module gives the host's answers through engines, sees weights that change, and lets the host train it."""

import copy

import torch
from check import *

model = load(sys.argv[2])
assert set(model.state_dict()) == {"w", "scale"}, model.state_dict().keys()
x = torch.randn(4, 8)

# Built when asked, else in the background of the first call.
assert torch.ops.trt.build(model) == len(engines(model)) > 0
y = agrees(model, x)
agrees(model, torch.randn(4, 8), 2.0)

# Other methods are there, and their engines too.
agrees(model, x, method="twice")
with torch.no_grad():
    same(model.plain(x), [x - 1])

# Weights that change: in place, by loading, and replaced.
with torch.no_grad():
    model.w.mul_(2.0)
agrees(model, x)
state = {k: torch.randn_like(v) for k, v in model.state_dict().items()}
model.load_state_dict(state)
got = agrees(model, x)
assert (got[0] - y[0]).abs().max() > 0.1
model.scale = torch.full((1,), 3.0)
with torch.no_grad():
    model(x)
torch.ops.trt.build(model)
agrees(model, x)

# Writes that torch does not count: one element of many is not looked at.
model.load_state_dict(state)
agrees(model, x)
before = model(x)[0].detach()
model.w.data[0, 1] += 2.0
assert torch.ops.trt.refit(model) == len(engines(model))
got = agrees(model, x)
assert (got[0] - before).abs().max() > 1e-3

# What it was not compiled for is the host's: another element type, another rank.
before = served(model)
with torch.no_grad():
    wide = torch.jit.load(sys.argv[2]).double()(x.double())
    assert wide[0].dtype == torch.float64
    model(torch.randn(2, 4, 8))
assert served(model) == before

# Gradients are the host's.
model.load_state_dict(state)
grads = []
for on in (True, False):
    torch.ops.trt.set_enabled(on)
    model.zero_grad()
    model(x)[0].sum().backward()
    grads.append(model.w.grad.clone())
torch.ops.trt.set_enabled(True)
same([grads[0]], [grads[1]])
assert grads[0].abs().max() > 0
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    optimizer.zero_grad()
    model(x)[0].sum().backward()
    optimizer.step()
    agrees(model, x)

# Another number of threads, a copy, two modules in one process.
torch.set_num_threads(1)
agrees(model, x)
other = copy.deepcopy(model)
second = load(sys.argv[2])
with torch.no_grad():
    other.w.neg_()
for m in (other, second, model):
    assert torch.ops.trt.build(m) > 0
    agrees(m, x)

# Saved again from Python: still with engines.
model.save(sys.argv[2] + ".again")
again = load(sys.argv[2] + ".again")
assert torch.ops.trt.build(again) > 0
with torch.no_grad():
    same(agrees(again, x), model(x))

# Off means off.
torch.ops.trt.set_enabled(False)
before = served(model)
with torch.no_grad():
    model(x)
assert served(model) == before
print("fine")
