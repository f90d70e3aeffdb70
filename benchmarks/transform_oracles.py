"""Whether ANTs moves points as we do: ``python -m benchmarks.transform_oracles --environments DIR``.

Smooth fields of some millimetres on oblique, anisotropic, left-handed and permuted grids, with an affine behind them,
and their inverses on another such grid, written in every format; 10,000 points a grid, anywhere in it. ANTs runs in an
environment of its own. Prints a table of the largest distance in mm, beside SciPy's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from AutoRegLib.imaging.displacement import DisplacementField, affine_of, compose_on
from AutoRegLib.imaging.files import write_composite, write_displacement, write_linear
from AutoRegLib.imaging.geometry import Geometry, apply
from AutoRegLib.registration.inverse import affine_guess, refine_inverse
from benchmarks.environments import environment
from benchmarks.methods import ANTS

COUNT = 10_000
FORMATS = (".nrrd", ".nii.gz", ".mha", ".h5", ".tfm")
CENTRE = np.array((31.0, -47.0, 112.0))


def grid(size: tuple[int, ...], spacing: tuple[float, ...], seed: int, flip: tuple[float, ...]) -> Geometry:
    """An oblique lattice about a place away from the origin; ``flip`` (1, 1, -1) is left-handed."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    matrix[:, 0] *= np.sign(np.linalg.det(matrix))
    matrix = matrix @ np.diag(flip)
    origin = CENTRE - matrix @ (np.array(spacing) * (np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(origin.tolist()), tuple(matrix.ravel().tolist()))


GRIDS = {
    "oblique, 0.9 x 1.4 x 2.8 mm": grid((60, 44, 24), (0.9, 1.4, 2.8), 1, (1, 1, 1)),
    "left-handed, 1.5 x 0.8 x 2.0 mm": grid((40, 64, 28), (1.5, 0.8, 2.0), 2, (1, 1, -1)),
    "mirrored twice, 2.2 x 1.1 x 1.1 mm": grid((26, 50, 52), (2.2, 1.1, 1.1), 3, (-1, 1, -1)),
}


def smooth(geometry: Geometry, seed: int, size: float = 4.0) -> DisplacementField:
    """Waves of some millimetres, each component its own."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij")[::-1], axis=-1)
    points = apply(geometry.index_to_physical, index)
    rng = np.random.default_rng(seed)
    waves = [np.sin(points @ rng.normal(size=(3, 4)) * 0.09 + rng.uniform(0, 6, 4)).mean(axis=-1) for _ in range(3)]
    return DisplacementField((size * np.stack(waves, axis=-1)).astype(np.float32), geometry)


def scipy_moved(field: DisplacementField, points: np.ndarray) -> np.ndarray:
    """Linear interpolation of the field by SciPy."""
    index = apply(field.geometry.physical_to_index, points)[:, ::-1].T
    return points + np.stack([ndimage.map_coordinates(field.vectors[..., i].astype(float), index, order=1)
                              for i in range(3)], axis=1)


def written(folder: Path, name: str, field: DisplacementField, linear: sitk.AffineTransform | None) -> list[str]:
    """The field in every format, and with the affine apart."""
    for suffix in FORMATS:
        write_displacement(field, folder / f"{name}{suffix}")
    if linear is None:
        return [f"{name}{suffix}" for suffix in FORMATS]
    write_composite(field, linear, folder / f"{name}.composite.h5")
    return [f"{name}{suffix}" for suffix in (*FORMATS, ".composite.h5")]


def main() -> None:
    """Write, have ANTs move the points, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=Path, required=True, help="folder of the peers' environments")
    parser.add_argument("--no-install", action="store_true")
    arguments = parser.parse_args()
    python = environment("ants", ANTS, cache=arguments.environments, install=not arguments.no_install)
    names, asked, start, ours, theirs = list(GRIDS), [], {}, {}, {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, (fixed, moving) in enumerate(zip(names, names[1:] + names[:1], strict=True)):
            linear = affine_of(sitk.Euler3DTransform(CENTRE.tolist(), 0.1, -0.15, 0.2, (3.0, -2.0, 4.0)))
            forward = compose_on(GRIDS[fixed], smooth(GRIDS[fixed], number).to_transform(), linear)
            backward = refine_inverse(forward, affine_guess(forward, GRIDS[moving]))
            rng = np.random.default_rng(number)
            for way, field in (("forward", forward), ("inverse", backward)):
                geometry, stem = field.geometry, f"{number}-{way}"
                index = rng.uniform(0, 1, (COUNT, 3)) * (np.array(geometry.size) - 1)
                points = apply(geometry.index_to_physical, index)
                np.save(folder / f"{stem}.npy", points)
                start[stem], ours[stem] = points, field.warp_points(points)
                theirs[stem, "SciPy"] = scipy_moved(field, points)
                asked += [(file, f"{stem}.npy", f"{file}.npy")
                          for file in written(folder, stem, field, linear if way == "forward" else None)]
            write_linear(linear, folder / f"{number}-affine.tfm")
            start[f"{number}-affine"] = points
            ours[f"{number}-affine"] = np.array([linear.TransformPoint(p) for p in points.tolist()])
            asked.append((f"{number}-affine.tfm", f"{number}-inverse.npy", f"{number}-affine.tfm.npy"))
        (folder / "asked.json").write_text(json.dumps(asked))
        subprocess.run([python, Path(__file__).parent / "peers" / "ants_points.py", folder], check=True)
        for file, _, found in asked:
            stem, _, suffix = file.partition(".")
            theirs[stem, f"ANTs, .{suffix}"] = np.load(folder / found)
    print("| grid | way | moved by up to (mm) | largest distance to SciPy (mm) | to ANTs (mm), by format |")
    print("|---|---|---|---|---|")
    for stem, points in ours.items():
        place, way = stem.split("-")
        far = {who: np.linalg.norm(points - found, axis=1).max()
               for (own, who), found in theirs.items() if own == stem}
        scipy = f"{far.pop('SciPy'):.0e}" if "SciPy" in far else ""
        told = ", ".join(f"{who.split(', ')[1]} {value:.1e}" for who, value in far.items())
        moved = np.linalg.norm(points - start[stem], axis=1).max()
        print(f"| {names[int(place)]} | {way} | {moved:.1f} | {scipy} | {told} |")


if __name__ == "__main__":
    main()
