"""What the C library does with memory that is freed: kept for what comes next, given back when it is measured."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_limited = False  # this process is to stay below a limit


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for what is needed next, instead of giving it back at once.

    By default glibc fetches every array above 32 MiB anew from the system, which clears it page by page: a quarter of
    the processor time of a full-size registration. Other systems and C libraries are left as they are.
    """
    global _limited
    _limited, adjust = False, _of_glibc("mallopt")
    if adjust is not None:
        adjust(_MMAP_THRESHOLD, 2**30)
        adjust(_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Let the C library give every array back at once when it is freed.

    By default glibc keeps what was freed of arrays up to 32 MiB in a heap that only shrinks at its end: a process that
    is to stay below a limit then holds up to half as much again as it uses.
    """
    global _limited
    _limited, adjust = True, _of_glibc("mallopt")
    if adjust is not None:
        adjust(_MMAP_THRESHOLD, 2**23)
        adjust(_TRIM_THRESHOLD, 2**23)


def tidy() -> None:
    """Between two steps: hand back what a heap of small arrays has kept, where :func:`return_freed_memory` asked so."""
    if _limited:
        give_freed_memory_back()


def give_freed_memory_back() -> None:
    """Hand back once what was kept, so that a measure of memory does not count what is not used any more."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """A function of the C library; None where it is another library, or none that can be asked."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
