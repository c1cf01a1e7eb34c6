"""Engines against what else a user could run on a GPU: one process, equal arguments, in turns, answers compared.

Eager and frozen modules and modules with engines replay a CUDA graph of one call; torch.compile makes its own. Times are medians
between events after consecutive calls, which wait on the GPU until they are all queued: what a short call takes there, not what it
takes Python to launch it. Energy is what the driver counts during many calls. A row's roofline is the least time that
the GPU's measured peaks allow for the network's operations, or for reading its parameters and arguments once.
"""

import argparse
import ctypes
import fnmatch
import json
import pathlib
import platform
import statistics
import subprocess
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from captured import CONTENDERS
from chart import chart
from networks import MORE_ON_A_GPU, NETWORKS

HERE = pathlib.Path(__file__).resolve().parent

TITLE = "Times of captured graphs on a GPU, b: batch"
DTYPES = {"f32": torch.float32, "f16": torch.float16}
# Greatest distance from the host's answer in float64, beside the host's own in the same type.
TIMES_HOSTS_ERROR = 4
# Calls that are launched before the first of them starts, and cycles of the GPU in a second, at most.
QUEUED = 50
CLOCK = 2e9
# What f32 factors of convolutions lose where libtorch may round them to TF32, whether it does for these sizes or not.
TF32 = 2**-10


def network(name, dtype):
    """The network and its arguments on the GPU, with statistics of batch norms that are not those of no data at all."""
    torch.manual_seed(0)
    made, given = (NETWORKS | MORE_ON_A_GPU)[name]()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    given = tuple(t.cuda().to(dtype) if t.is_floating_point() else t.cuda() for t in given)
    return made.eval().cuda().to(dtype), given


class Energy:
    """What the driver counts, in joules."""

    def __init__(self):
        try:
            self.library = ctypes.CDLL("libnvidia-ml.so.1")
            self.device = ctypes.c_void_p()
            self.works = self.library.nvmlInit_v2() == 0
            # The driver counts all devices, torch those that CUDA_VISIBLE_DEVICES names.
            name = f"GPU-{torch.cuda.get_device_properties(0).uuid}".encode()
            self.works = self.works and self.library.nvmlDeviceGetHandleByUUID(name, ctypes.byref(self.device)) == 0
        except OSError:
            self.works = False

    def count(self):
        value = ctypes.c_ulonglong()
        if not self.works or self.library.nvmlDeviceGetTotalEnergyConsumption(self.device, ctypes.byref(value)) != 0:
            return None
        return value.value / 1e3

    def of(self, call, ms, seconds):
        """Joules of one call that takes so long."""
        count = max(1, int(seconds * 1e3 / ms))
        torch.cuda.synchronize()
        before = self.count()
        for _ in range(count):
            call()
        torch.cuda.synchronize()
        after = self.count()
        return None if before is None or after is None else (after - before) / count


class Peaks:
    """What the GPU reaches: operations a second of products in each type, bytes a second of copies."""

    def __init__(self):
        def seconds(call):
            return min(turn(call, 0.05) for _ in range(3)) / 1e3

        def product(dtype, n):
            a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
            return 2 * n**3 / seconds(lambda: a @ b)

        halves = product(torch.float16, 8192)
        # What six products of halves are, where that is more.
        self.products = {"f16": halves, "f32": max(product(torch.float32, 4096), halves / 6)}
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        self.products["tf32"] = product(torch.float32, 8192)
        torch.backends.cuda.matmul.allow_tf32 = allowed
        source = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
        target = torch.empty_like(source)
        self.bytes = 2 * source.numel() / seconds(lambda: target.copy_(source))

    def least_ms(self, module, arguments, dtype):
        """The least time of a call: of its operations, or of its parameters' and arguments' bytes."""
        # The counter does not know the operators of the fast path.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        with FlopCounterMode(display=False) as counter:
            results = module(*arguments)
        torch.backends.mha.set_fastpath_enabled(fast)
        taken = 0
        for operator, count in counter.get_flop_counts()["Global"].items():
            convolves = "convolution" in str(operator)
            allowed = torch.backends.cudnn.allow_tf32 if convolves else torch.backends.cuda.matmul.allow_tf32
            taken += count / self.products["tf32" if dtype == "f32" and allowed else dtype]
        read = [*module.parameters(), *module.buffers(), *arguments, *flat(results)]
        moved = sum(t.numel() * t.element_size() for t in read) / self.bytes
        return max(taken, moved) * 1e3


