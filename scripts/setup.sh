#!/usr/bin/env bash
# Makes what the build needs under .venv and says, in its last line, that all is there or what is missing.
#
#   .venv/libtorch                  link to a libtorch: LIBTORCH, else /usr, else a private one
#   .venv/onednn/libdnnl.so.3       link to a oneDNN: TRT_ONEDNN_LIBRARY, else the system's, else a private one
#   .venv/cuda                      link to CUDA's libraries, where the libtorch is a Python package with CUDA
#
# Usage: scripts/setup.sh [demo|test]    what comes next, `make demo` or `make test`: while libtorch is downloaded, the
#                                        part of it that does not need libtorch is compiled. `test` demands the Rust
#                                        components of its checks.
#
# Safe to run again, to interrupt, and to run twice at once. A private environment is a Python venv in .venv; pip obeys
# its usual PIP_* variables. PYTHON and CXX choose the interpreter and the C++ compiler.
set -euo pipefail
unset PYTHONHOME PIP_TARGET PIP_PREFIX

torch_version=2.11.0
onednn_package=onednn-cpu-gomp==2023.2.0
rust_minor=95
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv

say() { printf '%s\n' "$*"; }
fail() {
    printf 'Set-up stopped: %s\n' "$*" >&2
    exit 1
}
compiler=
trap 'fail "it was interrupted; run it again, it takes up where it was."' INT TERM
trap '[ -z "$compiler" ] || kill "$compiler" 2>/dev/null || true' EXIT

check_rust() {
    local tool version
    for tool in cargo rustc; do
        command -v $tool >/dev/null ||
            fail "$tool is missing; install Rust 1.$rust_minor or newer with rustup and open a new shell."
    done
    version=$(cd "$root" && rustc --version) || fail "rustc does not run; mend it with \`rustup update stable\`."
    [[ $version =~ ^rustc\ 1\.([0-9]+) && ${BASH_REMATCH[1]} -ge $rust_minor ]] ||
        fail "$version is too old, 1.$rust_minor is needed; run \`rustup update stable\`."
}

# Prints the Rust components that `make test` needs and this machine lacks.
missing_components() {
    cargo fmt --version >/dev/null 2>&1 || printf ' rustfmt'
    cargo clippy --version >/dev/null 2>&1 || printf ' clippy'
}

