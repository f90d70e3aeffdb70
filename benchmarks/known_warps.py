"""Known warps put on the images of a folder, in every pair of contrasts, and found back; real pairs with labels too.

``python -m benchmarks.known_warps --contrasts DIR`` takes the co-registered images of one person (files named after
their contrast; one named ``*tumour*``, ``*label*`` or ``*seg*`` holds labels), ``--images FILE ...`` single ones
(``--labels FILE ...``: theirs, in the same order; the two atlases of the package MultiPropReg for instance), ``--ct
FILE`` a CT that is also padded with -3024, ``--paired DIR`` a folder with fixed_images, moving_images, fixed_labels,
moving_labels (channel 0 of the labels counts), ``--scenario S.json`` listed pairs with labels. The
warp has two bands of smooth noise, 4 mm on average in tissue, no folds; the fixed image is the warped one, so the
truth is known at each of its voxels. ``--methods`` adds peers of ``benchmarks.methods`` with an environment.
Times are processor seconds of this process, measuring left out; of a peer those that it measures itself.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, zip_longest
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.displacement import DisplacementField, compose_on, jacobian_determinant
from AutoRegLib.imaging.files import read_displacement, read_volume, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.tetrahedra import orientation
from AutoRegLib.imaging.volume import Kind, Volume, image_to_array, resample
from AutoRegLib.registration import metrics
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes
from benchmarks.environments import environment
from benchmarks.measure import ROOT, run_process
from benchmarks.methods import METHODS
from benchmarks.tables import Row, cached, save

_BANDS = ((0.7, 24.0), (0.3, 8.0))  # share, and standard deviation of the smoothing. Unit: mm
_MEAN = 4.0  # mm
_LEAST_DETERMINANT = 0.15
_CT_PADDING = -3024.0


@dataclass(frozen=True, eq=False)
class Case:
    """Two images, and what is known of them: the true pull-back where it is, labels of both where they are."""

    name: str
    fixed: Volume
    moving: Volume
    truth: DisplacementField | None = None
    tissue: np.ndarray | None = None  # of the fixed image: where the error counts
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None


def random_warp(geometry: Geometry, tissue: np.ndarray, *, seed: int, mean: float = _MEAN) -> DisplacementField:
    """Smooth noise in two bands, ``mean`` mm on average in the tissue; where it is too rough the finer band gives way.

    Few slices (under 8) are moved in their plane alone, all alike. Unit: mm LPS. Shape: tissue as the geometry's.
    """
    random = np.random.default_rng(seed)
    flat = geometry.dims == 3 and geometry.size[2] < 8
    bands = []
    for _share, sigma in _BANDS:
        noise = random.standard_normal((geometry.dims, *geometry.shape))
        for axis, (size, step) in enumerate(zip(geometry.shape, geometry.spacing[::-1], strict=True)):
            frequencies = np.fft.fftfreq(2 * size, step)
            gain = np.exp(-2 * (np.pi * sigma * frequencies) ** 2)
            gain = (frequencies == 0).astype(float) if flat and axis == 0 else gain
            spectrum = np.fft.fft(noise, 2 * size, axis + 1)
            shape = [-1 if place == axis else 1 for place in range(geometry.dims)]
            noise = np.fft.ifft(spectrum * gain.reshape(shape), axis=axis + 1).real.take(range(size), axis + 1)
        if flat:
            noise[2] = 0
        vectors = np.moveaxis(noise, 0, -1)
        bands.append(vectors / np.linalg.norm(vectors[tissue], axis=-1).mean())
    fine = 1.0
    while True:
        vectors = _BANDS[0][0] * bands[0] + fine * _BANDS[1][0] * bands[1]
        vectors *= mean / np.linalg.norm(vectors[tissue], axis=-1).mean()
        field = DisplacementField(vectors @ geometry.direction_matrix.T, geometry)
        if jacobian_determinant(field).array.min() > _LEAST_DETERMINANT:
            return field
        if fine < 0.01:
            mean *= 0.8
        fine *= 0.7


def warped_case(
    name: str, image: Volume, moving: Volume, *, seed: int, labels: Volume | None = None, air: float | None = None,
    mean: float = _MEAN,
) -> Case:
    """``image`` warped becomes the fixed image, ``moving`` (co-registered with it, perhaps itself) stays as it is."""
    air = float(image.array.min()) if air is None else air
    tissue = image.array > air
    truth = random_warp(image.geometry, tissue, seed=seed, mean=mean)
    transform = truth.to_transform()
    fixed = resample(image, image.geometry, transform, outside=air)
    counted = resample(Volume(tissue.astype(np.uint8), image.geometry, "labels"), image.geometry, transform).array > 0
    carried = None if labels is None else resample(labels, image.geometry, transform)
    return Case(name, fixed, moving, truth, counted, carried, labels)


def read(path: Path | str, kind: Kind, spacing: float | None) -> Volume:
    """A volume, on coarser voxels where a spacing (mm) is given."""
    volume = read_volume(path, kind)
    if spacing is None:
        return volume
    own = volume.geometry
    size = tuple(max(1, round(n * s / spacing)) for n, s in zip(own.size, own.spacing, strict=True))
    return resample(volume, Geometry(size, (spacing,) * own.dims, own.origin, own.direction), outside=None,
                    antialias=True)


def cases(given: argparse.Namespace) -> Iterator[Case]:
    """All that was asked for, one after the other."""
    if given.contrasts:
        yield from contrast_cases(given.contrasts, seed=given.seed, spacing=given.spacing, only=given.only)
    for path, own in zip_longest(given.images, given.labels):
        image = read(path, "intensity", given.spacing)
        name = path.name.split(".")[0]
        carried = None if own is None else read(own, "labels", given.spacing)
        yield warped_case(name, image, image, seed=given.seed, labels=carried)
        yield warped_case(f"{name}-inverted", image, recoloured(image, lambda values: 1 - values), seed=given.seed)
        yield warped_case(f"{name}-folded", image, recoloured(image, lambda values: 4 * (values - 0.5) ** 2),
                          seed=given.seed)
    if given.ct:
        yield from ct_cases(read_volume(given.ct, "intensity"), seed=given.seed)
    if given.paired:
        yield from paired_cases(given.paired, limit=given.limit)
    if given.scenario:
        scenario = read_scenario(given.scenario)
        pairs = [pair for split in ("train", "val", "test") for pair in scenario.pairs_of(split)]  # type: ignore[arg-type]
        for pair in pairs[: given.limit]:
            fixed, moving = (read_volume(case.image, "intensity") for case in (pair.fixed, pair.moving))
            labels = [read_volume(str(case.labels), "labels") for case in (pair.fixed, pair.moving)]
            yield Case(f"{scenario.name}: {pair.fixed.id} {pair.moving.id}", fixed, moving, None, None, *labels)


def contrast_cases(
    folder: Path, *, seed: int, spacing: float | None, only: Sequence[str] = (),
) -> Iterator[Case]:
    """Every contrast onto every other and itself, the first one inverted, and its three middle slices."""
    labels, images = None, {}
    for path in sorted(folder.glob("*.nii*")):
        if any(word in path.name for word in ("tumour", "tumor", "label", "seg")):
            labels = read(path, "labels", spacing)
            labels = replace(labels, array=(labels.array > 0).astype(np.uint8))
        else:
            images[path.name.split(".")[0]] = read(path, "intensity", spacing)
    for (first, image), (second, moving) in combinations_with_replacement(reversed(images.items()), 2):
        if not only or any(word in f"{first}-{second}" for word in only):  # a warp takes seconds to make
            yield warped_case(f"{first}-{second}", image, moving, seed=seed, labels=labels)
    name, image = images.popitem() if "t1" not in images else ("t1", images["t1"])
    negative = recoloured(image, lambda values: 1 - values)
    yield warped_case(f"{name}-inverted", image, negative, seed=seed, labels=labels)
    middle = image.geometry.size[2] // 2
    slices = sitk.GetImageFromArray(image.array[middle - 1 : middle + 2].astype(np.float32))
    thin = Geometry(slices.GetSize(), (*image.geometry.spacing[:2], 5.0), (0.0, 0.0, 0.0), slices.GetDirection())
    stack = Volume(image_to_array(slices), thin, "intensity")
    yield warped_case(f"{name}, three slices", stack, stack, seed=seed)


def recoloured(image: Volume, curve: Callable[[np.ndarray], np.ndarray]) -> Volume:
    """Another contrast of the same anatomy: brightness in the tissue, from 0 to 1, through a curve; the rest stays."""
    least, tissue = float(image.array.min()), image.array > image.array.min()
    size = float(np.percentile(image.array[tissue], 99.5)) - least
    values = curve(((image.array - least) / size).clip(0, 1))
    return replace(image, array=np.where(tissue, least + size * values, least).astype(np.float32))


def ct_cases(image: Volume, *, seed: int) -> Iterator[Case]:
    """A CT onto itself, as it is and with the corners outside a cylinder padded, as scanners write them."""
    air = replace(image, array=np.maximum(image.array.astype(np.float32), -1024.0))
    plain = warped_case("CT", air, air, seed=seed, air=-1024.0)
    tissue = plain.fixed.array > -500
    yield replace(plain, tissue=tissue)
    rows, columns = np.ogrid[: air.array.shape[1], : air.array.shape[2]]
    radius = max(air.array.shape[1:]) / 2
    away = (rows - air.array.shape[1] / 2) ** 2 + (columns - air.array.shape[2] / 2) ** 2 > radius**2
    away = np.broadcast_to(away, air.array.shape).copy()
    away[:, :, :12] = True  # and a strip that was not reconstructed
    padded = [replace(volume, array=np.where(away, np.float32(_CT_PADDING), volume.array))
              for volume in (plain.fixed, plain.moving)]
    yield replace(plain, name="CT padded", fixed=padded[0], moving=padded[1], tissue=tissue & ~away)


def paired_cases(folder: Path, *, limit: int | None) -> Iterator[Case]:
    """Two modalities of each patient, with the first structure of both."""
    for path in sorted((folder / "fixed_images").glob("*.nii*"))[:limit]:
        fixed, moving = (read_volume(folder / f"{role}_images" / path.name, "intensity")
                         for role in ("fixed", "moving"))
        labels = []
        for role, volume in (("fixed", fixed), ("moving", moving)):
            array = image_to_array(sitk.ReadImage(str(folder / f"{role}_labels" / path.name)))
            array = array[0] if array.ndim > volume.geometry.dims else array
            labels.append(Volume((array > 0).astype(np.uint8).reshape(volume.array.shape), volume.geometry, "labels"))
        yield Case(f"paired {path.name.split('.')[0]}", fixed, moving, None, None, labels[0], labels[1])


def measured(case: Case, field: DisplacementField, stage: str) -> Row:
    """Error where the truth is known, overlap where there are labels, after one stage."""
    row: Row = {}
    if case.truth is not None and case.tissue is not None:
        error = np.linalg.norm(field.vectors - case.truth.vectors, axis=-1)[case.tissue]
        row[f"{stage} mm"] = float(error.mean())
    if case.fixed_labels is not None and case.moving_labels is not None:
        warped = resample(case.moving_labels, case.fixed.geometry, field.to_transform())
        structures = metrics.structures_of(case.fixed_labels, case.moving_labels)
        row[f"{stage} Dice"] = float(np.mean(list(metrics.dice(case.fixed_labels, warped, structures).values())))
    return row


def turned(field: DisplacementField) -> Row:
    """Voxels that fold, and the non-diffeomorphic volume in percent."""
    found = orientation(field)
    return {"folds": int((found.jacobian.array <= 0).sum()), "NDV %": 100 * found.turned}


def ours(case: Case, given: argparse.Namespace) -> Row:
    """This library: no network, the refinement."""
    began = time.process_time()
    options = {} if given.similarity == "auto" else {"similarity": given.similarity}
    found = register_volumes(
        no_network(case.fixed.geometry, case.moving.geometry), case.fixed, case.moving, affine=given.affine,
        refine="auto", **options)
    seconds = time.process_time() - began
    grid = case.fixed.geometry
    row = measured(case, DisplacementField(np.zeros((*grid.shape, grid.dims)), grid), "before")
    row |= measured(case, compose_on(grid, found.alignment.transform), "affine")
    row |= measured(case, found.field, "after") | {"by": found.refinement.get("similarity", "")}
    row |= turned(found.field) | {"cpu s": seconds}
    if given.verbose:
        print("   ", found.refinement.get("similarity_reason"), found.alignment, found.warnings, flush=True)
    return row


def peer(name: str, case: Case, given: argparse.Namespace) -> Row:
    """A method in its own environment, files in and files out; its affine, if any, is in the labels alone."""
    method = METHODS[name]
    python = environment(method.environment, method.needs, cache=given.environments, install=False)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labels = case.moving_labels or Volume(
            np.ones(case.moving.geometry.shape, np.uint8), case.moving.geometry, "labels")
        for role, volume in (("fixed", case.fixed), ("moving", case.moving), ("labels", labels)):
            write_volume(volume, folder / f"{role}.nii.gz")
        run_process(
            [python, ROOT / "benchmarks" / "peers" / method.script, "--fixed", folder / "fixed.nii.gz", "--moving",
             folder / "moving.nii.gz", "--moving-labels", folder / "labels.nii.gz", "--output", folder,
             *(["--affine"] if method.affine else [])],
            log=folder / "log.txt", threads=1, ours=False, timeout=3600, folder=folder)
        field = compose_on(case.fixed.geometry, read_displacement(folder / "displacement.nrrd").to_transform())
        row = {} if method.affine else measured(case, field, "after")
        if case.fixed_labels is not None and case.moving_labels is not None:
            warped = resample(read_volume(folder / "warped_labels.nii.gz", "labels"), case.fixed.geometry)
            structures = metrics.structures_of(case.fixed_labels, case.moving_labels)
            row["after Dice"] = float(np.mean(list(metrics.dice(case.fixed_labels, warped, structures).values())))
        row |= turned(field)
        row["cpu s"] = json.loads((folder / "seconds.json").read_text())["registration_cpu_s"]
    return row


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contrasts", type=Path, help="folder of co-registered images of one person")
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--labels", type=Path, nargs="*", default=[], help="of the --images, at most as many")
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--paired", type=Path)
    parser.add_argument("--scenario", type=Path)
    parser.add_argument("--limit", type=int, help="pairs of --paired and of --scenario")
    parser.add_argument("--only", nargs="*", default=[], help="cases with one of these words in the name")
    parser.add_argument("--spacing", type=float, help="coarser voxels, for a quick look. Unit: mm")
    parser.add_argument("--similarity", default="auto")
    parser.add_argument("--affine", default="auto")
    parser.add_argument("--methods", nargs="*", default=[], choices=[k for k, c in METHODS.items() if c.script])
    parser.add_argument("--environments", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "known_warps", help="for rows")
    parser.add_argument("--resume", action="store_true", help="keep the rows that --work has")
    parser.add_argument("--save", action="store_true", help="write known_warps.csv and .md to the results")
    parser.add_argument("--verbose", action="store_true")
    return parser


def main(argv: Sequence[str] | None = None) -> list[Row]:
    given = arguments().parse_args(argv)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for case in cases(given):
        if given.only and not any(word in case.name for word in given.only):
            continue
        for name in ("AutoReg", *given.methods):
            key = re.sub(r"[^\w.-]+", "_", f"{case.name} {name} {given.seed} {given.spacing} {given.similarity}")
            rows.append(cached(
                given.work, key, lambda name=name, case=case: (  # type: ignore[misc]
                    ours(case, given) if name == "AutoReg" else peer(name, case, given)),
                resume=given.resume, names={"case": case.name, "method": name}))
    if given.save:
        save("known_warps", rows, title="Known warps found back", summary="Mean error in tissue, overlap of labels.")
    return rows


if __name__ == "__main__":
    main()
