"""A folder in which everything is good, so that a test can spoil one thing in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pipeline.scenes import make_scenario

from AutoRegLib.bundle import save_bundle
from AutoRegLib.core.recipe import Network, Preprocessing, Recipe, Training, write_recipe
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.files import write_displacement, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.networks.registry import build_network

GRID = Geometry((16, 16, 16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
RECIPE = Recipe(
    spatial_dims=3, structures={1: "core"}, network=Network(features=(4, 4), decoder=(4, 4, 4)),
    preprocessing=Preprocessing(spacing=(1.0, 1.0, 1.0), affine="none"), training=Training(steps=2),
)


class World:
    """A folder with a good model, a good pair and a good scenario, and one thing in it to be spoiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out"
        rng = np.random.default_rng(0)
        self.image = rng.random(GRID.shape).astype(np.float32)
        for name in ("fixed", "moving"):
            self.write(name, self.image)
        labels = (self.image > 0.5).astype(np.uint8)
        write_volume(Volume(labels, GRID, "labels"), self.path("labels"))
        write_displacement(DisplacementField(np.zeros((*GRID.shape, 3), np.float32), GRID), folder / "t.nrrd")
        self.model = folder / "model"
        save_bundle(self.model, recipe=RECIPE, state=build_network(RECIPE).state_dict(), metrics={}, history=[],
                    provenance={"scenario": "none"})
        self.scenario = make_scenario(folder / "data", (16, 16, 16))
        write_recipe(folder / "recipe.json", RECIPE)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.nii.gz"

    def write(self, name: str, array: np.ndarray, **geometry: Any) -> Path:
        write_volume(Volume(array, replace(GRID, **geometry), "intensity"), self.path(name))
        return self.path(name)

    def raw(self, name: str, array: np.ndarray, *, vector: bool = False) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(self.path(name)))

    def edit_json(self, path: Path, **changes: Any) -> None:
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, **changes}))

    def edit_cases(self, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        data = json.loads(self.scenario.read_text())
        change(data["cases"])
        self.scenario.write_text(json.dumps(data))

    def register(self, *more: str) -> list[str]:
        return ["register", "--model", str(self.model), "--fixed", str(self.path("fixed")), "--moving",
                str(self.path("moving")), "--output", str(self.output), *more]

    def search(self) -> list[str]:
        return ["search", str(self.scenario), "--output", str(self.output), "--minutes", "0.01"]

    def train(self) -> list[str]:
        return ["train", str(self.folder / "recipe.json"), "--scenario", str(self.scenario), "--output",
                str(self.output)]

    def evaluate(self) -> list[str]:
        return ["evaluate", "--model", str(self.model), "--scenario", str(self.scenario), "--output", str(self.output)]

    def apply(self, *more: str) -> list[str]:
        return ["apply", "--transform", str(self.folder / "t.nrrd"), "--reference", str(self.path("fixed")),
                "--input", str(self.path("moving")), "--output", str(self.output / "y.nii.gz"), *more]
