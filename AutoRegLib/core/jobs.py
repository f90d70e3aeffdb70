"""What a long computation says while it runs, what it may be told, and the job folder that carries both.

The folder is the whole protocol between a front end and ``autoreg run``: ``job.json`` (request),
``in/``, ``out/``, ``events.jsonl`` (append-only), ``log.txt``, ``state.json``, ``control``, ``lock``.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from AutoRegLib.core import locks
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import from_plain, read_json, write_json
from AutoRegLib.core.strict_json import parse_object
from AutoRegLib.core.verbs import VERBS

SCHEMA = "autoreg-job/1"
Wish = Literal["", "cancel", "finish"]
State = Literal["preparing", "running", "done", "failed", "cancelled"]


class Monitor:
    """The silent listener. Computations call ``event``; they ask ``wish`` at least once a step."""

    def event(self, type: str, **payload: Any) -> None:
        """Something happened: stage, progress, metric, warning, artifact, done ..."""

    def wish(self) -> Wish:
        """What the user wants: nothing, ``finish`` (stop and keep the best) or ``cancel``."""
        return ""


@dataclass(frozen=True)
class JobRequest:
    """One piece of work: the verb and its arguments, exactly those of the command line, as a mapping."""

    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise InputError("unknown verb", expected=" or ".join(VERBS), got=self.verb)


@dataclass(frozen=True)
class JobEvent:
    """One line of ``events.jsonl``."""

    seq: int
    t: float
    type: str
    payload: dict[str, Any]
    v: int = 1


class FolderMonitor(Monitor):
    """A monitor that appends to ``events.jsonl`` and reads ``control``; numbering goes on after a resume."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        cut_broken_line(self.folder)
        self._seq = count_lines(self.folder)
        self._last_look = 0.0
        self._wish: Wish = ""

    def event(self, type: str, **payload: Any) -> None:
        line = {"v": 1, "seq": self._seq, "t": time.time(), "type": type, **payload}
        self._seq += 1
        # a file name that is no text is written as JSON's own escapes
        try:
            with open(self.folder / "events.jsonl", "a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(_event_text(line) + "\n")
        except OSError:
            with contextlib.suppress(OSError):
                cut_broken_line(self.folder)  # half a line would spoil the next one
            raise

    def wish(self) -> Wish:
        now = time.monotonic()
        if now - self._last_look > 0.25:  # a step may take milliseconds; a file read each would show
            self._last_look = now
            try:
                text = (self.folder / "control").read_text(encoding="utf-8", errors="replace").strip()
            except OSError:
                text = ""
            self._wish = text if text in ("cancel", "finish") else ""  # type: ignore[assignment]
        return self._wish


def read_request(folder: str | Path) -> JobRequest:
    """The request in ``job.json``. Raises InputError."""
    path = Path(folder) / "job.json"
    return from_plain(JobRequest, read_json(path, schema=SCHEMA), where=str(path))


def write_request(folder: str | Path, request: JobRequest) -> None:
    """Lay out a new job folder. Raises InputError when it already holds a job, DiskError."""
    folder = Path(folder)
    if (folder / "job.json").exists():
        raise InputError(f"{folder} already holds a job", remedy="use a new folder; a request never changes")
    for name in ("in", "out"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_json(folder / "job.json", request, schema=SCHEMA)


def read_events(folder: str | Path, *, start: int = 0) -> list[JobEvent]:
    """The complete events from line ``start`` on; a line still being written is left for later, a damaged one out."""
    try:
        lines = (Path(folder) / "events.jsonl").read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    events = [parse_event(line) for line in lines[start:]]
    return [JobEvent(data.pop("seq", -1), data.pop("t", 0.0), data.pop("type"), data, data.pop("v", 1))
            for data in events if data is not None]


def count_lines(folder: str | Path) -> int:
    """How many events were written, damaged ones too: the number of the next one."""
    try:
        return (Path(folder) / "events.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def parse_event(line: bytes) -> dict[str, Any] | None:
    """One line of ``events.jsonl``; None for what is no event, which nobody's work may end by."""
    try:
        event = parse_object(line, where="an event")
    except InputError:
        return None
    numbers = all(isinstance(event.get(name, 0), (int, float)) for name in ("seq", "t", "v"))
    return event if numbers and isinstance(event.get("type"), str) else None


def _event_text(line: dict[str, Any]) -> str:
    """One line of JSON; a number that is not finite (a loss that diverged) is null there."""
    try:
        return json.dumps(line, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(line), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_state(folder: str | Path, state: State, **details: Any) -> None:
    """Replace ``state.json`` in one step."""
    write_json(Path(folder) / "state.json", {"state": state, "t": time.time(), **details})


def cut_broken_line(folder: str | Path) -> None:
    """Take away the half line that a killed process left at the end of ``events.jsonl``."""
    try:
        with open(Path(folder) / "events.jsonl", "rb+") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        return


def take_lock(folder: str | Path) -> None:
    """Mark the job as ours (pid, start time, host). Raises InputError while another process runs it, DiskError."""
    locks.take(Path(folder) / "lock", what=f"the job in {folder}")


def clear_lock(folder: str | Path) -> bool:
    """Remove the lock of a process that is gone; whether nobody holds the job now."""
    return locks.clear(Path(folder) / "lock")


def lock_holder(folder: str | Path) -> dict[str, Any] | None:
    """The mark of the process that holds, or held, the job; None without a readable lock."""
    return locks.holder_of(Path(folder) / "lock")
