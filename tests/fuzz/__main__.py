"""``python -m tests.fuzz --inputs 2000000 --seed N``: ends with 1 at the first finding, and says how to repeat it."""
from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import traceback

from .fuzz_frames import TARGETS, Bounds, Finding, one, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6))
    parser.add_argument("--only", choices=list(TARGETS), default="", help="one target")
    parser.add_argument("--at", type=int, help="this input alone, by its number")
    asked = parser.parse_args()
    logging.disable()  # every refusal would be a line
    print(f"fuzz: --inputs {asked.inputs} --seed {asked.seed}" + f" --only {asked.only}" * bool(asked.only), flush=True)

    async def body() -> None:
        if asked.at is not None:
            chosen = [name for name, (_, share) in TARGETS.items() for _ in range(share) if asked.only in ("", name)]
            with Bounds() as bounds:
                one(bounds, asked.seed, asked.at, chosen, dict.fromkeys(chosen, 0))
            return
        told = await run(asked.inputs, asked.seed, lambda line: print(line, flush=True), asked.only)
        rates = ", ".join(f"{name} {count}" for name, count in told["targets"].items())
        print(f"nothing found: {told['inputs']} inputs ({rates}), {told['bytes'] >> 20} MiB, {told['seconds']:.0f} s, "
              f"memory grew by {told['grown'] / (1 << 20):.1f} MiB")

    try:
        asyncio.run(body())
    except Finding:
        traceback.print_exc()
        return 1
    return 0


sys.exit(main())
