#!/usr/bin/env bash
# Brings .venv and the built JavaScript up to date: scripts/setup.sh demo|dev
#
# Called by every target of the Makefile. What is up to date is recognized by content, so the second call
# takes well under a second.
set -euo pipefail
cd "$(dirname "$0")/.."

extra=$1
venv=.venv
python=$venv/bin/python
export PATH="$PWD/$venv/bin:$PATH"

fail() {
    printf '\nSet-up stopped: %s\n' "$1" >&2
    exit 1
}

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "there is no '$PYTHON' (PYTHON=...)."
        is_recent "$PYTHON" || fail "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" --version 2>&1)."
        echo "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if is_recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and none was found on the PATH. Install one, or say where it is: make PYTHON=/path/to/python3"
}

make_venv() {
    local base
    base=$(find_python)
    # Debian splits this module off the interpreter.
    if ! "$base" -c 'import ensurepip' 2>/dev/null; then
        local package
        package=$("$base" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            fail "$base has no venv module. On Debian and Ubuntu: sudo apt-get install $package"
        fi
        apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$package"
    fi
    echo "Making $venv with $("$base" --version)"
    "$base" -m venv "$venv"
}

[ "$extra" = demo ] || [ "$extra" = dev ] || fail "usage: scripts/setup.sh demo|dev"
"$python" -c 'import pip' 2>/dev/null || make_venv
is_recent "$python" || fail "$venv was made with $("$python" --version); Python 3.11 or newer is needed. Remove $venv and try again."

missing=$("$python" hatch_build.py missing)
if [ -n "$missing" ]; then
    echo "No npm here: installing it into $venv"
    "$python" -m pip install -q --disable-pip-version-check "$missing"
fi

# Before the package is installed, which would otherwise fetch a node of its own to do this.
"$python" hatch_build.py
if [ "$extra" = dev ]; then
    "$python" hatch_build.py modules
fi

wanted=$(cat pyproject.toml hatch_build.py | sha256sum)
stamp=$venv/.cnnviz-$extra
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing into $venv; the first time this takes some minutes"
    "$python" -m pip install -q --disable-pip-version-check -e ".[$extra]"
    echo "$wanted" >"$stamp"
fi
