"""Engines whose state is damaged: the host serves, and nothing else happens."""

import torch
from check import *

model = load(sys.argv[2])
reports = engines(model)
assert reports and all(r["engine"] is None for r in reports), reports
assert torch.ops.trt.build(model) == 0
x = torch.randn(4, 8)
with torch.no_grad():
    torch.ops.trt.set_enabled(False)
    want = model(x)
    torch.ops.trt.set_enabled(True)
    for _ in range(2):
        same(model(x), want)
model.save(sys.argv[2] + ".again")
with torch.no_grad():
    same(load(sys.argv[2] + ".again")(x), want)
