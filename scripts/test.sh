#!/usr/bin/env bash
# Runs every check to its end, then sums up; fails if one failed. scripts/setup.sh comes first.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

summary=''
failed=0
# Runs check $1, the command in the other arguments, and notes its outcome and time.
check() {
    local name=$1 start=$SECONDS outcome=passed
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" || outcome=FAILED failed=1
    summary+=$(printf '%-8s %s in %d s' "$name" "$outcome" $((SECONDS - start)))$'\n'
}

check format cargo fmt --all --check
check clippy make --no-print-directory clippy
check library cargo clippy -p tch-bridge --no-default-features --lib -- -D warnings
check docs make --no-print-directory doc
check tests cargo test --workspace --no-fail-fast
# With fewer vector instructions than this machine has, what its own processor would not run.
fewer=(portable)
! grep -qw avx512f /proc/cpuinfo 2>/dev/null || fewer+=(avx2)
for isa in "${fewer[@]}"; do
    check "$isa" env TRT_CPU_ISA="$isa" RANDOM_NETWORKS=1000 cargo test --workspace --test op_cases --test random_networks
done
elsewhere=aarch64-unknown-linux-gnu
if [ -d "$(rustc --print sysroot)/lib/rustlib/$elsewhere" ]; then
    check aarch64 cargo check -p trt-subgraph --target $elsewhere
else
    summary+="aarch64  left out: \`rustup target add $elsewhere\` makes it possible"$'\n'
fi
PROFILE=debug check parity scripts/parity.sh small

printf '\n%s' "$summary"
if [ $failed = 0 ]; then
    echo "All checks passed in $((SECONDS / 60)) min $((SECONDS % 60)) s."
else
    echo "Some checks FAILED; their output is above."
fi
exit $failed