def flat(results):
    return [results] if torch.is_tensor(results) else [t for r in results for t in flat(r)]


def distance(results, exact):
    """The greatest distance of an element in units of its tensor's greatest; whole numbers are places, which equal scores may swap."""
    worst = 0.0
    for got, want in zip(flat(results), flat(exact), strict=True):
        if got.is_floating_point():
            scale = want.abs().max().clamp(min=1e-30)
            worst = max(worst, ((got.double() - want).abs().max() / scale).item())
    return worst


def turn(call, seconds):
    """Milliseconds from the end of one call to the end of the next, on the GPU."""
    first = 10
    queued(call, first, 0)
    times, launching = queued(call, first, 0)
    one = max(statistics.median(times), 1e-3)
    # A call that takes the GPU longer than Python waits for its turn anyway.
    wait = 1.5 * launching / first * QUEUED if one < 2e3 * launching / first else 0
    count, times = max(10, min(2000, int(seconds * 1e3 / one))), []
    while len(times) < count:
        times += queued(call, min(count - len(times), QUEUED), wait)[0]
    return statistics.median(times)


def queued(call, count, wait):
    """Milliseconds of each of so many calls that start when `wait` seconds are over, and the seconds that launching them took."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    torch.cuda.synchronize()
    if wait:
        torch.cuda._sleep(int(wait * CLOCK))
    start = time.perf_counter()
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    launching = time.perf_counter() - start
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(events, events[1:])], launching


@torch.no_grad()
def row(name, dtype, options, peaks, energy):
    """One network in one type."""
    module, given = network(name, DTYPES[dtype])
    host = module(*given)
    wide = tuple(t.double() if t.is_floating_point() else t for t in given)
    exact = network(name, DTYPES[dtype])[0].double()(*wide)
    allowed = TIMES_HOSTS_ERROR * distance(host, exact) + 1e-6
    convolves = any(isinstance(m, torch.nn.modules.conv._ConvNd) for m in module.modules())
    if dtype == "f32" and convolves and torch.backends.cudnn.allow_tf32:
        allowed = max(allowed, TF32)
    out = {"network": name, "dtype": dtype, "host_error": distance(host, exact), "contenders": {}}
    out.update(items=given[0].shape[0], least_ms=peaks.least_ms(module, given, dtype))
    ready = {}
    # torch.compile takes the products' workspace from torch, which graphs that were captured before still use.
    for contender in sorted(options.contenders.split(","), key=lambda c: c != "compiled"):
        start = time.perf_counter()
        try:
            call = CONTENDERS[contender](module, given, options.tool)
            call()
            torch.cuda.synchronize()
        except Exception as error:  # a peer's failure is a result too
            out["contenders"][contender] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            continue
        error = distance(call.results, exact)
        entry = {"build_s": round(time.perf_counter() - start, 2), "error": error, "agrees": error <= allowed}
        ready[contender], out["contenders"][contender] = call, entry
    turns = {contender: [] for contender in ready}
    for at in range(options.rounds if ready else 0):
        order = list(ready)[at % len(ready) :] + list(ready)[: at % len(ready)]
        for contender in order:
            try:
                turns[contender].append(turn(ready[contender], options.seconds / options.rounds))
            except RuntimeError as error:  # the device is lost with it, so nothing more is measured
                raise SystemExit(f"{name} {dtype}: {contender} failed in round {at}: {error}") from error
    for contender, times in turns.items():
        entry = out["contenders"][contender]
        # The answer after thousands of calls in a row counts as the first one does.
        error = max(entry["error"], distance(ready[contender].results, exact))
        entry.update(ms=statistics.median(times), turns_ms=times, error=error, agrees=error <= allowed)
        entry.update(items_per_s=out["items"] / entry["ms"] * 1e3, roofline=out["least_ms"] / entry["ms"])
        joules = energy.of(ready[contender], entry["ms"], options.seconds)
        entry["joules_per_item"] = None if joules is None else joules / out["items"]
    return out


def summary(found):
    """The row's line in the table."""
    cells = []
    for contender in CONTENDERS:
        entry = found["contenders"].get(contender, {})
        wrong = "" if entry.get("agrees", True) else "!"
        cells.append(f"{entry['ms']:9.4f}{wrong}" if "ms" in entry else f"{'failed' if 'error' in entry else '-':>9}")
    ahead, own = ratio(found), found["contenders"].get("engines", {})
    line = f"{found['network'] + ' ' + found['dtype']:28}" + " ".join(cells) + (f"  x {ahead:5.2f}" if ahead else " " * 9)
    if "ms" in own:
        joules = own["joules_per_item"]
        line += f" {own['items_per_s']:10.0f} {'-' if joules is None else f'{joules:.4g}':>9} {own['build_s']:7.1f} {own['roofline']:8.0%}"
    return line


