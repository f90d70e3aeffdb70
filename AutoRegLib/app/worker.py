"""The background worker: one job folder from request to result, in the protocol of ``jobs``."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from AutoRegLib import __version__
from AutoRegLib.app.environment import decide_device, memory_in_use
from AutoRegLib.app.perform import perform
from AutoRegLib.core import locks
from AutoRegLib.core.arguments import located
from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import FolderMonitor, JobRequest, Wish, read_request, take_lock, write_state
from AutoRegLib.core.leftovers import sweep
from AutoRegLib.core.verbs import VERBS

HEARTBEAT_SECONDS = 5.0
STATES = {0: "done", 3: "cancelled"}


class JobMonitor(FolderMonitor):
    """Writes events from more than one thread; SIGTERM is the same wish as ``cancel`` in ``control``."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self.terminated = False
        self._lock = threading.RLock()  # a signal may arrive while an event is being written

    def event(self, type: str, **payload: Any) -> None:
        with self._lock:
            super().event(type, **payload)

    def wish(self) -> Wish:
        return "cancel" if self.terminated else super().wish()


def run_job(folder: str | Path) -> int:
    """Run the job in ``folder`` and return the exit code; the folder tells everything else.

    Leaves a valid ``state.json`` (done, failed or cancelled) whatever happens short of a kill; what Python
    prints goes to ``log.txt``. Run again, an interrupted search or training resumes.
    Raises InputError when the folder holds no job, or the job is running.
    """
    folder = Path(folder).resolve()
    if not (folder / "job.json").is_file():
        read_request(folder)  # says why: nothing here is ours to write into
    take_lock(folder)
    sweep(folder)
    try:
        monitor = JobMonitor(folder)
        with _logged(folder / "log.txt"), _terminable(monitor), _beating(monitor):
            try:
                request = read_request(folder)
                write_state(folder, "running", pid=os.getpid(), verb=request.verb)
                monitor.event("hello", pid=os.getpid(), verb=request.verb, versions=_versions())
                request = _prepared(request, folder)
                monitor.event("device", name=decide_device(request.arguments.get("device", "auto")))
                summary = perform(request, monitor=monitor)
                write_state(folder, "done", exit_code=0, verb=request.verb)
                monitor.event("done", summary=summary)
            except BaseException as problem:
                return _failed(folder, monitor, problem)
        return 0
    finally:
        locks.release(folder / "lock")


def _prepared(request: JobRequest, folder: Path) -> JobRequest:
    """The request with paths found, results going to ``out/``, and the marks of a second run set."""
    arguments = located(request.verb, {"output": "out", **request.arguments}, folder)
    output = Path(arguments["output"])
    checkpoint = VERBS[request.verb].checkpoint
    if checkpoint and (output / checkpoint).is_file():
        arguments["resume"] = True
    elif output == folder / "out":
        arguments["overwrite"] = True  # these are the job's own
    return JobRequest(request.verb, arguments)


def _failed(folder: Path, monitor: JobMonitor, problem: BaseException) -> int:
    """Tell why: traceback to the log, one event, the state; returns the exit code."""
    reason: AutoRegError = explain(problem)
    with contextlib.suppress(OSError):
        traceback.print_exception(problem)
    state: Any = STATES.get(reason.exit_code, "failed")
    with contextlib.suppress(OSError, AutoRegError):  # on a full disk the exit code says it alone
        write_state(folder, state, exit_code=reason.exit_code, code=reason.code, text=str(reason))
    with contextlib.suppress(OSError):
        monitor.event("error", code=reason.code, text=str(reason), hint=reason.remedy, exit_code=reason.exit_code)
    return reason.exit_code


def _versions() -> dict[str, str]:
    """Versions to be found in every log."""
    return {"autoreg": __version__, "python": platform.python_version(), "system": platform.platform()}


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append what Python prints, and its warnings, to the log file."""
    try:
        file = open(path, "ab", buffering=0)  # noqa: SIM115
    except OSError:  # a folder of that name, say: the work is what counts
        file = open(os.devnull, "ab", buffering=0)  # noqa: SIM115
    with (
        file,
        io.TextIOWrapper(io.BufferedWriter(_Log(file)), encoding="utf-8", errors="replace", line_buffering=True) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        print(time.strftime("%Y-%m-%dT%H:%M:%S%z"), "process", os.getpid(), "python", sys.executable, file=log)
        yield


class _Log(io.RawIOBase):
    """Takes what a full disk does not: a line of the log that is lost must not end the work."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            self._file.write(data)
        return len(data)


@contextlib.contextmanager
def _terminable(monitor: JobMonitor) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks the computation to stop, a second one stops it where it stands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if monitor.terminated:
            raise KeyboardInterrupt
        monitor.terminated = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _beating(monitor: JobMonitor) -> Iterator[None]:
    """A heartbeat every few seconds from a thread of its own, so that a long step is not taken for dead.

    It comes with the memory in use.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(Exception):  # neither a driver's complaint nor a full disk stops the sign of life
                monitor.event("heartbeat")
                memory = memory_in_use()
                if memory is not None:
                    monitor.event("memory", used=memory[0], total=memory[1])

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
