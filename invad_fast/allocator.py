"""Memory that has been freed is used again, instead of going back to the operating system.

By default glibc gives every block above 32 MiB, and what is free at the end of its heap, back at
once. The pages of the next block are then new ones, and the system fills each with zeros when it
is first written to: for a large map that takes several times as long as computing it.
"""

from __future__ import annotations

import ctypes
import os
import sys

# Numbers from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_KEPT = 2**31 - 1  # bytes


def keep_freed_memory() -> bool:
    """Keeps freed blocks of up to 2 GiB in the process, for its next tensors.

    What the process has taken at most it then holds on to. Where glibc's environment variables
    set its allocator up, nothing is changed.

    Returns:
        Whether it is so from now on: not outside of glibc, nor before its version 2.35.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not mallopt(_M_MMAP_THRESHOLD, _KEPT):
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT))
