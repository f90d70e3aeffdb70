"""One rule for the output folder of every verb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from AutoRegLib.core import locks
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.leftovers import sweep
from AutoRegLib.core.records import make_folder
from AutoRegLib.core.verbs import VERBS

LOCK = ".autoreg-lock"
_held: list[Path] = []


def claim_output(
    folder: str | Path, results: Sequence[str], *, overwrite: bool, resume: bool | None = None, monitor: Monitor
) -> Path:
    """The output folder, created; one rule for all verbs: another run's results are never replaced silently.

    Results in the folder need ``resume`` (only where the verb offers it: not None) or ``overwrite``, which says
    what it replaces. Other files in the folder are left alone. The folder is this process's until
    :func:`release_outputs`; what killed processes left half written goes. Raises InputError (also while another process
    works there), DiskError.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file", expected="an output folder", remedy="choose another --output")
    folder = make_folder(path)
    locks.take(path / LOCK, what=f"the work in {path}")
    _held.append(path / LOCK)
    sweep(path)
    for lock in path.glob(f"*/{LOCK}"):  # a batch's pairs have folders of their own
        locks.clear(lock)
    found = [name for name in results if (path / name).exists()]
    if found and not resume:
        if not overwrite:
            ways = ["choose a new --output"]
            if resume is not None and {verb.checkpoint for verb in VERBS.values()} & set(found):
                ways.append("go on with --resume")
            ways.append("replace them with --overwrite")
            raise InputError(
                f"{path} holds results of another run",
                expected="a new or empty folder",
                got=", ".join(found),
                remedy=", or ".join(ways),
            )
        monitor.event("warning", code="overwrite", text=f"Replacing in {path}: {', '.join(found)}.")
        if "checkpoint.pt" in found:
            (path / "checkpoint.pt").unlink()
    return folder


def release_outputs() -> None:
    """Let go of the folders that this process has claimed."""
    while _held:
        locks.release(_held.pop())
