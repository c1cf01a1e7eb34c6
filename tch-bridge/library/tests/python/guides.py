"""Runs the Python blocks of the guides, in a folder that has the files they name."""

import json
import os
import pathlib
import re
import sys

import torch

library, documents, folder = sys.argv[1:]
os.chdir(folder)
ran = 0
for page in sorted(pathlib.Path(documents).glob("*.md")):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        example = torch.randn(1, 3, 224, 224)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=8), torch.nn.ReLU(), torch.nn.Flatten())
        names = {"torch": torch, "model": model, "example": example, "image": torch.ones(4, 8)}
        exec(block.replace("target/release/libtch_trt.so", library), names)
        ran += 1
        if "load_library" in block:
            engines = [e["engine"] for e in json.loads(torch.ops.trt.report(names["model"]))]
            assert any(e and e["served"] for e in engines), engines
            torch.ops.trt.set_enabled(False)
        if ".save(" in block:
            torch.jit.load("model.pt")(example)
            os.remove("model.pt")
assert ran >= 3, f"{ran} blocks"
