"""Where randomness enters, and what must be known to repeat a result."""

from __future__ import annotations

import platform
import random
import time
from importlib.metadata import version
from typing import Any

import numpy
import torch

import AutoRegLib
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import digest, to_plain
from AutoRegLib.core.scenario import Scenario


def generator(seed: int, stream: str, step: int) -> random.Random:
    """The random numbers of one step: a pure function of its arguments, so a resumed run draws the same."""
    return random.Random(f"{seed}/{stream}/{step}")


def identity(recipe: Recipe, scenario: Scenario, device: str) -> str:
    """A hash of everything that decides the numbers of a run besides the software."""
    cases = [to_plain(case) for case in scenario.cases]
    for case in cases:
        for key in ("image", "labels", "mask", "landmarks"):
            if key in case:  # the same data in another folder is the same run
                case[key] = case[key].replace("\\", "/").rsplit("/", 1)[-1]
    return digest({"recipe": to_plain(recipe), "scenario": scenario.name, "cases": cases, "device": device})


def provenance(recipe: Recipe, scenario: Scenario, device: str, **more: Any) -> dict[str, Any]:
    """Versions, machine, seed and data behind a result."""
    return {
        "autoreg": AutoRegLib.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "simpleitk": version("SimpleITK"),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": torch.get_num_threads(),
        "seed": recipe.seed,
        "scenario": scenario.name,
        "cases": {split: sum(c.split == split for c in scenario.cases) for split in ("train", "val", "test")},
        "identity": identity(recipe, scenario, device),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **more,
    }
