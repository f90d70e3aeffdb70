"""A small scenario of ellipsoids, for trying the benchmarks themselves: its figures say nothing of any method."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from AutoRegLib.core.scenario import Case, Scenario, Split, write_scenario
from AutoRegLib.imaging.files import write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume

SPLITS: tuple[Split, ...] = ("train", "train", "test", "test")
STRUCTURES = {1: "body", 2: "core"}


def case_arrays(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of two nested ellipsoids and its labels, of slightly random shape and place."""
    rng = np.random.default_rng(seed)
    centre = side / 2 + rng.uniform(-side / 24, side / 24, 3)
    radii = side * (np.array([0.34, 0.30, 0.32]) + rng.uniform(-0.03, 0.03, 3))
    grid = np.moveaxis(np.indices((side,) * 3), 0, -1)
    distance = np.sqrt((((grid - centre) / radii) ** 2).sum(-1))
    labels = (distance < 1).astype(np.uint8) + (distance < 0.5)
    texture = np.cos(grid @ np.array([0.7, 0.5, 0.6]))
    return (60 * labels + 10 * (labels > 0) * texture + rng.normal(0, 1, labels.shape)).astype(np.float32), labels


def write_phantom(folder: Path, *, side: int = 32, splits: Sequence[Split] = SPLITS) -> Path:
    """A case of two structures at 1 mm for each of ``splits``; returns the scenario's file."""
    folder.mkdir(parents=True, exist_ok=True)
    geometry = Geometry((side,) * 3, (1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel().tolist()))
    cases = []
    for index, split in enumerate(splits):
        image, labels = case_arrays(side, index)
        names = (f"image{index}.nii.gz", f"labels{index}.nii.gz")
        write_volume(Volume(image, geometry, "intensity"), folder / names[0])
        write_volume(Volume(labels, geometry, "labels"), folder / names[1])
        cases.append(Case(id=f"case{index}", image=names[0], labels=names[1], subject=f"case{index}", split=split))
    write_scenario(folder / "scenario.json", Scenario("phantom", 3, "all", tuple(cases), structures=STRUCTURES))
    return folder / "scenario.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--side", type=int, default=32, help="voxels")
    given = parser.parse_args()
    write_phantom(given.output, side=given.side)


if __name__ == "__main__":
    main()
