#!/usr/bin/env bash
# Sets up what the tests use, then runs shellcheck, flake8, mypy and pytest.
#
#   bin/test.sh                 everything that runs in a few minutes
#   bin/test.sh PATH...         these tests only (further options go to pytest)
#   bin/test.sh --long          the long variants as well
#
# Needs Python 3.11+; Java 17 and Maven for the tests with Kafka. What cannot be had is said in one line and its tests
# are skipped; with CI=true they fail. Servers are kept in ${DRTC_CACHE:-~/.cache/drtc}; PYTHON names the Python to use.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bin/environment.sh
. bin/environment.sh

arguments=()
for argument in "$@"; do
    case $argument in
        --long) export DRTC_LONG=1 ;;
        -h | --help) exec sed -n '2,/^set/{/^set/!s/^#\( \|$\)//p}' bin/test.sh ;;
        *) arguments+=("$argument") ;;
    esac
done

make_venv
install_drtc test
python=.venv/bin/python

failed=()
attempt() {
    local what=$1
    shift
    "$@" || failed+=("$what")
}

if [ -n "$(find drtc -name '*.so' -print -quit)" ]; then
    say "hot modules: compiled and plain"
else
    say "hot modules: plain only, ABSENT compiled (no C compiler, no Python headers, or DRTC_COMPILE=0)"
fi
attempt services "$python" -m tests.services install
if shellcheck=$(PATH="$PWD/.venv/bin:$PATH" command -v shellcheck); then
    attempt shellcheck "$shellcheck" -x bin/*.sh .ci/run
else
    say "ABSENT: shellcheck (it comes with pip on x86_64 and aarch64; apt-get install shellcheck); the scripts go unread"
fi
attempt flake8 "$python" -m flake8
attempt mypy "$python" -m mypy
attempt pytest "$python" -m pytest ${arguments[@]+"${arguments[@]}"}
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}"
