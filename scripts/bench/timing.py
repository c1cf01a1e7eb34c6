"""Times of networks: contenders take turns, and their answers are held against eager's."""

import json
import pathlib
import random
import statistics
import tempfile
import time

import torch
from contenders import CONTENDERS
from networks import NETWORKS, OF_SWEEPS

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


def made(name):
    """A network and its inputs, the same each time."""
    torch.manual_seed(0)
    network, inputs = (NETWORKS | OF_SWEEPS)[name]()
    return network.eval(), inputs


def prepare(name, options):
    """Every contender ready to run, and a row for each."""
    ready, rows = {}, []
    want = None
    for contender in sorted(options.contenders, key="eager".__ne__):
        network, inputs = made(name)
        row = {"network": name, "contender": contender}
        rows.append(row)
        try:
            with tempfile.TemporaryDirectory() as folder:
                folder, start = pathlib.Path(folder), time.perf_counter()
                CONTENDERS[contender].write(network, inputs, folder, options)
                run = CONTENDERS[contender].load(folder, inputs, options)
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
    """A row for each contender, with `median_ms`, or `failed`: why it has none."""
    ready, rows = prepare(name, options)
    turns = {contender: [] for contender in ready}
    # Threads of one that look out for more work disturb the next one: who that is changes.
    for at in range(options.rounds):
        for contender in random.Random(at).sample(list(ready), len(ready)):
            turns[contender].append(turn(ready[contender]))
    for row in rows:
        if row["contender"] in turns:
            row["rounds_ms"] = turns[row["contender"]]
            row["median_ms"] = statistics.median(row["rounds_ms"])
        said = f"{row['median_ms']:.3f} ms, off by {row['error']:.1e}" if "median_ms" in row else row["failed"]
        print(f"{name}, {row['contender']}: {said}", flush=True)
    return rows


def sound(rows):
    """Whether engines served the networks and agree with eager; that peers do not is in the table."""
    return all(r.get("agrees") and r.get("served") for r in rows if r["contender"] == "engines")
