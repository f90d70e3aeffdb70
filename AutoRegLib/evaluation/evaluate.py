"""Register every pair of a split and say how good the model is: one table, one summary, two pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from AutoRegLib.bundle import ModelBundle, table_text
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.measures import MEASURES, over_pairs
from AutoRegLib.core.options import Deliver, Regularity, Similarity, Transformation
from AutoRegLib.core.recipe import Recipe, Timer
from AutoRegLib.core.records import make_folder, write_json, write_text
from AutoRegLib.core.result_set import together
from AutoRegLib.core.scenario import Case, Pair, Scenario, Split
from AutoRegLib.geodesic.predictor import Predictor
from AutoRegLib.imaging.align import Alignment
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.learning.budget import TIMERS
from AutoRegLib.registration.no_network import NAME, OWN, no_network
from AutoRegLib.registration.pair import PairInputs, read_labels, read_landmarks
from AutoRegLib.registration.pipeline import Registration, register_volumes
from AutoRegLib.registration.report import assemble

_CACHED_CASES = 24  # volumes read once although a case is in many pairs; bounded, since they may be large
#: what registers one pair: the volumes and what is known of them, the cases, an alignment found before
Registrar = Callable[[PairInputs, Pair, Alignment | None], Registration]
#: (fixed, moving) identifiers -> what aligning them found, and its seconds
Alignments = dict[tuple[str, str], tuple[Alignment, float]]


def evaluate(
    bundle: ModelBundle | None, scenario: Scenario, *, output: str | Path, split: Split = "test",
    limit: int | None = 100, refine: int | Literal["auto", "full"] = 0, similarity: Similarity = "auto",
    loss: Recipe | None = None, transformation: Transformation = "svf", regularity: Regularity | Predictor = "auto",
    alignments: Alignments | None = None, registrar: Registrar | None = None, name: str = "", timer: Timer = "wall",
    device: str = "cpu", seed: int = 0, monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Write ``metrics.csv`` (a row per pair and structure), ``pairs.csv``, ``summary.json``, ``figures/``.

    ``bundle`` None: no network, and ``loss``, a recipe, the loss of which it has. ``refine`` to ``regularity``: as in
    ``register_volumes``.
    ``limit``: at most so many pairs, drawn by ``seed``. A pair without labels has one row without a structure.
    ``seconds`` of a pair is the registration alone: alignment, network, refinement, composition.
    ``alignments``: of an earlier evaluation on these pairs by a model with the same preprocessing; their time counts
    again, and what is new is added to them. ``registrar``: registers a pair in place of model and refinement (another
    program), under ``name``; its own ``registration`` seconds count where it tells them. ``timer``: which seconds.

    Asked to finish or to cancel, it keeps the pairs that are done: the summary is of those and says so
    (``pairs_asked``, ``warnings``). Cancelled, it draws no figures.

    Unit: mm, seconds, bytes. Returns the summary.
    Raises: InputError (no pairs, files, another dimension), DiskError, OutOfMemoryProblem, CancelledError.
    """
    monitor = monitor or Monitor()
    if bundle is not None and scenario.spatial_dims != bundle.recipe.spatial_dims:
        raise InputError("the model does not fit the scenario", expected=f"a {scenario.spatial_dims}-D model",
                         got=f"a {bundle.recipe.spatial_dims}-D model", remedy="choose another model or scenario")
    if limit is not None and limit < 1:
        raise InputError("number of pairs to evaluate", expected="at least 1", got=limit, remedy="raise --limit")
    pairs = scenario.pairs_of(split, limit=limit, seed=seed)
    name = name or (bundle.path.name if bundle is not None else NAME)
    registrar = registrar or pair_registrar(
        bundle, refine=refine, similarity=similarity, loss=loss, transformation=transformation, regularity=regularity,
        timer=timer, device=device, seed=seed)
    output = make_folder(output)
    read = lru_cache(maxsize=_CACHED_CASES)(_read_case)
    alignments = {} if alignments is None else alignments
    rows: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    monitor.event("stage", name="register pairs", index=0, count=1)
    began = time.perf_counter()
    for done, pair in enumerate(_ordered(pairs), start=1):
        if monitor.wish() == "cancel" or (monitor.wish() == "finish" and reports):
            break
        report = _one(bundle, scenario, pair, read, registrar, alignments=alignments, timer=TIMERS[timer],
                      device=device)
        reports.append(report)
        rows += _rows(pair, report, scenario)
        for text in report["warnings"]:
            monitor.event("warning", code="registration", text=f"{pair.moving.id} onto {pair.fixed.id}: {text}")
        monitor.event("progress", done=done, total=len(pairs),
                      eta_s=(time.perf_counter() - began) / done * (len(pairs) - done))
    partial = len(reports) < len(pairs)
    cancelled = partial and monitor.wish() == "cancel"
    part = f"Stopped after {len(reports)} of {len(pairs)} pairs"
    if not reports:
        raise CancelledError(part)
    warnings = [f"{part}: the figures are of these alone."] if partial else []
    summary = {
        **summarise(reports), "parameters": reports[0]["parameters"], "device": device, "model": name,
        "scenario": scenario.name, "split": split, "seed": seed, "refine": refine,
        "transformation": transformation,
    }
    with together(output, last="summary.json") as stage:
        write_text(stage / "metrics.csv", table_text(rows))
        write_text(stage / "pairs.csv", table_text([_flat(report) for report in reports]))
        title = f"{name} on {scenario.name}, {split}"
        problem = "" if cancelled else _draw(stage / "figures", rows, reports, title=title)
        if problem:
            warnings.append(problem)
        if partial:
            summary["pairs_asked"] = len(pairs)
        if warnings:
            summary["warnings"] = warnings
        write_json(stage / "summary.json", summary)
    for text in warnings:
        monitor.event("warning", code="evaluation", text=text)
    if cancelled:
        raise CancelledError(f"{part}, whose results are kept in {output}")
    for role, name in (("table", "metrics.csv"), ("summary", "summary.json"), ("figures", "figures")):
        monitor.event("artifact", role=role, path=str(output / name))
    return summary


