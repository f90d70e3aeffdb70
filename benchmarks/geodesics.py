"""Geodesic shooting beside refinement, at several regularities, and a band of frequencies beside the whole grid.

``python -m benchmarks.geodesics --scenario S.json ... --work DIR [--limit N] [--spacing MM]`` registers the first test
pairs, drawn at random with seed 0, from the same affine alignment; ``--taught N`` has a network of each data set learn
the MAP's alpha of so many of its training pairs first, on a grid twice as coarse; ``--costs SIDE ...`` times the energy
with its gradient on cubes of so many voxels, each in a process of its own. Rows that ``--work`` has are kept. Writes
``geodesics.csv`` and ``geodesics.md``. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from AutoRegLib.core.records import make_folder
from AutoRegLib.core.scenario import Pair, Scenario, read_scenario
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.geodesic.predictor import Predictor, PredictorSettings, load_predictor
from AutoRegLib.geodesic.whole_grid import WholeGrid
from AutoRegLib.imaging.align import affine_align
from AutoRegLib.imaging.displacement import jacobian_determinant
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.volume import resample
from AutoRegLib.learning.predictor_training import PredictorTraining, train_predictor
from AutoRegLib.learning.regularity_pairs import read_known_pairs
from AutoRegLib.registration import metrics
from AutoRegLib.registration.geodesic_pair import AUTO
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes
from benchmarks.measure import run_process
from benchmarks.tables import RESULTS, Row, cached, conditions, csv_text, markdown, write_tables

#: name -> how a pair is registered, by the spacing of its working grid and what a predictor is
METHODS: dict[str, Callable[[float, Predictor | None], dict[str, Any]]] = {
    "affine": lambda _, __: {},
    "refinement": lambda _, __: {"refine": "auto"},
    "alpha 16": lambda _, __: {"transformation": "lddmm"},
    "alpha 1.6": lambda step, _: {"transformation": "lddmm", "regularity": AUTO / 10 * step**2},
    "alpha 160": lambda step, _: {"transformation": "lddmm", "regularity": AUTO * 10 * step**2},
    "alpha MAP": lambda _, __: {"transformation": "lddmm", "regularity": "map"},
    "alpha predicted": lambda _, predictor: {"transformation": "lddmm", "regularity": predictor},
}
SPACES = ("band", "band, plain maps", "whole grid")
_EVALUATIONS = 3


def run_pair(
    pair: Pair, structures: Sequence[int], spacing: float | None, names: Sequence[str], work: Path,
    predictor: Predictor | None = None,
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
                                **METHODS[name](step, predictor))
        seconds = time.process_time() - began
        own, other = volume(pair.fixed.labels, "labels"), volume(pair.moving.labels, "labels")
        overlap = metrics.dice(own, resample(other, fixed.geometry, done.field.to_transform()), structures)
        determinants = jacobian_determinant(done.field).array
        facts = done.refinement
        return {"dice": fmean(overlap.values()), "seconds": seconds, "folds": int((determinants <= 0).sum()),
                "mended": done.unfolded, "least_determinant": float(determinants.min()),
                "alpha_voxels2": facts["alpha_mm2"] / step**2 if "alpha_mm2" in facts else None,
                "iterations": sum(level["iterations"] for level in facts.get("levels", ()))}

    key = f"{pair.fixed.id}-{pair.moving.id}-{step:g}"
    return [cached(work, f"{key}-{name}", partial(row, name), resume=True,
                   names={"pair": key, "method": name}) for name in names]


def taught(scenario: Scenario, spacing: float, count: int, work: Path, *, epochs: int = 60) -> Predictor:
    """A predictor that learnt the MAP's alpha of training pairs."""
    folder, structures = work / f"predictor-{scenario.name.replace(' ', '-')}", sorted(scenario.structures)
    if (folder / "predictor.json").is_file():
        return load_predictor(folder)
    lines = []
    for number, pair in enumerate(scenario.pairs_of("train", limit=count, seed=0)):
        found = run_pair(pair, structures, spacing, ["alpha MAP"], work)[0]
        lines.append({"name": f"pair{number:03d}", "fixed": pair.fixed.image, "moving": pair.moving.image,
                      "alpha": found["alpha_voxels2"] * spacing**2, "split": "val" if number % 5 == 4 else "train"})
    table = make_folder(work) / "taught.csv"
    table.write_text(csv_text(lines))
    known = read_known_pairs(table, spacing=2 * spacing)
    return train_predictor(
        known["train"], known["val"], output=folder, spacing=2 * spacing, course=PredictorTraining(epochs=epochs),
        settings=PredictorSettings(scenario.spatial_dims, streams=(4, 8, 16, 16), fusion=(16, 16, 16)))


