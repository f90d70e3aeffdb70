"""What the tests of jobs share: a fake interpreter, and waiting for a state by polling as a timer would."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from AutoRegLib.core.jobs import JobRequest
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState, JobStatus

HERE = Path(__file__).resolve().parent


def fake_interpreter(folder: Path, *, launcher: bool = False, script: str = "fake_worker.py") -> Path:
    """An executable that takes an interpreter's place and behaves as the request says.

    ``launcher``: it stays the parent of the process that works, as Slicer's own Python does. ``script``
    "small_worker.py": the real worker, on presets made small.
    """
    path = folder / ("launcher" if launcher else script.removesuffix(".py"))
    call = f'"{sys.executable}" "{HERE / script}" "$@"'
    path.write_text(f"#!/bin/sh\n{call}\nexit $?\n" if launcher else f"#!/bin/sh\nexec {call}\n")
    path.chmod(0o755)
    return path


def start(jobs: Jobs, behaviour: str, verb: str = "search", **arguments: object) -> Path:
    """Create and submit a job of the fake worker."""
    folder = jobs.create(verb, behaviour)
    jobs.submit(folder, JobRequest(verb, {"behaviour": behaviour, **arguments}))  # type: ignore[arg-type]
    return folder


def wait(
    jobs: Jobs, folder: Path, states: JobState | Iterable[JobState], *, seconds: float = 120.0,
    also: Callable[[JobStatus], bool] = lambda status: True,
) -> JobStatus:
    """Poll until the job is in one of the states (and ``also`` holds)."""
    wanted = {states} if isinstance(states, JobState) else set(states)
    until = time.monotonic() + seconds
    while True:
        jobs.poll()
        status = jobs.status(folder)
        if status.state in wanted and also(status):
            return status
        over = status.state.over or status.state is JobState.Importing
        assert not over and time.monotonic() < until, f"{status.state}: {status.message}\n{status.logTail}"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    """Whether a process runs (one that ended and was not waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def worker_pid(jobs: Jobs, folder: Path) -> int:
    """The process of a running job."""
    import json

    return int(json.loads((folder / "lock").read_text())["pid"])


posix = os.name != "nt" and Path("/proc/self/stat").exists()
