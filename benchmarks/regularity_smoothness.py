"""Does a pair's own regularity help its refinement? ``python -m benchmarks.regularity_smoothness SCENARIO --work W``

Test pairs are refined without a network at several smoothness weights. What may tell the best weight without labels is
measured on the images alone: the regularity alpha of each pair by the evidence, and the strain of the velocity that the
default weight finds. A rule ``weight = c x^p`` of either is chosen by Dice on the pairs of all seeds but one, or of all
other data sets, and judged on the rest, beside the default, the best fixed weight (p = 0) chosen alike, and the best
weight of each pair, which nobody knows. ``--work`` keeps every pair; a second run goes on.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from scipy.stats import spearmanr
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
from AutoRegLib.losses.diffusion import diffusion
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.refine import refine_prediction
from benchmarks.tables import Row, cached, save

WEIGHTS = (0.25, 0.5, 1.0, 2.0)
SIGMA = 0.1  # of the squared difference of two subjects
BANDS, COARSE = {2: 16, 3: 6}, {2: 1.0, 3: 2.0}  # of the evidence: frequencies, and how much coarser its grid is
PARTS = ("refined", "regularity")
TOLD = ("alpha", "strain")
POWERS = (-1.0, -0.5, 0.0, 0.5, 1.0)
SHIFTS = tuple(number / 4 for number in range(-8, 9))  # of ln weight


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
    """Dice at every weight, the default, the strain at the default; seconds of processor time of one refinement."""
    there, here, grid, transform = prepared(pair, spacing)
    labels = [labels_to_tensor(resample(read_volume(str(case.labels), "labels"), grid, change))
              for case, change in ((pair.fixed, None), (pair.moving, transform))]
    structures = tuple(scenario.structures)
    model = no_network(grid, grid).recipe
    default = model.loss_weights.smoothness
    row: Row = {"before": overlap(labels[0], labels[1], structures), "default": default}
    nothing = Prediction(here.new_zeros(1, here.dim() - 2, *here.shape[2:]),
                         here.new_zeros(1, here.dim() - 2, *[size // 2 for size in here.shape[2:]]))
    began = time.process_time()
    for weight in WEIGHTS:
        recipe = replace(model, loss_weights=replace(model.loss_weights, smoothness=weight))
        found = refine_prediction(nothing, there, here, recipe=recipe, iterations="auto")
        row[f"dice {weight:g}"] = overlap(labels[0], warp(labels[1], found.displacement, mode="nearest"), structures)
        if weight == default and found.velocity is not None:
            row["strain"] = float(diffusion(found.velocity))
    return {**row, "refine s": (time.process_time() - began) / len(WEIGHTS)}


def regularity(pair: Pair, spacing: float) -> Row:
    """The regularity of a pair by the evidence, in mm squared; seconds of processor time."""
    spacing *= COARSE[read_volume(pair.fixed.image, "intensity").geometry.dims]
    there, here, _, _ = prepared(pair, spacing)
    began = time.process_time()
    band = Band(tuple(here.shape[2:]), BANDS[here.dim() - 2])
    found = estimate_by_evidence(Posterior(band, Matching(there, here, sigma=SIGMA)), rounds=5, probes=2)
    return {"alpha": float(found.alpha) * spacing**2, "deviation": min(float(found.deviation), 99.0),
            "evidence s": time.process_time() - began}


def dice_at(row: Row, weight: float) -> float:
    """Dice at any weight, linear in its logarithm between those that were measured, constant beyond."""
    place = math.log2(min(max(weight, WEIGHTS[0]), WEIGHTS[-1]) / WEIGHTS[0])
    low = min(int(place), len(WEIGHTS) - 2)
    one, other = (row[f"dice {WEIGHTS[number]:g}"] for number in (low, low + 1))
    return float(one + (other - one) * (place - low))


@dataclass(frozen=True)
class Rule:
    """``weight = exp(shift) told^power``."""

    told: str
    shift: float
    power: float

    def __str__(self) -> str:
        return f"{math.exp(self.shift):.2g}" + (f" x^{self.power:g}" if self.power else "")

    def dice(self, row: Row) -> float:
        return dice_at(row, math.exp(self.shift) * float(row[self.told]) ** self.power)


def best_rule(rows: Sequence[Row], told: str, powers: Sequence[float] = POWERS) -> Rule:
    """The rule with the highest mean Dice; of equal ones the first. The shift is about the mean of the logarithm."""
    middle = fmean(math.log(row[told]) for row in rows)
    rules = [Rule(told, shift - power * middle, power) for power in powers for shift in SHIFTS]
    return max(rules, key=lambda rule: fmean(rule.dice(row) for row in rows))


def judged(rows: Sequence[Row], others: Callable[[Row], Sequence[Row]]) -> list[Row]:
    """Each way of choosing the weight, learnt from other pairs: Dice, and its gain over the default, pair by pair."""
    ways: dict[str, list[float]] = {}
    rules: dict[str, set[str]] = {}
    for row in rows:
        learnt = others(row)
        ways.setdefault("default", []).append(dice_at(row, row["default"]))
        for name, told, powers in (("best fixed", TOLD[0], (0.0,)), *((f"by {told}", told, POWERS) for told in TOLD)):
            rule = best_rule(learnt, told, powers)
            ways.setdefault(name, []).append(rule.dice(row))
            rules.setdefault(name, set()).add(str(rule))
        ways.setdefault("best of each pair", []).append(max(row[f"dice {weight:g}"] for weight in WEIGHTS))
    result = []
    for name, values in ways.items():
        gains = [value - plain for value, plain in zip(values, ways["default"], strict=True)]
        result.append({"weight": name, "dice": fmean(values), "gain": fmean(gains),
                       "standard error": stdev(gains) / math.sqrt(len(gains)), "pairs": len(values),
                       "rules": ", ".join(sorted(rules.get(name, ())))})
    return result


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, equal values sharing their ranks."""
    return float(spearmanr(first, second).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done")
    parser.add_argument("--spacing", type=float, default=1.0, help="working grid, mm")
    parser.add_argument("--pairs", type=int, nargs="+", default=[8], help="of each seed; one number, or one a scenario")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="to make; all for the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for seed in range(arguments.seeds):
        for place, path in enumerate(arguments.scenario):
            scenario, name = read_scenario(path), path.resolve().parent.name
            for pair in scenario.pairs_of("test", limit=arguments.pairs[min(place, len(arguments.pairs) - 1)],
                                          seed=seed):
                makers = {"refined": partial(refined, scenario, pair, arguments.spacing),
                          "regularity": partial(regularity, pair, arguments.spacing)}
                key = f"{name}-{pair.fixed.id}-{pair.moving.id}-{arguments.spacing:g}"
                row: Row = {"set": name, "seed": seed, "key": key}
                for part in arguments.parts:
                    row |= cached(arguments.work, f"{part}-{key}", makers[part], resume=True, names={})
                rows.append(row)
    if len(arguments.parts) < len(PARTS):
        return
    table: list[Row] = []
    words = []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        table += [{"set": name, "learnt on": "other seeds", **line} for line in judged(own, partial(
            lambda row, own: [other for other in own if other["seed"] != row["seed"] and other["key"] != row["key"]],
            own=own))]
        if len(arguments.scenario) > 1:
            strangers = [row for row in rows if row["set"] != name]
            table += [{"set": name, "learnt on": "the other sets", **line} for line in judged(own, partial(
                lambda row, kept: kept, kept=strangers))]
        best = [max(WEIGHTS, key=lambda weight, row=row: row[f"dice {weight:g}"]) for row in own]  # type: ignore[misc]
        words.append(f"{name}: Dice before {fmean(row['before'] for row in own):.4f}, at weight " + ", ".join(
            f"{weight:g} {fmean(row[f'dice {weight:g}'] for row in own):.4f}" for weight in WEIGHTS) + "; " + "; ".join(
            f"{told} {min(row[told] for row in own):.2g} to {max(row[told] for row in own):.2g}, rank correlation with "
            f"the best weight {rank_correlation([row[told] for row in own], best):.2f}" for told in TOLD)
            + f"; evidence {fmean(row['evidence s'] for row in own):.1f} s, refining "
            f"{fmean(row['refine s'] for row in own):.2f} s of processor time.")
    save("regularity_smoothness", table, title="Smoothness by a pair's own regularity", summary=(
        f"{arguments.seeds} seeds, {' and '.join(map(str, arguments.pairs))} test pairs each, "
        f"{arguments.spacing:g} mm, no network. "
        + " ".join(words)))


if __name__ == "__main__":
    main()
