"""Two registered images of one place as one: means of what is coarse, the stronger of what is fine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.bridge import to_tensor
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.records import make_folder, write_json
from AutoRegLib.core.result_set import together
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.imaging.files import read_transform, read_volume, write_volume
from AutoRegLib.imaging.volume import Volume, resample

BASE, ENERGY = 4.0, 1.5  # voxels: of the Gaussians that part coarse from fine, and that gather the fine part's energy


def fuse_images(fixed: Tensor, moving: Tensor) -> Tensor:
    """Each image, scaled to 0..1 between its 1st and 99th percentile, is split by a Gaussian of :data:`BASE` voxels.

    Coarse: the mean of both. Fine: ``(e_f d_f + e_m d_m) / (e_f + e_m)``, where e is the square of the fine part d
    under a Gaussian of :data:`ENERGY` voxels: where one image has structure, that structure stays at full contrast.
    Two equal images give themselves. Shape: (1, 1, *spatial) twice, as the result.
    Reference: docs/method.md, section 2.2.
    """
    parts = []
    for image in (fixed, moving):
        scaled = scale(image)
        base = gaussian(scaled, BASE)
        detail = scaled - base
        parts.append((base, detail, gaussian(detail.square(), ENERGY) + 1e-8))
    (base_f, detail_f, energy_f), (base_m, detail_m, energy_m) = parts
    return 0.5 * (base_f + base_m) + (energy_f * detail_f + energy_m * detail_m) / (energy_f + energy_m)


def scale(image: Tensor) -> Tensor:
    """Intensities from 0 to 1 between the 1st and the 99th percentile, not cut off. Shape: as it is."""
    low, high = np.percentile(image.numpy(), (1, 99))
    return (image.float() - float(low)) / max(float(high - low), 1e-9)


def fuse(
    fixed: str | Path, moving: str | Path, *, output: str | Path, transform: str | Path | None = None,
) -> dict[str, Any]:
    """Write ``fused.nii.gz`` on the fixed grid, ``fused_before.nii.gz`` (without the transform) and ``fused.png``.

    ``transform``: fixed to moving points, as ``register`` writes it; None: the images lie on one another.
    Raises InputError, DiskError.
    """
    output = make_folder(output)
    still, other = (read_volume(path, "intensity") for path in (fixed, moving))
    chain = None if transform is None else read_transform(transform)
    before, after = (resample(other, still.geometry, t, outside=None) for t in (None, chain))
    with torch.inference_mode():
        arrays = {name: fuse_images(to_tensor(still), to_tensor(moved))[0, 0].numpy()
                  for name, moved in (("fused", after), ("fused_before", before))}
    results = {name: Volume(array, still.geometry, "intensity") for name, array in arrays.items()}
    report: dict[str, Any] = {"output": str(output), "fused": str(output / "fused.nii.gz"), "rule":
                              f"mean below {BASE:g} voxels, above by local energy ({ENERGY:g} voxels)", "warnings": []}
    with together(output, last="fusion.json") as stage:

        def draw() -> None:
            from AutoRegLib.registration.fuse_figure import fusion_figure

            fusion_figure(stage / "fused.png", still, after, results["fused_before"], results["fused"])

        for name, volume in results.items():
            write_volume(volume, stage / f"{name}.nii.gz")
        if problem := attempted(draw, "picture"):
            report["warnings"].append(problem)
        write_json(stage / "fusion.json", report)
    return report
