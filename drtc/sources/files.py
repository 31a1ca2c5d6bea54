"""Text files: each is a source partition, its lines are messages, its offsets are byte positions."""
from __future__ import annotations

import glob
import os
import re
import stat
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Callable, Mapping, Sequence

import msgspec

from ..batch import Chunk
from ..errors import SourceError, StoreUnavailable
from ..stores.offsets import Entry, Offsets
from ..values import Bytes, Natural, Seconds
from .base import Listener, Position, Source
from .cutting import Limits
from .tail import Tail

if TYPE_CHECKING:
    from . import SourceContext

_FETCH_BYTES = 4 << 20  # about so much in one read
_RETRY_SECONDS = 1.0
