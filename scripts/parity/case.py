"""One model of the parity suite: how it is made, what it is called with, and how it becomes a file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable

import torch
from torch.utils._pytree import tree_map_only


@dataclass
class Case:
    """A module in evaluation mode and the arguments of two calls of its `forward`.

    `inputs` is what the module is exported and compiled with. `others`, where it is given, has other sizes: a traced module
    may refuse them, and must then do so with and without engines.
    """

    module: torch.nn.Module
    inputs: tuple
    others: tuple | None = None
    script: bool = False
    prepare: Callable[[torch.nn.Module], torch.nn.Module] | None = None


def arguments(inputs: tuple, others: tuple | None) -> torch.jit.ScriptModule:
    """A module without weights whose methods `forward` and `others` give these arguments as tuples."""
    # A class of its own for each: torch keeps one TorchScript type for a Python class.
    holder = type("Arguments", (torch.nn.Module,), {})()
    sets = [("forward", "a", inputs)] + ([("others", "b", others)] if others is not None else [])
    for _, prefix, values in sets:
        for at, value in enumerate(values):
            setattr(holder, f"{prefix}{at}", value)
    module = torch.jit.script(holder)
    for method, prefix, values in sets:
        names = "".join(f"self.{prefix}{at}, " for at in range(len(values)))
        module.define(f"def {method}(self):\n    return ({names})\n")
    return module


def randomise(module: torch.nn.Module) -> None:
    """Running statistics and constant parameters (zeros, ones) get values, so that no part of a model is an identity."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if not value.is_floating_point() or value.numel() < 2 or value.std() > 0:
            continue
        if name.endswith("running_var") or float(value.flatten()[0]) == 1.0:
            value.data.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias", "beta")):
            value.data.normal_(0.0, 0.1)
        elif name.endswith(("gamma", "layer_scale", "weight", "scale")):
            value.data.normal_(0.0, 0.1)


def export(name: str, make: Callable[[], Case], folder: Path, device: str = "cpu") -> Path:
    """Writes `NAME.pt` and `NAME.inputs.pt` and returns the former. The same name gives the same file.

    Models are traced on the device: what a trace makes of `device=x.device` is a constant.
    """
    torch.manual_seed(sum(name.encode()))
    case = make()
    module = case.module.eval().requires_grad_(False)
    randomise(module)
    if case.prepare:
        module = case.prepare(module)
    if device != "cpu":
        module = module.to(device)
        inputs, others = (tree_map_only(torch.Tensor, lambda t: t.to(device), a) for a in (case.inputs, case.others))
        case = replace(case, inputs=inputs, others=others)
    with torch.no_grad():
        if case.script:
            exported: Any = torch.jit.script(module)
        else:
            exported = torch.jit.trace(module, case.inputs, check_trace=False, strict=False)
    path = folder / f"{name}.pt"
    exported.save(path)
    arguments(case.inputs, case.others).save(folder / f"{name}.inputs.pt")
    return path
