"""Writes models of the parity suite as TorchScript, each with its arguments: NAME.pt and NAME.inputs.pt.

    export.py FOLDER [--suite small] [--only PATTERN]... [--device cuda] [--shard I/N] [--run PROGRAM ARGUMENT...]

With `--run`, the program is called with each model's path and the files are then removed: models are large. Weights are random
and fixed by the model's name. The suite `small` needs torch alone; the others need the packages of their names. `--shard 2/8`
takes the second of every eight models, for several of these processes side by side.
"""

import argparse
import fnmatch
import importlib
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import torch

import case

SUITES = ("small", "torchvision", "timm", "transformers")


def chosen(suites: list[str], patterns: list[str]) -> dict:
    found: dict = {}
    for suite in suites:
        found.update(importlib.import_module(f"suite_{suite}").SUITE)
    return {n: m for n, m in found.items() if not patterns or any(fnmatch.fnmatch(n, p) for p in patterns)}


def shard(text: str) -> tuple[int, int]:
    at, of = (int(part) for part in text.split("/"))
    if not 1 <= at <= of:
        raise ValueError(text)
    return at, of


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suite", action="append", choices=SUITES, help="default: all of them")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="names like this")
    parser.add_argument("--device", default="cpu", help="where models and arguments lie (default: cpu)")
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help="every Nth model from the Ith")
    parser.add_argument("--list", action="store_true", help="print the names, export nothing")
    parser.add_argument("--run", nargs=argparse.REMAINDER, default=[], metavar="PROGRAM")
    options = parser.parse_args()
    at, of = options.shard
    models = dict(list(chosen(options.suite or list(SUITES), options.only).items())[at - 1 :: of])
    if options.list:
        print("\n".join(models))
        return 0
    warnings.filterwarnings("ignore")
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, make in models.items():
        try:
            path = case.export(name, make, options.folder, options.device)
        except Exception as e:
            first = next(iter(str(e).strip().splitlines()), type(e).__name__)
            print(f"{name}: torch does not export it: {type(e).__name__}: {first[:200]}", flush=True)
            if sys.flags.dev_mode:
                traceback.print_exc()
            failed += not options.run
            continue
        if options.run:
            failed += subprocess.run([*options.run, str(path)]).returncode != 0
            path.unlink()
            path.with_suffix(".inputs.pt").unlink()
    return min(failed, 1)


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
