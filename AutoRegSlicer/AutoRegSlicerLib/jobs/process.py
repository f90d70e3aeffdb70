"""The child process of a job: started so that it survives the application, ended with everything it started."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import AutoRegLib
from AutoRegLib.core.errors import EnvironmentProblem
from AutoRegLib.core.locks import mark_lives

#: run in the child. A file: launchers and Windows disagree about quotes and line breaks in arguments
BOOT = Path(__file__).with_name("boot.py").resolve()

#: our children, until they ended: Python complains of one that is forgotten, and only a parent can take it away
_children: list[subprocess.Popen[bytes]] = []


def library_root() -> str:
    """The folder that holds AutoRegLib."""
    return str(Path(AutoRegLib.__file__).resolve().parents[1])


def command(interpreter: str, arguments: Sequence[str]) -> list[str]:
    """The command line that runs ``autoreg ARGUMENTS`` of this very library in ``interpreter``."""
    return [interpreter, str(BOOT), library_root(), *arguments]


def child_environment(base: Mapping[str, str], *, device: str = "auto", gpu: int | None = None) -> dict[str, str]:
    """The variables of a worker. ``base`` is not changed, and neither is this process's own environment."""
    variables = dict(base)
    variables.update(
        PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8", PYTHONUTF8="1", PYTHONNOUSERSITE="1", PYTHONSAFEPATH="1",
    )
    if device == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = "-1"
    elif gpu is not None:
        variables["CUDA_VISIBLE_DEVICES"] = str(gpu)
    if sys.platform.startswith("linux"):
        # volumes of many sizes fragment the GPU's memory; both spellings, the older one ends with torch 2.8
        variables.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
        variables.setdefault("PYTORCH_CUDA_ALLOC_CONF", variables["PYTORCH_ALLOC_CONF"])
    return variables


def start(arguments: Sequence[str], variables: Mapping[str, str], *, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a detached child whose output goes to ``log``. Raises EnvironmentProblem when it cannot be started."""
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    try:
        with open(log, "ab") as stream:
            child = subprocess.Popen(
                list(arguments), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=cwd, env=dict(variables),
                **options,
            )
    except OSError as problem:
        raise EnvironmentProblem(
            f"the Python interpreter {arguments[0]} cannot be started", expected="a Python with PyTorch",
            got=problem.strerror or problem, remedy="choose another interpreter, or set up the environment again",
        ) from None
    _children.append(child)
    return child


def reap() -> None:
    """Take away the children that ended, also those of jobs that were forgotten."""
    _children[:] = [child for child in _children if child.poll() is None]


@atexit.register
def _let_go() -> None:
    """At the end of the application its jobs go on alone; Python would complain of each."""
    reap()
    for child in _children:
        child.returncode = 0


def marked_lives(marked: Mapping[str, Any] | None) -> bool:
    """Whether the marked process runs on this machine."""
    return marked is not None and isinstance(marked.get("pid"), int) and mark_lives(marked)


def elsewhere(marked: Mapping[str, Any] | None) -> bool:
    """Whether the mark is another machine's (a workspace on a shared disk)."""
    return bool(marked) and marked.get("host") not in (None, socket.gethostname())  # type: ignore[union-attr]


def end(marked: Mapping[str, Any] | None, *, force: bool) -> None:
    """End a marked process and all of its group: politely, or ``force``. Quiet when it is gone."""
    if not marked_lives(marked):
        return
    pid = int(marked["pid"])  # type: ignore[index]
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/T", *(["/F"] if force else []), "/PID", str(pid)], capture_output=True, check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    number = signal.SIGKILL if force else signal.SIGTERM
    try:
        group = os.getpgid(pid)
        # its own group holds what it started; never the group we are in ourselves
        if force and group != os.getpgid(0):
            os.killpg(group, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def sweep(group: int) -> None:
    """End what a child of ours that has just ended left behind in its process group."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
