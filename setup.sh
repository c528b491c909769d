#!/bin/sh
# Make .venv and install gadkit into it. Returns at once when that is done already.
#
#   ./setup.sh [PYTHON]         PYTHON: the interpreter to use; by default .venv's own, else
#                               the first of python3, python3.13, ... that is 3.11 or newer
#   GADKIT_TORCH_BACKEND=cpu    which torch: cpu, cu130, ...; by default the GPU driver decides
#
# $stamp is written last and says what the environment was made from. So an installation that
# was interrupted starts over, a changed pyproject.toml is installed into the environment there
# is, and a moved folder (whose scripts point to the old place) gets a new one.
set -eu
cd "$(dirname "$0")"
venv=.venv
stamp=$venv/gadkit-ready
asked_python=${1:-}
asked_backend=${GADKIT_TORCH_BACKEND:-}

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }
recorded() { sed -n "s/^$1 //p" "$stamp" 2>/dev/null || true; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

folder=$(pwd -P)
sources=$(cat pyproject.toml setup.sh | cksum)

same_environment() {
    [ "$(recorded folder)" = "$folder" ] && "$venv/bin/python" -c '' 2>/dev/null || return 1
    [ -z "$asked_python" ] || [ "$(recorded python)" = "$(version "$asked_python")" ]
}

is_ready() {
    [ "$(recorded sources)" = "$sources" ] && same_environment || return 1
    [ -z "$asked_backend" ] || [ "$(recorded backend)" = "$asked_backend" ]
}

find_python() {
    for python in ${asked_python:-python3 python3.13 python3.12 python3.11}; do
        if is_new_enough "$python"; then return; fi
    done
    fail "gadkit needs Python 3.11 or newer, and ${asked_python:-python3} is not." \
        "Debian, Ubuntu: sudo apt install python3 python3-venv     macOS: brew install python" \
        "Fedora: sudo dnf install python3     Or, if it has another name: make PYTHON=python3.12 run"
}

make_venv() {
    find_python
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
        "$python (Python $(version "$python")) has no venv module." \
        "Debian, Ubuntu: sudo apt install python$(version "$python")-venv" \
        "Elsewhere: a Python that has it, as in make PYTHON=python3.12 run"
    say "making $venv with Python $(version "$python")"
    "$python" -m venv --clear "$venv"
}

# uv, unlike pip, reads neither PIP_INDEX_URL nor PIP_FIND_LINKS: both are handed on, the second
# only if it holds a torch wheel for this Python (which then goes before the driver's choice).
choose_torch() {
    torch=--torch-backend=${asked_backend:-auto}
    if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"; fi
    if [ -n "$asked_backend" ]; then return; fi
    tag=cp$(version "$venv/bin/python" | tr -d .)
    for place in ${PIP_FIND_LINKS:-}; do
        if ls "$place"/torch-*-"$tag"-*.whl >/dev/null 2>&1; then
            torch=--find-links=$place
        fi
    done
}

# Unlike pip, uv leaves compiling to the first import, which may not write (in a container with
# PYTHONDONTWRITEBYTECODE, say): then every kernel compiles all of torch again, several seconds each.
install() {
    "$venv/bin/uv" pip install --compile-bytecode --python "$venv/bin/python" "$torch" -e ".[$1]"
}

if is_ready; then exit 0; fi
if same_environment; then rm -f "$stamp"; else make_venv; fi

say "installing gadkit and what it needs (the first time may take some minutes)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
choose_torch
install lab,test
# CuPy must be built for the CUDA that torch is built for, so torch is asked and not the driver.
cuda=$("$venv/bin/python" -c 'import torch; print((torch.version.cuda or "").split(".")[0])')
case $cuda in
    "") ;;
    12) install cuda12 ;;
    *) install cuda ;;
esac

{
    echo "sources $sources"
    echo "folder $folder"
    echo "python $(version "$venv/bin/python")"
    echo "backend ${asked_backend:-auto}"
} >"$stamp.new"
mv "$stamp.new" "$stamp"
say "ready: Python $(recorded python), torch for ${cuda:+CUDA }${cuda:-the CPU}"
