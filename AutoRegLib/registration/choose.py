"""Which installed model fits a pair when the user names none, by field of view and detail; else no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from AutoRegLib.core.bundle_folder import Bundle, list_bundles
from AutoRegLib.imaging.files import read_geometry, read_volume
from AutoRegLib.imaging.geometry import Geometry, working_grid
from AutoRegLib.imaging.volume import looks_like_ct
from AutoRegLib.registration.no_network import NAME

_ALIKE = 1.4  # a field of view of at most so many times the other along every axis shows the same anatomy, perhaps
_COARSER = 2.0  # the images' voxels may be so many times as large as those the model was trained on


def choose_model(fixed: str | Path, moving: str | Path) -> tuple[str, str]:
    """Name of the model to use for two files, or "none", and the reason in words for the report.

    A model fits when it was trained on images of this dimension, of this field of view and this detail, and of CT or of
    something else as these are. Of several the one with the closest field of view. Raises InputError.
    """
    geometries = [read_geometry(path) for path in (fixed, moving)]
    found = sorted((far, number, bundle) for number, bundle in enumerate(list_bundles()[0])
                   if (far := distance(bundle, geometries)) is not None)
    for _far, _number, bundle in found:
        wanted = bundle.modality.strip().upper()
        ct = [looks_like_ct(read_volume(path, "intensity")) for path in (fixed, moving)]
        if all(wanted == "CT" for is_ct in ct if is_ct) and not (wanted == "CT" and not all(ct)):
            return bundle.name, f"{bundle.name}: trained on images of this field of view and detail"
    return NAME, "none: no installed model was trained on images like these; the pair alone is optimized"


def distance(bundle: Bundle, geometries: Sequence[Geometry]) -> float | None:
    """How far the fields of view are from the one the model was trained on; None where they do not fit.

    The largest logarithm of their ratios along an axis. Models that do not say what they were trained on never fit.
    """
    grid = bundle.provenance.get("grid")
    if not isinstance(grid, dict) or any(len(grid["size"]) != geometry.dims for geometry in geometries):
        return None
    wanted, far = [n * s for n, s in zip(grid["size"], grid["spacing"], strict=True)], 0.0
    for geometry in geometries:
        seen = working_grid(geometry, spacing=grid["spacing"], multiple=1)
        extents = [n * s for n, s in zip(seen.size, seen.spacing, strict=True)]
        far = max(far, *(abs(math.log(a / b)) for a, b in zip(extents, wanted, strict=True)))
        if max(geometry.spacing) > _COARSER * max(grid["spacing"]):
            return None
    return far if far <= math.log(_ALIKE) else None
