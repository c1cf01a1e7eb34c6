#!/usr/bin/env bash
# Real models, with and without engines: agreement, distance to float64, coverage, reasons. scripts/setup.sh comes first.
#
# Usage: scripts/parity.sh small            small networks that need torch alone; part of `make test`
#        scripts/parity.sh all              everything; results, summed up at the end, in .data/parity/parity.json, and then in bench/results too
#        scripts/parity.sh all PATTERN...   the models with such names
#
# `all` makes a Python environment of its own in .data/parity/venv, on top of the one in .venv. PROFILE=debug builds without
# optimisation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$PWD/.venv/bin/python
folder=$PWD/.data/parity
packages=(torchvision==0.26.0 timm==1.0.31 transformers==5.24.0 pillow numpy)

fail() {
    printf 'Parity stopped: %s\n' "$*" >&2
    exit 1
}

# The packages on top of .venv's torch, without the torch that they would bring along.
make_venv() {
    local venv=$folder/venv
    if [ ! -e "$venv/complete" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        below
        "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps "${packages[0]}" "${packages[1]}" &&
            "$venv/bin/python" -m pip install --disable-pip-version-check --quiet "${packages[@]:2}" ||
            fail "pip could not install the packages; its message is above."
        touch "$venv/complete"
    fi
    # The checkout may have been moved since.
    below
    python=$venv/bin/python
    "$python" -c 'import torch, torchvision, timm, transformers' || fail "remove $venv and run this again."
}

# Has $venv find the packages of .venv.
below() {
    local place='import sysconfig; print(sysconfig.get_paths()["purelib"])'
    "$python" -c "$place" >"$("$venv/bin/python" -c "$place")/base.pth"
}

what=${1:-all}
shift || true
"$python" -c 'import torch' 2>/dev/null || {
    [ "$what" = small ] || fail "it needs a Python with torch in .venv; remove .venv and run \`make setup\` without LIBTORCH."
    echo "No torch for Python in .venv: the small models are left out."
    exit 0
}
mkdir -p "$folder"
profile=${PROFILE:-release}
[ "$profile" = release ] && flags=(--release) || flags=()
cargo build --quiet "${flags[@]}" -p tests --example parity
program=target/$profile/examples/parity

if [ "$what" = small ]; then
    "$python" scripts/parity/export.py "$folder/small" --suite small
    models=()
    for model in "$folder"/small/*.pt; do
        [[ $model == *.inputs.pt ]] || models+=("$model")
    done
    "$program" --json "$folder/small.json" "${models[@]}"
    exit
fi
make_venv
only=()
for pattern in "$@"; do only+=(--only "$pattern"); done
results=$folder/parity.json
rm -f "$results"
mapfile -t load < <("$python" scripts/parity/libraries.py | tr ' ' '\n')
"$python" scripts/parity/export.py "$folder/models" "${only[@]}" \
    --run "$program" --json "$results" "${load[@]}" || failed=1
"$python" scripts/parity/table.py "$results"
[ "${#only[@]}" != 0 ] || cp "$results" bench/results/parity.json
exit "${failed:-0}"
