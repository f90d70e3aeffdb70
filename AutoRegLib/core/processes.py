"""Whether a process still exists, and whether it is the same one: numbers of processes are used again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

#: clocks of the file, of the system's start and of the process differ by less than this (seconds)
TOLERANCE = 2.0


def process_lives(pid: int, *, known_since: float | None = None, birth: int | None = None) -> bool:
    """Whether a process with this number runs on this machine; one that ended but was not waited for does not.

    ``known_since``: a time (seconds since 1970) at which the process meant was alive. One that was born later
    has only inherited the number. ``birth``: its :func:`birth_tick`, where it was noted: unlike a time of day it does
    not move when the clock is set, and decides alone.
    """
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _lives_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    fields = _proc_fields(pid)
    if fields is not None and fields[0] in ("Z", "X"):
        return False
    tick = birth_tick(pid)
    if birth is not None and tick is not None:
        return tick == birth
    if known_since is None:
        return True
    born = birth_time(pid)
    return born is None or born <= known_since + TOLERANCE


def birth_tick(pid: int) -> int | None:
    """When the process started, in the system's ticks since it started itself; None where it does not tell."""
    fields = _proc_fields(pid)
    return int(fields[19]) if fields is not None else None


def birth_time(pid: int) -> float | None:
    """When the process started (seconds since 1970), where the system tells."""
    fields = _proc_fields(pid)
    if fields is not None:
        up = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return time.time() - up + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    if sys.platform != "darwin":
        return None
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False,
                          env={**os.environ, "LC_ALL": "C"})
    try:
        return time.mktime(time.strptime(told.stdout.strip(), "%a %b %d %H:%M:%S %Y"))
    except ValueError:
        return None


def _proc_fields(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` from the state on (the name before it may hold blanks and brackets)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _lives_on_windows(pid: int) -> bool:
    """Asked by handle: ``os.kill(pid, 0)`` would send Ctrl-C there."""
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return False
    code = ctypes.c_ulong()
    known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return bool(known) and code.value == 259  # STILL_ACTIVE
