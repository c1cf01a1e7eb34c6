#!/usr/bin/env bash
# Our CPU engines and their peers on one machine: times and agreement in one process, time against batch and depth, memory and time to the
# first result, callers at the same time. scripts/setup.sh comes first; all of it takes half an hour on two cores.
#
# Usage: scripts/bench_cpu.sh [--part table|sweeps|alone|callers]... [--only PATTERN]... [--without CONTENDER]... [--rounds N] [--threads N]
#
# Makes a Python environment of its own in .data/bench/venv, on top of the one in .venv. Each part writes its own files into bench/results:
# cpu.json and cpu.svg; cpu-scaling.json and cpu-scaling.svg; cpu-alone.json; cpu-callers.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$PWD/.data/bench/venv
fail() {
    printf 'Benchmark stopped: %s\n' "$*" >&2
    exit 1
}

.venv/bin/python -c 'import torch' 2>/dev/null ||
    fail "it needs a Python with torch in .venv; remove .venv and run \`make setup\` without LIBTORCH."
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    .venv/bin/python -m venv "$venv"
    where='import sysconfig; print(sysconfig.get_paths()["purelib"])'
    .venv/bin/python -c "$where" >"$("$venv/bin/python" -c "$where")/base.pth"
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps torchvision==0.26.0 &&
        "$venv/bin/python" -m pip install --disable-pip-version-check --quiet numpy pillow onnx onnxruntime openvino ||
        fail "pip could not install the peers; its message is above."
    touch "$venv/complete"
fi
cargo build --release --workspace --lib --bin tch-trt
"$venv/bin/python" scripts/bench/cpu.py --library target/release/libtch_trt.so --tool target/release/tch-trt \
    --out bench/results "$@"
