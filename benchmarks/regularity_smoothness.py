"""Does a pair's own regularity help its refinement? ``python -m benchmarks.regularity_smoothness SCENARIO --work F``.

Test pairs are refined without a network at several smoothness weights, and the regularity of each is estimated from its
images by the evidence. A rule ``weight = c alpha^p`` is chosen by Dice on the pairs of all seeds but one, and judged on
the pairs of that one, beside the default, the best fixed weight (p = 0) and the best weight of each pair, which nobody
knows. ``--work`` keeps every pair; a second run goes on.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.bridge import labels_to_tensor, to_tensor
from AutoRegLib.core.scenario import Pair, Scenario, read_scenario
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.evidence import estimate_by_evidence
from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.imaging.alignment_cache import cached_alignment
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.geometry import working_grid
from AutoRegLib.imaging.preprocess import to_grid
from AutoRegLib.imaging.volume import resample
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.refine import refine_prediction
from benchmarks.tables import Row, cached, save

WEIGHTS = (0.25, 1.0, 4.0)
DEFAULT = 1.0
SIGMA = 0.1  # of the squared difference of two subjects
BANDS = {2: 16, 3: 6}
PARTS = ("refined", "regularity")
POWERS = (-1.0, -0.5, 0.0, 0.5, 1.0)
SHIFTS = tuple(number / 2 for number in range(-6, 7))  # of ln weight


def overlap(fixed: Tensor, moved: Tensor, structures: Sequence[int]) -> float:
    """The mean Dice over structures."""
    parts = []
    for label in structures:
        one, other = fixed == label, moved == label
        size = float(one.sum() + other.sum())
        if size:
            parts.append(2 * float((one & other).sum()) / size)
    return fmean(parts)


def prepared(pair: Pair, spacing: float) -> tuple[Tensor, Tensor, Any, Any]:
    """Moving and fixed image, aligned, their grid and the alignment."""
    fixed, moving = (read_volume(case.image, "intensity") for case in (pair.fixed, pair.moving))
    transform = cached_alignment(fixed, moving, (str(pair.fixed.image), str(pair.moving.image)))
    grid = working_grid(fixed.geometry, spacing=spacing, multiple=4)
    return to_tensor(to_grid(moving, grid, transform)), to_tensor(to_grid(fixed, grid)), grid, transform


def refined(scenario: Scenario, pair: Pair, spacing: float) -> Row:
    """Dice at every weight; seconds of processor time of one refinement."""
    there, here, grid, transform = prepared(pair, spacing)
    labels = [labels_to_tensor(resample(read_volume(str(case.labels), "labels"), grid, change))
              for case, change in ((pair.fixed, None), (pair.moving, transform))]
    structures = tuple(scenario.structures)
    model = no_network(grid, grid).recipe
    row: Row = {"before": overlap(labels[0], labels[1], structures)}
    nothing = Prediction(here.new_zeros(1, here.dim() - 2, *here.shape[2:]),
                         here.new_zeros(1, here.dim() - 2, *[size // 2 for size in here.shape[2:]]))
    began = time.process_time()
    for weight in WEIGHTS:
        recipe = replace(model, loss_weights=replace(model.loss_weights, smoothness=weight))
        field = refine_prediction(nothing, there, here, recipe=recipe, iterations="auto").displacement
        row[f"dice {weight:g}"] = overlap(labels[0], warp(labels[1], field, mode="nearest"), structures)
    return {**row, "refine s": (time.process_time() - began) / len(WEIGHTS)}


def regularity(pair: Pair, spacing: float) -> Row:
    """The regularity of a pair by the evidence, in squared voxels; seconds of processor time."""
    there, here, _, _ = prepared(pair, spacing)
    began = time.process_time()
    band = Band(tuple(here.shape[2:]), BANDS[here.dim() - 2])
    found = estimate_by_evidence(Posterior(band, Matching(there, here, sigma=SIGMA)), rounds=5, probes=2)
    return {"alpha": float(found.alpha), "deviation": min(float(found.deviation), 99.0),
            "evidence s": time.process_time() - began}


def dice_at(row: Row, weight: float) -> float:
    """Dice at any weight, linear in its logarithm between those that were measured, constant beyond."""
    place = (math.log(min(max(weight, WEIGHTS[0]), WEIGHTS[-1])) - math.log(WEIGHTS[0])) / math.log(4)
    low = min(int(place), len(WEIGHTS) - 2)
    one, other = (row[f"dice {WEIGHTS[number]:g}"] for number in (low, low + 1))
    return float(one + (other - one) * (place - low))


def by_rule(shift: float, power: float) -> Callable[[Row], float]:
    return lambda row: math.exp(shift) * float(row["alpha"]) ** power


def best_rule(rows: Sequence[Row], powers: Sequence[float]) -> tuple[float, float]:
    """The rule with the highest mean Dice; of equal ones the first. The shift is about the mean of ln alpha."""
    middle = fmean(math.log(row["alpha"]) for row in rows)
    rules = [(shift - power * middle, power) for power in powers for shift in SHIFTS]
    return max(rules, key=lambda rule: fmean(dice_at(row, by_rule(*rule)(row)) for row in rows))


def judged(by_seed: dict[int, list[Row]]) -> list[Row]:
    """Each way of choosing the weight: Dice, and its gain over the default, pair by pair."""
    ways: dict[str, list[float]] = {"default": [], "best fixed of the other seeds": [], "by alpha": [],
                                    "best of each pair": []}
    rules = []
    for seed, rows in by_seed.items():
        others = [row for other, kept in by_seed.items() if other != seed for row in kept]
        fixed, own = best_rule(others, (0.0,)), best_rule(others, POWERS)
        rules.append((seed, math.exp(fixed[0]), own[1]))
        for row in rows:
            ways["default"].append(dice_at(row, DEFAULT))
            ways["best fixed of the other seeds"].append(dice_at(row, by_rule(*fixed)(row)))
            ways["by alpha"].append(dice_at(row, by_rule(*own)(row)))
            ways["best of each pair"].append(max(row[f"dice {weight:g}"] for weight in WEIGHTS))
    told = "; ".join(f"seed {seed}: fixed {weight:.2g}, power {power:g}" for seed, weight, power in rules)
    result = []
    for name, values in ways.items():
        gains = [value - plain for value, plain in zip(values, ways["default"], strict=True)]
        result.append({"weight": name, "dice": fmean(values), "gain": fmean(gains),
                       "standard error": stdev(gains) / math.sqrt(len(gains)), "pairs": len(values), "rules": told})
    return result


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's."""
    ranks = [torch.tensor(values).argsort().argsort().double() for values in (first, second)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done")
    parser.add_argument("--spacing", type=float, default=1.0, help="working grid, mm")
    parser.add_argument("--pairs", type=int, default=8, help="of each seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="to make; all for the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scenario, name = read_scenario(arguments.scenario), arguments.scenario.resolve().parent.name
    by_seed: dict[int, list[Row]] = {}
    for seed in range(arguments.seeds):
        for pair in scenario.pairs_of("test", limit=arguments.pairs, seed=seed):
            names = {"fixed": pair.fixed.id, "moving": pair.moving.id}
            makers = {"refined": partial(refined, scenario, pair, arguments.spacing),
                      "regularity": partial(regularity, pair, arguments.spacing)}
            key = f"{name}-{pair.fixed.id}-{pair.moving.id}"
            parts = [cached(arguments.work, f"{part}-{key}", makers[part], resume=True,
                            names=names) for part in arguments.parts]
            by_seed.setdefault(seed, []).append({key: value for part in parts for key, value in part.items()})
    if len(arguments.parts) < 2:
        return
    rows = [row for kept in by_seed.values() for row in kept]
    best = [max(WEIGHTS, key=lambda weight, row=row: row[f"dice {weight:g}"]) for row in rows]  # type: ignore[misc]
    fixed = ", ".join(f"{weight:g}: {fmean(row[f'dice {weight:g}'] for row in rows):.4f}" for weight in WEIGHTS)
    save(f"regularity_smoothness_{name}", judged(by_seed), title=f"Smoothness by a pair's own regularity: {name}",
         summary=f"{arguments.seeds} seeds, {arguments.pairs} test pairs each, {arguments.spacing:g} mm, no network. "
         f"Dice before {fmean(row['before'] for row in rows):.4f}, at weight {fixed}. Alpha by the evidence "
         f"({BANDS[scenario.spatial_dims]} bands, sigma {SIGMA:g}): {min(row['alpha'] for row in rows):.2g} to "
         f"{max(row['alpha'] for row in rows):.2g}, rank correlation with the best weight "
         f"{rank_correlation([row['alpha'] for row in rows], best):.2f}. Processor time: evidence "
         f"{fmean(row['evidence s'] for row in rows):.1f} s, refining {fmean(row['refine s'] for row in rows):.2f} s.")


if __name__ == "__main__":
    main()
