"""Memory that is freed is kept for what comes next."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from AutoRegLib.core.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24)  # 128 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


needs_glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc's malloc"
)


@needs_glibc
def test_freed_memory_is_not_fetched_again_from_the_system() -> None:
    found = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("given back", "kept")
    }
    assert found["kept"] < 0.1 * found["given back"]


HELD = """
import sys
from AutoRegLib.core.memory import return_freed_memory, tidy
if sys.argv[1] == "returned":
    return_freed_memory()
def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = held()
blocks = [bytearray(2**16) for _ in range(2000)]  # 128 MiB of small arrays, and one behind them that stays
last = bytearray(2**16)
del blocks
tidy()
print(held() - before)
"""


@needs_glibc
def test_a_process_with_a_limit_hands_back_what_small_arrays_left() -> None:
    found = {how: int(subprocess.run([sys.executable, "-c", HELD, how], check=True, capture_output=True,
                                     text=True).stdout) for how in ("as it is", "returned")}
    assert found["returned"] < 20_000 < 100_000 < found["as it is"]  # KiB