# Gets what `make test` needs to check sources for another processor, where that can be had; the check is left out otherwise.
add_aarch64() {
    local target=aarch64-unknown-linux-gnu
    [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && command -v rustup >/dev/null || return 0
    if rustup target add $target >/dev/null 2>&1; then
        changed=yes
    else
        say "rustup could not add $target, so \`make test\` leaves its check out."
    fi
}

check_cxx() {
    local cxx=${CXX:-c++} advice="install g++ 9 or newer (Debian, Ubuntu: g++; Fedora: gcc-c++) or point CXX at it."
    # CXX may carry arguments, so it is split into words.
    # shellcheck disable=SC2086
    command -v ${cxx%% *} >/dev/null || fail "there is no C++ compiler ($cxx); $advice"
    command -v cc >/dev/null || fail "Rust needs the linker \`cc\` and it is missing; $advice"
    # shellcheck disable=SC2086
    $cxx -std=c++17 -fsyntax-only -x c++ - >/dev/null 2>&1 <<'CXX' || fail "the C++ compiler ($cxx) is too old or has no C++17 library; $advice"
#include <optional>
#if __cplusplus < 201703L || (defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 9)
#error too old
#endif
std::optional<int> value;
CXX
}

# The version of the libtorch in folder $1, or nothing where it holds none that can be linked.
libtorch_version() {
    local include=$1/include/torch header text
    [ -e "$1/lib/libtorch_cpu.so" ] && [ -e "$include/csrc/api/include/torch/all.h" ] || return 0
    for header in "$include/headeronly/version.h" "$include/csrc/api/include/torch/version.h"; do
        [ -r "$header" ] || continue
        text=$(<"$header")
        if [[ $text =~ TORCH_VERSION_MAJOR\ +([0-9]+).*TORCH_VERSION_MINOR\ +([0-9]+).*TORCH_VERSION_PATCH\ +([0-9]+) ]]; then
            echo "${BASH_REMATCH[1]}.${BASH_REMATCH[2]}.${BASH_REMATCH[3]}"
            return 0
        fi
    done
}

# Whether pip finished installing distribution $1 (name_version): it writes RECORD last.
pip_finished() { compgen -G "$venv/lib/python3.*/site-packages/$1.dist-info/RECORD" >/dev/null; }

private_torch() { compgen -G "$venv/lib/python3.*/site-packages/torch" | tail -n 1; }

# Whether the link to libtorch is good as it is: right version, and not a private one that pip left half made.
libtorch_ready() {
    [ "$(libtorch_version "$venv/libtorch")" = $torch_version ] || return 1
    [[ $(readlink -f "$venv/libtorch") != "$(readlink -f "$venv")"/* ]] || pip_finished "torch-$torch_version"
}

link_libtorch() {
    if [ -n "${LIBTORCH:-}" ]; then
        local version
        version=$(libtorch_version "$LIBTORCH")
        [ -n "$version" ] ||
            fail "LIBTORCH=$LIBTORCH is not a libtorch folder (lib/libtorch_cpu.so and include/); correct or unset it."
        [ "$version" = $torch_version ] ||
            fail "LIBTORCH=$LIBTORCH is version $version, $torch_version is needed; correct or unset it."
        link "$(readlink -f "$LIBTORCH")" "$venv/libtorch"
    elif ! libtorch_ready; then
        if [ "$(libtorch_version /usr)" = $torch_version ]; then
            link /usr "$venv/libtorch"
        else
            if ! pip_finished "torch-$torch_version"; then
                compile_meanwhile
                install "torch==$torch_version" 8
            fi
            link "$(private_torch)" "$venv/libtorch"
        fi
    fi
    libtorch_ready || fail "the libtorch in $venv is damaged; remove that folder and run the set-up again."
    local lacking
    lacking=$(ldd "$venv/libtorch/lib/libtorch.so" 2>/dev/null | awk '/not found/ { printf " %s", $1 }')
    [ -z "$lacking" ] || fail "the libtorch at $(readlink -f "$venv/libtorch") needs libraries that are missing:$lacking."
}

system_onednn() {
    PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | awk '/libdnnl\.so\.3 / { print $NF; exit }'
}

# Leaves no link where this platform has no oneDNN: only the CPU engine needs it.
link_onednn() {
    local link=$venv/onednn/libdnnl.so.3 library=${TRT_ONEDNN_LIBRARY:-}
    if [ -n "$library" ]; then
        [ -r "$library" ] || fail "TRT_ONEDNN_LIBRARY=$library cannot be read; name a libdnnl.so.3 or unset it."
    elif [ -e "$link" ]; then
        return
    else
        library=$(system_onednn)
    fi
    [ -z "$library" ] || library=$(readlink -f "$library")
    if [ -z "$library" ]; then
        pip_finished "onednn_cpu_gomp-${onednn_package##*=}" || install "$onednn_package" 1
        library=$venv/lib/libdnnl.so.3
        [ -e "$library" ] || return 0
    fi
    mkdir -p "$venv/onednn"
    link "$library" "$link"
}

# Where a CUDA libtorch came as a Python package, its run-time compiler lies beside it: with it, tests compile the GPU's kernels.
link_cuda() {
    local folder
    folder=$(dirname "$(readlink -f "$venv/libtorch")")/nvidia/cu13/lib
    [ ! -e "$folder/libnvrtc.so.13" ] || link "$folder" "$venv/cuda"
}

# Makes .venv a working Python environment, from whatever state it is in.
make_venv() {
    "$venv/bin/python" -c 'import pip' 2>/dev/null && return
    local candidate reason="Python 3.10 to 3.14 is missing; install it or point PYTHON at it." python=
    local probe='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
        "$candidate" -c "$probe" 2>/dev/null || continue
        if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            python=$candidate
            break
        fi
        reason="$candidate has no venv module; install it (Debian, Ubuntu: python3-venv)."
    done
    [ -n "$python" ] || fail "$reason"
    say "Making a private Python environment in $venv with $("$python" --version)"
    changed=yes
    (cd "$venv" && rm -rf bin include lib lib64 share pyvenv.cfg)
    "$python" -m venv "$venv" || fail "\`$python -m venv\` failed as shown above."
}

# Points link $2 at $1, unless it leads there already; relative within .venv, so that the project can be moved.
link() {
    [ "$1" -ef "$2" ] && return
    local relative=
    [[ $1 != "$venv"/* ]] || relative=r
    changed=yes
    ln -sfn$relative "$1" "$2"
}

# Installs pip requirement $1, which needs $2 GiB of disk, into the private environment.
install() {
    changed=yes
    local free_gib=$(($(df -Pk "$venv" | awk 'NR == 2 { print $4 }') >> 20))
    [ "$free_gib" -ge "$2" ] || fail "$1 needs $2 GiB of disk and $root has $free_gib GiB; make room."
    make_venv
    say "Installing $1 (once; a few minutes on a quick line)"
    local log=$venv/pip.log tmp=$venv/tmp
    rm -rf "$log" "$tmp" && mkdir "$tmp"
    TMPDIR=$tmp PIP_USER=0 "$venv/bin/python" -m pip install --disable-pip-version-check --log "$log" "$1" ||
        explain_pip "$1" "$log"
    rm -rf "$tmp"
}

# Starts compiling what comes next and needs no libtorch; crates that do need it fail here and are compiled later.
compile_meanwhile() {
    local what
    case $next in
        demo) what=(build --release --example lenet5 --example partition_mixed) ;;
        test) what=(test --workspace --no-run) ;;
    esac
    say "Compiling what does not need libtorch meanwhile (its output: $venv/compile.log)"
    (cd "$root" && exec cargo "${what[@]}" --keep-going) >"$venv/compile.log" 2>&1 9<&- &
    compiler=$!
}

# Waits for compile_meanwhile. What it could not compile, the build that comes next reports.
finish_compiling() {
    [ -n "$compiler" ] || return 0
    while kill -0 "$compiler" 2>/dev/null; do
        [ ! -t 1 ] || printf '\rFinishing the crates that do not need libtorch: %s so far' "$(grep -c Compiling "$venv/compile.log")"
        sleep 0.5
    done
    [ ! -t 1 ] || say
    wait "$compiler" || true
    compiler=
}

# Ends the set-up with the reason why pip could not install $1, read from its log $2.
explain_pip() {
    local network='Failed to establish|Temporary failure in name|getaddrinfo|NewConnectionError|timed out|ProxyError|SSLError|IncompleteRead|Connection (reset|aborted|broken)|ConnectionError'
    if grep -q 'No space left' "$2"; then
        fail "the disk was full while pip installed $1; make room and run the set-up again."
    elif grep -Eq "$network" "$2"; then
        fail "pip could not download $1; check the network or the proxy and run the set-up again."
    elif grep -q 'No matching distribution' "$2"; then
        [[ $1 = onednn* ]] && return
        fail "there is no $1 for $(uname -sm) and this Python; set LIBTORCH to a libtorch $torch_version of your own."
    fi
    fail "pip could not install $1; see $2."
}

next=${1:-demo}
[ "$next" = demo ] || [ "$next" = test ] || fail "what comes next is demo or test, not $next."
changed=
check_rust
lacking=$(missing_components)
[ -z "$lacking" ] || [ "$next" != test ] ||
    fail "Rust lacks the components that checks need; run \`rustup component add$lacking\`."
check_cxx
[ "$next" != test ] || add_aarch64
mkdir -p "$venv" 2>/dev/null || fail "$venv cannot be made; check the folder's permissions, or remove a dead link there."
exec 9<"$venv"
if command -v flock >/dev/null && ! flock -n 9; then
    say "Another set-up is at work in $venv; waiting for it"
    flock 9
fi
link_libtorch
link_onednn
link_cuda
finish_compiling

state="is complete"
[ -n "$changed" ] || state="was complete already"
done="Set-up $state: libtorch $torch_version at $(readlink -f "$venv/libtorch")"
if [ -e "$venv/onednn/libdnnl.so.3" ]; then
    done+=", oneDNN at $(readlink -f "$venv/onednn/libdnnl.so.3")."
else
    done+="; no oneDNN 3 for this platform, so the CPU engine is off until TRT_ONEDNN_LIBRARY names a libdnnl.so.3."
fi
[ -z "$lacking" ] || done+=" For \`make test\` also run \`rustup component add$lacking\`."
say "$done"
