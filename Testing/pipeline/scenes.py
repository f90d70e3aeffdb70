"""Small made-up scenarios: smooth blobs that differ by known smooth deformations, with labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.files import write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume


def blob(shape: tuple[int, ...], seed: int, *, size: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """An image of two nested shapes with texture, randomly deformed, and its labels."""
    made = torch.Generator().manual_seed(seed)
    axes = [torch.linspace(-1, 1, n) for n in shape]
    radius = sum((a**2 for a in torch.meshgrid(*axes, indexing="ij")), torch.zeros(shape)).sqrt()
    labels = (radius < 0.65).float() + (radius < 0.35).float()
    texture = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    image = labels[None, None] / 2 + 0.2 * smooth(texture)
    coarse = torch.randn(1, len(shape), *[5] * len(shape), generator=made) * size
    velocity = torch.nn.functional.interpolate(coarse, size=shape, mode={2: "bilinear", 3: "trilinear"}[len(shape)])
    displacement = exponentiate(velocity)
    return warp(image, displacement)[0, 0].numpy(), warp(labels[None, None], displacement, mode="nearest")[0, 0].numpy()


def smooth(image: torch.Tensor) -> torch.Tensor:
    pool = torch.nn.functional.avg_pool2d if image.dim() == 4 else torch.nn.functional.avg_pool3d
    return pool(image, 3, 1, 1)


def make_scenario(folder: Path, shape: tuple[int, ...] = (24, 28), *, labels: bool = True) -> Path:
    """Eight subjects (4 train, 2 val, 2 test) as NIfTI files with a scenario.json; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    geometry = Geometry(shape[::-1], (1.0,) * len(shape), (0.0,) * len(shape), tuple(np.eye(len(shape)).ravel()))
    for number, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        image, label = blob(shape, number + 1)
        write_volume(Volume(image, geometry, "intensity"), folder / f"s{number}.nii.gz")
        case = {"id": f"s{number}", "image": f"s{number}.nii.gz", "subject": f"p{number}", "split": split}
        if labels:
            write_volume(Volume(label.astype(np.uint8), geometry, "labels"), folder / f"s{number}_labels.nii.gz")
            case["labels"] = f"s{number}_labels.nii.gz"
        cases.append(case)
    scenario = {
        "schema": "autoreg-scenario/1", "name": "blobs", "spatial_dims": len(shape), "pairing": "all",
        "structures": {"1": "shell", "2": "core"} if labels else {}, "cases": cases,
    }
    path = folder / "scenario.json"
    path.write_text(json.dumps(scenario), encoding="utf-8")
    return path