def summarise(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The pairs' reports as one, each measure as its row in ``core.measures`` says.

    A measurement that no pair has, has no key.
    """
    result: dict[str, Any] = {"pairs": len(reports)}
    for key, measure in MEASURES.items():
        tables = [report[key] for report in reports if isinstance(report.get(key), Mapping)]
        value = _by_structure(tables) if tables else over_pairs(measure, reports)
        if value is not None:
            result[key] = value
        if measure.varies and (values := [float(report[key]) for report in reports if key in report]):
            result[f"{key}_mean"] = fmean(values)
            if len(values) > 1:
                result[f"{key}_sd"] = stdev(values)
    result["pairs_with_folds"] = sum(report["folds"] > 0 for report in reports)
    return result


def _by_structure(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over pairs of every structure and of the pairs' means, whose spread a single pair does not have."""
    means = [table["mean"] for table in tables]
    structures = sorted({name for table in tables for name in table} - {"mean"}, key=int)
    spread = {"sd": stdev(means)} if len(means) > 1 else {}
    return {"mean": fmean(means), **spread, **{s: fmean(t[s] for t in tables if s in t) for s in structures}}


def pair_registrar(
    bundle: ModelBundle | None, *, refine: int | Literal["auto", "full"] = 0, similarity: Similarity = "auto",
    loss: Recipe | None = None, transformation: Transformation = "svf", regularity: Regularity | Predictor = "auto",
    timer: Timer = "wall", device: str = "cpu", seed: int = 0,
) -> Registrar:
    """What registers a pair by a model, or without one."""
    def register(inputs: PairInputs, pair: Pair, alignment: Alignment | None) -> Registration:
        model = bundle or no_network(inputs.fixed.geometry, inputs.moving.geometry, loss=loss)
        deliver: Deliver = "auto" if bundle is None else "whole"  # a model is measured as it is
        return register_volumes(model, inputs.fixed, inputs.moving, modality=pair.fixed.modality or None,
                                moving_modality=pair.moving.modality or None, refine=refine,
                                similarity=similarity if loss is None else OWN,
                                transformation=transformation, regularity=regularity, deliver=deliver,
                                alignment=alignment, seed=seed, device=device, timer=TIMERS[timer])

    return register


def read_pair(scenario: Scenario, pair: Pair, read: Callable[[Case], PairInputs] | None = None) -> PairInputs:
    """The volumes of a pair and what is known about them. Raises InputError."""
    read = read or _read_case
    fixed, moving = read(pair.fixed), read(pair.moving)
    return replace(fixed, moving=moving.fixed, moving_labels=moving.fixed_labels, landmarks=read_landmarks(
        pair.fixed.landmarks if pair.moving.landmarks else None,
        pair.moving.landmarks if pair.fixed.landmarks else None, dims=scenario.spatial_dims))


def _one(
    bundle: ModelBundle | None, scenario: Scenario, pair: Pair, read: Callable[[Case], PairInputs],
    registrar: Registrar, *, alignments: Alignments, timer: Callable[[], float], device: str,
) -> dict[str, Any]:
    """The report of one pair of cases."""
    names = (pair.fixed.id, pair.moving.id)
    aligned, spent = alignments.get(names, (None, 0.0))
    inputs = read_pair(scenario, pair, read)
    began = timer()
    found = registrar(inputs, pair, aligned)
    seconds = found.seconds.get("registration", timer() - began) + spent
    alignments.setdefault(names, (found.alignment, found.seconds["align"]))
    model = bundle or no_network(inputs.fixed.geometry, inputs.moving.geometry)
    report, _ = assemble(model, inputs, found, structures=tuple(scenario.structures),
                         inverse_consistency=False, device=device)
    if "registration" in found.seconds:  # of another program: neither our remarks nor our memory belong to it
        report = {**report, "warnings": []}
        del report["peak_memory_bytes"]
    return {"fixed": pair.fixed.id, "moving": pair.moving.id, **report, "seconds": seconds}


def _read_case(case: Case) -> PairInputs:
    """One case in the place of the fixed image; its moving side is not meant yet. Raises InputError."""
    image = read_volume(case.image, "intensity")

    def labels(path: str | None, role: str) -> Volume | None:
        return None if path is None else read_labels(path, image, role=f"{role} of case '{case.id}'",
                                                     image_role="case's image")

    mask = labels(case.mask, "mask")
    return PairInputs(image, image, fixed_labels=labels(case.labels, "labels"),
                      mask=None if mask is None else mask.array > 0)


def _ordered(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs with a common fixed image one after the other: fewer files are read twice."""
    return sorted(pairs, key=lambda pair: (pair.fixed.id, pair.moving.id))


def _rows(pair: Pair, report: Mapping[str, Any], scenario: Scenario) -> list[dict[str, Any]]:
    """One row per structure; one row without a structure where nothing could be compared."""
    rows = []
    structures = [key for key in report.get("dice", {}) if key != "mean"]
    for label in structures or [""]:
        row: dict[str, Any] = {"fixed": pair.fixed.id, "moving": pair.moving.id, "structure": label}
        row["name"] = scenario.structures.get(int(label), label) if label else ""
        for key, measure in MEASURES.items():
            if measure.listed:
                row[key] = report.get(measure.table, {}).get(label) if measure.table else report.get(key)
        rows.append(row)
    return rows


def _flat(report: Mapping[str, Any]) -> dict[str, Any]:
    """A pair's report as one row: tables by their mean, lists by their length."""
    row: dict[str, Any] = {}
    for key, value in report.items():
        if isinstance(value, Mapping):
            if "mean" in value:
                row[f"{key}_mean"] = value["mean"]
        else:
            row[key] = len(value) if isinstance(value, list) else value
    return row


def _draw(folder: Path, rows: Sequence[Mapping[str, Any]], reports: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Both pictures; the reason when there can be none, else empty. Raises DiskError."""
    def draw() -> None:
        from AutoRegLib.evaluation.figures import dice_boxes, fold_histogram

        make_folder(folder)
        dice_boxes(folder / "dice.png", rows, title=title)
        fold_histogram(folder / "folds.png", [report["fold_fraction"] for report in reports], title=title)

    return attempted(draw, "figures")
