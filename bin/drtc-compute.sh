#!/usr/bin/env bash
# Starts a compute node: runs the job in its worker processes and stores the results.
# bin/drtc-compute.sh FILE [OPTION...]: FILE is the INI file, the options are those of `drtc compute`.
set -euo pipefail
# shellcheck source=bin/environment.sh
. "$(dirname "$0")/environment.sh"
role compute "$@"
