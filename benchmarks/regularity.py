"""Are regularities found back? ``python -m benchmarks.regularity recovery | prediction --work FOLDER``.

Pairs are bull's-eyes of two ellipses, 100 x 100, and what initial velocities of the prior make of them; the noise of
the matching is the paper's, 0.03. ``recovery``: alpha by MAP of velocity and alpha together, by the evidence (the
velocity integrated out), and from the true velocity, which says what there is to know. ``prediction``: the two-stream
network learns the true alpha of sampled pairs and tells that of others; pairs are then registered with it.
``--work`` keeps what is done; a second run goes on. Writes tables and pictures to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.descent import RANGE
from AutoRegLib.geodesic.estimate import Estimate, Stopping, estimate
from AutoRegLib.geodesic.evidence import Evidence, estimate_by_evidence
from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.geodesic.predictor import PredictorSettings, load_predictor
from AutoRegLib.geodesic.sampling import random_bulls_eye, sample_velocities
from AutoRegLib.geodesic.shooting import shoot
from AutoRegLib.learning.predictor_training import KnownPairs, PredictorTraining, predict, train_predictor
from benchmarks.regularity_figures import EVERY, curves_figure, scatter_figure
from benchmarks.tables import RESULTS, Row, cached, save

SHAPE = (100, 100)
FIRST, SECOND = (3.0, 6.0, 11.0), (0.1, 1.0, 10.0)
START = 2.0
BLOCK = 4  # pairs estimated at once
JOINT = Stopping(most=150)  # the paper's rules, but for the number
FIXED = Stopping(most=60, change=1e-5, patience=3)


@dataclass(frozen=True)
class Sampled:
    """Pairs of one regularity. Shape: images (B, 1, 100, 100), velocity (B, 2, *coordinates)."""

    alpha: float
    moving: Tensor
    fixed: Tensor
    velocity: Tensor

    def posterior(self, rows: slice = slice(None)) -> Posterior:
        return Posterior(Band(SHAPE), Matching(self.moving[rows], self.fixed[rows]))


def sampled(alpha: float, count: int, *, seed: int, noise: float = 0.0, first: int = 0) -> Sampled:
    """Pairs of a seed from number ``first`` on, as ``autoreg lddmm sample`` makes them."""
    metric = Metric.of(Band(SHAPE), alpha)
    seeds = [seed * 10**9 + round(100 * alpha) * 10**5 + number for number in range(first, first + count)]
    velocity = sample_velocities(metric, seeds)
    moving = torch.cat([random_bulls_eye(SHAPE, seed=seed, index=number) for number in seeds])
    fixed = torch.cat([warp(image, shoot(start, metric).on_grid())
                       for image, start in zip(moving.split(1), velocity.split(1), strict=True)])
    if noise:
        fixed = fixed + noise * torch.randn(fixed.shape, generator=torch.Generator().manual_seed(seeds[0]))
    return Sampled(alpha, moving, fixed, velocity)


def by_velocity(velocity: Tensor) -> list[float]:
    """The most probable alpha of each known velocity: the root of the prior's slope, by halving an interval."""
    band, batch = Band(SHAPE), len(velocity)
    low, high = (torch.full((batch,), end).log() for end in RANGE)
    for _ in range(40):
        middle = (low + high) / 2
        falling = Metric.of(band, middle.exp()).prior_slope(velocity) < 0
        low, high = torch.where(falling, middle, low), torch.where(falling, high, middle)
    return [float(value) for value in low.exp()]


def image_error(pairs: Sampled, found: Estimate) -> list[float]:
    """The mean squared difference of warped and fixed image, pair by pair."""
    left = warp(pairs.moving, found.geodesic.on_grid()) - pairs.fixed
    return [float(value) for value in left.square().mean((1, 2, 3))]


def recover(alpha: float, first: int, arguments: argparse.Namespace) -> Row:
    """All estimates of some pairs of one regularity, as lists; seconds of processor time a pair."""
    pairs = sampled(alpha, BLOCK, seed=arguments.seed, noise=arguments.noise, first=first)
    began = time.process_time()
    joint = estimate(pairs.posterior(), alpha=START, estimate_alpha=True, stopping=JOINT)
    between = time.process_time()
    found: Evidence = estimate_by_evidence(pairs.posterior(), alpha=START, rounds=6)
    ended = time.process_time()
    true = estimate(pairs.posterior(), alpha=alpha, stopping=FIXED)
    return {
        "joint": joint.alpha.tolist(), "evidence": found.alpha.tolist(), "velocity": by_velocity(pairs.velocity),
        "deviation": [min(value, 99.0) for value in found.deviation.tolist()],
        "joint_seconds": [(between - began) / BLOCK] * BLOCK,
        "evidence_seconds": [(ended - between) / BLOCK] * BLOCK,
        "joint_error": image_error(pairs, joint), "evidence_error": image_error(pairs, found.estimate),
        "true_error": image_error(pairs, true),
        "curve": joint.alphas[::EVERY].mT.tolist(), "energy": joint.energies[::EVERY].mT.tolist(),
        "tried": found.alphas.mT.tolist(),
    }


def summarised(alpha: float, row: Row, names: Sequence[str]) -> Row:
    """Mean and spread of every estimate, and of the error of its logarithm."""
    result: Row = {"true alpha": alpha, "pairs": len(row[names[0]])}
    for name in names:
        values = row[name]
        result |= {f"{name}": fmean(values), f"{name} sd": stdev(values),
                   f"{name} error": fmean(abs(value - alpha) for value in values)}
    return result