def ratio(found):
    """How many times as fast as the fastest of the others the engines are."""
    times = {name: e["ms"] for name, e in found["contenders"].items() if "ms" in e}
    own = times.pop("engines", None)
    return min(times.values()) / own if own and times else None


def machine():
    words = torch.cuda.get_device_properties(0)
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]
    return {
        "gpu": words.name,
        "multiprocessors": words.multi_processor_count,
        "memory_gib": round(words.total_memory / 2**30, 1),
        "driver": driver,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "torch": torch.__version__,
        "cpu": next((l.split(": ")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine()),
        "threads": torch.get_num_threads(),
        "tf32": {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.backends.cuda.matmul.allow_tf32},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, required=True, help="a folder for gpu.json and gpu.svg")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="networks with such names: 'resnet* b16'")
    parser.add_argument("--library", default=HERE / "libtch_trt.so")
    parser.add_argument("--tool", default=HERE / "tch-trt")
    parser.add_argument("--dtypes", default="f32,f16")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="torch.compile (compiled) takes minutes to build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of timing for each contender")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.ops.load_library(str(options.library))
    options.results.mkdir(parents=True, exist_ok=True)
    rows, peaks, energy = [], Peaks(), Energy()
    shown = ", ".join(f"{name} {rate / 1e12:.0f}" for name, rate in peaks.products.items())
    print(f"measured peaks: products {shown} Tflop/s, copies {peaks.bytes / 1e12:.2f} TB/s")
    heads = " ".join(f"{c:>9}" for c in CONTENDERS)
    print(f"{'milliseconds':28}{heads}  to best  of engines: items/s  J/item build s roofline")
    names = [n for n in NETWORKS | MORE_ON_A_GPU if any(fnmatch.fnmatch(n, p) for p in options.only or ["*"])]
    for name in names:
        for dtype in options.dtypes.split(","):
            rows.append(row(name, dtype, options, peaks, energy))
            print(summary(rows[-1]), flush=True)
            written = {"date": time.strftime("%Y-%m-%d"), "machine": machine() | {"peaks": vars(peaks)}, "rows": rows}
            (options.results / "gpu.json").write_text(json.dumps(written, indent=1) + "\n")
            times = {(f"{r['network']} {r['dtype']}", c): e.get("ms") for r in rows for c, e in r["contenders"].items()}
            (options.results / "gpu.svg").write_text(chart(TITLE, times, CONTENDERS))
    ahead = [r for r in map(ratio, rows) if r]
    if ahead:
        print(f"geometric mean x {statistics.geometric_mean(ahead):.2f} over {len(ahead)} rows, least x {min(ahead):.2f}")
    wrong = [(r, r["contenders"].get("engines", {})) for r in rows]
    wrong = [f"{summary(r)} {e.get('error', 'not asked for')}" for r, e in wrong if not e.get("agrees", False)]
    if wrong:
        print("engines that fail or disagree, and why or by how much:", *wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
