"""Good files of every format that is read, to be damaged: what they are called, and who reads them."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from trust.test_readers import READERS, SEEDS

from AutoRegLib.core.bundle_folder import read_bundle
from AutoRegLib.core.recipe import Recipe, write_recipe
from AutoRegLib.imaging.files import read_points, read_transform, read_volume, write_points


@dataclass(frozen=True)
class Target:
    """A reader that takes a file, the name the file has, and good contents.

    ``lines``: it has lines of text. ``beside``: files that lie beside it, by name.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: tuple[bytes, ...]
    lines: bool
    beside: dict[str, bytes] = field(default_factory=dict)


def targets() -> dict[str, Target]:
    """By a short name: images, transforms, points, JSON, tables, archives."""
    sitk.ProcessObject.SetGlobalDefaultThreader("Platform")  # a pool of threads does not outlive a fork
    with tempfile.TemporaryDirectory() as folder:
        found = [*_images(Path(folder)), *_transforms(Path(folder)), *_points(Path(folder)), *_texts(Path(folder)),
                 _archive(Path(folder))]
    return {target.name: target for target in found}


def _images(folder: Path) -> list[Target]:
    rng = np.random.default_rng(0)
    array = rng.random((4, 5, 6)) * 1000
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing((1, 1.5, 2))
    image.SetOrigin((3, -4, 5))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    vectors = sitk.GetImageFromArray(rng.random((4, 5, 6, 3)).astype(np.float32), isVector=True)
    flat = sitk.GetImageFromArray((array[0] / 4).astype(np.uint8))
    found = []
    for suffix in (".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz", ".hdr"):
        kinds = [image, sitk.Cast(image, sitk.sitkFloat32), sitk.Cast(image, sitk.sitkUInt8)]
        kinds += [vectors] if suffix != ".hdr" else []
        seeds, beside = [], {}
        for number, (kind, compressed) in enumerate((k, c) for k in kinds for c in (False, True)):
            name = "x" if suffix == ".hdr" else f"x{number}"  # the voxels of these lie by their own name
            seeds.append(_written(folder / f"{name}{suffix}", lambda p, k=kind, c=compressed: sitk.WriteImage(k, p, c)))
            beside |= {f.name: f.read_bytes() for f in folder.glob(f"{name}.*") if f.suffix != suffix}
            for file in folder.iterdir():
                file.unlink()
        found.append(Target(f"x{suffix}", lambda p: read_volume(p, "intensity"), tuple(seeds),
                            suffix in (".nrrd", ".nhdr", ".mha", ".mhd"),
                            beside if suffix in (".nhdr", ".mhd", ".hdr") else {}))
    for suffix in (".png", ".jpg", ".tif"):
        seed = _written(folder / f"s{suffix}", lambda p: sitk.WriteImage(flat, p))
        found.append(Target(f"x{suffix}", lambda p: read_volume(p, "intensity"), (seed,), False))
    return found


def _transforms(folder: Path) -> list[Target]:
    rng = np.random.default_rng(1)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.1, 0.1, 0.0, 0.0, 0.9, 0.2, 0.1, 0.0, 1.2))
    spline = sitk.BSplineTransformInitializer(sitk.Image(20, 20, 20, sitk.sitkFloat32), [2, 2, 2])
    field = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(rng.random((4, 5, 6, 3)), isVector=True))
    plain = [affine, sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)), spline, field]
    found = []
    for suffix, kinds in ((".tfm", [*plain, sitk.CompositeTransform([affine, plain[1]])]), (".mat", plain)):
        seeds = [_written(folder / f"t{suffix}", lambda p, t=t: sitk.WriteTransform(t, p)) for t in kinds]
        found.append(Target(f"t{suffix}", read_transform, tuple(seeds), suffix == ".tfm"))
    return found


def _points(folder: Path) -> list[Target]:
    points = np.random.default_rng(2).random((3, 3)) * 100
    return [Target(f"p{suffix}", read_points, (
        _written(folder / f"p{suffix}", lambda p: write_points(("a", "b", "c"), points, p)),), True)
        for suffix in (".csv", ".fcsv", ".mrk.json")]


def _texts(folder: Path) -> list[Target]:
    write_recipe(folder / "recipe.json", Recipe())
    recipe = (folder / "recipe.json").read_bytes()
    others = {"pairs.csv": b"name,fixed,moving\na,f.nii,m.nii\nb,f.nii,m.nii\n",
              "structures.tsv": b"index\tname\n1\tleft\n2\tright\n", "recipe.json": recipe}
    found = []
    for name, read in READERS.items():
        if name.startswith("p."):
            continue
        seed = others.get(name) or json.dumps(SEEDS.get(name, {})).encode() + b"\n"
        if name == "weights.safetensors":
            seed = len(seed).to_bytes(8, "little") + seed + bytes(4)
        found.append(Target(name, lambda p, read=read: read(p.parent), (seed,), True))
    return found


def _archive(folder: Path) -> Target:
    from AutoRegLib.core.bundle_folder import FILES, import_archive

    path = folder / "m.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in FILES:
            packed.writestr(name, "{}")
    return Target("m.zip", lambda p: import_archive(p, read_bundle), (path.read_bytes(),), False)


def _written(path: Path, write: Callable[[str], Any]) -> bytes:
    write(str(path))
    return path.read_bytes()
