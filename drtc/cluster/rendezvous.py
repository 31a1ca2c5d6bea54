"""Weighted rendezvous hashing: who owns a thing, so that a node's coming or going moves only its own share.

Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); the weights as in Schindelhauer and
Schomaker, "Weighted Distributed Hash Tables" (2005).
"""
from __future__ import annotations

import hashlib
import math
from typing import Mapping


def owner(thing: str, weights: Mapping[str, float]) -> str | None:
    """The name that owns ``thing``, the same on every machine; None where there is nobody. Weights are positive."""
    return max(weights, key=lambda name: (_score(thing, name, weights[name]), name), default=None)


def _score(thing: str, name: str, weight: float) -> float:
    digest = hashlib.blake2b(f"{name}\0{thing}".encode(), digest_size=8).digest()
    share = (int.from_bytes(digest, "big") + 1) / (2 ** 64 + 2)  # strictly between 0 and 1
    return -weight / math.log(share)
