"""Geodesic shooting beside refinement, at several regularities, and a band of frequencies beside the whole grid.

``python -m benchmarks.geodesics --scenario S.json ... --work DIR [--limit N ...] [--spacing MM ...]`` registers the
first test pairs, drawn at random with seed 0, from the same affine alignment; ``--taught N ...`` has networks of each
data set learn first, on a grid twice as coarse: the MAP's alpha of so many of its training pairs, or (``--teachers``)
the true alpha of pairs that the prior makes of its training images. ``--costs SIDE ...`` measures the energy with its
gradient, ten iterations of the MAP of velocity and alpha, and a network's answer on cubes of so many voxels, each in a
process of its own. Rows that ``--work`` has are kept. Writes ``geodesics.csv`` and ``geodesics.md``. Seconds are those
of the processor; memory is what was taken above what the process held.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from AutoRegLib.core.records import make_folder
from AutoRegLib.core.scenario import Pair, Scenario, read_scenario
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.estimate import Stopping, estimate
from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.geodesic.predictor import Predictor, PredictorSettings, RegularityPredictor, load_predictor
from AutoRegLib.geodesic.whole_grid import WholeGrid
from AutoRegLib.imaging.align import affine_align
from AutoRegLib.imaging.displacement import jacobian_determinant
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.volume import resample
from AutoRegLib.learning.predictor_training import PredictorTraining, train_predictor
from AutoRegLib.learning.regularity_pairs import TABLE, read_known_pairs, sample_pairs
from AutoRegLib.registration import metrics
from AutoRegLib.registration.geodesic_pair import AUTO
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes
from benchmarks.measure import memory_peak, run_process
from benchmarks.tables import RESULTS, Row, cached, conditions, csv_text, markdown, write_tables

#: name -> how a pair is registered, by the spacing of its working grid and what the predictors are
METHODS: dict[str, Callable[[float, Mapping[str, Predictor]], dict[str, Any]]] = {
    "affine": lambda _, __: {},
    "refinement": lambda _, __: {"refine": "auto"},
    "alpha 16": lambda _, __: {"transformation": "lddmm"},
    "alpha 1.6": lambda step, _: {"transformation": "lddmm", "regularity": AUTO / 10 * step**2},
    "alpha 160": lambda step, _: {"transformation": "lddmm", "regularity": AUTO * 10 * step**2},
    "alpha MAP": lambda _, __: {"transformation": "lddmm", "regularity": "map"},
    "alpha told, taught by map": lambda _, told: {"transformation": "lddmm", "regularity": told["map"]},
    "alpha told, taught by prior": lambda _, told: {"transformation": "lddmm", "regularity": told["prior"]},
}
FIXED = ("alpha 1.6", "alpha 16", "alpha 160")
DRAWN = (1.6, 5.0, 16.0, 50.0, 160.0)  # squared voxels: of pairs that the prior makes of training images
COSTS = ("band", "band, plain maps", "whole grid", "MAP, band", "MAP, band, plain maps", "MAP, whole grid",
         "prediction")
_EVALUATIONS, _ITERATIONS, _FEW = 3, 10, 4  # of the MAP for seconds and for memory
_GIVEN_BACK = -3  # glibc: blocks larger than so much are the system's again once freed; it takes time


def run_pair(
    pair: Pair, structures: Sequence[int], spacing: float | None, names: Sequence[str], work: Path,
    predictors: Mapping[str, Predictor] | None = None,
) -> list[Row]:
    """One pair by every method, from one alignment."""
    def volume(path: str | None, kind: Any) -> Any:
        return read_volume(str(path), kind)

    fixed, moving = volume(pair.fixed.image, "intensity"), volume(pair.moving.image, "intensity")
    bundle = no_network(fixed.geometry, moving.geometry)
    if spacing is not None:
        recipe = bundle.recipe
        bundle = replace(bundle, recipe=replace(recipe, preprocessing=replace(
            recipe.preprocessing, spacing=(spacing,) * fixed.geometry.dims)))
    step = bundle.recipe.preprocessing.spacing[0]
    found: list[Any] = []

    def row(name: str) -> Row:
        if not found:
            found.append(affine_align(fixed, moving, seed=0))
        began = time.process_time()
        done = register_volumes(bundle, fixed, moving, alignment=found[0], deliver="whole",
                                **METHODS[name](step, predictors or {}))
        seconds = time.process_time() - began
        overlap = {}
        if pair.fixed.labels and pair.moving.labels:  # not every training pair has them
            own, other = volume(pair.fixed.labels, "labels"), volume(pair.moving.labels, "labels")
            overlap = metrics.dice(own, resample(other, fixed.geometry, done.field.to_transform()), structures)
        determinants = jacobian_determinant(done.field).array
        facts = done.refinement
        return {"dice": fmean(overlap.values()) if overlap else None, "seconds": seconds,
                "structures": {str(label): value for label, value in overlap.items()},
                "folds": int((determinants <= 0).sum()), "mended": done.unfolded,
                "least_determinant": float(determinants.min()),
                "alpha_voxels2": facts["alpha_mm2"] / step**2 if "alpha_mm2" in facts else None,
                "iterations": sum(level["iterations"] for level in facts.get("levels", ()))}

    key = f"{pair.fixed.id}-{pair.moving.id}-{step:g}"
    return [cached(work, f"{key}-{name}", partial(row, name), resume=True,
                   names={"pair": key, "method": name}) for name in names]


def learnt(
    scenario: Scenario, spacing: float, count: int, work: Path, *, epochs: int, teachers: Sequence[str],
) -> dict[str, Predictor]:
    """The predictors, by what they learn from. They see grids twice as coarse."""
    folder, found = make_folder(work / f"predictors-{scenario.name.replace(' ', '-')}-{spacing:g}"), {}
    for teacher, table in (("map", taught), ("prior", drawn)):
        if teacher not in teachers:
            continue
        if not (folder / teacher / "predictor.json").is_file():
            known = read_known_pairs(table(scenario, spacing, count, work, folder), spacing=2 * spacing,
                                     affine=teacher == "map")
            train_predictor(
                known["train"], known["val"], output=folder / teacher, spacing=2 * spacing,
                course=PredictorTraining(epochs=epochs), resume=(folder / teacher / "checkpoint.pt").is_file(),
                settings=PredictorSettings(scenario.spatial_dims, streams=(4, 8, 16, 16), fusion=(16, 16, 16)))
        found[teacher] = load_predictor(folder / teacher)
        print(f"  {scenario.name}, {teacher}: {dict(found[teacher].facts)}", flush=True)
    return found


def taught(scenario: Scenario, spacing: float, count: int, work: Path, folder: Path) -> Path:
    """A table of training pairs with the MAP's alpha."""
    lines = []
    for number, pair in enumerate(scenario.pairs_of("train", limit=count, seed=0)):
        found = run_pair(pair, sorted(scenario.structures), spacing, ["alpha MAP"], work)[0]
        lines.append({"name": f"pair{number:03d}", "fixed": pair.fixed.image, "moving": pair.moving.image,
                      "alpha": found["alpha_voxels2"] * spacing**2, "split": "val" if number % 5 == 4 else "train"})
    table = folder / "taught.csv"
    table.write_text(csv_text(lines))
    return table


