"""A module that was called is freed when it is dropped, weights, engines and all; on the meta device nothing is called."""

import gc
from check import *


def weight_outlives(engines_on, call):
    model = load(sys.argv[2])
    weight = model.w
    torch.ops.trt.set_enabled(engines_on)
    call(model)
    del model
    gc.collect()
    return weight._use_count() > 1


x = torch.randn(4, 8)
with torch.no_grad():
    assert not weight_outlives(False, lambda model: None)
    for engines_on in (False, True):
        assert not weight_outlives(engines_on, lambda model: [model(x) for _ in range(3)]), engines_on
        ops = lambda model: [op(model._c) for op in (torch.ops.trt.build, torch.ops.trt.refit, torch.ops.trt.report)]
        assert not weight_outlives(engines_on, ops), engines_on
torch.ops.trt.set_enabled(True)
meta = torch.jit.load(sys.argv[2], map_location="meta")
assert meta.w.is_meta
