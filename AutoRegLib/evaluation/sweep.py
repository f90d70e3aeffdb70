"""One field of a recipe over several values: each trained alike, the best by the validation pairs."""

from __future__ import annotations

import dataclasses
import re
import shutil
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AutoRegLib.bundle import load_bundle, table_text
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.measures import MEASURES, Measure
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_fields import parse_value, with_field
from AutoRegLib.core.records import make_folder, read_json, write_json, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.evaluation.evaluate import Alignments, evaluate
from AutoRegLib.evaluation.kept_settings import keep_or_check
from AutoRegLib.evaluation.side_by_side import Task, run_tasks
from AutoRegLib.evaluation.study_report import chosen_score, plain_values
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.determinism import identity
from AutoRegLib.learning.train import train

SCHEMA, RESULT = "autoreg-sweep/1", "autoreg-sweep-result/1"
#: of a value's time, by the names of the stages of training and evaluating; what remains: preparing, refinements tried
SHARES = {"prepare data": 0.01, "train": 0.83, "register pairs": 0.15}
_COLUMNS = tuple(measure for measure in MEASURES.values() if measure.studied)


@dataclass(frozen=True)
class Point:
    """One value and what it takes to judge it."""

    value: Any
    recipe: Recipe
    scenario: Scenario
    folder: Path
    minutes: float | None
    limit: int | None
    device: str
    alignments: Alignments = dataclasses.field(default_factory=dict)


