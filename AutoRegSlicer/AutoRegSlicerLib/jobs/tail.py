"""Reading what was appended to a growing file, a little at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from AutoRegLib.core.jobs import parse_event

CHUNK = 1 << 16  # bytes a read
LOG_BYTES = 1 << 16  # of the log shown in the panel; the whole log stays on disk


class EventTail:
    """The complete lines of ``events.jsonl`` after those already read.

    A line still being written is left for later, so nothing is lost when a killed process leaves half a line and
    its successor cuts it away.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "events.jsonl"
        self._offset = 0
        self.behind = False  # more was there than the time allowed to read
        self.damaged = 0  # lines that were no events

    def read(self, *, seconds: float | None = None) -> list[dict[str, Any]]:
        """New events in order; reads on for at most ``seconds`` (None: to the end). Unreadable lines are counted."""
        events: list[dict[str, Any]] = []
        until = None if seconds is None else time.perf_counter() + seconds
        self.behind = False
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self._offset)
                rest = b""
                while chunk := stream.read(CHUNK):
                    *lines, rest = (rest + chunk).split(b"\n")
                    self._offset += sum(len(line) + 1 for line in lines)
                    known = [event for event in map(parse_event, lines) if event]
                    self.damaged += len(lines) - len(known)
                    events.extend(known)
                    if until is not None and time.perf_counter() > until:
                        self.behind = len(chunk) == CHUNK
                        break
        except OSError:
            return events
        return events

    def warnings(self) -> list[tuple[str, str]]:
        """What there is to say of lines that could not be read."""
        if not self.damaged:
            return []
        return [("damaged-events",
                 f"Damaged lines of {self.path.name} left out: {self.damaged}. Curves or warnings may lack.")]


def log_tail(folder: str | Path, *, most: int = LOG_BYTES) -> str:
    """The last whole lines of ``log.txt``, at most ``most`` bytes of it."""
    try:
        with open(Path(folder) / "log.txt", "rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(size - most, 0))
            text = stream.read(most)
    except OSError:
        return ""
    if size > most:
        text = text[text.find(b"\n") + 1 :]
    return text.decode("utf-8", errors="replace")
