"""Engines are built in the background, and dropped, while another thread captures CUDA graphs of its own: neither spoils the other.

Usage: captures.py TOOL LIBRARY
"""

import json
import subprocess
import sys
import tempfile
import threading
import time

import torch


def network():
    torch.manual_seed(0)
    convolutions = torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3, padding=1)
    head = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10)
    return torch.nn.Sequential(*convolutions, *head).cuda().eval()


def compiled(module, sample, tool):
    """The module with a form for any batch, whose engines are built when they are asked for."""
    with tempfile.TemporaryDirectory() as folder:
        plain, saved = f"{folder}/plain.pt", f"{folder}/engines.pt"
        torch.jit.trace(module, sample, check_trace=False).save(plain)
        sizes = ";".join(f"({batch},3,32,32)" for batch in (1, 2, 64))
        command = [tool, "compile", plain, "-o", saved, "--device", "cuda", "--weights", "reference", "-i", f"[{sizes}]"]
        subprocess.run(command, check=True)
        return torch.jit.load(saved).eval()


def served(module):
    """How many calls engines served."""
    return sum(found["engine"]["served"] for found in json.loads(torch.ops.trt.report(module)))


class Capturing(threading.Thread):
    """Captures, and replays, a sum of its own in torch's strictest mode until it is told to stop."""

    def __init__(self, quiet):
        super().__init__()
        self.quiet, self.over, self.captures, self.error = quiet, threading.Event(), 0, None

    def run(self):
        x, stream = torch.ones(1024, device="cuda"), torch.cuda.Stream()
        try:
            while not self.over.is_set():
                graph = torch.cuda.CUDAGraph()
                with self.quiet, torch.cuda.graph(graph, stream=stream):
                    y = x
                    for _ in range(200):
                        y = y + x
                graph.replay()
                stream.synchronize()
                torch.cuda.current_stream().synchronize()
                assert y[0].item() == 201
                self.captures += 1
        except Exception as error:
            self.error = error


def meet_shapes(module, plain, capturing):
    """Calls the module with new batches until an engine serves each."""
    with torch.no_grad():
        for batch in (3, 5, 6, 7, 9):
            with capturing.quiet:
                images = torch.randn(batch, 3, 32, 32, device="cuda")
                want, before = plain(images), served(module)
            end = time.monotonic() + 60
            while served(module) == before and capturing.error is None:
                assert time.monotonic() < end, torch.ops.trt.report(module)
                with capturing.quiet:
                    found = module(images)
                    assert (found - want).abs().max() <= 3e-3 * want.abs().max()
                time.sleep(0.05)


def main(tool, library):
    torch.ops.load_library(library)
    torch.ops.trt.set_enabled(True)
    plain = network()
    module = compiled(plain, torch.randn(2, 3, 32, 32, device="cuda"), tool)
    # What torch itself does in a call may spoil a capture, so calls and captures take turns; builds do not.
    quiet = threading.Lock()
    capturing = Capturing(quiet)
    capturing.start()
    try:
        meet_shapes(module, plain, capturing)
    finally:
        capturing.over.set()
        capturing.join()
        if capturing.error is not None:
            raise capturing.error
    assert capturing.captures > 20, capturing.captures
    print(f"{capturing.captures} captures beside builds for 5 shapes")


main(*sys.argv[1:])
