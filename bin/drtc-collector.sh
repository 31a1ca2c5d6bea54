#!/usr/bin/env bash
# Starts a collector: reads the source and sends batches to the coordinators.
# bin/drtc-collector.sh FILE [OPTION...]: FILE is the INI file, the options are those of `drtc collector`.
set -euo pipefail
# shellcheck source=bin/environment.sh
. "$(dirname "$0")/environment.sh"
role collector "$@"
