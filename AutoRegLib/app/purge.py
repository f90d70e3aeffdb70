"""``autoreg purge``: what AutoReg keeps beside results, listed, and removed when asked to. Results and models stay."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.jobs import read_request
from AutoRegLib.core.leftovers import temporary_leftovers
from AutoRegLib.core.locks import holder_of, mark_lives
from AutoRegLib.core.places import cache_folder
from AutoRegLib.core.strict_json import read_object

_ONCE = ("register", "batch", "apply", "evaluate")  # what a search was given, a training may want again
_IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha")


@dataclass(frozen=True)
class Kept:
    """One thing that may go. Unit: bytes."""

    kind: str
    path: Path
    bytes: int


def kept(jobs: str | Path | None = None) -> list[Kept]:
    """What there is beside results: remembered alignments, temporary files of processes that are gone, logs of faults;
    of the job folders in ``jobs`` the copies of images that went into jobs whose results were taken over.

    Raises InputError (no such folder).
    """
    found = [*_alignments(), *_temporary()]
    return [*found, *_inputs(Path(jobs))] if jobs is not None else found


def remove(things: list[Kept]) -> int:
    """Remove them; the bytes that are free again. Raises DiskError."""
    for thing in things:
        try:
            if thing.path.is_dir() and not thing.path.is_symlink():
                shutil.rmtree(thing.path)
            else:
                thing.path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
        except OSError as problem:
            raise DiskError(f"cannot remove {thing.path}", got=problem.strerror,
                            remedy="see that it is yours and not in use") from None
    return sum(thing.bytes for thing in things)


def _alignments() -> Iterator[Kept]:
    for path in _children(cache_folder() / "alignments"):
        yield Kept("alignment", path, _bytes(path))


def _temporary() -> Iterator[Kept]:
    """Logs of faults hold the command line with its paths; the others copies of images that were being read."""
    for path in temporary_leftovers(tempfile.gettempdir()):
        yield Kept("log" if path.suffix == ".log" else "temporary", path, _bytes(path))


def _inputs(jobs: Path) -> Iterator[Kept]:
    if not jobs.is_dir():
        raise InputError(f"no such folder: {jobs}", expected="the folder of the jobs", remedy="check the path")
    for folder in _children(jobs):
        with contextlib.suppress(InputError):
            taken = read_object(folder / "ui.json").get("state") == "done"
            holder = holder_of(folder / "lock")
            if taken and read_request(folder).verb in _ONCE and not (holder and mark_lives(holder)):
                yield from (Kept("input of a job", path, _bytes(path)) for path in _children(folder / "in")
                            if path.name.lower().endswith(_IMAGES))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(part.lstat().st_size for part in path.rglob("*") if not part.is_dir())
    return 0
