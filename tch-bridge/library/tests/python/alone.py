"""Without the library: torch's own error names the class that is missing, as README.md quotes it."""

import sys
import torch

try:
    torch.jit.load(sys.argv[2])
except RuntimeError as error:
    assert "Unknown type name '__torch__.torch.classes.trt." in str(error), error
else:
    raise AssertionError("it loads without the library")
torch.ops.load_library(sys.argv[1])
torch.jit.load(sys.argv[2])
