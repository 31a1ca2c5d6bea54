"""How this process asks for memory: payloads come and go by the megabyte, many times a second."""
from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

LARGEST = 64 << 20  # bytes: larger ones still come from the kernel, page by page
KEPT = 128 << 20  # bytes that are free and not given back


def keep_large_buffers() -> None:
    """Lets malloc use the memory of one payload again for the next, instead of giving its pages back to the kernel and
    faulting them in again, which costs a coordinator half of its time. Does nothing where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, KEPT)
