"""What the events of a job amount to: stage, progress, curves, warnings, the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from AutoRegSlicerLib.jobs.state import Failure, Stage

#: points kept of one curve; beyond, every second one is dropped: a night's job does not grow the memory
MOST_POINTS = 2000
#: the events that change something, each with a method of its name
KINDS = ("device", "stage", "progress", "metric", "trial", "estimate", "memory", "artifact", "warning", "error", "done")
MOST_ENTRIES = 200  # warnings, artifacts, trials
#: the stage before the real ones, and its share of the whole; it announces itself as one of one
FIRST_STAGE, FIRST_SHARE = "prepare data", 0.05


class Digest:
    """Sums up the events of one job folder; :meth:`feed` takes them one by one."""

    def __init__(self, minutes: float | None = None) -> None:
        self.minutes = minutes  # the time budget asked for
        self.metrics: dict[str, list[tuple[float, float]]] = {}
        self.stages: list[tuple[str, int]] = []
        self.trials: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, Any]] = []
        self.warnings: list[tuple[str, str]] = []
        self.device = ""
        self.versions: dict[str, str] = {}
        self.expected: dict[str, float] = {}  # "seconds" and "bytes" that the worker reckons with
        self.earlier = 0.0  # seconds of runs before this one
        self.restart()

    def restart(self) -> None:
        """A new process begins: what ended the one before no longer counts."""
        self.pid: int | None = None
        self.stage = Stage()
        self.stageFraction = 0.0
        self.fraction = 0.0
        self.stageEta: float | None = None
        self.memory: tuple[int, int] | None = None
        self.error: Failure | None = None
        self.summary: dict[str, Any] | None = None  # set by "done"
        self.began: float | None = None  # by the clock of the events
        self.last: float | None = None
        self.heard = time.monotonic()  # when the last event was read here

    def feed(self, event: Mapping[str, Any], *, fresh: bool = True) -> None:
        """One event. ``fresh``: it was written just now (not found when the job was attached)."""
        with suppress(TypeError, ValueError, OverflowError):  # an event that is not ours says nothing
            self._take(event, fresh)

    def _take(self, event: Mapping[str, Any], fresh: bool) -> None:
        kind, t = event["type"], event.get("t")
        if kind == "hello":
            if self.began is not None and self.last is not None:
                self.earlier += self.last - self.began
            self.restart()
            self.began = t
            self.pid = event.get("pid")
            self.versions = dict(event.get("versions", {}))
        if isinstance(t, (int, float)):
            self.last = t
            # by the event's own clock when it was not followed live; never in the future
            age = 0.0 if fresh else max(time.time() - t, 0.0)
            self.heard = time.monotonic() - age
        if kind in KINDS:
            getattr(self, f"_{kind}")(event)

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self.heard

    @property
    def secondsRunning(self) -> float:
        """Seconds of work so far, over all runs."""
        return self.earlier + (self.last - self.began if self.last and self.began else 0.0)

    @property
    def eta(self) -> float | None:
        """Seconds to the end of the whole job, as far as can be told."""
        if self.summary is not None or self.error is not None:
            return None
        if self.minutes is not None and self.began is not None:
            return max(60.0 * self.minutes - self.secondsRunning, self.stageEta or 0.0, 0.0)
        if self.stageEta is not None and self.stage.index + 1 >= self.stage.count and self.stage.name != FIRST_STAGE:
            return self.stageEta
        if self.fraction > 0.05 and self.began and self.last:
            return (self.last - self.began) * (1.0 - self.fraction) / self.fraction
        if "seconds" in self.expected:
            return max(self.expected["seconds"] - self.secondsRunning, 0.0)
        return None

    def _device(self, event: Mapping[str, Any]) -> None:
        self.device = str(event.get("name", ""))

    def _stage(self, event: Mapping[str, Any]) -> None:
        self.stage = Stage(
            str(event.get("name", "")), int(event.get("index", 0)), max(int(event.get("count", 1)), 1)
        )
        if self.stage.name not in dict(self.stages):  # known after a resume
            self.stages = [*self.stages, (self.stage.name, self._lastStep())][-MOST_ENTRIES:]
        self.stageFraction, self.stageEta = 0.0, None
        self._advance()

    def _progress(self, event: Mapping[str, Any]) -> None:
        total = event.get("total") or 0
        self.stageFraction = min(max(event.get("done", 0) / total, 0.0), 1.0) if total > 0 else 0.0
        self.stageEta = event.get("eta_s")
        self._advance()

    def _metric(self, event: Mapping[str, Any]) -> None:
        value, step = event.get("value"), event.get("step")
        if not isinstance(value, (int, float)) or not isinstance(step, (int, float)):
            return
        name = str(event.get("name", ""))
        # a stage counts its steps from 0: the curve goes on where the stage began
        at = float(step) + dict(self.stages).get(self.stage.name, 0)
        points = self.metrics.setdefault(name, [])
        while points and points[-1][0] >= at:  # a resumed job repeats what came after its checkpoint
            points.pop()
        points.append((at, float(value)))
        if len(points) > MOST_POINTS:
            self.metrics[name] = points[:-1:2] + points[-1:]  # the newest stays

    def _trial(self, event: Mapping[str, Any]) -> None:
        trial = {name: value for name, value in event.items() if name not in ("v", "seq", "t", "type")}
        known = [old for old in self.trials if old.get("id") != trial.get("id")]
        self.trials = [*known, trial][-MOST_ENTRIES:]

    def _estimate(self, event: Mapping[str, Any]) -> None:
        self.expected = {
            name: float(event[name]) for name in ("seconds", "bytes") if isinstance(event.get(name), (int, float))
        }

    def _memory(self, event: Mapping[str, Any]) -> None:
        self.memory = (int(event.get("used", 0)), int(event.get("total", 0)))

    def _artifact(self, event: Mapping[str, Any]) -> None:
        entry = {"role": str(event.get("role", "")), "path": str(event.get("path", ""))}
        self.artifacts = [*(old for old in self.artifacts if old != entry), entry][-MOST_ENTRIES:]

    def _warning(self, event: Mapping[str, Any]) -> None:
        entry = (str(event.get("code", "")), str(event.get("text", "")))
        if entry not in self.warnings:
            self.warnings = [*self.warnings, entry][-MOST_ENTRIES:]

    def _error(self, event: Mapping[str, Any]) -> None:
        self.error = Failure(str(event.get("code", "error")), str(event.get("text", "")), str(event.get("hint", "")))

    def _done(self, event: Mapping[str, Any]) -> None:
        self.summary = dict(event.get("summary") or {})
        self.fraction = self.stageFraction = 1.0
        self.stageEta = None

    def _advance(self) -> None:
        inside = (self.stage.index + self.stageFraction) / self.stage.count
        if self.stage.name == FIRST_STAGE:
            whole = FIRST_SHARE * inside
        else:
            whole = FIRST_SHARE + (1.0 - FIRST_SHARE) * min(inside, 1.0)
        self.fraction = max(self.fraction, whole)

    def _lastStep(self) -> int:
        return int(max((points[-1][0] for points in self.metrics.values() if points), default=0))
