"""The fit check of a pair: the figure of each check of :data:`AutoRegLib.core.fit.CHECKS`, and what they amount to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from AutoRegLib.core.fit import fit_of
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.imaging.volume import Volume, looks_like_ct
from AutoRegLib.registration.guard import change
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.pipeline import Registration

_SHOWN = 0.02  # of an image's range, above its darkest value: shows something
_CRUSHED = 5.0  # times smaller or larger than by the affine part
_APART = 0.25  # of the overlap of the centred images


@dataclass(frozen=True, eq=False)
class Registered:
    """What the checks look at. ``report``: of the pair, measured already."""

    recipe: Recipe
    pair: PairInputs
    found: Registration
    jacobian: Volume
    report: Mapping[str, Any]


def fit(seen: Registered) -> dict[str, Any]:
    """Green, amber or red before and after, with reasons; empty where the stages of the pair were not judged."""
    if not seen.found.verdict.scores:
        return {}
    values = {key: value for key, found in FOUND.items() if (value := found(seen)) is not None}
    return {"fit": fit_of(values)}


def _content(seen: Registered) -> float:
    shares = []
    for volume in (seen.pair.fixed, seen.pair.moving):
        low, high = float(volume.array.min()), float(volume.array.max())
        shares.append(float((volume.array > low + _SHOWN * (high - low)).mean()))
    return min(shares)


def _apart(seen: Registered) -> float:
    fixed, moving = seen.pair.fixed.geometry, seen.pair.moving.geometry
    return float(fixed.overlap_fraction(moving, seen.pair.initial) == 0)


def _modality(seen: Registered) -> float:
    wanted = seen.recipe.preprocessing.modality.strip().upper()
    looks = [looks_like_ct(volume) for volume in (seen.pair.fixed, seen.pair.moving)]
    return float(any(looks) if wanted not in ("", "CT") else wanted == "CT" and not all(looks))


def _resemblance(seen: Registered) -> float:
    return seen.found.verdict.scores["alignment"]["correlation"]


def _above_chance(seen: Registered) -> float:
    return _resemblance(seen) - seen.found.verdict.chance


def _mirrored(seen: Registered) -> float | None:
    gains = seen.found.verdict.mirrored
    return min(gains) if gains else None


def _gained(seen: Registered) -> float:
    before, after = (seen.found.verdict.scores[stage] for stage in ("headers", "result"))
    return median(change(value, after[name]) for name, value in before.items())


def _held_back(seen: Registered) -> float:
    return 1.0 - seen.found.verdict.share


def _inverse(seen: Registered) -> float | None:
    error = seen.report.get("inverse_consistency_p95_mm")
    return None if error is None else float(error) / max(seen.pair.fixed.geometry.spacing)


def _crushed(seen: Registered) -> float:
    dims = seen.pair.fixed.geometry.dims
    own = float(np.linalg.det(np.array(seen.found.alignment.transform.GetMatrix()).reshape(dims, dims)))
    change = np.abs(seen.jacobian.array / own)
    tissue = seen.pair.fixed.array > seen.pair.fixed.array.min()
    change = change[tissue & (seen.pair.mask if seen.pair.mask is not None else True)]
    return float(((change < 1 / _CRUSHED) | (change > _CRUSHED)).mean()) if change.size else 0.0


#: what finds the figure of each check; None: it cannot be made
FOUND: dict[str, Callable[[Registered], float | None]] = {
    "content": _content, "apart": _apart, "modality": _modality,
    "resemblance": _resemblance, "above_chance": _above_chance, "mirrored": _mirrored,
    "gained": _gained, "held_back": _held_back, "inverse": _inverse,
    "folds": lambda seen: float(seen.report["fold_fraction"]), "crushed": _crushed,
    "covered": lambda seen: float(seen.report["coverage"]),
}
