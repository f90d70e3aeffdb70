"""How good a registration is: its measures as pure functions, and the most memory that it took."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.folds import folded
from AutoRegLib.core.memory import give_freed_memory_back
from AutoRegLib.imaging.displacement import DisplacementField, compose_on
from AutoRegLib.imaging.geometry import Geometry, apply, lattice_points, within
from AutoRegLib.imaging.surface_distance import surface_distances, thread_count
from AutoRegLib.imaging.volume import Volume, label_values

_AT_ONCE = 1 << 20  # voxels of large images that are looked at together
LNCC_WINDOW = 9  # voxels; docs/method.md, section 1.3, full resolution


def structures_of(*labels: Volume) -> tuple[int, ...]:
    """The label values that occur in every one of the volumes, without the background 0."""
    common = set.intersection(*(set(label_values(volume.array)) for volume in labels))
    return tuple(sorted(common - {0}))


def dice(first: Volume, second: Volume, structures: Sequence[int]) -> dict[int, float]:
    """Dice overlap ``2 |A and B| / (|A| + |B|)`` per structure; a structure in neither volume has none.

    Shape: two label volumes of one shape. Unit: 1.
    Raises: InputError when the shapes differ.
    Reference: Dice, Ecology 26 (1945).
    """
    _same_grid(first, second)
    # One pass over the voxels for all structures: 30 structures would otherwise be 90 passes.
    overlap, *counts = (_voxels(a) for a in (first.array[first.array == second.array], first.array, second.array))
    result = {}
    for structure in structures:
        total = sum(count.get(int(structure), 0) for count in counts)
        if total:
            result[int(structure)] = 2 * overlap.get(int(structure), 0) / total
    return result


def _voxels(labels: np.ndarray) -> dict[int, int]:
    """How many voxels carry each label."""
    if labels.size and labels.min() >= 0 and labels.max() < 2**16:  # counting is far quicker than sorting
        flat, counts = labels.ravel(), np.zeros(int(labels.max()) + 1, np.int64)
        for first in range(0, flat.size, _AT_ONCE):
            counts += np.bincount(flat[first : first + _AT_ONCE], minlength=len(counts))
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, found = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), found.tolist(), strict=True))


def hd95(first: Volume, second: Volume, structures: Sequence[int]) -> dict[int, float]:
    """95th percentile of the surface distances, the larger of the two directions, per structure.

    A structure that is missing from one of the volumes has no distance and no key.

    Shape: two label volumes on one grid. Unit: mm.
    Raises: InputError when the shapes differ.
    Reference: Maier-Hein et al., Metrics reloaded, Nature Methods 21 (2024), HD95.
    """
    _same_grid(first, second)

    def of(structure: int) -> float | None:
        masks = [volume.array == structure for volume in (first, second)]
        if not all(mask.any() for mask in masks):
            return None
        distances = surface_distances(masks[0], masks[1], first.geometry)
        return float(max(np.percentile(d, 95) for d in distances))

    # SimpleITK and numpy let go of the interpreter while they compute
    with ThreadPoolExecutor(thread_count()) as pool:
        found = dict(zip(map(int, structures), pool.map(of, structures), strict=True))
    return {structure: distance for structure, distance in found.items() if distance is not None}


def tre(mapped: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Distance of every mapped landmark to where it belongs. Shape: (n, d) twice, to (n,). Unit: mm.

    Direction: fixed landmarks mapped by the pull-back into moving space, against the moving landmarks.
    Raises: InputError when the shapes differ.
    """
    mapped, targets = np.asarray(mapped, dtype=float), np.asarray(targets, dtype=float)
    if mapped.shape != targets.shape or mapped.ndim != 2:
        raise InputError("landmarks do not correspond", expected=f"shape {mapped.shape}", got=targets.shape)
    return np.asarray(np.linalg.norm(mapped - targets, axis=1))


def lncc(fixed: Volume, warped: Volume, *, mask: np.ndarray | None = None, device: str = "cpu") -> float:
    """Mean squared local correlation (window 9), inside ``mask`` when there is one.

    Shape: two intensity volumes on one grid, mask (z, y, x). Unit: 1, from 0 to 1.
    Raises: InputError when the shapes differ.
    Reference: docs/method.md, section 1.3.
    """
    import torch

    from AutoRegLib.losses.lncc import lncc as local_correlation
    from AutoRegLib.losses.lncc import lncc_by_rows

    _same_grid(fixed, warped)
    if fixed.array.size > 2 * _AT_ONCE:
        rows = max(1, _AT_ONCE * len(fixed.array) // fixed.array.size)
        return lncc_by_rows(fixed.array, warped.array, window=LNCC_WINDOW, mask=mask, rows=rows)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)[None, None]

    inside = None if mask is None else tensor(mask)
    with torch.inference_mode():
        value = local_correlation(tensor(fixed.array), tensor(warped.array), window=LNCC_WINDOW, mask=inside)
    return float(value)


