"""``python -m tests.services install [NAME...]``: one line for each service, what it is or why it cannot be had.

Ends with 1 in CI (``CI=true``) where one is missing; elsewhere its tests are skipped, so it ends with 0.
"""
from __future__ import annotations

import os
import sys

from . import SERVICES, Absent, ByAddress


def install(names: list[str]) -> bool:
    """Installs the services of these names and says so; whether all are there."""
    complete = True
    for name in names:
        service = SERVICES[name]
        outside = os.environ.get(service.variable())
        try:
            print(f"service {name}: {f'{service.variable()}={outside}' if outside else service.install()}", flush=True)
        except Absent as absent:
            complete = complete and isinstance(absent, ByAddress)
            print(f"service {name}: ABSENT, {absent}", flush=True)
    return complete


def main(arguments: list[str]) -> int:
    unknown = set(arguments[1:]) - set(SERVICES)
    if arguments[:1] != ["install"] or unknown:
        print(f"usage: python -m tests.services install [{'|'.join(SERVICES)}]...", file=sys.stderr)
        return 2
    every = [name for name, service in SERVICES.items() if not service.long or os.environ.get("DRTC_LONG") == "1"]
    complete = install(arguments[1:] or every)
    return 1 if os.environ.get("CI") == "true" and not complete else 0


sys.exit(main(sys.argv[1:]))
