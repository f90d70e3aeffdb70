"""Several computations at once, each in a process of its own, and one progress over all of them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import CancelledError
from AutoRegLib.core.jobs import FolderMonitor, Monitor, Wish, read_events
from AutoRegLib.core.records import make_folder

_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Task:
    """One computation: a module's function of ``arguments`` and a monitor, its folder, and its name for people."""

    name: str
    folder: Path
    arguments: Any


class PartMonitor(Monitor):
    """The outer monitor as one part of the work sees it: its progress is a part of the whole.

    ``shares``: of the part, by the name of each of its stages in their order. ``finish`` stops a part like ``cancel``:
    half a computation says nothing beside whole ones.
    """

    def __init__(self, outer: Monitor, whole: Whole, shares: dict[str, float]) -> None:
        self._outer, self._whole, self._shares = outer, whole, shares
        self._before, self._share = 0.0, 0.0

    def event(self, type: str, **payload: Any) -> None:
        if type == "stage":
            self._before += self._share
            self._share = self._shares.get(payload.get("name", ""), 0.0)
        elif type == "progress":
            self._whole.tell(self._outer, self._before + self._share * payload["done"] / max(payload["total"], 1e-9))
        else:
            self._outer.event(type, **payload)

    def wish(self) -> Wish:
        return "cancel" if self._outer.wish() else ""


class Whole:
    """How much of so many parts is done, and the time that the rest will take."""

    def __init__(self, parts: int) -> None:
        self.parts, self.finished, self._began = parts, 0, time.monotonic()

    def tell(self, monitor: Monitor, inside: float = 0.0) -> None:
        """A progress event. ``inside``: parts done within those that run now."""
        done = (self.finished + inside) / max(self.parts, 1)
        used = time.monotonic() - self._began
        monitor.event("progress", done=round(1000 * done), total=1000,
                      eta_s=used * (1.0 - done) / done if done > 0.02 else None)  # what comes first says little


def run_tasks(
    tasks: Sequence[Task], work: Callable[[Any, Monitor], None], *, jobs: int, shares: dict[str, float],
    monitor: Monitor, failed: Callable[[Task, Exception], None],
) -> None:
    """``work(task.arguments, monitor)`` of every task, at most ``jobs`` at once; ``failed`` hears of those that fail.

    ``work``: a function of a module, since other processes have to find it. ``shares``: as in :class:`PartMonitor`.
    One job runs here; more run in processes whose events lie in ``<folder>/events.jsonl``.
    Raises CancelledError (asked to cancel or to finish; what a task keeps, it keeps).
    """
    whole = Whole(len(tasks))
    if jobs > 1:
        _in_processes(tasks, work, jobs=jobs, shares=shares, monitor=monitor, failed=failed, whole=whole)
        return
    for number, task in enumerate(tasks):
        monitor.event("stage", name=task.name, index=number, count=len(tasks))
        try:
            work(task.arguments, PartMonitor(monitor, whole, shares))
        except CancelledError:
            raise
        except Exception as problem:
            failed(task, problem)
        whole.finished += 1


def _in_processes(
    tasks: Sequence[Task], work: Callable[[Any, Monitor], None], *, jobs: int, shares: dict[str, float],
    monitor: Monitor, failed: Callable[[Task, Exception], None], whole: Whole,
) -> None:
    monitor.event("stage", name=f"{len(tasks)} in {min(jobs, len(tasks))} processes", index=0, count=1)
    stopped = False
    # a fresh interpreter each: threads of torch and ITK do not survive a fork
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[None], Task] = {}
        for task in tasks:
            folder = make_folder(task.folder)
            for name in ("control", "events.jsonl"):
                (folder / name).unlink(missing_ok=True)
            running[pool.submit(_in_process, work, task.arguments, folder, shares)] = task
        while running:
            done, _ = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            if monitor.wish() and not stopped:
                stopped = True
                for future, task in running.items():
                    future.cancel()
                    (task.folder / "control").write_text("cancel", encoding="utf-8")
            for future in done:
                task = running.pop(future)
                whole.finished += 1
                problem = None if future.cancelled() else future.exception()
                if isinstance(problem, CancelledError):
                    stopped = True
                elif isinstance(problem, Exception):
                    failed(task, problem)
                elif problem is not None:
                    raise problem
            whole.tell(monitor, sum(_inside(task.folder) for task in running.values()))
    if stopped:
        raise CancelledError("stopped by the user", remedy="--resume goes on with what is left")


def _in_process(work: Callable[[Any, Monitor], None], arguments: Any, folder: Path, shares: dict[str, float]) -> None:
    """What a process does: its events and the wish to stop are files of its folder."""
    import torch

    torch.set_num_threads(1)  # as many processes as the user asked for share the processor
    work(arguments, PartMonitor(FolderMonitor(folder), Whole(1), shares))


def _inside(folder: Path) -> float:
    """How much of a task is done, by its last word on it."""
    told = [event.payload for event in read_events(folder) if event.type == "progress"]
    return told[-1]["done"] / told[-1]["total"] if told else 0.0
