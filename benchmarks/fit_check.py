"""Does the fit check tell wrong inputs from right ones? Sixty of each, green, amber or red.

``python -m benchmarks.fit_check --data DIR --work DIR --resume``: right inputs are two people, two contrasts or two
phases of one organ; wrong ones are another organ, a flipped image, an empty one or noise, headers in other places,
another modality than the model's. Images are coarse (some 30 voxels across), nothing is trained, refinement is auto.
A wrong input is caught where the verdict is amber or red or the pair is refused; a right one should be green.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.pipeline import register_volumes
from AutoRegLib.registration.report import assemble
from benchmarks.known_warps import read, warped_case
from benchmarks.tables import Row, cached, markdown, save

#: folder, file of the scenario, split and voxels (mm) of each organ
ORGANS = {
    "hippocampus": ("hippocampus_mr", "scenario.json", "val", 1.5),
    "heart": ("cardiac_cine_2d", "scenario.json", "val", 4.0),
    "brain": ("brain_t1", "scenario_pairwise.json", "train", 5.0),
    "slab": ("brain_t1_slab", "scenario.json", "test", 3.0),
    "lung": ("lung_mr_proton", "scenario.json", "train", None),
}


@dataclass(frozen=True, eq=False)
class Input:
    """Two images, whether they belong together, and the modality a model would be for."""

    name: str
    right: bool
    fixed: Volume
    moving: Volume
    modality: str = ""


@cache
def _image(path: Path, spacing: float | None) -> Volume:
    return read(path, "intensity", spacing)


def _pairs(data: Path, organ: str, count: int, *, skip: int = 0) -> Iterator[tuple[str, Volume, Volume]]:
    """Pairs of a scenario, drawn with seed 0."""
    folder, file, split, spacing = ORGANS[organ]
    pairs = read_scenario(data / folder / file).pairs_of(split, limit=100, seed=0)  # type: ignore[arg-type]
    for pair in islice(pairs, skip, skip + count):
        yield (f"{organ} {pair.fixed.id} {pair.moving.id}", _image(Path(pair.fixed.image), spacing),
               _image(Path(pair.moving.image), spacing))


def _one(data: Path, organ: str) -> Volume:
    if organ == "CT":
        return _image(data / "body_ct_single" / "example_ct_sm.nii.gz", 8.0)
    if organ == "prostate":
        return _image(data / "prostate_mrus_simulated" / "moving_images" / "case000001.nii.gz", 0.8)
    if organ in ("t1", "t2", "flair"):
        return _image(next((data / "brain_t1t2" / "tcga_fg_6692").glob(f"*{organ}*")), 6.0)
    return next(_pairs(data, organ, 1))[1]


def right_inputs(data: Path) -> Iterator[Input]:
    """Sixty pairs that belong together."""
    for organ, count in (("hippocampus", 18), ("heart", 14), ("brain", 10), ("slab", 6), ("lung", 2)):
        for name, fixed, moving in _pairs(data, organ, count):
            yield Input(name, True, fixed, moving)
    for number, (first, second) in enumerate((("t1", "t1"), ("t1", "t2"), ("t2", "t1"), ("t1", "flair"))):
        case = warped_case(f"{first}-{second}", _one(data, first), _one(data, second), seed=number)
        yield Input(f"known warp {case.name}", True, case.fixed, case.moving)
    for number, organ in enumerate(("CT", "prostate", "lung", "CT", "prostate", "brain")):
        image = _one(data, organ)
        case = warped_case(organ, image, image, seed=number, mean=2.0 if organ == "prostate" else 4.0)
        yield Input(f"known warp {organ} {number}", True, case.fixed, case.moving)


def flipped(volume: Volume, axis: int) -> Volume:
    """The voxels in the opposite order along an axis (z, y, x), the header as it was."""
    return replace(volume, array=np.ascontiguousarray(np.flip(volume.array, axis)))


def _elsewhere(volume: Volume, shift: float) -> Volume:
    grid = volume.geometry
    return replace(volume, geometry=Geometry(grid.size, grid.spacing, tuple(np.add(grid.origin, shift).tolist()),
                                             grid.direction))


def wrong_inputs(data: Path) -> Iterator[Input]:
    """Sixty pairs that do not belong together, or not so."""
    solid = ("hippocampus", "brain", "lung", "CT", "prostate", "slab")
    others = [(a, b) for a in solid for b in solid if a != b and {a, b} != {"brain", "slab"}][:24]
    for first, second in others:
        yield Input(f"other organ {first} {second}", False, _one(data, first), _one(data, second))
    for organ, axes, skip in (("hippocampus", (0, 1, 2), 0), ("hippocampus", (0, 1, 2), 4), ("heart", (0, 1), 0),
                              ("heart", (0, 1), 8), ("brain", (0, 1), 0), ("brain", (0, 1), 3), ("slab", (1,), 0),
                              ("slab", (1,), 2), ("lung", (0, 1), 0)):
        for name, fixed, moving in _pairs(data, organ, 1, skip=skip):
            for axis in axes:
                yield Input(f"flipped {axis} {name}", False, fixed, flipped(moving, axis))
    random = np.random.default_rng(0)
    for organ in ("hippocampus", "brain", "heart"):
        image = _one(data, organ)
        yield Input(f"noise {organ}", False, image, replace(
            image, array=random.normal(100, 20, image.array.shape).astype(np.float32)))
        sparse = np.zeros(image.array.shape, np.float32)
        middle = tuple(slice(length // 2, length // 2 + 2) for length in image.array.shape)
        sparse[middle] = 100
        yield Input(f"nearly empty {organ}", False, image, replace(image, array=sparse))
        yield Input(f"empty {organ}", False, image, replace(image, array=np.zeros_like(sparse)))
    for organ in ("hippocampus", "brain", "heart"):
        for name, fixed, moving in _pairs(data, organ, 1, skip=1):
            yield Input(f"far away {name}", False, fixed, _elsewhere(moving, 2000.0))
    for organ, modality in (("brain", "CT"), ("hippocampus", "CT"), ("heart", "CT"), ("slab", "CT"), ("lung", "CT")):
        for name, fixed, moving in _pairs(data, organ, 1, skip=0):
            yield Input(f"model of {modality} {name}", False, fixed, moving, modality)
    yield Input("model of MR, CT", False, _one(data, "CT"), _one(data, "CT"), "MR")


def checked(given: Input) -> Row:
    """The verdict on one input, with the figure of every check."""
    bundle = no_network(given.fixed.geometry, given.moving.geometry)
    if given.modality:
        bundle = replace(bundle, recipe=replace(bundle.recipe, preprocessing=replace(
            bundle.recipe.preprocessing, modality=given.modality)))
    try:
        return _checked(bundle, given)
    except AutoRegError as refused:
        return {"right": given.right, "verdict": "refused", "reasons": refused.what}


def _checked(bundle: ModelBundle, given: Input) -> Row:
    found = register_volumes(bundle, given.fixed, given.moving, refine="auto")
    report, _ = assemble(bundle, PairInputs(given.fixed, given.moving), found)
    fit = report["fit"]
    return {"right": given.right, "verdict": fit["verdict"],
            "reasons": " ".join(reason["check"] for reason in fit["reasons"]), **fit["values"],
            **{f"{stage} {name}": value for stage, scores in found.verdict.scores.items()
               for name, value in scores.items()}, "log_jacobian_std": report["log_jacobian_std"]}


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="rows, kept from run to run")
    parser.add_argument("--limit", type=int, default=60, help="of each sort")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--save", action="store_true", help="write fit_check.csv and .md to the results")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: list[Row] = []
    sorts: tuple[Callable[[Path], Iterator[Input]], ...] = (wrong_inputs, right_inputs)
    for inputs in sorts:
        for one in islice(inputs(given.data), given.limit):
            rows.append(cached(given.work, one.name.replace(" ", "_"), lambda one=one: checked(one),  # type: ignore[misc]
                               resume=given.resume, names={"input": one.name}))
    lines = [{"inputs": "right" if right else "wrong", **{
        light: sum(row["verdict"] == light for row in rows if row["right"] is right)
        for light in ("green", "amber", "red", "refused")}} for right in (False, True)]
    print(markdown(lines), flush=True)
    if given.save:
        save("fit_check", rows, title="Are wrong inputs told from right ones?", summary=markdown(lines))
    return rows


if __name__ == "__main__":
    main()
