"""Engines in the file: they serve the first call, also of a copy and of what is saved again."""

import copy
from check import *


def starts(model, x):
    torch.ops.trt.set_enabled(False)
    want = model(x)
    torch.ops.trt.set_enabled(True)
    same(model(x), want)
    used = [s["plan"] for e in engines(model) if e["engine"] for s in e["engine"]["shapes"]]
    assert len(used) >= 2 and all(plan == "used" for plan in used), engines(model)


x = torch.randn(4, 8)
with torch.no_grad():
    model = load(sys.argv[2])
    starts(model, x)
    starts(copy.deepcopy(model), x)
    model.save(sys.argv[2] + ".again")
    starts(load(sys.argv[2] + ".again"), x)
    # New values: never those that the engines in the file were made from.
    model = load(sys.argv[2])
    model.w.mul_(-1.0)
    torch.ops.trt.set_enabled(False)
    want = model(x)
    torch.ops.trt.set_enabled(True)
    assert torch.ops.trt.build(model) >= 2
    before = served(model)
    same(model(x), want)
    assert served(model) > before, engines(model)
    told = [s["plan"] for e in engines(model) if e["engine"] for s in e["engine"]["shapes"]]
    assert any("the weights are others" in plan for plan in told if plan), told