def recovery(arguments: argparse.Namespace) -> None:
    """The table and pictures of the estimates."""
    found: dict[float, Row] = {}
    for alpha in sorted({*FIRST, *SECOND}):
        blocks = [cached(arguments.work, f"recovery-{alpha:g}-{arguments.noise:g}-{arguments.seed}-{first}",
                         partial(recover, alpha, first, arguments), resume=True, names={"true": alpha})
                  for first in range(0, arguments.pairs, BLOCK)]
        found[alpha] = {key: [value for block in blocks for value in block[key]] for key in blocks[0]
                        if isinstance(blocks[0][key], list)}
    rows = [{**summarised(alpha, row, ("joint", "evidence", "velocity")),
             **{f"{name} image error": fmean(row[f"{name}_error"]) for name in ("joint", "evidence", "true")},
             **{f"{name} s": fmean(row[f"{name}_seconds"]) for name in ("joint", "evidence")}}
            for alpha, row in found.items()]
    name = "regularity_recovery" + ("_noise" if arguments.noise else "")
    scatter_figure(RESULTS / f"{name}.png", {
        title: [(alpha, value) for alpha, row in found.items() for value in row[key]]
        for key, title in (("joint", "MAP of velocity and α"), ("evidence", "evidence: velocity integrated out"),
                           ("velocity", "from the true velocity"))})
    if not arguments.noise:
        curves_figure(RESULTS / "regularity_convergence.png", {alpha: found[alpha] for alpha in FIRST})
    save(name, rows, title="Regularities found back from sampled pairs", summary=(
        f"Bull's-eyes 100 x 100, {arguments.pairs} pairs per alpha, seed {arguments.seed}, noise {arguments.noise:g} "
        f"on the fixed image, matching with sigma 0.03, every start at alpha {START:g}. joint: MAP of velocity and "
        "alpha (150 iterations at most); evidence: the velocity integrated out; velocity: from the true one. error: "
        "mean absolute. image error: mean squared difference after warping; true: registered with the true alpha. "
        "Seconds: processor time of a pair."))


def known(seed: int, count: int) -> KnownPairs:
    """Pairs of all three scales, as many of each, in turns."""
    groups = [sampled(alpha, count, seed=seed + 1) for alpha in SECOND]
    return KnownPairs(
        torch.stack([group.moving for group in groups], 1).flatten(0, 1),
        torch.stack([group.fixed for group in groups], 1).flatten(0, 1), torch.tensor(SECOND).repeat(count))


def prediction(arguments: argparse.Namespace) -> None:
    """The table and picture of the network."""
    pairs = known(arguments.seed, arguments.pairs)
    first, second = (3 * round(part * arguments.pairs) for part in (0.7, 0.85))  # as many of each scale everywhere
    training, validation, test = (pairs.chosen(range(*ends)) for ends in
                                  ((0, first), (first, second), (second, len(pairs))))
    folder = arguments.work / f"predictor-{arguments.seed}"
    if (folder / "predictor.json").is_file():
        predictor = load_predictor(folder)
    else:
        predictor = train_predictor(
            training, validation, output=folder, settings=PredictorSettings(), seed=arguments.seed,
            course=PredictorTraining(epochs=arguments.epochs), minutes=arguments.minutes,
            resume=(folder / "checkpoint.pt").is_file())
    began = time.process_time()
    told = predict(predictor.network, test)
    seconds = (time.process_time() - began) / len(test)
    rows = []
    for alpha in SECOND:
        own = [place for place in range(len(test)) if float(test.regularities[place]) == torch.tensor(alpha)]
        values = [float(told[place]) for place in own]
        some = test.chosen(own[: arguments.registered])
        posterior = Posterior(Band(SHAPE), Matching(some.moving, some.fixed))
        errors = {}
        for name, regularity in (("true", some.regularities), ("predicted", told[own[: arguments.registered]]),
                                 ("ten times", 10 * some.regularities), ("tenth", some.regularities / 10)):
            began = time.process_time()
            found = estimate(posterior, alpha=regularity, stopping=FIXED)
            spent = (time.process_time() - began) / len(some)
            left = warp(some.moving, found.geodesic.on_grid()) - some.fixed
            errors[f"image error, {name}"] = float(left.square().mean())
        rows.append({**summarised(alpha, {"predicted": values}, ("predicted",)), **errors, "registration s": spent,
                     "prediction s": seconds})
    scatter_figure(RESULTS / "regularity_prediction.png", {"two-stream network, held-out pairs": [
        (float(true), float(value)) for true, value in zip(test.regularities, told, strict=True)]})
    facts = predictor.facts
    save("regularity_prediction", rows, title="Regularities told by the network", summary=(
        f"{len(training)} training, {len(validation)} validation, {len(test)} test pairs, seed {arguments.seed}; "
        f"{facts['epochs']} epochs, {facts['seconds']:.0f} s, best after {facts['best_epoch']}; error: mean absolute, "
        f"on test pairs. Registered: {arguments.registered} test pairs of each scale. Seconds: processor time."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("recovery", "prediction"))
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done")
    parser.add_argument("--pairs", type=int, default=10, help="of each alpha")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation, added to fixed images")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--registered", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    {"recovery": recovery, "prediction": prediction}[arguments.part](arguments)


if __name__ == "__main__":
    main()
