"""Training steps of one working tree of this library, in a process of its own: pairs a second, as one JSON line.

``tree`` may be an older version: only what all versions share is used, and images come as a file of tensors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

WARM = 4  # steps that do not count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tree", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", help="recipe.json; without it, what the tree's own Recipe() is")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    sys.path.insert(0, given.tree)
    import AutoRegLib
    from AutoRegLib.core.recipe import Recipe, read_recipe
    from AutoRegLib.learning.data import Dataset
    from AutoRegLib.networks.registry import build_network

    place = "trainee" if find_spec("AutoRegLib.learning.trainee") else "train"  # where trees until 2aa4c1d have them
    steps = import_module(f"AutoRegLib.learning.{place}")
    assert Path(AutoRegLib.__file__).is_relative_to(given.tree)
    with suppress(ImportError):  # as `autoreg` does; the first versions had no such thing
        from AutoRegLib.core.memory import keep_freed_memory

        keep_freed_memory()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    data = torch.load(given.data)
    dataset = Dataset(None, data["images"], data["labels"], data["pairs"], data["structures"])  # type: ignore[arg-type]
    recipe = read_recipe(given.recipe) if given.recipe else Recipe()
    recipe = replace(recipe, training=replace(recipe.training, batch=given.batch))
    network = build_network(recipe)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.training.learning_rate)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    seconds = []
    for step in range(WARM + given.steps):
        began = time.perf_counter()
        steps.train_step(recipe, dataset, network, optimiser, step=step, progress=0.0)
        steps.update_average(average, network, step=step, decay=recipe.training.average)
        seconds.append(time.perf_counter() - began)
    print(json.dumps({
        "seconds": seconds[WARM:], "parameters": sum(p.numel() for p in network.parameters()),
    }))


if __name__ == "__main__":
    main()
