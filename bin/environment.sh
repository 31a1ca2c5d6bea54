# shellcheck shell=bash
# Sourced by the other scripts, in the project's directory: a Python that is new enough, and .venv with drtc in it.

say() { printf '%s\n' "$*"; }

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate first found
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    first=${PYTHON:-python3}
    found=$("$first" --version 2>/dev/null) || found=missing
    fail "drtc needs Python 3.11 or newer, and $first is $found; install one" \
        "(apt-get install python3 python3-venv) or name it: PYTHON=/path/to/python3.11 ${0}"
}

# Makes .venv unless a good one is there (an interrupted attempt has no pip).
make_venv() {
    local python
    if new_enough .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python) || exit 1
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv ||
        fail "$python cannot make a virtual environment; on Debian: apt-get install python3-venv"
}

# What the installation was made from. The hot modules are in it: their compiled form must never be older than they.
installed_from() {
    local hot
    hot=$(grep -o 'drtc/[a-z_/]*\.py' setup.py)
    # shellcheck disable=SC2086  # one word for each module
    { pwd; .venv/bin/python -VV; echo "${DRTC_COMPILE-}"; stat -c '%n %Y %s' setup.py setup.cfg pyproject.toml $hot
      find drtc -name '*.so' | sort; } 2>/dev/null | cksum
}

# install EXTRA: drtc[EXTRA] in .venv, editable, its hot modules compiled where that is possible. Nothing if it is there.
install_drtc() {
    local mark=.venv/installed-$1
    if [ -f "$mark" ] && [ "$(cat "$mark")" = "$(installed_from)" ]; then
        return
    fi
    say "installing drtc[$1] in .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$1]" ||
        fail "drtc[$1] could not be installed; pip's own words are above"
    installed_from >"$mark"
}

# The drtc of .venv, or else of the PATH.
find_drtc() {
    local here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if [ -x "$here/.venv/bin/drtc" ]; then
        printf '%s\n' "$here/.venv/bin/drtc"
    else
        command -v drtc || fail "there is no drtc in .venv nor on the PATH; install it: pip install drtc"
    fi
}

# role NAME FILE OPTION...: becomes the process of one role.
role() {
    local name=$1 drtc
    shift
    [ $# -gt 0 ] || fail "the INI file is missing: ${0} FILE [OPTION...]"
    drtc=$(find_drtc)
    exec "$drtc" "$name" -c "$@"
}
