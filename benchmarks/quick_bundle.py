"""A model for timing: half a minute of training on a coarse grid, then delivered for a finer one.

The network is convolutional, so its weights fit any grid; what it finds is not meant to be good.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

from AutoRegLib.bundle import load_bundle, save_bundle
from AutoRegLib.core.recipe import write_recipe
from AutoRegLib.core.scenario import ListedPair, Scenario, read_scenario, write_scenario
from AutoRegLib.learning.start_recipe import start_recipe


def one_pair(scenario: Scenario) -> Scenario:
    """Two training cases, registered one way to train and the other way to validate."""
    first, second = (*scenario.split("train"), *scenario.cases)[:2]
    cases = tuple(dataclasses.replace(case, split="train") for case in (first, second))
    pairs = (ListedPair(first.id, second.id, "train"), ListedPair(second.id, first.id, "val"))
    return dataclasses.replace(scenario, pairing="listed", atlas=None, cases=cases, pairs=pairs)


def make(scenario: Path, output: Path, *, minutes: float, coarse: float, spacing: float) -> None:
    """Train at ``coarse`` mm, deliver a bundle whose working grid has ``spacing`` mm."""
    pair = one_pair(read_scenario(scenario))
    dims = pair.spatial_dims
    recipe = start_recipe(pair, spacing=coarse)
    recipe = dataclasses.replace(recipe, preprocessing=dataclasses.replace(recipe.preprocessing, affine="auto"))
    begun = output.with_name(output.name + "-coarse")
    begun.mkdir(parents=True, exist_ok=True)
    write_recipe(begun / "recipe-to-train.json", recipe)
    write_scenario(begun / "scenario.json", pair)
    subprocess.run(
        [sys.executable, "-m", "AutoRegLib", "train", begun / "recipe-to-train.json", "--scenario",
         begun / "scenario.json", "--output", begun / "model", "--minutes", str(minutes),
         "--overwrite", "--quiet", "--device", "cpu"],
        check=True)
    trained = load_bundle(begun / "model")
    fine = dataclasses.replace(trained.recipe, preprocessing=dataclasses.replace(
        trained.recipe.preprocessing, spacing=(spacing,) * dims))
    save_bundle(output, recipe=fine, state=trained.network.state_dict(), metrics=trained.metrics, history=[],
                provenance={"purpose": "timing only", "trained_at_mm": coarse})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--coarse", type=float, default=4.0, metavar="MM")
    parser.add_argument("--spacing", type=float, default=1.0, metavar="MM")
    given = parser.parse_args()
    make(given.scenario, given.output, minutes=given.minutes, coarse=given.coarse, spacing=given.spacing)


if __name__ == "__main__":
    main()
