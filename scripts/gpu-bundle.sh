#!/usr/bin/env bash
# Makes target/gpu-bundle: tests and benchmarks for a machine with a GPU that has torch for Python but neither Rust nor a compiler.
# scripts/setup.sh comes first. There, `./run.sh` does the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bundle=target/gpu-bundle
most_mib=60

fail() {
    printf 'The bundle is not made: %s\n' "$*" >&2
    exit 1
}

# The program that cargo made from these arguments.
made() {
    cargo "$@" --message-format=json 2>target/gpu-bundle.log |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# Puts what cargo makes from the further arguments among the programs under the name $1.
add() {
    local name=$1 program
    shift
    program=$(made "$@") || true
    [ -x "$program" ] || { cat target/gpu-bundle.log >&2; fail "cargo $* gave no program; its words are above."; }
    strip -o "$bundle.programs/$name" "$program"
}

rm -rf "$bundle" "$bundle.programs"
mkdir -p "$bundle/cases" "$bundle/parity" "$bundle.programs/parity"
add tch-trt build --release --workspace --lib --bin tch-trt
add test-engine test --release --workspace --test cuda --no-run
add test-module test --release --workspace --test gpu --no-run
add test-fuzz test --release --workspace --test fuzz --no-run
add parity/examine build --release --workspace --example parity
strip -o "$bundle.programs/libtch_trt.so" target/release/libtch_trt.so
tar -C "$bundle.programs" -czf "$bundle/programs.tar.gz" .
rm -r "$bundle.programs"
cp tests/cases/op/*.cases "$bundle/cases/"
cp scripts/bench/{gpu,captured,chart,formats,networks,yolox}.py scripts/gpu/{captures.py,run.sh} "$bundle/"
cp scripts/parity/*.py "$bundle/parity/"
size=$(($(du -sk "$bundle" | cut -f1) / 1024))
[ "$size" -lt $most_mib ] || fail "$bundle takes $size MiB, more than $most_mib."
echo "$bundle is made: $size MiB. On the machine with the GPU: ./run.sh RESULTS"
