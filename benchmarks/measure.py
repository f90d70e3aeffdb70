"""A command in a fresh process, and what it cost.

Nothing heavy is imported here: a child's peak memory, as the system counts it, is never below what its parent
held when it was started.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

#: every library of the methods reads its number of threads from one of these
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
ROOT = Path(__file__).resolve().parents[1]


class RunFailedError(RuntimeError):
    """The command ended with an error, or did not end in time; the message is the last line it wrote."""


@dataclass(frozen=True)
class Usage:
    """Unit: seconds of the clock, seconds of processors (user and system, children included), bytes."""

    wall: float
    cpu: float
    peak: int


def child_environment(threads: int, *, ours: bool = False) -> dict[str, str]:
    """The environment variables of a method. ``ours``: this working tree is importable.

    Byte code may be kept, or every start of ours would compile what the peers' installation has compiled.
    """
    dropped = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    kept |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    kept["PYTHONHASHSEED"] = "0"
    if ours:
        kept["PYTHONPATH"] = str(ROOT)
    return kept


def run_process(
    command: Sequence[str | Path], *, log: Path | None, threads: int, ours: bool = False, timeout: float = 3600,
    folder: Path | None = None,
) -> Usage:
    """Run and wait; what the command says goes to ``log``, or on if that is None.

    Raises: RunFailedError.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") if log is not None else nullcontext() as sink:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=sink,
            stderr=None if sink is None else subprocess.STDOUT,
            env=child_environment(threads, ours=ours), cwd=folder, start_new_session=True,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _end(process)
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if late.is_set():
        raise RunFailedError(f"stopped after {timeout:g} s")
    if process.returncode:
        raise RunFailedError(f"exit code {process.returncode}{': ' + _last_line(log) if log is not None else ''}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)  # Linux counts in KiB


def memory_peak() -> Callable[[], int]:
    """From here on, how far the memory of this process rose above what it holds now: ask what is returned.

    What was freed is given back to the system before, and the system's count of the peak begins anew. glibc keeps
    freed blocks and so counts up to a half more than is needed, unless told otherwise. Unit: bytes.
    """
    def held(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    return lambda: max(held("VmHWM") - before, 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask first: a part of the benchmarks then ends the method it has started in a session of its own."""
    for way in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, way)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["no message"])[-1][:300]