def evaluate(space: str, side: int) -> Row:
    """The energy with its gradient in this process: processor seconds, and memory above what was there before."""
    torch.manual_seed(0)
    shape = (side,) * 3
    images = gaussian(torch.rand(1, 2, *shape), 2.0)
    band = Band(shape, detail=1.0 if space == "band, plain maps" else 2.0)
    matching = Matching(images[:, :1].contiguous(), images[:, 1:].contiguous())
    posterior = Posterior(WholeGrid(shape, band.weight) if space == "whole grid" else band, matching)
    velocity, alpha = posterior.space.zeros(), torch.tensor([AUTO])
    value, _ = matching.value_and_gradient(torch.zeros(1, 3, *shape))  # what both have in common is there before
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(_EVALUATIONS):
        began = time.process_time()
        posterior.gradient(posterior.at(velocity, alpha))
        seconds.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": min(seconds), "memory_mb": (peak - before) / 1024, "energy": float(value)}


def cost(space: str, side: int, work: Path) -> Row:
    """:func:`evaluate` in a fresh process."""
    log = work / "cost.txt"
    run_process([sys.executable, "-m", "benchmarks.geodesics", "--child", space, str(side)], log=log, threads=1,
                ours=True)
    return dict(json.loads(log.read_text().splitlines()[-1]))


def means(rows: Sequence[Row]) -> list[Row]:
    """A line for each method, over the pairs that all methods have."""
    complete = {row["pair"] for row in rows} - {row["pair"] for row in rows if "error" in row}
    lines = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name and row["pair"] in complete]
        alphas = [row["alpha_voxels2"] for row in own if row["alpha_voxels2"] is not None]
        lines.append({"method": name, "pairs": len(own), **{
            key: fmean(float(row[key]) for row in own) for key in ("dice", "seconds", "folds", "mended", "iterations")},
            "least determinant": min(float(row["least_determinant"]) for row in own),
            "alpha": fmean(alphas) if alphas else None})
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=Path, nargs="*", default=[])
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--limit", type=int, default=4)
    parser.add_argument("--spacing", type=float, help="of the working grid (default: the images')")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--taught", type=int, default=0, metavar="N", help="training pairs of the predictor")
    parser.add_argument("--costs", type=int, nargs="*", default=[], metavar="SIDE")
    parser.add_argument("--child", nargs=2, metavar=("SPACE", "SIDE"), help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    if given.child:
        print(json.dumps(evaluate(given.child[0], int(given.child[1]))))
        return
    rows: list[Row] = []
    text = "# Geodesic shooting\n"
    for path in given.scenario:
        scenario = read_scenario(path)
        own: list[Row] = []
        predictor = taught(scenario, given.spacing or 1.0, given.taught, given.work) if given.taught else None
        names = [name for name in given.methods if predictor is not None or name != "alpha predicted"]
        for pair in scenario.pairs_of(given.split, limit=given.limit, seed=0):
            own += run_pair(pair, sorted(scenario.structures), given.spacing, names, given.work, predictor)
        rows += [{"scenario": scenario.name, **row} for row in own]
        text += f"\n## {scenario.name}\n\n{markdown(means(own))}"
    costs = [cached(given.work, f"{space}-{side}", partial(cost, space, side, given.work), resume=True,
                    names={"space": space, "side": side}) for side in given.costs for space in SPACES]
    if costs:
        text += f"\n## One energy with its gradient\n\n{markdown(costs)}"
    command = "python -m benchmarks.geodesics --scenario ... --costs ..."
    write_tables(given.results, "geodesics", [*rows, *costs], f"{text}\n{conditions(threads=1, command=command)}")


if __name__ == "__main__":
    main()
