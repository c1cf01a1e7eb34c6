"""What threads that call one module at once gain, and what a call costs before its first kernel: `tch-trt bench` in turns."""

import json
import pathlib
import statistics
import subprocess
import tempfile

import torch
from formats import spec, traced
from timing import made

CALLERS = (1, 2)
NETWORKS = ("lenet5 b1", "cifar-resnet20 b16", "resnet18 b1")
ROUNDS = 3


class OneLayer(torch.nn.Module):
    """As little as an engine can do."""

    def forward(self, x):
        return torch.relu(x) * 2 + 1


def bench(options, network, inputs, *more):
    """The tool's answer; one thread in a call."""
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "model.pt"
        traced(network, inputs).save(model)
        command = [options.tool, "bench", model, "--threads", "1", "--json", "--duration", "1", "--warmup", "0.2", *more]
        for tensor in inputs:
            command += ["-i", spec(tensor)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def together(name, options):
    """Calls a second of one caller and of two, each with one thread: a row for engines and for what the tool can compare with."""
    found = {}
    for _ in range(ROUNDS):
        for callers in CALLERS:
            for c in bench(options, *made(name), "--streams", str(callers), "--compare", "host,jit")["contenders"]:
                found.setdefault(c["name"], {}).setdefault(callers, []).append(c["throughput"])
    rows = []
    for contender, throughputs in found.items():
        gains = [two / one for one, two in zip(*(throughputs[callers] for callers in CALLERS))]
        row = {"network": name, "contender": contender, "gain": statistics.median(gains)}
        row["calls_per_s"] = {callers: statistics.median(t) for callers, t in throughputs.items()}
        rows.append(row)
        print(f"{name}, {contender}: two callers do x {row['gain']:.2f} of what one does", flush=True)
    return rows


def overhead(options):
    """A call of an engine of one layer on 16 numbers, in microseconds. All of it is no less than what passes until its first kernel."""
    given = (torch.randn(1, 16),)
    rounds = [bench(options, OneLayer().eval(), given, "--take-all", "--compare", "host") for _ in range(ROUNDS)]
    whole = {c["name"]: [] for c in rounds[0]["contenders"]}
    for said in rounds:
        for c in said["contenders"]:
            whole[c["name"]].append(c["median_us"])
    row = {f"{contender}_call_us": statistics.median(times) for contender, times in whole.items()}
    row["outside_of_engine_us"] = statistics.median(said["host_cost_us"] for said in rounds)
    print(f"a call of one small layer takes {row['engines_call_us']:.1f} us in all", flush=True)
    return row


def table(rows, row):
    """Markdown."""
    lines = ["| network, 1 thread in a call | | 1 caller | 2 callers | |", "|---" * 5 + "|"]
    for r in rows:
        one, two = (f"{r['calls_per_s'][callers]:.4g} calls/s" for callers in CALLERS)
        lines.append(f"| {r['network']} | {r['contender']} | {one} | {two} | x {r['gain']:.2f} |")
    lines.append("")
    lines.append("| one layer on 16 numbers | a call |")
    lines.append("|---|---|")
    lines.append(f"| engines, through `forward_ts`, all in all; the first kernel starts sooner | {row['engines_call_us']:.1f} µs |")
    lines.append(f"| libtorch | {row['host_call_us']:.1f} µs |")
    return "\n".join(lines)
