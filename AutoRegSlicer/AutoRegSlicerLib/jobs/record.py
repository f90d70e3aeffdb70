"""What the module itself remembers of a job, in ``ui.json`` of its folder; the worker never reads it."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import read_request
from AutoRegLib.core.records import from_plain, make_folder, read_json, write_json
from AutoRegLib.core.strict_json import read_object
from AutoRegSlicerLib.jobs.state import JobState

SCHEMA = "autoreg-job-ui/1"
MOST_TRANSITIONS = 200
log = logging.getLogger("AutoRegSlicer.jobs")


@dataclass(frozen=True)
class Record:
    """``state`` is the last one seen; ``owner`` marks the application that queued the job, ``process`` its child."""

    verb: str
    title: str
    created: float  # seconds since 1970
    state: str = JobState.Preparing.value
    gpu: int | None = None  # which GPU, None: any
    owner: dict[str, Any] = field(default_factory=dict)
    process: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, str] = field(default_factory=dict)  # code, text, hint: found by the module, not by the worker
    transitions: tuple[str, ...] = ()  # "2026-01-31T12:00:00 running -> done"


def new_folder(jobs: Path, verb: str, title: str, owner: dict[str, Any]) -> Path:
    """A new job folder with ``in/``, ``out/`` and its record. Raises DiskError."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{verb}-{secrets.token_hex(4)}"
    folder = make_folder(jobs / name)
    with suppress(OSError):  # a file system without rights
        folder.chmod(0o700)  # images of patients
    for part in ("in", "out"):
        make_folder(folder / part)
    write_record(folder, Record(verb, title or verb, time.time(), owner=owner))
    return folder


def write_record(folder: Path, record: Record) -> None:
    """Replace the record in one step. Raises DiskError."""
    write_json(folder / "ui.json", record, schema=SCHEMA)


def read_record(folder: Path) -> Record:
    """The record; one is made up for a job that was started from the command line. Raises InputError."""
    if (folder / "ui.json").is_file():
        data = read_json(folder / "ui.json", schema=SCHEMA)
        return from_plain(Record, data, where=str(folder / "ui.json"))
    request = read_request(folder)
    created = (folder / "job.json").stat().st_mtime
    state = JobState.Done if worker_state(folder).get("state") == "done" else JobState.Running
    return Record(request.verb, request.verb, created, state=state.value)


def moved(folder: Path, record: Record, state: JobState, **changes: Any) -> Record:
    """The record in a new state, the transition written down and logged."""
    if record.state == state.value and not changes:
        return record
    lines = record.transitions
    if record.state != state.value:
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {record.state} -> {state.value}"
        log.info("%s: %s", folder.name, line)
        lines = (*lines, line)[-MOST_TRANSITIONS:]
    record = replace(record, state=state.value, transitions=lines, **changes)
    write_record(folder, record)
    return record


def worker_state(folder: Path) -> dict[str, Any]:
    """``state.json`` as the worker left it; empty before it was written."""
    try:
        return read_object(folder / "state.json")
    except InputError:
        return {}


def job_folders(jobs: Path, *, known: Container[str] = ()) -> list[Path]:
    """The folders that hold a job, oldest first (their names begin with the time). ``known``: names of some that do."""
    if not jobs.is_dir():
        return []
    return sorted(p for p in jobs.iterdir()
                  if p.name in known or (p / "ui.json").is_file() or (p / "job.json").is_file())


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_size
            except OSError:
                continue
    return total


def checked_folder(jobs: Path, folder: str | Path) -> Path:
    """The folder as the path of a job of this workspace. Raises InputError."""
    path = Path(folder)
    if path.resolve().parent != jobs.resolve() or not ((path / "ui.json").is_file() or (path / "job.json").is_file()):
        raise InputError(
            f"{path} is no job of this workspace", expected=f"a job folder in {jobs}", got=path,
            remedy="create it with Jobs.create",
        )
    return jobs / path.name
