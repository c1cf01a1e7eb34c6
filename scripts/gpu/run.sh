#!/usr/bin/env bash
# Tests and times the engines on this machine's GPU with the torch of its Python, and prints one table.
#
# Usage: ./run.sh RESULTS                       tests, then bench; RESULTS is a folder for JSON and logs
#        ./run.sh RESULTS tests                 operator cases, random networks, every way of running a layer, engines, modules
#        ./run.sh RESULTS bench [ARGUMENT]...   the networks of the benchmark beside their peers; ARGUMENTs are those of gpu.py
#        ./run.sh RESULTS parity [PATTERN]...   real models, those with such names or all; wants torchvision, timm, transformers
#        ./run.sh RESULTS fuzz [N] [SEED]       N random TorchScript programs (2000) from SEED (0)
#        ./run.sh RESULTS sanitize [TOOL]       operator cases under compute-sanitizer's TOOL (memcheck), which CUDA's toolkit has
#
# PYTHON names the interpreter that has torch 2.11.
set -uo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
python=${PYTHON:-python3}
results=${1:?the folder for the results}
what=${2:-both}
shift $(($# < 2 ? $# : 2))
mkdir -p "$results"
results=$(cd "$results" && pwd -P)
cd "$folder" || exit

# Programs travel packed.
tar -xzf programs.tar.gz || exit

torch=$("$python" -c 'import torch; print(torch.__path__[0] if torch.__version__.startswith("2.11.") else "")')
[ -n "$torch" ] || {
    echo "No torch 2.11 in $python; name an interpreter that has it in PYTHON." >&2
    exit 1
}
LD_LIBRARY_PATH=$torch/lib:$(printf '%s:' "$torch"/../nvidia/*/lib)${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH TRT_CASES=$folder/cases RUST_BACKTRACE=0

failed=0
table=''
# Runs the command in the other arguments under the name $1, its words going to a log, and notes how it went.
check() {
    local name=$1 start=$SECONDS outcome
    shift
    if "$@" >"$results/$name.log" 2>&1; then outcome=passed; else outcome=FAILED failed=1; fi
    grep -q '^not run:\|nothing is tested' "$results/$name.log" && outcome='NOT RUN' failed=1
    table+=$(printf '%-28s %-8s %4d s' "$name" "$outcome" $((SECONDS - start)))$'\n'
}

# Runs a function on each file of operator cases, several at a time; it names the file if something is wrong.
each_file() {
    for file in cases/*.cases; do basename "$file" .cases; done | xargs -P "$(nproc)" -I{} bash -c "$1 {}"
}
# One file of operator cases.
operator() {
    CASES=$1 ./test-engine operator_cases --nocapture >"$results/cases/$1.log" 2>&1 || echo "$1"
}
# All of them.
operators() {
    local wrong
    mkdir -p "$results/cases"
    wrong=$(each_file operator)
    grep -h '^not run:' "$results"/cases/*.log
    [ -z "$wrong" ] || { printf 'wrong: %s\n' "$wrong"; return 1; }
}
export -f operator
export results

tests() {
    check operator-cases operators
    check random-networks env RANDOM_NETWORKS="${RANDOM_NETWORKS:-100}" ./test-engine random --nocapture
    check every-way ./test-engine every_way --nocapture
    check engine ./test-engine --skip operator_cases --skip random --skip every_way --skip without_a_device --nocapture
    check modules ./test-module --test-threads 1 --nocapture
    check captures "$python" captures.py ./tch-trt ./libtch_trt.so
    check refit ./test-module --ignored --nocapture
    printf '%s' "$table" | tee "$results/tests.txt"
}

bench() {
    "$python" gpu.py --results "$results" "$@" || failed=1
}

# Several models at a time, each in a process of its own; how fast they are is not asked, so nothing is timed to choose.
parity() {
    export TRT_LEVEL=${TRT_LEVEL:-0}
    local pattern shard only=() load shards=$((($(nproc) + 1) / 2)) folder
    for pattern in "$@"; do only+=(--only "$pattern"); done
    mapfile -t load < <("$python" parity/libraries.py 2>/dev/null | tr ' ' '\n')
    folder=$(mktemp -d)
    rm -f "$results"/parity-*.json
    for ((shard = 1; shard <= shards; shard++)); do
        OMP_NUM_THREADS=2 "$python" parity/export.py "$folder/$shard" --device cuda --shard "$shard/$shards" "${only[@]}" \
            --run ./parity/examine --json "$results/parity-$shard.json" "${load[@]}" >"$results/parity-$shard.log" 2>&1 &
    done
    for shard in $(jobs -p); do wait "$shard" || failed=1; done
    rm -rf "$folder"
    "$python" parity/table.py "$results"/parity-*.json --out "$results/parity.json" || failed=1
}

fuzz() {
    FUZZ_DEVICE=cuda ./test-fuzz --programs "${1:-2000}" --seed "${2:-0}" | tee "$results/fuzz.log" || failed=1
}

# Every operator case, several files at a time, with each access of every kernel checked.
sanitize() {
    command -v compute-sanitizer >/dev/null || {
        echo "There is no compute-sanitizer on the PATH; CUDA's toolkit has it, in its folder bin." >&2
        exit 1
    }
    export tool=${1:-memcheck}
    local wrong
    mkdir -p "$results/$tool"
    wrong=$(each_file sanitized)
    grep -h '^not run:' "$results/$tool"/*.log && failed=1
    [ -z "$wrong" ] || { printf '%s found something in: %s\n' "$tool" "$wrong"; failed=1; }
    [ $failed = 1 ] || echo "$tool found nothing in $(ls cases | wc -l) files of operator cases"
}
sanitized() {
    local log=$results/$tool/$1.log
    CASES=$1 compute-sanitizer --tool "$tool" --error-exitcode 9 ./test-engine operator_cases --nocapture >"$log" 2>&1 || echo "$1"
}
export -f sanitized

case $what in
both) tests && bench ;;
tests | bench | parity | fuzz | sanitize) "$what" "$@" ;;
*) echo "There is no $what; the head of this script tells what there is." >&2 && exit 2 ;;
esac
exit $failed
