"""What drawn deformations are worth for a segmentation: one and six labelled cases (MultiPropReg, Table 11).

``python -m benchmarks.augmentation --scenario S.json --work DIR`` trains MultiPropReg with and without its KL term,
draws deformations of the labelled cases by each and at random, trains the same small U-Net for equal steps on every
arm, and writes ``augmentation.csv``, ``augmentation_cases.csv`` and ``augmentation.md`` to ``--results``.
``--resume`` keeps what ``--work`` has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from AutoRegLib.bundle import ModelBundle, load_bundle
from AutoRegLib.core.folds import folded
from AutoRegLib.core.records import write_json
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.evaluation.augment import deformed, network_field, root_mean_square, sampler
from AutoRegLib.evaluation.significance import compare
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.learning.data import Dataset, prepare
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegLib.learning.train import train
from AutoRegLib.losses.dice import one_hot, soft_dice
from benchmarks.tables import RESULTS, conditions, markdown, write_tables

ARMS = {"none": "no augmentation", "random": "random smooth fields", "plain": "MultiPropReg without KL",
        "kl": "MultiPropReg"}
LABELLED = (1, 6)
Pairs = list[tuple[Tensor, Tensor]]


class SmallUNet(nn.Module):
    """Two scales, 12 and 24 channels: what one core trains in a minute. Shape: (B, 1, *spatial) to (B, C, *spatial)."""

    def __init__(self, dims: int, classes: int) -> None:
        super().__init__()
        convolution: Any = nn.Conv3d if dims == 3 else nn.Conv2d
        self.pool = nn.AvgPool3d(2) if dims == 3 else nn.AvgPool2d(2)

        norm = nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d

        def block(inputs: int, width: int) -> nn.Module:
            return nn.Sequential(*(layer for n in (inputs, width) for layer in (
                convolution(n, width, 3, padding=1), norm(width), nn.LeakyReLU(0.01))))

        self.fine, self.coarse, self.joined = block(1, 12), block(12, 24), block(36, 12)
        self.head = convolution(12, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        coarse = nn.functional.interpolate(self.coarse(self.pool(fine)), size=fine.shape[2:], mode="nearest")
        return self.head(self.joined(torch.cat((fine, coarse), 1)))  # type: ignore[no-any-return]


def segment(pairs: Pairs, structures: Sequence[int], *, steps: int, seed: int) -> nn.Module:
    """The network trained on these pairs: cross-entropy and soft Dice, two pairs a step."""
    torch.manual_seed(seed)
    network = SmallUNet(pairs[0][0].ndim - 2, len(structures) + 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    chance = Random(f"{seed}/segment")
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps) ** 0.9
        chosen = [pairs[chance.randrange(len(pairs))] for _ in range(2)]
        image, labels = (torch.cat([pair[i] for pair in chosen]) for i in (0, 1))
        wanted = one_hot(labels, tuple(structures))
        target = torch.cat((1 - wanted.sum(1, keepdim=True), wanted), 1)
        answer = network(image)
        shares = answer.softmax(1)
        loss = nn.functional.cross_entropy(answer, target) + 1 - soft_dice(shares[:, 1:], wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


def score(network: nn.Module, dataset: Dataset, names: Sequence[str]) -> dict[str, float]:
    """Case to mean Dice of its structures."""
    found = {}
    with torch.inference_mode():
        for name in names:
            best = network(dataset.images[name]).argmax(1, keepdim=True)
            values = []
            for number, structure in enumerate(dataset.structures, start=1):
                ours, theirs = best == number, dataset.labels[name] == structure
                values.append(2 * float((ours & theirs).sum()) / max(float(ours.sum() + theirs.sum()), 1.0))
            found[name] = fmean(values)
    return found


def make_models(scenario: Scenario, work: Path, *, minutes: float, spacing: float | None) -> dict[str, ModelBundle]:
    """MultiPropReg with its own loss, and the same without KL."""
    recipe = start_recipe(scenario, "quick", network="multiprop", spacing=spacing)
    recipe = replace(recipe, training=replace(recipe.training, timer="processor"))
    recipes = {"kl": recipe, "plain": replace(recipe, loss_weights=replace(recipe.loss_weights, kl=0.0))}
    prepare(scenario, recipe, ("train", "val"))  # alignments, so that both have the same time
    for name, one in recipes.items():
        if not (work / name / "recipe.json").is_file():
            train(one, scenario, output=work / name, minutes=minutes, resume=(work / name / "checkpoint.pt").is_file())
    return {name: load_bundle(work / name) for name in recipes}


def drawn_pairs(
    sample: Callable[[int], Tensor], dataset: Dataset, name: str, numbers: range
) -> tuple[Pairs, list[int]]:
    """Deformed pairs of a case, and the folds of each field."""
    pairs, folds = [], []
    for number in numbers:
        field = sample(number)
        folds.append(int(folded(jacobian_determinant(field)).sum()))
        pairs.append(deformed(dataset, name, field))
    return pairs, folds


def run(
    scenario: Scenario, work: Path, *, minutes: float, spacing: float | None, steps: int, draws: int, seed: int,
    tested: int, resume: bool, labelled_cases: Sequence[int] = LABELLED,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of every arm, and of every test case."""
    models = make_models(scenario, work, minutes=minutes, spacing=spacing)
    dataset = prepare(scenario, models["kl"].recipe, ("train", "test"))
    own = {split: sorted(c.id for c in scenario.split(split) if c.id in dataset.labels) for split in ("train", "test")}
    labelled = Random(f"{seed}/labelled").sample(own["train"], max(labelled_cases))
    names = Random(f"{seed}/tested").sample(own["test"], min(tested, len(own["test"])))
    rows, cases = [], []
    for count in labelled_cases:
        scores: dict[str, dict[str, float]] = {}
        for arm in ARMS:
            kept = work / f"{arm}-{count}.json"
            if resume and kept.is_file():
                known = json.loads(kept.read_text())
            else:
                known = _arm(arm, labelled[:count], dataset, models, names, steps=steps, draws=draws, seed=seed)
                write_json(kept, known)
            scores[arm] = known["scores"]
            mine, plain = ({(n, ""): v for n, v in scores[one].items()} for one in (arm, "none"))
            test = None if arm == "none" else compare(mine, plain)
            values = list(scores[arm].values())
            rows.append({"labelled": count, "arm": ARMS[arm], "dice": fmean(values), "sd": stdev(values),
                         "folds": known["folds"], "draws": known["draws"],
                         **({} if test is None else {
                             "gain": test["difference"], "wilcoxon_p": test.get("wilcoxon_p")})})
            cases += [{"labelled": count, "arm": ARMS[arm], "case": name, "dice": v} for name, v in scores[arm].items()]
    return rows, cases


