#!/usr/bin/env bash
# Style, types and tests, in a virtual environment of its own (see environment.sh).
#
#   bash tools/test.sh [PYTEST ARGUMENT ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

install_medmiss "[test]"
cd "$ROOT"
# One thread a worker: two workers with a thread pool each would fight for the same cores.
export OMP_NUM_THREADS=1
"$VENV/bin/python" -m ruff check .
"$VENV/bin/python" -m mypy
exec "$VENV/bin/python" -m pytest -n 2 "$@"
