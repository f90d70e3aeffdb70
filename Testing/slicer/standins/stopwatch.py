"""How long each event handler of the panels holds the window: wall and processor time, seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class Stopwatch:
    """Times of every call, by the handler's name."""

    calls: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def timed(self, slot: Callable[[], Any], name: str = "") -> Callable[[], Any]:
        """The same handler, watched, under its own name or another."""
        name = name or getattr(slot, "__qualname__", repr(slot))

        def watched() -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return slot()
            finally:
                self.calls.setdefault(name, []).append((time.perf_counter() - wall, time.thread_time() - cpu))

        return watched

    def watch(self, qtbits: ModuleType) -> None:
        """Every handler connected from now on goes through ``timed``; all of them are connected by two functions."""
        on, soon = qtbits.on, qtbits.soon
        qtbits.on = lambda widget, signal, slot: on(widget, signal, self.timed(slot))
        qtbits.soon = lambda action, milliseconds=0: soon(self.timed(action), milliseconds)
