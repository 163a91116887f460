# Sourced by demo.sh and test.sh: a virtual environment with medmiss in it.
#
# MEDMISS_VENV    its folder (default: .venv at the repository root)
# MEDMISS_PYTHON  the Python that makes it (default: the first suitable python3.11 or python3)

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${MEDMISS_VENV:-$ROOT/.venv}"
[[ "$VENV" == /* ]] || VENV="$PWD/$VENV"

# Nothing that happens to be installed or set on this machine may leak in.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

find_python() {
    local candidate
    for candidate in ${MEDMISS_PYTHON:+"$MEDMISS_PYTHON"} python3.11 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "medmiss: no Python 3.11 or newer with the venv module found (on Debian: apt-get install python3.11-venv)" >&2
    return 1
}

# What the installation depends on; while it is unchanged, there is nothing to install.
fingerprint() {
    echo "$ROOT $1"
    cat "$ROOT/setup.cfg" "$ROOT/pyproject.toml" "$ROOT/constraints.txt"
}

# install_medmiss EXTRAS: EXTRAS is empty or such as "[test]".
install_medmiss() {
    local extras="$1" stamp="$VENV/installed${1//[^a-z]/-}.stamp" python clear=""
    if "$VENV/bin/python" -c '' 2>/dev/null && fingerprint "$extras" | cmp -s - "$stamp"; then
        return
    fi
    python="$(find_python)"
    echo "medmiss: installing into $VENV (the first time takes some minutes)" >&2
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then
        [[ ! -f "$VENV/pyvenv.cfg" ]] || clear="--clear" # a broken environment, and no other folder, is emptied
        "$python" -m venv $clear "$VENV"
    fi
    # The build backend comes from the same pins, so that no second, unpinned one is fetched.
    "$VENV/bin/python" -m pip install --quiet -c "$ROOT/constraints.txt" setuptools
    "$VENV/bin/python" -m pip install --quiet -c "$ROOT/constraints.txt" --no-build-isolation -e "$ROOT$extras"
    fingerprint "$extras" >"$stamp"
}
