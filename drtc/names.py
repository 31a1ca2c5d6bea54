"""Names: how they are guessed and how they are spelled."""
from __future__ import annotations

import re
from typing import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean NAME?)`` for the nearest known name, or nothing where none is near."""
    from difflib import get_close_matches

    names = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), list(names), 1, 0.7)
    return f" (did you mean {names[near[0]]}?)" if near else ""


def snake_case(name: str) -> str:
    """``CampaignViews`` as ``campaign_views``, ``HTTPErrors2xx`` as ``http_errors2xx``: letters, digits and ``_``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^a-z0-9_]", "_", parted.lower())
