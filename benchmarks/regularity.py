"""Are regularities found back? ``python -m benchmarks.regularity recovery | prediction --work FOLDER``.

Pairs are bull's-eyes of two ellipses, 100 x 100, and what initial velocities of the prior make of them; the noise of
the matching is the paper's, 0.03. ``recovery``: alpha by MAP of velocity and alpha together, by the evidence (the
velocity integrated out), and from the true velocity, which says what there is to know. ``prediction``: the two-stream
network learns the true alpha of sampled pairs, or the joint MAP's, and tells that of others; pairs are then registered
with it.
``--work`` keeps what is done; a second run goes on. Writes tables and pictures to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.descent import RANGE
from AutoRegLib.geodesic.estimate import Estimate, Stopping, estimate
from AutoRegLib.geodesic.evidence import estimate_by_evidence
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
ALPHAS = tuple(sorted({*FIRST, *SECOND}))
UNKNOWN = 99.0  # a deviation that is infinite: the evidence does not curve upwards where it ended
BLOCK = 2  # pairs of each estimated at once
#: the ways of estimating, in the words of the picture
WAYS = {"joint": "MAP of velocity and α", "evidence": "evidence: velocity integrated out",
        "velocity": "from the true velocity"}
JOINT = Stopping(most=150)  # the paper's rules, but for the number
FIXED = Stopping(most=60, change=1e-5, patience=3)


@dataclass(frozen=True)
class Sampled:
    """Pairs. Shape: alphas (B,), images (B, 1, 100, 100), velocity (B, 2, *coordinates)."""

    alphas: Tensor
    moving: Tensor
    fixed: Tensor
    velocity: Tensor

    @property
    def posterior(self) -> Posterior:
        return Posterior(Band(SHAPE), Matching(self.moving, self.fixed))


def sampled(alphas: Sequence[float], count: int, *, seed: int, noise: float = 0.0, first: int = 0) -> Sampled:
    """``count`` pairs of each regularity in turns, of a seed from number ``first`` on, as ``autoreg lddmm sample``."""
    every = torch.tensor(alphas).repeat(count)
    seeds = [seed * 10**6 + first * len(alphas) + number for number in range(len(every))]
    moving = torch.cat([random_bulls_eye(SHAPE, seed=seed, index=number) for number in seeds])
    metric = Metric.of(Band(SHAPE), every)
    velocity = sample_velocities(metric, seeds)
    fixed = torch.cat([warp(image, shoot(start, Metric.of(Band(SHAPE), alpha)).on_grid()) for image, start, alpha in
                       zip(moving.split(1), velocity.split(1), every, strict=True)])
    if noise:
        fixed = fixed + noise * torch.randn(fixed.shape, generator=torch.Generator().manual_seed(seeds[0]))
    return Sampled(every, moving, fixed, velocity)


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


def recover(way: str, first: int, arguments: argparse.Namespace) -> Row:
    """One way of estimating some pairs of every regularity, as lists; seconds of processor time a pair."""
    pairs = sampled(ALPHAS, BLOCK, seed=arguments.seed, noise=arguments.noise, first=first)
    began = time.process_time()
    if way == "joint":
        found = estimate(pairs.posterior, alpha=START, estimate_alpha=True, stopping=JOINT)
        row: Row = {"curve": found.alphas[::EVERY].mT.tolist(), "energy": found.energies[::EVERY].mT.tolist(),
                    "alpha": found.alpha.tolist()}
    elif way == "evidence":
        evidence = estimate_by_evidence(pairs.posterior, alpha=START, rounds=7)
        found = evidence.estimate
        row = {"alpha": evidence.alpha.tolist(), "tried": evidence.alphas.mT.tolist(),
               "deviation": [min(value, UNKNOWN) for value in evidence.deviation.tolist()]}
    else:
        found = estimate(pairs.posterior, alpha=pairs.alphas, stopping=FIXED)
        row = {"alpha": by_velocity(pairs.velocity)}
    seconds = (time.process_time() - began) / len(pairs.alphas)
    return {**row, "true": pairs.alphas.tolist(), "image error": image_error(pairs, found),
            "seconds": [seconds] * len(pairs.alphas)}


def summarised(alpha: float, estimates: Mapping[str, Sequence[float]]) -> Row:
    """Mean, spread and mean absolute error of every way of estimating the pairs of one regularity."""
    result: Row = {"true alpha": alpha, "pairs": len(next(iter(estimates.values())))}
    for name, values in estimates.items():
        result |= {name: fmean(values), f"{name} sd": stdev(values),
                   f"{name} error": fmean(abs(value - alpha) for value in values)}
    return result


def told_deviations(alpha: float, found: Sequence[float], deviations: Sequence[float]) -> Row:
    """How far the evidence's ln alpha is from the truth in the deviations that Laplace's approximation tells."""
    parts = [abs(math.log(one / alpha)) / deviation for one, deviation in zip(found, deviations, strict=True)
             if deviation < UNKNOWN]
    return {"deviations told": len(parts), "deviation": fmean(d for d in deviations if d < UNKNOWN),
            "within two": sum(part <= 2 for part in parts), "rms of errors by deviation": fmean(
                part**2 for part in parts) ** 0.5}


def recovery(arguments: argparse.Namespace) -> None:
    """The table and pictures of the estimates."""
    found: dict[str, Row] = {}
    for first in range(0, arguments.pairs, BLOCK):
        for way in WAYS:
            row = cached(arguments.work, f"recovery-{arguments.noise:g}-{arguments.seed}-{first}-{way}",
                         partial(recover, way, first, arguments), resume=True, names={})
            for key, values in row.items():
                if isinstance(values, list):
                    found.setdefault(way, {}).setdefault(key, []).extend(values)

    def of(alpha: float, way: str, key: str) -> list[Any]:
        row = found[way]
        return [value for value, true in zip(row[key], row["true"], strict=True) if abs(true - alpha) < 1e-6]

    rows = [{**summarised(alpha, {way: of(alpha, way, "alpha") for way in WAYS}),
             **{f"{way} image error": fmean(of(alpha, way, "image error")) for way in WAYS},
             **told_deviations(alpha, of(alpha, "evidence", "alpha"), of(alpha, "evidence", "deviation"))}
            for alpha in ALPHAS]
    seconds = ", ".join(f"{way} {fmean(found[way]['seconds']):.1f} s" for way in ("joint", "evidence"))
    name = "regularity_recovery" + ("_noise" if arguments.noise else "")
    scatter_figure(RESULTS / f"{name}.png", {title: list(zip(found[way]["true"], found[way]["alpha"], strict=True))
                                             for way, title in WAYS.items()})
    if not arguments.noise:
        curves_figure(RESULTS / "regularity_convergence.png", {alpha: {
            "curve": of(alpha, "joint", "curve"), "energy": of(alpha, "joint", "energy"),
            "tried": of(alpha, "evidence", "tried")} for alpha in FIRST})
    save(name, rows, title="Regularities found back from sampled pairs", summary=(
        f"Bull's-eyes 100 x 100, seed {arguments.seed}, noise {arguments.noise:g} on the fixed image, matching with "
        f"sigma 0.03, every start at alpha {START:g}. joint: MAP of velocity and alpha (at most {JOINT.most} "
        "iterations); evidence: the velocity integrated out; velocity: from the true one, the image error of it with "
        "the true alpha. error: mean absolute; image error: mean squared difference after warping; deviation: of ln "
        "alpha by the evidence, how many errors are within two of them, and their root mean square. Processor time of "
        f"a pair: {seconds}."))


def known(arguments: argparse.Namespace, first: int, last: int) -> tuple[KnownPairs, Tensor]:
    """Pairs of all three scales from number ``first`` of each up to ``last``, in turns, with the regularity that is to
    be learnt, the true one or the joint MAP's; and the true ones.
    """
    blocks = [sampled(SECOND, min(BLOCK, last - place), seed=arguments.seed + 1, first=place)
              for place in range(first, last, BLOCK)]
    true = torch.cat([block.alphas for block in blocks])
    taught = true if arguments.teacher == "true" else torch.cat([torch.tensor(cached(
        arguments.work, f"map-{arguments.seed}-{first + BLOCK * number}", partial(jointly, block), resume=True,
        names={})["alpha"]) for number, block in enumerate(blocks)])
    moving, fixed = (torch.cat([getattr(block, role) for block in blocks]) for role in ("moving", "fixed"))
    return KnownPairs(moving, fixed, taught), true


def jointly(pairs: Sampled) -> Row:
    """The MAP of velocity and regularity together; seconds of processor time a pair."""
    began = time.process_time()
    found = estimate(pairs.posterior, alpha=START, estimate_alpha=True, stopping=JOINT)
    return {"alpha": found.alpha.tolist(), "seconds": (time.process_time() - began) / len(pairs.alphas)}


def sizes(channels: int) -> PredictorSettings:
    """The network with so many channels in the first block of an image."""
    return PredictorSettings(streams=tuple(channels * factor for factor in (1, 2, 4, 4)), fusion=(4 * channels,) * 3)


def registered(pairs: KnownPairs, told: Tensor, true: Tensor) -> Row:
    """The image error with the regularity of the teacher, the one that was told, the true one, and two far off."""
    posterior, row = Posterior(Band(SHAPE), Matching(pairs.moving, pairs.fixed)), Row()
    began = time.process_time()
    ways = {"teacher": pairs.regularities, "predicted": told, "true": true, "ten times": 10 * true,
            "a tenth": true / 10}
    for name, alphas in ways.items():
        found = estimate(posterior, alpha=alphas, stopping=FIXED)
        left = warp(pairs.moving, found.geodesic.on_grid()) - pairs.fixed
        row[f"image error, {name}"] = float(left.square().mean())
    return {**row, "registration s": (time.process_time() - began) / len(pairs) / len(ways)}


def prediction(arguments: argparse.Namespace) -> None:
    """The table and picture of the network."""
    first, second = (round(part * arguments.pairs) for part in (0.7, 0.85))
    name = f"{arguments.teacher}-{arguments.seed}"
    folder = arguments.work / f"predictor-{name}"
    if (folder / "predictor.json").is_file():
        predictor = load_predictor(folder)
    else:
        predictor = train_predictor(
            known(arguments, 0, first)[0], known(arguments, first, second)[0], output=folder,
            settings=sizes(arguments.channels), seed=arguments.seed, course=PredictorTraining(epochs=arguments.epochs),
            minutes=arguments.minutes, resume=(folder / "checkpoint.pt").is_file())
    test, true = known(arguments, second, arguments.pairs)
    began = time.process_time()
    told = predict(predictor.network, test)
    seconds = (time.process_time() - began) / len(test)
    rows = []
    for alpha in SECOND:
        own = [place for place in range(len(test)) if float(true[place]) == torch.tensor(alpha)]
        some, answers = own[: arguments.registered], [float(told[place]) for place in own]
        wanted = [float(test.regularities[place]) for place in own]
        errors = cached(arguments.work, f"registered-{name}-{alpha:g}",
                        partial(registered, test.chosen(some), told[some], true[some]), resume=True, names={})
        rows.append({"true alpha": alpha, "pairs": len(own), "teacher": fmean(wanted), "teacher sd": stdev(wanted),
                     "predicted": fmean(answers), "predicted sd": stdev(answers),
                     "error": fmean(abs(one - other) for one, other in zip(answers, wanted, strict=True)),
                     **{key: value for key, value in errors.items() if key != "commit"}, "prediction s": seconds})
    scatter_figure(RESULTS / "regularity_prediction.png", {"two-stream network, held-out pairs": [
        (float(one), float(value)) for one, value in zip(test.regularities, told, strict=True)]},
        across="true α" if arguments.teacher == "true" else "α by MAP of velocity and α")
    facts, size = predictor.facts, sum(values.numel() for values in predictor.network.parameters())
    spread = float((test.regularities - test.regularities.mean()).square().mean())
    save("regularity_prediction", rows, title="Regularities told by the network", summary=(
        f"Learnt from the {arguments.teacher} alpha of {facts['training_pairs']} training pairs; "
        f"{facts['validation_pairs']} validation, {len(test)} test pairs, seed {arguments.seed}; "
        f"{arguments.channels} channels first, {size} parameters, {facts['epochs']} epochs, "
        f"{facts['training_seconds']:.0f} s, best after {facts['best_epoch']}; error: mean absolute against the "
        f"teacher, of whose variance {1 - float((told - test.regularities).square().mean()) / spread:.2f} is told. "
        f"Registered: {arguments.registered} test pairs of each scale. Seconds: processor time."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("recovery", "prediction"))
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done")
    parser.add_argument("--pairs", type=int, default=10, help="of each alpha")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation, added to fixed images")
    parser.add_argument("--teacher", choices=("true", "map"), default="map", help="whose alpha the network learns")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--channels", type=int, default=8, help="of the first block")
    parser.add_argument("--registered", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    {"recovery": recovery, "prediction": prediction}[arguments.part](arguments)


if __name__ == "__main__":
    main()
