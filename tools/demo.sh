#!/usr/bin/env bash
# Make phantom cases, segment them with all and with some modalities, show Dice and a picture.
#
#   bash tools/demo.sh [OUT [OPTION ...]]     OUT: output folder (default: ./medmiss-demo)
#
# Installs what it needs into a virtual environment of its own (see environment.sh).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

install_medmiss ""
exec "$VENV/bin/medmiss" demo "${@:-medmiss-demo}"