def drawn(scenario: Scenario, spacing: float, count: int, _: Path, folder: Path) -> Path:
    """A table of training images with what velocities of the prior make of them, each of every alpha: ten times as
    many pairs as the MAP is asked of.
    """
    cases, lines = scenario.split("train")[: 2 * count], []
    for number, case in enumerate(cases):
        part = folder / "drawn" / case.id
        sample_pairs(part, alphas=[alpha * spacing**2 for alpha in DRAWN], count=-(-2 * count // len(cases)),
                     image=read_volume(str(case.image), "intensity"), spacing=2 * spacing, seed=number, resume=True)
        lines += [{**dict(line), "name": f"{case.id}-{line['name']}", "split": "val" if number % 5 == 4 else "train",
                   **{role: str(part / line[role]) for role in ("fixed", "moving")}}
                  for line in csv.DictReader((part / TABLE).open())]
    table = folder / "drawn.csv"
    table.write_text(csv_text(lines))
    return table


def evaluate(what: str, side: int, asked: str) -> Row:
    """One of ``COSTS`` in this process: processor seconds, or memory above what was there before."""
    if asked == "memory":
        ctypes.CDLL(None).mallopt(_GIVEN_BACK, 1 << 16)
    torch.manual_seed(0)
    shape = (side,) * 3
    images = gaussian(torch.rand(1, 2, *shape), 2.0)
    moving, fixed = images[:, :1].contiguous(), images[:, 1:].contiguous()
    band = Band(shape, detail=1.0 if "plain maps" in what else 2.0)
    matching = Matching(moving, fixed)
    posterior = Posterior(WholeGrid(shape, band.weight) if "whole grid" in what else band, matching)
    velocity, alpha = posterior.space.zeros(), torch.tensor([AUTO])

    def work() -> None:
        if what == "prediction":
            with torch.inference_mode():
                network(moving, fixed)
        elif what.startswith("MAP"):
            most = _ITERATIONS if asked == "seconds" else _FEW
            estimate(posterior, alpha=alpha, estimate_alpha=True, stopping=Stopping(most, change=0.0, patience=most))
        else:
            posterior.gradient(posterior.at(velocity, alpha))

    matching.value_and_gradient(torch.zeros(1, 3, *shape))  # what all have in common is there before
    with torch.inference_mode():
        RegularityPredictor(PredictorSettings(3, streams=(1,), fusion=(1,)))(*images[..., :8, :8, :8].split(1, dim=1))
    memory, seconds = memory_peak(), []
    network = RegularityPredictor(PredictorSettings(3)).eval()
    for _ in range(1 if asked == "memory" or what.startswith("MAP") else _EVALUATIONS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return {"memory_mb": memory() / 1e6} if asked == "memory" else {"seconds": min(seconds)}


def cost(space: str, side: int, work: Path) -> Row:
    """:func:`evaluate` in fresh processes: memory that is freed is given back at once only where it is measured."""
    row: Row = {}
    for asked in ("seconds", "memory"):
        log = work / "cost.txt"
        run_process([sys.executable, "-m", "benchmarks.geodesics", "--child", space, str(side), asked], log=log,
                    threads=1, ours=True)
        row |= json.loads(log.read_text().splitlines()[-1])
    return row


def means(rows: Sequence[Row]) -> list[Row]:
    """A line for each method, over the pairs that all methods have; se: standard error, of the gain over affine too."""
    complete = {row["pair"] for row in rows} - {row["pair"] for row in rows if "error" in row}
    affine = {row["pair"]: row["dice"] for row in rows if row["method"] == "affine" and "error" not in row}
    lines = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name and row["pair"] in complete]
        alphas = [row["alpha_voxels2"] for row in own if row["alpha_voxels2"] is not None]
        gains = [row["dice"] - affine.get(row["pair"], 0.0) for row in own]
        lines.append({
            "method": name, "pairs": len(own), "dice": fmean(row["dice"] for row in own),
            "dice se": standard_error([row["dice"] for row in own]), "gain": fmean(gains),
            "gain se": standard_error(gains),
            **{key: fmean(float(row[key]) for row in own) for key in ("seconds", "folds", "mended", "iterations")},
            "least determinant": min(float(row["least_determinant"]) for row in own),
            "alpha": fmean(alphas) if alphas else None, "least alpha": min(alphas, default=None),
            "largest alpha": max(alphas, default=None)})
    return lines


def by_structure(rows: Sequence[Row]) -> Row:
    """What an alpha that varies in space could gain at most: Dice where each structure is taken at the fixed alpha that
    served it best on the other pairs, beside one alpha for all structures chosen alike, and the best in hindsight.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["method"] in FIXED and "error" not in row:
            table.setdefault(row["pair"], {})[row["method"]] = row["structures"]

    def served(others: Sequence[str], structures: Sequence[str]) -> str:
        return max(FIXED, key=lambda name: fmean(table[pair][name][label] for pair in others for label in structures))

    found: dict[str, list[float]] = {"one alpha": [], "one by structure": [], "in hindsight": []}
    for pair, own in table.items():
        others, labels = [other for other in table if other != pair], list(own[FIXED[0]])
        if not others:
            continue
        found["one alpha"].append(fmean(own[served(others, labels)].values()))
        found["one by structure"].append(fmean(own[served(others, [label])][label] for label in labels))
        found["in hindsight"].append(fmean(max(own[name][label] for name in FIXED) for label in labels))
    return {name: fmean(values) for name, values in found.items() if values}


def standard_error(values: Sequence[float]) -> float | None:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=Path, nargs="*", default=[])
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--limit", type=int, nargs="+", default=[4], help="pairs: of each scenario, or of all")
    parser.add_argument("--spacing", type=float, nargs="+", default=[1.0], help="of the working grid, mm: as --limit")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--taught", type=int, nargs="+", default=[0], metavar="N",
                        help="training pairs of the predictors: as --limit; 0: none")
    parser.add_argument("--teachers", nargs="+", default=["map"], choices=("map", "prior"))
    parser.add_argument("--epochs", type=int, nargs="+", default=[30], help="of each predictor: as --limit")
    parser.add_argument("--costs", type=int, nargs="*", default=[], metavar="SIDE")
    parser.add_argument("--child", nargs=3, metavar=("SPACE", "SIDE", "ASKED"), help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    if given.child:
        print(json.dumps(evaluate(given.child[0], int(given.child[1]), given.child[2])))
        return
    rows: list[Row] = []
    text = "# Geodesic shooting\n"
    def each(values: Sequence[Any]) -> list[Any]:
        return list(values) if len(values) == len(given.scenario) else list(values) * len(given.scenario)

    for path, limit, spacing, count, epochs in zip(
            given.scenario, *(each(values) for values in (given.limit, given.spacing, given.taught, given.epochs)),
            strict=True):
        scenario = read_scenario(path)
        own: list[Row] = []
        predictors = learnt(scenario, spacing, count, given.work, epochs=epochs,
                            teachers=given.teachers) if count else {}
        names = [name for name in given.methods if "told" not in name or name.split()[-1] in predictors]
        for pair in scenario.pairs_of(given.split, limit=limit, seed=0):
            own += run_pair(pair, sorted(scenario.structures), spacing, names, given.work, predictors)
        rows += [{"scenario": scenario.name, "spacing": spacing, **row} for row in own]
        text += f"\n## {scenario.name}, {spacing:g} mm\n\n{markdown(means(own))}"
        if set(FIXED) <= set(names) and limit > 1:
            text += f"\n{markdown([by_structure(own)])}"
    costs = [cached(given.work, f"{space}-{side}", partial(cost, space, side, given.work), resume=True,
                    names={"space": space, "side": side}) for side in given.costs for space in COSTS]
    if costs:
        text += (f"\n## One energy with its gradient, {_ITERATIONS} iterations of the MAP, one prediction\n\n"
                 f"{markdown(costs)}")
    command = "python -m benchmarks.geodesics --scenario ... --costs ..."
    write_tables(given.results, "geodesics", [*rows, *costs], f"{text}\n{conditions(threads=1, command=command)}")


if __name__ == "__main__":
    main()