def fold_measures(jacobian: Volume, *, mask: np.ndarray | None = None) -> dict[str, float | int]:
    """Folds (as ``folded`` counts them), smallest determinant, spread of its logarithm.

    ``log_jacobian_std`` is taken over the voxels that do not fold: a logarithm of a fold does not exist.
    With a mask the counts inside it come in addition, under ``..._in_mask``.

    Shape: determinants (z, y, x), mask the same. Unit: 1.
    Reference: docs/method.md, section 6.
    """
    result: dict[str, float | int] = {}
    regions = {"": jacobian.array.ravel()}
    if mask is not None and mask.any():
        regions["_in_mask"] = jacobian.array[mask.astype(bool)]
    for suffix, values in regions.items():
        folding = folded(values)
        result["folds" + suffix] = int(np.count_nonzero(folding))
        result["fold_fraction" + suffix] = float(folding.mean())
        result["positive_jacobian" + suffix] = 1.0 - float(folding.mean())
        least = float(np.fmin.reduce(values, axis=None))  # not a number only where all are not
        if not np.isnan(least):
            result["jacobian_min" + suffix] = least
        if not folding.all():
            result["log_jacobian_std" + suffix] = _log_deviation(values)
    return result


def _log_deviation(determinants: np.ndarray) -> float:
    """Standard deviation of the logarithms of the determinants that do not fold, part by part of a large image."""
    count, mean, squares = 0, 0.0, 0.0
    for first in range(0, determinants.size, _AT_ONCE):
        part = determinants[first : first + _AT_ONCE]
        logs = np.log(part[~folded(part)].astype(np.float64))
        if logs.size:  # Chan's rule for joining two variances
            own, shift = float(logs.mean()), float(logs.mean()) - mean
            squares += float(((logs - own) ** 2).sum()) + shift**2 * count * logs.size / (count + logs.size)
            count += logs.size
            mean += shift * logs.size / count
    return float(np.sqrt(squares / count))


def inverse_consistency(
    forward: DisplacementField, backward: Sequence[Any], moving: Geometry, *, mask: np.ndarray | None = None,
    most_points: int | None = None,
) -> dict[str, float]:
    """How far points end from where they began: fixed to moving by ``forward``, back by the chain ``back``.

    Points that leave the ``moving`` lattice have no inverse and are not counted; nor are points outside the
    mask, when there is one. Empty when no point is left. ``most_points`` looks at a coarser lattice only.

    Shape: a field; transforms in the order in which they apply; mask on the field's grid. Unit: mm.
    """
    step = 1
    while most_points is not None and forward.vectors[..., 0].size / step**forward.geometry.dims > most_points:
        step += 1
    every = (slice(None, None, step),) * forward.geometry.dims
    own, vectors = forward.geometry, np.ascontiguousarray(forward.vectors[every])
    lattice = Geometry(vectors.shape[-2::-1], tuple(step * s for s in own.spacing), own.origin, own.direction)
    counted = within(moving, DisplacementField(vectors, lattice).landing(moving))
    if mask is not None:
        counted &= mask.astype(bool)[every]
    if not counted.any():
        return {}
    # at the lattice's points the coarser field says the same
    loop = compose_on(lattice, DisplacementField(vectors, lattice).to_transform(), *backward)
    error = np.linalg.norm(loop.vectors[counted], axis=-1)
    return {
        "inverse_consistency_mm": float(error.mean()),
        "inverse_consistency_p95_mm": float(np.percentile(error, 95)),
        "inverse_consistency_max_mm": float(error.max()),
    }


def coverage(field: DisplacementField, moving: Geometry, *, mask: np.ndarray | None = None) -> float:
    """Fraction of the fixed image (or of its mask) for which the moving image has data. Unit: 1."""
    inner = mask.astype(bool) if mask is not None and mask.any() else None
    reached = counted = 0
    for rows, part in field.slabs(_AT_ONCE):
        found = within(moving, part.landing(moving))
        found = found if inner is None else found[inner[rows]]
        reached, counted = reached + int(found.sum()), counted + found.size
    return reached / counted


def coordinates(geometry: Geometry) -> np.ndarray:
    """Physical position of every voxel. Shape: (z, y, x, d) float32. Unit: mm LPS."""
    return lattice_points(geometry.size, geometry.index_to_physical)


def inside(geometry: Geometry, points: np.ndarray) -> np.ndarray:
    """Which points lie in the field of view. Shape: (..., d) to (...). Unit: mm LPS."""
    return within(geometry, apply(geometry.physical_to_index, points))


def with_mean(values: Mapping[int, float]) -> dict[str, float]:
    """``{label: value}`` as JSON has it, plus ``mean``; empty stays empty."""
    if not values:
        return {}
    return {**{str(key): float(value) for key, value in values.items()}, "mean": float(np.mean(list(values.values())))}


def peak_memory_bytes(device: str = "cpu") -> int | None:
    """The most memory the process (or, on a GPU, its tensors) has held; None where the system does not tell."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def reset_peak_memory(device: str = "cpu") -> bool:
    """Start the measure of :func:`peak_memory_bytes` anew from what is held now; False where that cannot be done."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return True
    give_freed_memory_back()
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as control:  # Linux: "5" resets the high-water mark
            control.write("5")
    except OSError:
        return False
    return True


def _same_grid(first: Volume, second: Volume) -> None:
    if first.array.shape != second.array.shape:
        raise InputError("volumes to compare lie on different grids", expected=f"shape {first.array.shape}",
                         got=second.array.shape, remedy="resample one onto the other first")