def sweep(
    recipe: Recipe, scenario: Scenario, *, field: str, values: Sequence[str], output: str | Path,
    minutes: float | None = None, limit: int | None = 100, jobs: int = 1, beside: Sequence[str | Path] = (),
    resume: bool = False, device: str = "cpu", monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Train and evaluate the recipe with each value of ``field`` (see :func:`with_field`), ``jobs`` at once.

    Writes ``sweep.csv``, ``sweep.md``, ``figures/`` and a folder for each value; the best is what the validation pairs
    like best, folds counted, and is registered on the test split where there is one. ``minutes``: of each training;
    None: the recipe's steps. ``beside``: folders of other sweeps of the field, drawn into the same picture. With
    ``resume`` finished values are kept, begun ones go on, and values may be added.

    Raises InputError (field, values, scenario), DiskError, CancelledError (state kept), and what the first value raised
    if every one failed.
    """
    monitor = monitor or Monitor()
    parsed = [parse_value(text) for text in values]
    recipes = [with_field(recipe, field, value) for value in parsed]
    if not parsed or len({repr(value) for value in parsed}) < len(parsed):
        raise InputError(f"values of '{field}'", expected="one or more, all different", got=" ".join(values) or "none")
    for split in ("train", "val"):
        scenario.pairs_of(split)
    output = make_folder(output)
    if not resume and (output / "sweep.json").is_file():  # of the sweep that is replaced
        for folder in output.glob("value-*"):
            shutil.rmtree(folder, ignore_errors=True)
        (output / "test" / "value.json").unlink(missing_ok=True)
    keep_or_check(output / "sweep.json", {
        "field": (field, "field"), "identity": (identity(recipe,
                                                         scenario, device), "recipe, scenario or device"),
        "minutes": (minutes or 0.0, "minutes of each training"), "limit": (limit or 0, "number of pairs"),
    }, schema=SCHEMA, resume=resume, more={"scenario": scenario.name, "recipe": recipe})
    alignments: Alignments = {}  # every value registers the same pairs; a process has its own
    points = [Point(value, one, scenario, output / folder_name(value), minutes, limit, device, alignments)
              for value, one in zip(parsed, recipes, strict=True)]
    problems: list[Exception] = []

    def failed(task: Task, problem: Exception) -> None:
        reason = explain(problem)
        write_text(make_folder(task.folder) / "error.log", "".join(traceback.format_exception(problem)))
        monitor.event("warning", code="value-failed", text=f"{task.name} failed: {reason}")
        problems.append(reason)

    todo = [Task(f"{field} {p.value}", p.folder, p) for p in points if not (p.folder / "result.json").is_file()]
    stopped: CancelledError | None = None
    try:
        run_tasks(todo, run_point, jobs=jobs, shares=SHARES, monitor=monitor, failed=failed)
    except CancelledError as problem:
        stopped = problem
    done = [p for p in points if (p.folder / "result.json").is_file()]
    if stopped is not None and not (done and monitor.wish() == "finish"):
        raise stopped
    if not done:
        raise problems[0]
    results = [read_json(p.folder / "result.json", schema=RESULT) for p in done]
    scored = chosen_score(results)
    best = max(range(len(done)), key=lambda i: merit(recipe, results[i], scored))
    tested = {} if stopped is not None else _test(done[best], output, monitor)
    report = _write(output, field, done, results, best=best, scored=scored, tested=tested, beside=beside,
                    monitor=monitor)
    return {
        "output": str(output), "report": str(report), "field": field, "best": str(done[best].value),
        f"best_{scored.key}": results[best][scored.key],
        **({f"test_{scored.key}": tested[scored.key]} if scored.key in tested else {}),
        "values": len(done), "left": len(points) - len(done), "device": device,
    }


def run_point(point: Point, monitor: Monitor) -> None:
    """Train with one value and register the validation pairs; writes ``result.json``. Raises what its parts raise."""
    model = point.folder / "model"
    if not (model / "recipe.json").is_file():
        # what only a process's first training would pay for: alignments, remembered from then on
        prepare(point.scenario, point.recipe, ("train", "val"), device=point.device, monitor=monitor)
        train(point.recipe, point.scenario, output=model, minutes=point.minutes,
              resume=(model / "checkpoint.pt").is_file(), device=point.device, monitor=monitor)
    bundle = load_bundle(model, device=point.device)
    summary = evaluate(bundle, point.scenario, output=point.folder / "evaluation", split="val", limit=point.limit,
                       alignments=point.alignments, device=point.device, seed=point.recipe.seed, monitor=monitor)
    result = {"value": point.value, "status": "done", **plain_values(summary),
              "steps": bundle.provenance["steps"], "train_seconds": bundle.provenance["seconds"]}
    write_json(point.folder / "result.json", result, schema=RESULT)


def merit(recipe: Recipe, result: dict[str, Any], scored: Measure) -> float:
    """What the best value is chosen by: the measure on validation pairs, less the folds as validation counts them."""
    return scored.better * float(result[scored.key]) - recipe.objective.upper_fold_weight * float(
        result["fold_fraction"])


def folder_name(value: Any) -> str:
    """A folder for a value: its characters, as far as a file name may have them."""
    return "value-" + re.sub(r"[^\w.+-]+", "_", str(value))[:60].rstrip(".")


def _test(point: Point, output: Path, monitor: Monitor) -> dict[str, Any]:
    """The chosen value on pairs that chose nothing; empty where the scenario has none."""
    try:
        point.scenario.pairs_of("test")
    except InputError:
        return {}
    kept = output / "test" / "value.json"
    if kept.is_file() and (found := read_json(kept, schema=RESULT))["value"] == point.value:
        return found
    bundle = load_bundle(point.folder / "model", device=point.device)
    summary = evaluate(bundle, point.scenario, output=output / "test", split="test", limit=point.limit,
                       device=point.device, seed=point.recipe.seed, monitor=monitor)
    found = {"value": point.value, **plain_values(summary)}
    write_json(kept, found, schema=RESULT)
    return found


def _write(
    output: Path, field: str, points: Sequence[Point], results: Sequence[dict[str, Any]], *, best: int, scored: Measure,
    tested: dict[str, Any], beside: Sequence[str | Path], monitor: Monitor,
) -> Path:
    """Table, text and pictures. Raises DiskError."""
    write_text(output / "sweep.csv", table_text([{field: r["value"], **{k: v for k, v in r.items() if k != "value"}}
                                                 for r in results]))
    shown = [column for column in _COLUMNS if any(column.key in r for r in results)]
    rows = [[f"**{r['value']}**" if i == best else str(r["value"]),
             *(column.text(r[column.key]) if column.key in r else "" for column in shown),
             f"{r['train_seconds']:.0f}", str(r["steps"])] for i, r in enumerate(results)]
    titles = [field, *(column.title for column in shown), "training s", "steps"]
    one = results[0]
    affine = f" Affine alignment alone: Dice {one['dice_affine']:.3f}." if "dice_affine" in one else ""
    text = [f"# {field} on {points[0].scenario.name}", "",
            f"{one['pairs']} validation pairs, seed {points[0].recipe.seed}.{affine} The best by {scored.title}, folds "
            f"counted: **{results[best]['value']}**.", ""]
    if scored.key in tested:
        text[-2] += (f" On {tested['pairs']} test pairs, which chose nothing: {scored.title} "
                     f"{scored.text(tested[scored.key])}, {tested['folds']} folded voxels.")
    text += ["| " + " | ".join(line) + " |" for line in (titles, ["---"] * len(titles), *rows)] + [""]
    text += _figures(output, field, points, results, scored=scored, beside=beside, monitor=monitor)
    write_text(output / "sweep.md", "\n".join(text))
    for role, name in (("table", "sweep.csv"), ("summary", "sweep.md")):
        monitor.event("artifact", role=role, path=str(output / name))
    return output / "sweep.md"


def _figures(
    output: Path, field: str, points: Sequence[Point], results: Sequence[dict[str, Any]], *, scored: Measure,
    beside: Sequence[str | Path], monitor: Monitor,
) -> list[str]:
    """The curve and the fields, and the lines that show them; a warning where matplotlib is not installed."""
    folder = make_folder(output / "figures")
    lines = {output.resolve().name: list(results)}
    for other in beside:
        settings = read_json(Path(other) / "sweep.json", schema=SCHEMA)
        if settings["field"] != field:
            raise InputError(f"the sweep in {other} is of another field", expected=field, got=settings["field"])
        found = [read_json(path, schema=RESULT) for path in sorted(Path(other).glob("value-*/result.json"))]
        lines[Path(other).resolve().name] = found

    def draw() -> None:
        from AutoRegLib.evaluation.sweep_figures import curves, field_row

        curves(folder / "curve", lines, field=field, scored=scored)
        field_row(folder / "fields.png", [(str(p.value), p.folder / "model") for p in points], points[0].recipe,
                  points[0].scenario, device=points[0].device)

    if problem := attempted(draw, "figures"):
        monitor.event("warning", code="figures", text=problem)
        return []
    monitor.event("artifact", role="figures", path=str(folder))
    return [f"![{scored.title} and positive determinants](figures/curve.png)", "",
            "The same, as a table: [curve.csv](figures/curve.csv).", "",
            "![One validation pair's displacement, for each value](figures/fields.png)", ""]
