"""What this machine's CPU makes of networks: our engines, and what a user would pick instead.

usage: cpu.py --library libtch_trt.so --tool tch-trt --out FOLDER [--part PART]... [--only PATTERN]... [--without CONTENDER]...
    [--rounds N] [--threads N]

The parts, all unless some are named; each prints a table and writes its own files:
  table    times of the networks, in one process (cpu.json, cpu.svg)
  sweeps   time against batch and depth, in one process (cpu-scaling.json, cpu-scaling.svg)
  alone    memory, and time to the first result, in a process for each contender (cpu-alone.json)
  callers  two callers of one module, and the cost of a call of hardly anything, by the tool (cpu-callers.json)

All contenders of a network take turns in each round, with equal threads and inputs; a contender's time is the median over the
rounds of the median over a round's calls. Answers are held against eager's.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import platform

os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")

import alone
import callers
import sweeps
import torch
from chart import chart
from contenders import CONTENDERS
from lines import picture
from networks import NETWORKS, OF_SWEEPS
from timing import measure, sound

TITLE = "Times on a CPU, f32, b: batch"
TITLE_OF_SWEEPS = "Times on a CPU against batch and depth, f32, both axes logarithmic"
PARTS = ("table", "sweeps", "alone", "callers")
# How often in a process of their own: of the first, times are of interest, of the second, memory.
ALONE = {"resnet50 b1": 3, "resnet50 b16": 1}


def machine(threads):
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {
        "processor": names[0] if names else platform.processor(),
        "vectors": [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if flag in flags],
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }


def versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("onnxruntime", "openvino", "torchvision"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def table(rows):
    """Markdown; the fastest of each network in bold."""
    cells = {(r["network"], r["contender"]): r for r in rows}
    contenders = list(dict.fromkeys(r["contender"] for r in rows))
    lines = ["| ms | " + " | ".join(contenders) + " |", "|---" * (len(contenders) + 1) + "|"]
    for name in dict.fromkeys(r["network"] for r in rows):
        times = {c: cells[name, c].get("median_ms") for c in contenders}
        best = min((t for t in times.values() if t is not None), default=None)
        shown = []
        for contender, t in times.items():
            text = "-" if t is None else f"{t:.3g}" if t < 100 else f"{t:.0f}"
            text = f"**{text}**" if t is not None and t == best else text
            row = cells[name, contender]
            shown.append(text if t is None or row["agrees"] else text + " (differs)")
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def run(options, matches, write):
    """Every part that is wanted. Returns whether engines served and agreed throughout."""
    known = {}
    if "table" in options.part:
        known = {name: measure(name, options) for name in NETWORKS if matches(name)}
        rows = [row for name in known for row in known[name]]
        write("cpu.json", {"rows": rows})
        times = {(r["network"], r["contender"]): r.get("median_ms") for r in rows}
        write("cpu.svg", chart(TITLE, times, CONTENDERS))
        print(table(rows), flush=True)
    if "sweeps" in options.part and (wanted := sweeps.wanted(matches)):
        found = sweeps.points(wanted, known, options)
        write("cpu-scaling.json", {"median_ms": found})
        write("cpu-scaling.svg", picture(TITLE_OF_SWEEPS, found, CONTENDERS))
        print(sweeps.table(found), flush=True)
    good = all(sound(rows) for rows in known.values())
    if "alone" in options.part and (names := [n for n in ALONE if matches(n)]):
        rows = [row for name in names for row in alone.of(name, ALONE[name], options)]
        write("cpu-alone.json", {"rows": rows})
        print(alone.table(rows), flush=True)
        good &= all(row["cold"]["served"] > 0 and row["kept"]["served"] > 0 for row in rows if row["contender"] == "engines")
    if "callers" in options.part:
        rows = [row for name in callers.NETWORKS if matches(name) for row in callers.together(name, options)]
        call = callers.overhead(options)
        write("cpu-callers.json", {"rows": rows, "one_layer": call})
        print(callers.table(rows, call), flush=True)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--part", action="append", default=[], choices=PARTS)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--without", action="append", default=[], choices=[c for c in CONTENDERS if c != "eager"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.part = options.part or PARTS
    options.contenders = [c for c in CONTENDERS if c not in options.without]
    torch.set_num_threads(options.threads)
    torch.ops.load_library(options.library)

    def matches(name):
        return not options.only or any(fnmatch.fnmatch(name, pattern) for pattern in options.only)

    names = NETWORKS | OF_SWEEPS
    if not any(map(matches, names)):
        parser.error("--only names no network; there are: " + ", ".join(names))
    described = machine(options.threads) | versions()
    options.out.mkdir(parents=True, exist_ok=True)

    def write(name, what):
        text = what if isinstance(what, str) else json.dumps({"machine": described} | what, indent=1) + "\n"
        (options.out / name).write_text(text)

    with torch.no_grad():
        raise SystemExit(0 if run(options, matches, write) else 1)


main()
