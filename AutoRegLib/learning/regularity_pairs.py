"""Pairs with a regularity, on disk: sampled from the prior, estimated from images, read to learn from.

A table (``pairs.csv``) has a line per pair: name, fixed, moving, alpha in mm squared, and the split. It is written
last, so that it never names what is not there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.bridge import to_tensor
from AutoRegLib.bundle import table_text
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.pair_table import PairLine, read_pair_table
from AutoRegLib.core.records import digest, make_folder, read_json, write_json, write_text
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.sampling import random_bulls_eye, sample_velocities
from AutoRegLib.geodesic.shooting import shoot
from AutoRegLib.imaging.files import read_volume, write_volume
from AutoRegLib.imaging.geometry import Geometry, working_grid
from AutoRegLib.imaging.preprocess import to_grid
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.learning.predictor_training import KnownPairs
from AutoRegLib.registration.regularity import By, PreparedPair, fit_regularity, prepare_pair

TABLE, SETTINGS = "pairs.csv", "pairs.json"
SCHEMA = "autoreg-pairs/1"
SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
Split = str


def split_of(number: int, count: int) -> Split:
    """The part that a pair of an ordered, exchangeable set belongs to: 70, 15 and 15 %."""
    place = (number + 0.5) / count
    return "train" if place < SHARES["train"] else "val" if place < 1 - SHARES["test"] else "test"


def sample_pairs(
    output: Path, *, alphas: Sequence[float], count: int, size: Sequence[int] = (100, 100), image: Volume | None = None,
    spacing: float | None = None, noise: float = 0.0, seed: int = 0, resume: bool = False,
    monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Write ``count`` pairs of each regularity: a moving image, and what a velocity of the prior makes of it.

    The moving images are random bull's-eyes of ``size`` voxels of 1 mm, or all the one ``image``, at ``spacing``.
    ``noise``: standard deviation added to the fixed images, whose values lie in 0 to 1. Pairs that are there already
    stay, where ``resume``.

    Unit: ``alphas`` in mm squared. Raises: InputError, DiskError, CancelledError (what is written stays).
    """
    monitor = monitor or Monitor()
    if not alphas or not all(math.isfinite(alpha) and alpha > 0 for alpha in alphas) or count < 1:
        raise InputError("what to sample", expected="regularities above 0 and 1 pair or more", got=f"{alphas}, {count}")
    grid, given = _scene(image, size, spacing)
    step = grid.spacing[0]
    settings = {"alphas": list(alphas), "count": count, "noise": noise, "seed": seed, "size": list(grid.size),
                "spacing": step, "image": None if given is None else digest(float(given.double().square().sum()))}
    kept = _claim(output, settings, resume=resume)
    rows: list[dict[str, Any]] = []
    total = count * len(alphas)
    monitor.event("stage", name="sample pairs", index=0, count=1)
    for number in range(total):
        alpha, name = alphas[number % len(alphas)], f"pair{number:05d}"
        files = {"fixed": f"{name}_fixed.nii.gz", "moving": "moving.nii.gz" if given is not None else
                 f"{name}_moving.nii.gz"}
        rows.append({"name": name, **files, "alpha": alpha, "split": split_of(number // len(alphas), count)})
        if kept and all((output / file).is_file() for file in files.values()):
            continue
        if monitor.wish() == "cancel":
            raise CancelledError(f"stopped after {number} of {total} pairs", remedy="--resume goes on")
        moving = given if given is not None else random_bulls_eye(grid.shape, seed=seed, index=number)
        metric = Metric.of(Band(grid.shape), alpha / step**2)
        fixed = warp(moving, shoot(sample_velocities(metric, [seed * 10**6 + number]), metric).on_grid())
        if noise:
            fixed = fixed + noise * torch.randn(fixed.shape, generator=torch.Generator().manual_seed(seed + number))
        for role, tensor in (("moving", moving), ("fixed", fixed)):
            if role == "fixed" or given is None or number == 0:
                write_volume(Volume(np.asarray(tensor[0, 0]), grid, "intensity"), output / files[role])
        monitor.event("progress", done=number + 1, total=total)
    write_text(output / TABLE, table_text(rows))
    monitor.event("artifact", role="table", path=str(output / TABLE))
    return {"output": str(output), "table": str(output / TABLE), "pairs": total}


def fit_pairs(
    table: Path, output: Path, *, spacing: float, by: By = "evidence", affine: bool = True, seed: int = 0,
    resume: bool = False, monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Estimate the regularity of every pair of a table; the same table with these comes out, to learn from.

    What the table said before stands in the column ``true``. Each pair's estimate is a file of its own, kept where
    ``resume``. Unit: ``spacing`` of the grid in mm; alpha in mm squared.
    Raises: InputError, DiskError, CancelledError (finished pairs are kept).
    """
    monitor, lines = monitor or Monitor(), read_pair_table(table)
    if (output / TABLE).resolve() == table.resolve():
        raise InputError("the result would overwrite the table it is made from", expected="another folder", got=output,
                         remedy="choose another --output")
    folder = make_folder(output / "pairs")
    kept = _claim(output, {"pairs": [[line.name, line.files] for line in lines], "spacing": spacing, "by": by,
                    "affine": affine, "seed": seed}, resume=resume)
    rows = []
    monitor.event("stage", name="estimate regularities", index=0, count=1)
    for number, line in enumerate(lines):
        path = folder / f"{line.name}.json"
        if not (kept and path.is_file()):
            if monitor.wish() == "cancel":
                raise CancelledError(f"stopped after {number} of {len(lines)} pairs", remedy="--resume goes on")
            write_json(path, fit_regularity(_prepared(line, spacing, affine, seed), by=by, seed=seed, monitor=monitor),
                       schema=SCHEMA)
        found = read_json(path, schema=SCHEMA)
        true = {"true": line.more["alpha"]} if line.more.get("alpha") else {}
        rows.append({"name": line.name, **{role: line.files[role] for role in ("fixed", "moving")},
                     "alpha": found["alpha"], "split": line.more.get("split") or _by_chance(line.name, seed), **true,
                     **{key: found[key] for key in ("deviation",) if key in found}})
        monitor.event("progress", done=number + 1, total=len(lines))
    write_text(output / TABLE, table_text(rows))
    monitor.event("artifact", role="table", path=str(output / TABLE))
    return {"output": str(output), "table": str(output / TABLE), "pairs": len(rows)}


def read_known_pairs(
    table: Path, *, spacing: float, affine: bool = True, seed: int = 0, splits: Sequence[Split] = ("train", "val"),
    monitor: Monitor | None = None,
) -> dict[Split, KnownPairs]:
    """The pairs of some splits as tensors; alpha in squared voxels of the grid.

    Images of different sizes are filled up to the largest by repeating their border. A pair without a split belongs to
    one by chance: 70, 15 and 15 %.

    Unit: ``spacing`` in mm. Raises: InputError (files, a line without a regularity, a split without pairs).
    """
    monitor = monitor or Monitor()
    lines = [(line, line.more.get("split") or _by_chance(line.name, seed)) for line in read_pair_table(table)]
    wanted = [(line, split) for line, split in lines if split in splits]
    monitor.event("stage", name="read pairs", index=0, count=1)
    pairs, alphas = [], []
    for number, (line, _) in enumerate(wanted):
        alphas.append(_regularity(line, table))
        pairs.append(_prepared(line, spacing, affine, seed))
        monitor.event("progress", done=number + 1, total=len(wanted))
    result = {}
    for split in splits:
        own = [place for place, (_, name) in enumerate(wanted) if name == split]
        if not own:
            raise InputError(f"{table} has no pairs of the split '{split}'", expected=f"train, val in the column split "
                             f"(of {len(lines)} pairs)", got=", ".join(sorted({name for _, name in lines})),
                             remedy="fill in the column split, or leave it out")
        shape = [max(pairs[place].fixed.shape[axis] for place in range(len(pairs)))
                 for axis in range(2, pairs[0].fixed.dim())]
        result[split] = KnownPairs(
            torch.cat([_filled(pairs[place].moving, shape) for place in own]),
            torch.cat([_filled(pairs[place].fixed, shape) for place in own]),
            torch.tensor([alphas[place] / spacing**2 for place in own]))
    return result


def _prepared(line: PairLine, spacing: float, affine: bool, seed: int) -> PreparedPair:
    fixed, moving = (read_volume(line.files[role], "intensity") for role in ("fixed", "moving"))
    return prepare_pair(fixed, moving, spacing=spacing, affine=affine, seed=seed)


def _regularity(line: PairLine, table: Path) -> float:
    try:
        value = float(line.more["alpha"])
    except (KeyError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"'{line.name}' of {table} has no regularity", expected="a number above 0 in the column alpha",
                         got=line.more.get("alpha"), remedy="estimate it with 'autoreg lddmm fit'")
    return value


def _by_chance(name: str, seed: int) -> Split:
    return split_of(Random(f"{seed}/split/{name}").randrange(1000), 1000)


def _filled(image: Tensor, shape: Sequence[int]) -> Tensor:
    """The image with its border repeated behind every axis up to the shape."""
    pads = [amount for own, size in zip(reversed(image.shape[2:]), reversed(shape), strict=True)
            for amount in (0, size - own)]
    return F.pad(image, pads, mode="replicate") if any(pads) else image


def _scene(image: Volume | None, size: Sequence[int], spacing: float | None) -> tuple[Geometry, Tensor | None]:
    """The grid of the pairs, and the image they share, if any."""
    if image is not None:
        grid = working_grid(image.geometry, spacing=spacing or min(image.geometry.spacing), multiple=1)
        return grid, to_tensor(to_grid(image, grid))
    dims = len(size)
    if dims not in (2, 3) or min(size) < 8 or max(size) > 1024:
        raise InputError("size of the images", expected="2 or 3 numbers of 8 to 1024 voxels", got=tuple(size))
    return Geometry(tuple(reversed([int(number) for number in size])), (1.0,) * dims, (0.0,) * dims,
                    tuple(np.eye(dims).ravel().tolist())), None


def _claim(output: Path, settings: Mapping[str, Any], *, resume: bool) -> bool:
    """Note what the folder's pairs depend on; whether those that are there may stay. Raises InputError for others."""
    path, mark = make_folder(output) / SETTINGS, digest(settings)
    kept = resume and path.is_file()
    if kept and read_json(path, schema=SCHEMA).get("identity") != mark:
        raise InputError(f"{output} holds other pairs", expected="the same table and options",
                         remedy="choose another folder, or the former options")
    (output / TABLE).unlink(missing_ok=True)  # it names what is whole
    write_json(path, {"identity": mark, "settings": dict(settings)}, schema=SCHEMA)
    return kept
