"""A `USE_TRT` that is not understood: said once, and the host serves."""

import json
import sys

import torch

torch.ops.load_library(sys.argv[1])
model = torch.jit.load(sys.argv[2]).eval()
x = torch.randn(4, 8)
with torch.no_grad():
    first = model(x)[0]
    for _ in range(3):
        assert torch.equal(model(x)[0], first)
reports = json.loads(torch.ops.trt.report(model))
assert reports and not any(r["enabled"] for r in reports), reports
assert all(r["engine"]["served"] == 0 for r in reports), reports
torch.ops.trt.set_enabled(True)
assert all(r["enabled"] for r in json.loads(torch.ops.trt.report(model)))