def _arm(
    arm: str, labelled: Sequence[str], dataset: Dataset, models: dict[str, ModelBundle], names: Sequence[str], *,
    steps: int, draws: int, seed: int,
) -> dict[str, Any]:
    pairs: Pairs = [(dataset.images[name], dataset.labels[name]) for name in labelled]
    folds: list[int] = []
    others = [n for n in sorted(dataset.images) if n not in names]
    # images of the test split stay out of it: they are not deformed towards either
    known = replace(dataset, images={n: dataset.images[n] for n in others})
    for name in labelled if arm != "none" else ():
        model = models["plain" if arm == "plain" else "kl"]
        towards = [n for n in others if n != name]
        some = Random(f"{seed}/size").sample(towards, min(8, len(towards)))
        size = fmean(root_mean_square(network_field(model, dataset.images[name], dataset.images[n])) for n in some)
        sample = sampler(model, known, name, fields="random" if arm == "random" else "features", size=size, seed=seed)
        more, turned = drawn_pairs(sample, dataset, name, range(draws // len(labelled)))
        pairs, folds = pairs + more, folds + turned
    network = segment(pairs, dataset.structures, steps=steps, seed=seed)
    return {"scores": score(network, dataset, names), "folds": sum(folds), "draws": len(folds)}


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each registration training, processor time")
    parser.add_argument("--spacing", type=float, help="of the working grid, mm")
    parser.add_argument("--steps", type=int, default=400, help="of each segmentation training")
    parser.add_argument("--draws", type=int, default=200, help="deformed pairs of each arm")
    parser.add_argument("--tested", type=int, default=40, help="test cases, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(argv)
    given.work.mkdir(parents=True, exist_ok=True)
    rows, cases = run(read_scenario(given.scenario), given.work, minutes=given.minutes, spacing=given.spacing,
                      steps=given.steps, draws=given.draws, seed=given.seed, tested=given.tested, resume=given.resume)
    text = "# Augmentation\n\nDice of a small U-Net on test cases, by what it was trained on; gain and Wilcoxon's p: "
    text += "over the same cases beside no augmentation.\n\n" + markdown(rows) + "\n## Conditions\n\n"
    text += conditions(threads=torch.get_num_threads(), note="", command="python -m benchmarks.augmentation")
    write_tables(given.results, "augmentation_cases", cases, text)
    write_tables(given.results, "augmentation", rows, text)
    return rows


if __name__ == "__main__":
    main()
