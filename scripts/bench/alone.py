"""Memory, and time to the first result, of one contender in a process of its own.

As a program it is that process. usage: alone.py CONTENDER FOLDER INPUTS [--keep] --threads N --library FILE --tool FILE; it
prints JSON. `of` starts such processes. Engines are loaded from a saved module, and built then (cold) or there already (kept).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve()
MIB = 2**20
# Calls after the first one: working memory that a contender takes when it has seen how it is used counts.
CALLS = 3


def resident(field):
    """Bytes that this process holds (`VmRSS`), or held at most (`VmHWM`)."""
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def examine(arguments):
    """Loads from the folder; the libraries are there already, and counted neither in time nor in memory."""
    import torch

    from contenders import CONTENDERS

    warm = {"torch.compile": "torch._inductor.compile_fx", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
    if arguments.contender in warm:
        __import__(warm[arguments.contender])
    import networks  # noqa: F401  What was pickled is of it.
    import torchvision  # noqa: F401

    torch.set_num_threads(arguments.threads)
    torch.ops.load_library(arguments.library)
    inputs = torch.load(arguments.inputs)
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))  # Starts torch's threads.
    with torch.no_grad():
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # The peak is counted from here.
        before, start = resident("VmRSS"), time.perf_counter()
        run = CONTENDERS[arguments.contender].load(arguments.folder, inputs, arguments, arguments.keep)
        run()
        first = time.perf_counter() - start
        for _ in range(CALLS):
            run()
    found = {"first_result_s": first, "held_bytes": resident("VmRSS") - before, "peak_bytes": resident("VmHWM") - before}
    if arguments.contender == "engines":
        reports = json.loads(torch.ops.trt.report(run.model))
        found["served"] = sum(r["engine"]["served"] for r in reports if r["engine"])
    print(json.dumps(found))


def child(contender, folder, options, keep, cache):
    """One such process. `cache`: where torch.compile and the tool keep things."""
    command = [sys.executable, HERE, contender, folder, folder / "inputs", "--threads", str(options.threads)]
    command += ["--library", options.library, "--tool", options.tool] + ["--keep"] * keep
    kept = {"TRT_CACHE_DIR": cache / "trt", "TORCHINDUCTOR_CACHE_DIR": cache / "inductor"}
    environment = os.environ | {name: os.fspath(path) for name, path in kept.items()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def from_torchscript(folder, inputs, options, cache):
    """What the tool says of the engines: time from the TorchScript file, before there is a saved module, and what they hold."""
    from formats import spec

    command = [options.tool, "bench", folder / "model.pt", "--threads", str(options.threads), "--json"]
    command += ["--duration", "0.1", "--warmup", "0"]
    for tensor in inputs:
        command += ["-i", spec(tensor)]
    environment = os.environ | {"TRT_CACHE_DIR": os.fspath(cache / "trt")}
    said = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    return {
        "first_result_s": said["first_result_ms"] / 1e3,
        "weight_bytes": said["memory"]["weight_bytes"],
        "arena_bytes": said["memory"]["arena_bytes"],
    }


def from_plan(folder, inputs, options):
    """The tool on the engine as a plan of its own, without libtorch."""
    from contenders import compile_engines

    compile_engines(inputs, folder, options, "embed", "--plan-dir", folder)
    times = []
    for _ in range(options.rounds):
        command = [options.tool, "plan", "bench", *folder.glob("*.plan"), "--threads", str(options.threads), "--json"]
        command += ["--duration", "0"]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        times.append((said["open_ms"] + said["engine_ms"] + said["first_call_ms"]) / 1e3)
    return {"first_result_s": statistics.median(times)}


def of(name, rounds, options):
    """A row for each contender: medians of so many runs that find nothing kept (`cold`), and of runs that do (`kept`)."""
    import torch

    from contenders import CONTENDERS
    from timing import made

    options, rows = argparse.Namespace(**vars(options) | {"rounds": rounds}), []
    for contender in options.contenders:
        row = {"network": name, "contender": contender}
        rows.append(row)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            network, inputs = made(name)
            torch.save(inputs, folder / "inputs")
            try:
                CONTENDERS[contender].write(network, inputs, folder, options)
                cold = [child(contender, folder, options, False, folder / f"cold{i}") for i in range(options.rounds)]
                child(contender, folder, options, True, folder / "kept")
                kept = [child(contender, folder, options, True, folder / "kept") for _ in range(options.rounds)]
                row |= {"cold": medians(cold), "kept": medians(kept)}
                if contender == "engines":
                    runs = [from_torchscript(folder, inputs, options, folder / f"script{i}") for i in range(options.rounds)]
                    row |= {"from_torchscript": medians(runs), "from_plan": from_plan(folder, inputs, options)}
                said = f"first result after {row['cold']['first_result_s']:.2f} s, from what is kept {row['kept']['first_result_s']:.2f} s"
            except Exception as e:  # A peer that cannot run a network is a result.
                row["failed"] = said = f"{type(e).__name__}: {e}".splitlines()[0][:200]
        print(f"{name}, {contender} alone: {said}", flush=True)
    return rows


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def table(rows):
    """Markdown."""
    lines = ["| network | contender | first result | from what is kept | peak | from what is kept | held |", "|---" * 7 + "|"]
    for row in rows:
        where = f"| {row['network']} | {row['contender']}"
        if "failed" in row:
            lines.append(f"{where} |" + " - |" * 5)
            continue
        cold, kept = row["cold"], row["kept"]
        cells = [f"{run['first_result_s']:.2f} s" for run in (cold, kept)]
        cells += [f"{run['peak_bytes'] / MIB:.0f} MiB" for run in (cold, kept)] + [f"{cold['held_bytes'] / MIB:.0f} MiB"]
        lines.append(f"{where} | " + " | ".join(cells) + " |")
        if "from_torchscript" in row:
            told = row["from_torchscript"]
            holds = f"{told['weight_bytes'] / MIB:.0f} MiB of weights and {told['arena_bytes'] / MIB:.0f} MiB of working memory"
            times = [f"{row[key]['first_result_s']:.2f} s" for key in ("from_torchscript", "from_plan")]
            lines.append(f"{where} by the tool: from TorchScript, from a plan | {' | '.join(times)} | | | {holds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("contender")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("inputs", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--tool", required=True)
    examine(parser.parse_args())
