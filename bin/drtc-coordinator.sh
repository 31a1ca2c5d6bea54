#!/usr/bin/env bash
# Starts a coordinator: queues batches and hands each lane to its compute node.
# bin/drtc-coordinator.sh FILE [OPTION...]: FILE is the INI file, the options are those of `drtc coordinator`.
set -euo pipefail
# shellcheck source=bin/environment.sh
. "$(dirname "$0")/environment.sh"
role coordinator "$@"
