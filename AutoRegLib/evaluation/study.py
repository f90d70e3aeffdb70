"""The papers' tables on the user's own data: every row searched, trained and evaluated in the same way and time."""

from __future__ import annotations

import re
import shutil
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import AutoRegError, CancelledError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import Monitor, Wish
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import make_folder, read_json, write_json, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.core.sharing import without_paths
from AutoRegLib.core.study_rows import ROWS, Row, choose_rows
from AutoRegLib.evaluation.kept_settings import keep_or_check
from AutoRegLib.evaluation.peers import Peer
from AutoRegLib.evaluation.study_report import write_report
from AutoRegLib.evaluation.study_run import RESULT, Setup, run_folder, run_row
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.determinism import identity
from AutoRegLib.learning.trainee import Trainee

SCHEMA = "autoreg-study/1"


class RunMonitor(Monitor):
    """The study's monitor as its runs see it: ``finish`` stops a run with its state kept, like ``cancel``.

    A training cut short would stand in the table beside whole ones. A warning about a pair is passed on once,
    not for every row that registers it.
    """

    def __init__(self, outer: Monitor) -> None:
        self._outer = outer
        self._warned: set[str] = set()

    def event(self, type: str, **payload: Any) -> None:
        if type == "warning":
            same = re.sub(r"[\d.]+ %", "%", payload.get("text", ""))  # coverage differs a little between models
            if same in self._warned:
                return
            self._warned.add(same)
        self._outer.event(type, **payload)

    def wish(self) -> Wish:
        return "cancel" if self._outer.wish() else ""


