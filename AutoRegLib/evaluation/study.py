"""The papers' tables on the user's own data: every row searched, trained and evaluated in the same way and time."""

from __future__ import annotations

import gc
import re
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from AutoRegLib.bundle import load_bundle
from AutoRegLib.core.errors import AutoRegError, CancelledError, InputError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import Monitor, Wish
from AutoRegLib.core.measures import MEASURES
from AutoRegLib.core.recipe import Recipe, read_recipe
from AutoRegLib.core.records import make_folder, read_json, to_plain, write_json, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.core.strict_json import read_object
from AutoRegLib.core.study_rows import ROWS, Row, choose_rows, row_recipe
from AutoRegLib.evaluation.evaluate import Alignments, evaluate
from AutoRegLib.evaluation.study_report import write_report
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.determinism import identity
from AutoRegLib.learning.optimiser import build_optimiser
from AutoRegLib.learning.train import train, train_step
from AutoRegLib.networks.registry import build_network
from AutoRegLib.registration import metrics
from AutoRegLib.search.random_search import random_search
from AutoRegLib.search.search import search

SCHEMA, COST, RESULT = "autoreg-study/1", "autoreg-study-cost/1", "autoreg-study-result/1"
SEARCHES: dict[str, Callable[..., Recipe]] = {"gradient": search, "random": random_search}


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
    minutes: float | None = None, seeds: int = 1, limit: int | None = 100, resume: bool = False, device: str = "cpu",
    monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Run the rows (see :func:`choose_rows`) from ``recipe`` and write what :func:`write_report` does.

    ``minutes``: of each training, and as many of each search; None: the recipe's steps. The random search gets
    the time that the whole search of the same seed took, where it is among the rows. ``seeds``: runs of each row,
    counted from the recipe's seed. ``limit``: at most so many test pairs measure a run. Each run has a folder
    ``<row>/<seed>`` in ``output``; with ``resume`` finished ones are kept, unfinished and failed ones go on, and rows
    and seeds may be added.

    Raises InputError (rows, scenario, other settings than those resumed), DiskError, CancelledError (state kept),
    and what the first run raised if every run failed.
    """
    monitor = monitor or Monitor()
    chosen = choose_rows(rows)
    for split in ("train", "val", "test"):
        scenario.pairs_of(split)  # better now than after the first training
    output = make_folder(output)
    keep_settings(output, recipe, scenario, minutes=minutes, limit=limit, device=device, resume=resume)
    runs = [(row, recipe.seed + number) for number in range(seeds) for row in chosen]
    todo = [run for run in runs if finished_result(output, *run) is None]
    inner = RunMonitor(monitor)
    alignments: Alignments = {}  # every row registers the same test pairs
    stopped: CancelledError | None = None
    problems: list[AutoRegError] = []
    try:
        if todo:
            pay_once(recipe, scenario, device=device, monitor=inner)
        for number, (row, seed) in enumerate(todo):
            monitor.event("stage", name=f"{row.name}, seed {seed}", index=number, count=len(todo))
            try:
                run_row(row, recipe, scenario, output, seed=seed, minutes=minutes, limit=limit, alignments=alignments,
                        device=device, monitor=inner)
            except CancelledError:
                raise
            except Exception as problem:
                problems.append(note_failure(output, row, seed, problem, monitor))
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
    network = build_network(recipe).to(device)
    train_step(recipe, dataset, network, build_optimiser(network.parameters(), recipe.training), step=0, progress=0.0)


def run_row(
    row: Row, start: Recipe, scenario: Scenario, output: Path, *, seed: int, minutes: float | None,
    limit: int | None, alignments: Alignments, device: str, monitor: Monitor,
) -> dict[str, Any]:
    """One run: search where the row has one, train, evaluate on the test split; writes and returns its result.

    Parts that an earlier attempt finished are taken as they are. Raises what the parts raise.
    """
    folder = make_folder(run_folder(output, row, seed))
    recipe = row_recipe(start, row, seed)
    costs: dict[str, dict[str, Any]] = {}
    found = folder / "search"
    if row.searched:
        budget = minutes if row.method == "gradient" else _time_to_equal(output, seed, minutes, monitor)

        def seek() -> dict[str, Any]:
            SEARCHES[row.method](recipe, scenario, output=found, minutes=budget, resume=_begun(found), device=device,
                                 monitor=monitor)
            facts = read_object(found / "provenance.json")
            return {name: facts[name] for name in ("seconds", "winner", "found_gain") if name in facts}

        costs["search"] = measured(folder / "search_cost.json", seek, device=device)
        recipe = read_recipe(found)

    def learn() -> dict[str, Any]:
        bundle = train(recipe, scenario, output=folder / "model", minutes=minutes, resume=_begun(folder / "model"),
                       device=device, monitor=monitor)
        return {"seconds": bundle.provenance["seconds"], "steps": bundle.provenance["steps"]}

    costs["train"] = measured(folder / "train_cost.json", learn, device=device)
    model = load_bundle(folder / "model", device=device)
    known = _fresh_memory(device)
    # the same pairs for every row and seed
    summary = evaluate(model, scenario, output=folder / "evaluation", split="test", limit=limit,
                       alignments=alignments, device=device, seed=start.seed, monitor=monitor)
    if not known:
        summary.pop("peak_memory_bytes", None)
    result = as_result(row, seed, summary, costs, recipe)
    (folder / "error.log").unlink(missing_ok=True)
    write_json(folder / "result.json", result, schema=RESULT)
    return result


def as_result(
    row: Row, seed: int, summary: dict[str, Any], costs: dict[str, dict[str, Any]], recipe: Recipe
) -> dict[str, Any]:
    """What is known of a finished run, one plain value a key; what was not measured has no key.

    Unit: seconds, bytes, mm; ``seconds`` is that of one registration.
    """
    result: dict[str, Any] = {"row": row.name, "seed": seed, "status": "done"}
    for name in ("pairs", *MEASURES, "pairs_with_folds", "parameters"):
        if isinstance(summary.get(name), Mapping):
            result[name] = summary[name]["mean"]
        elif name in summary:
            result[name] = summary[name]
    if "sd" in summary.get("dice", {}):
        result["dice_sd"] = summary["dice"]["sd"]
    for part, cost in costs.items():
        result |= {f"{part}_{name}": value for name, value in cost.items()}
    result |= to_plain(recipe.loss_weights)
    if row.network == "autoreg" and recipe.genotype is not None:
        result["genotype"] = " | ".join(" ".join(edges) for edges in to_plain(recipe.genotype).values())
    return result


def measured(path: Path, compute: Callable[[], dict[str, Any]], *, device: str) -> dict[str, Any]:
    """The facts that a part of a run leaves, with the peak of memory during it; computed once, kept in ``path``.

    On the CPU the peak is that of the process, libraries included; it is left out where the system cannot
    restart its measure. Unit: bytes.
    """
    if path.is_file():
        return read_json(path, schema=COST)
    known = _fresh_memory(device)
    facts = compute()
    peak = metrics.peak_memory_bytes(device) if known else None
    facts |= {} if peak is None else {"peak_memory_bytes": peak}
    write_json(path, facts, schema=COST)
    return facts


def keep_settings(
    output: Path, recipe: Recipe, scenario: Scenario, *, minutes: float | None, limit: int | None, device: str,
    resume: bool,
) -> None:
    """Write down what all runs have in common, or check that a resumed study has the same. Raises InputError."""
    path = output / "study.json"
    wanted = {"identity": identity(recipe, scenario, device), "minutes": minutes or 0.0, "limit": limit or 0}
    if not resume:
        for folder in _run_folders(output) if path.is_file() else ():  # of the study that is replaced
            shutil.rmtree(folder, ignore_errors=True)
        write_json(path, {**wanted, "scenario": scenario.name, "device": device, "recipe": recipe}, schema=SCHEMA)
        return
    if not path.is_file():
        raise InputError(f"nothing to resume in {output}", expected="study.json", remedy="start without --resume")
    found = read_json(path, schema=SCHEMA)
    for name, text in (("minutes", "minutes for each run"), ("limit", "number of test pairs"),
                       ("identity", "preset, seed, scenario or device")):
        if found.get(name) != wanted[name]:
            raise InputError(
                f"the study in {output} was started with other settings: {text}", expected=found.get(name),
                got=wanted[name], remedy="repeat the settings it was started with, or use a new --output",
            )


def note_failure(output: Path, row: Row, seed: int, problem: Exception, monitor: Monitor) -> AutoRegError:
    """The failure as the run's result, its traceback beside it, and a warning; returns it freed of what it holds.

    Raises DiskError.
    """
    folder = make_folder(run_folder(output, row, seed))
    reason = explain(problem)
    write_text(folder / "error.log", "".join(traceback.format_exception(problem)))
    failed = {"row": row.name, "seed": seed, "status": "failed", "error": str(reason)}
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


def run_folder(output: Path, row: Row, seed: int) -> Path:
    """Where a run's search, model, evaluation and result are."""
    return output / row.name / str(seed)


def _run_folders(output: Path) -> list[Path]:
    """The folders of all runs there are, rows in their order, then by seed."""
    found = [[p for p in (output / name).glob("*") if p.name.isdigit()] for name in ROWS]
    return [path for paths in found for path in sorted(paths, key=lambda p: int(p.name))]


def _begun(folder: Path) -> bool:
    """Whether an interrupted computation left its state there."""
    return (folder / "checkpoint.pt").is_file()


def _time_to_equal(output: Path, seed: int, minutes: float | None, monitor: Monitor) -> float | None:
    """The minutes of a random search: what the whole search of this seed took, else those of every search."""
    path = run_folder(output, ROWS["autoreg"], seed) / "search_cost.json"
    if path.is_file():
        return float(read_json(path, schema=COST)["seconds"]) / 60.0
    if minutes is None:
        text = "no row 'autoreg' to take the time from: the random search has its steps instead"
        monitor.event("warning", code="no-equal-time", text=text)
    return minutes


def _fresh_memory(device: str) -> bool:
    """Let go of what earlier runs left and restart the measure of memory; False where it cannot be."""
    gc.collect()
    return metrics.reset_peak_memory(device)
