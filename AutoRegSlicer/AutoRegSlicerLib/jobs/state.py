"""The states of a job as the panels show them, and what is known of a job at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class JobState(Enum):
    """Where a job stands. The value is what the job folder and the panels store."""

    Idle = "idle"
    Preparing = "preparing"  # the folder exists, inputs are being exported
    Queued = "queued"  # another job runs; starts by itself
    Launching = "launching"  # the process was started and has not said hello
    Running = "running"
    Stalled = "stalled"  # no sign of life for a minute, but the process exists: wait or cancel
    Finishing = "finishing"  # stop and keep the best
    Cancelling = "cancelling"
    Importing = "importing"  # results are complete and wait for the scene
    DoneNotImported = "doneNotImported"  # results are complete, nobody took them (scene closed, restart)
    Done = "done"
    Failed = "failed"
    Cancelled = "cancelled"
    Interrupted = "interrupted"  # the process is gone without an end: resume or discard

    @property
    def alive(self) -> bool:
        """A process exists or is about to."""
        return self in ALIVE

    @property
    def over(self) -> bool:
        """Nothing more will happen by itself."""
        return self in OVER


ALIVE = frozenset(
    {JobState.Launching, JobState.Running, JobState.Stalled, JobState.Finishing, JobState.Cancelling}
)
OVER = frozenset(
    {
        JobState.Idle, JobState.Done, JobState.DoneNotImported, JobState.Failed, JobState.Cancelled,
        JobState.Interrupted,
    }
)


@dataclass(frozen=True)
class Stage:
    """The part of the work a job is in."""

    name: str = ""
    index: int = 0
    count: int = 1


@dataclass(frozen=True)
class Failure:
    """Why a job failed: a stable word, one sentence, what to do."""

    code: str
    text: str
    hint: str = ""


@dataclass(frozen=True)
class JobStatus:
    """All that the panels show of one job. Fractions 0 to 1, seconds, bytes."""

    folder: Path
    verb: str  # "register", "search", "train", "evaluate", "apply"
    title: str
    state: JobState
    stage: Stage = Stage()
    fraction: float = 0.0  # of the whole job; never goes down
    stageFraction: float = 0.0
    etaSeconds: float | None = None  # of the whole job
    memory: tuple[int, int] | None = None  # bytes used, bytes there are (of the GPU when one is used)
    expected: dict[str, float] = field(default_factory=dict)  # "seconds" and "bytes" a search reckons with
    device: str = ""  # "cpu", "cuda" or "mps", known after the start
    metrics: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # name: [(step, value)], thinned
    stages: tuple[tuple[str, int], ...] = ()  # (stage name, step at which it began), in order: marks for plots
    trials: tuple[dict[str, Any], ...] = ()  # "trial" events as they came
    artifacts: tuple[dict[str, Any], ...] = ()  # "artifact" events: role, path
    warnings: tuple[tuple[str, str], ...] = ()  # (code, text)
    error: Failure | None = None
    summary: dict[str, Any] = field(default_factory=dict)  # of the "done" event
    message: str = ""  # one line for the footer
    nextStep: str = ""  # what the user may do now: the label of an action, or ""
    logTail: str = ""  # the last lines of log.txt (at most 64 kB)
    created: float = 0.0  # seconds since 1970
    secondsRunning: float = 0.0