def study(
    recipe: Recipe, scenario: Scenario, *, output: str | Path, rows: Sequence[str] = ("all",),
    minutes: float | None = None, seeds: int = 1, limit: int | None = 100, start: ModelBundle | None = None,
    peers: Mapping[str, Peer] | None = None, peer_limit: int | None = None, resume: bool = False, share: bool = False,
    device: str = "cpu", monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Run the rows (see :func:`choose_rows`) from ``recipe`` and write what :func:`write_report` does.

    ``minutes``: of each training, and as many of each search; None: the recipe's steps. The random search gets
    the time that the whole search of the same seed took, where it is among the rows. ``seeds``: runs of each row,
    counted from the recipe's seed; what has no seed of its own, a model as it is or another program, runs once.
    ``limit``: at most so many test pairs measure a run. ``start``: a model of another scenario, for the rows that begin
    from one; ``peers``: other programs (:func:`AutoRegLib.evaluation.peers.read_peers`), slow ones for the first
    ``peer_limit`` of the pairs alone. Each run has a folder
    ``<row>/<seed>`` in ``output``; with ``resume`` finished ones are kept, unfinished and failed ones go on, and rows
    and seeds may be added. ``share``: what is told of a run that failed names files only.

    Raises InputError (rows, scenario, other settings than those resumed), DiskError, CancelledError (state kept),
    and what the first run raised if every run failed.
    """
    monitor = monitor or Monitor()
    peers = {name: peer for name, peer in (peers or {}).items() if scenario.spatial_dims in peer.dimensions}
    chosen = choose_rows(rows, start=start is not None, peers=tuple(peers))
    for split in ("train", "val", "test"):
        scenario.pairs_of(split)  # better now than after the first training
    output = make_folder(output)
    keep_settings(output, recipe, scenario, minutes=minutes, limit=limit, device=device, resume=resume)
    runs = [(row, recipe.seed + number) for number in range(seeds) for row in chosen
            if number == 0 or not (row.method == "peer" or row.start == "as is")]
    todo = [run for run in runs if finished_result(output, *run) is None]
    inner = RunMonitor(monitor)
    setup = Setup(recipe, scenario, output, minutes, limit, device, start, peers, peer_limit)
    private = [*_files_of(scenario), str(output)] if share else None
    stopped: CancelledError | None = None
    problems: list[AutoRegError] = []
    try:
        if any(row.method != "peer" and row.start != "as is" for row, _ in todo):
            pay_once(recipe, scenario, device=device, monitor=inner)
        for number, (row, seed) in enumerate(todo):
            monitor.event("stage", name=f"{row.name}, seed {seed}", index=number, count=len(todo))
            try:
                run_row(row, setup, seed=seed, monitor=inner)
            except CancelledError:
                raise
            except Exception as problem:
                problems.append(note_failure(output, row, seed, problem, monitor, private=private))
            write_report(output, read_results(output), recipe=recipe, scenario=scenario, minutes=minutes)
    except CancelledError as problem:
        stopped = problem
    results = read_results(output)
    done = [result for result in results if result["status"] == "done"]
    if stopped is not None and not (done and monitor.wish() == "finish"):
        raise stopped
    if problems and not done:
        raise problems[0]
    summary = write_report(
        output, results, recipe=recipe, scenario=scenario, minutes=minutes, figures=True, monitor=monitor
    )
    left = sum(finished_result(output, *run) is None for run in runs)
    return {"output": str(output), **summary, "left": left, "device": device}


def pay_once(recipe: Recipe, scenario: Scenario, *, device: str, monitor: Monitor) -> None:
    """What only the first run of a process would pay for: alignments (remembered between runs), a first step."""
    dataset = prepare(scenario, recipe, ("train", "val"), device=device, monitor=monitor)
    Trainee(recipe, device=device).advance(dataset, progress=0.0)


def keep_settings(
    output: Path, recipe: Recipe, scenario: Scenario, *, minutes: float | None, limit: int | None, device: str,
    resume: bool,
) -> None:
    """Write down what all runs have in common, or check that a resumed study has the same. Raises InputError."""
    path = output / "study.json"
    if not resume:
        for folder in _run_folders(output) if path.is_file() else ():  # of the study that is replaced
            shutil.rmtree(folder, ignore_errors=True)
    keep_or_check(path, {
        "minutes": (minutes or 0.0, "minutes for each run"), "limit": (limit or 0, "number of test pairs"),
        "identity": (identity(recipe, scenario, device), "preset, seed, scenario or device"),
    }, schema=SCHEMA, resume=resume, more={"scenario": scenario.name, "device": device, "recipe": recipe})


def _files_of(scenario: Scenario) -> list[str]:
    return [path for case in scenario.cases for path in (case.image, case.labels, case.landmarks, case.mask) if path]


def note_failure(
    output: Path, row: Row, seed: int, problem: Exception, monitor: Monitor, *,
    private: Sequence[str] | None = None,
) -> AutoRegError:
    """The failure as the run's result, its traceback beside it, and a warning; returns it freed of what it holds.

    ``private``: paths that may hold blanks, of which only the names are written, as of all others; None: written whole.

    Raises DiskError.
    """
    folder = make_folder(run_folder(output, row, seed))
    reason = explain(problem)
    told = {"error": str(reason), "traceback": "".join(traceback.format_exception(problem))}
    told = told if private is None else without_paths(told, private)
    write_text(folder / "error.log", told["traceback"])
    failed = {"row": row.name, "seed": seed, "status": "failed", "error": told["error"]}
    write_json(folder / "result.json", failed, schema=RESULT)
    monitor.event("warning", code="row-failed", text=f"row '{row.name}', seed {seed}, failed: {reason}")
    # frames keep tensors alive: a row that ran out of memory would take the next ones with it
    reason.__traceback__ = reason.__context__ = reason.__cause__ = None
    return reason


def read_results(output: Path) -> list[dict[str, Any]]:
    """The results of all runs in the folder, rows in their order, then by seed. Raises InputError (damaged)."""
    paths = (folder / "result.json" for folder in _run_folders(output))
    return [read_json(path, schema=RESULT) for path in paths if path.is_file()]


def finished_result(output: Path, row: Row, seed: int) -> dict[str, Any] | None:
    """The result of a run that was finished without failing."""
    path = run_folder(output, row, seed) / "result.json"
    if not path.is_file():
        return None
    result = read_json(path, schema=RESULT)
    return result if result["status"] == "done" else None


def _run_folders(output: Path) -> list[Path]:
    """The folders of all runs there are, rows in their order, then by seed."""
    found = [[p for p in (output / name).glob("*") if p.name.isdigit()] for name in ROWS]
    return [path for paths in found for path in sorted(paths, key=lambda p: int(p.name))]
