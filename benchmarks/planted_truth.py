"""Whether a search finds what is known to be right: ``python benchmarks/planted_truth.py {reach,lambda} [--seeds 5]``.

``reach``: textures shifted further than narrow operators see; only the deformation cells are searched, and the
feature cells see single voxels, so the chosen operators have to reach. ``lambda``: noisy images of a smoothly
deformed figure, for which training at every smoothness of a grid tells the best one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from AutoRegLib.genotype import Genotype
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.jobs import Monitor
from AutoRegLib.learning.card import REACH
from AutoRegLib.learning.data import Cohort
from AutoRegLib.learning.stage import run_stage
from AutoRegLib.learning.train import judge_pairs, train_step, update_average
from AutoRegLib.learning.upper import UPPERS
from AutoRegLib.networks.registry import build_network
from AutoRegLib.recipe import LossWeights, Network, Objective, Recipe, Search, Stage, Training

SIZE = 48
GRID = (0.05, 0.15, 0.5, 1.5, 5.0, 15.0, 50.0)
BASE = Recipe(
    spatial_dims=2, network=Network(features=(8, 8), decoder=(16, 8, 8)), objective=Objective(windows=(9, 7, 5)),
    training=Training(batch=4, learning_rate=2e-3, augment=0.0, average=0.99, validation_pairs=12),
    search=Search(batch=4, learning_rate=2e-3),
)


def smooth(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> np.ndarray:
    """Periodic Gaussian noise of unit variance, ``sigma`` voxels wide."""
    frequencies = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    gain = np.exp(-2.0 * (np.pi * sigma) ** 2 * sum(f**2 for f in frequencies))
    field = np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape)) * gain).real
    return field / field.std()


def cohort_of(images: list[np.ndarray], labels: list[np.ndarray], structures: tuple[int, ...]) -> Cohort:
    """Two thirds of the images train, the rest validate; all pairs of different images."""
    count = len(images)
    cut = 2 * count // 3
    names = [f"case{i}" for i in range(count)]
    pairs = {
        split: tuple((a, b) for a in part for b in part if a != b)
        for split, part in (("train", names[:cut]), ("val", names[cut:]))
    }
    geometry = Geometry((SIZE, SIZE), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    return Cohort(
        geometry, {n: torch.tensor(i, dtype=torch.float32)[None, None] for n, i in zip(names, images, strict=True)},
        {n: torch.tensor(v, dtype=torch.int16)[None, None] for n, v in zip(names, labels, strict=True)}, pairs,
        structures,
    )


def shifted(seed: int, *, count: int = 18, most: int = 10) -> Cohort:
    """One texture seen through windows up to ``most`` voxels off centre: pairs lie up to twice that apart."""
    rng = np.random.default_rng(seed)
    side = SIZE + 2 * most
    canvas = smooth(rng, (side, side), 5.0) + 0.3 * smooth(rng, (side, side), 2.0)
    figure = (canvas > 0.5).astype(int)
    images, labels = [], []
    for _ in range(count):
        y, x = rng.integers(0, 2 * most + 1, size=2)
        images.append(canvas[y : y + SIZE, x : x + SIZE] + 0.05 * rng.standard_normal((SIZE, SIZE)))
        labels.append(figure[y : y + SIZE, x : x + SIZE])
    return cohort_of(images, labels, (1,))


def deformed(seed: int, *, count: int = 12, noise: float = 0.1) -> Cohort:
    """A disc with a sector and a core, smoothly deformed by some 3 voxels, under white noise."""
    rng = np.random.default_rng(seed)
    yy, xx = np.meshgrid(*[np.arange(SIZE)] * 2, indexing="ij")
    images, labels = [], []
    for _ in range(count):
        y, x = (axis - SIZE / 2 + 3.0 * smooth(rng, (SIZE, SIZE), 8.0) for axis in (yy, xx))
        radius, angle = np.hypot(y, x), np.arctan2(y, x)
        label = np.where(radius < 8, 3, np.where(radius < 18, np.where(np.abs(angle) < 1.2, 2, 1), 0))
        images.append(label / 3 + noise * rng.standard_normal((SIZE, SIZE)))
        labels.append(label)
    return cohort_of(images, labels, (1, 2, 3))


def reach(seed: int, *, steps: int) -> tuple[int, str]:
    """How far the found deformation cells see (voxels of the image), and what they are made of."""
    cohort = shifted(seed)
    start = replace(BASE, seed=seed, genotype=Genotype.uniform("conv1"))
    stage = Stage("deformation architecture", "deformation", "registration", steps, 3e-2, warmup=0.3)
    upper, _, _ = run_stage(
        start, stage, cohort, history=[], seconds=None, keep=lambda state: None, monitor=Monitor(), warm={}, saved=None
    )
    found = UPPERS["deformation"].settle(start, upper).genotype or Genotype()
    quarter, half = found.deformation_quarter, found.deformation_half
    return 4 * sum(REACH[n] for n in quarter) + 2 * sum(REACH[n] for n in half), " ".join((*quarter, *half))


def trained_score(recipe: Recipe, cohort: Cohort, *, steps: int) -> float:
    """Validation score after training from scratch."""
    network = build_network(recipe)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.training.learning_rate)
    average = {n: v.detach().clone() for n, v in network.state_dict().items()}
    for step in range(steps):
        train_step(recipe, cohort, network, optimiser, step=step, progress=step / steps)
        update_average(average, network, step=step + 1, decay=recipe.training.average)
    rows = judge_pairs(recipe, cohort, average)
    return sum(row["score"] for row in rows) / len(rows)


def best_smoothness(seed: int, *, steps: int) -> tuple[float, float, list[float]]:
    """What the lambda stage finds, the best of the grid, and the grid's validation scores."""
    cohort = deformed(seed)
    plain = replace(
        BASE, seed=seed, loss_weights=LossWeights(similarity_mix=1.0, smoothness=1.5, half_scale=0.0, quarter_scale=0.0)
    )
    scores = [
        trained_score(replace(plain, loss_weights=replace(plain.loss_weights, smoothness=s)), cohort, steps=steps)
        for s in GRID
    ]
    stage = replace(Search().stages[2], steps=steps, warm=False)
    upper, _, _ = run_stage(
        plain, stage, cohort, history=[], seconds=None, keep=lambda state: None, monitor=Monitor(), warm={}, saved=None
    )
    found = UPPERS["lambda"].settle(plain, upper).loss_weights.smoothness
    return found, GRID[scores.index(max(scores))], scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reach", "lambda"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        began = time.perf_counter()
        if arguments.what == "reach":
            far, names = reach(seed, steps=arguments.steps)
            print(f"seed {seed}: reach {far} voxels: {names} ({time.perf_counter() - began:.0f} s)", flush=True)
        else:
            found, best, scores = best_smoothness(seed, steps=arguments.steps)
            print(f"seed {seed}: found {found:.3g}, best of the grid {best:g}; scores "
                  f"{[round(s, 4) for s in scores]} ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
