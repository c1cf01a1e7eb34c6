"""Times networks on this machine's CPU: our engines, and what a user would pick instead, in one process.

usage: cpu.py --library libtch_trt.so --tool tch-trt --out FOLDER [--only PATTERN]... [--without CONTENDER]... [--rounds N]
    [--threads N]

All contenders of a network take turns in each round, with equal threads and inputs; a contender's time is the median over the
rounds of the median over a round's calls. Answers are held against eager's. Writes cpu.json and cpu.svg, and prints a table.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import platform
import statistics
import time

os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")

import torch
from chart import chart
from contenders import CONTENDERS
from networks import NETWORKS

SECONDS_A_TURN = 0.25
MOST_CALLS_A_TURN = 400
TOLERANCE = 1e-3
# Indices may differ where scores are as good as equal.
TOLERANCE_OF_INDICES = 0.02


def flat(value):
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in flat(v)]
    return [torch.as_tensor(value)]


def errors(got, want):
    """The largest difference of floats over their tensor's scale, and the largest part of a tensor of indices that differs."""
    got, want = flat(got), flat(want)
    if [tuple(t.shape) for t in got] != [tuple(t.shape) for t in want]:
        return float("inf"), 1.0
    floats = indices = 0.0
    for a, b in zip(got, want):
        if b.is_floating_point():
            floats = max(floats, float((a.double() - b.double()).abs().max() / (b.double().abs().max() + 1e-30)))
        else:
            indices = max(indices, float((a != b).double().mean()))
    return floats, indices


def machine(threads):
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
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


def prepare(name, options):
    """Every contender ready to run, and a row for each."""
    ready, rows = {}, []
    want = None
    for contender in sorted(options.contenders, key="eager".__ne__):
        torch.manual_seed(0)
        network, inputs = NETWORKS[name]()
        row = {"network": name, "contender": contender}
        rows.append(row)
        try:
            start = time.perf_counter()
            run = CONTENDERS[contender](network.eval(), inputs, options)
            answer = run()
            row["build_s"] = time.perf_counter() - start
            want = answer if contender == "eager" else want
            row["error"], row["indices_off"] = errors(answer, want)
            row["agrees"] = row["error"] <= TOLERANCE and row["indices_off"] <= TOLERANCE_OF_INDICES
            if contender == "engines":
                reports = json.loads(torch.ops.trt.report(run.model))
                row["served"] = sum(r["engine"]["served"] for r in reports if r["engine"]) > 0
            ready[contender] = run
        except Exception as e:  # A peer that cannot run a network is a result.
            row["failed"] = f"{type(e).__name__}: {e}".splitlines()[0][:200]
    return ready, rows


def turn(run):
    """The median time of a call, in milliseconds."""
    run()
    start = time.perf_counter()
    run()
    calls = max(2, min(MOST_CALLS_A_TURN, int(SECONDS_A_TURN / max(time.perf_counter() - start, 1e-9))))
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def measure(name, options):
    ready, rows = prepare(name, options)
    turns = {contender: [] for contender in ready}
    for _ in range(options.rounds):
        for contender, run in ready.items():
            turns[contender].append(turn(run))
    for row in rows:
        if row["contender"] in turns:
            row["rounds_ms"] = turns[row["contender"]]
            row["median_ms"] = statistics.median(row["rounds_ms"])
    return rows


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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--without", action="append", default=[], choices=[c for c in CONTENDERS if c != "eager"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.contenders = [c for c in CONTENDERS if c not in options.without]
    torch.set_num_threads(options.threads)
    torch.ops.load_library(options.library)
    wanted = [n for n in NETWORKS if not options.only or any(fnmatch.fnmatch(n, p) for p in options.only)]
    if not wanted:
        parser.error("--only names no network; there are: " + ", ".join(NETWORKS))
    rows, described = [], machine(options.threads) | versions()
    with torch.no_grad():
        for name in wanted:
            rows += measure(name, options)
            for row in rows[-len(options.contenders) :]:
                said = f"{row['median_ms']:.3f} ms, off by {row['error']:.1e}" if "median_ms" in row else row["failed"]
                print(f"{name}, {row['contender']}: {said}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cpu.json").write_text(json.dumps({"machine": described, "rows": rows}, indent=1) + "\n")
    (options.out / "cpu.svg").write_text(chart({(r["network"], r["contender"]): r.get("median_ms") for r in rows}, CONTENDERS))
    print(table(rows))
    wrong = [r for r in rows if not r.get("agrees", True) or not r.get("served", True)]
    raise SystemExit(1 if any(r["contender"] == "engines" for r in wrong) else 0)


main()
