"""Budgets in steps or minutes, and the time left: shared by search and training."""

from __future__ import annotations

import time
from collections.abc import Callable

from AutoRegLib.core.errors import CancelledError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Timer

CHECKPOINT_SECONDS = 60.0  # how much work an interruption may cost
#: what a budget of time is counted in: the clock on the wall, or what this process has computed, all its threads
TIMERS: dict[Timer, Callable[[], float]] = {"wall": time.monotonic, "processor": time.process_time}


class Clock:
    """Counts steps against a budget of steps, or seconds against a budget of seconds.

    ``used`` is the time spent in earlier parts of a resumed run, ``timer`` what it is counted in. Progress runs from 0
    to 1.
    """

    def __init__(
        self, steps: int, *, seconds: float | None = None, step: int = 0, used: float = 0.0, timer: Timer = "wall",
    ) -> None:
        self.steps = steps
        self.seconds = seconds
        self.step = step
        self._used = used
        self._timer = TIMERS[timer]
        self._start = self._timer()
        self._told = 0.0

    @property
    def used(self) -> float:
        """Seconds spent so far, earlier parts included."""
        return self._used + self._timer() - self._start

    @property
    def progress(self) -> float:
        """Part of the budget spent, 0 to 1; in a budget of steps it depends on nothing but the step."""
        spent = self.step / max(self.steps, 1) if self.seconds is None else self.used / max(self.seconds, 1e-9)
        return min(spent, 1.0)

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.progress >= 1.0

    def tell(self, monitor: Monitor, *, done: float | None = None) -> None:
        """A progress event, at most twice a second. ``done``: part of the work, where others count it (0 to 1)."""
        now = time.monotonic()
        if now - self._told < 0.5:
            return
        self._told = now
        done = self.progress if done is None else done
        left = self.used * (1.0 - done) / done if done > 0 else None
        if self.seconds is not None:
            left = max(self.seconds - self.used, 0.0)
        monitor.event("progress", done=round(done * 1000), total=1000, step=self.step, eta_s=left)


def heed(monitor: Monitor, *, keep: Callable[[], None]) -> bool:
    """Obey the user: ``finish`` gives True; ``cancel`` keeps the state and raises CancelledError."""
    wish = monitor.wish()
    if wish == "cancel":
        keep()
        raise CancelledError("stopped by the user", remedy="--resume goes on from the last checkpoint")
    return wish == "finish"
