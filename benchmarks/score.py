"""How good a result on files is: Dice of the carried labels, folds of the field. A process of its own.

``python -m benchmarks.score --fixed-labels F --moving-labels M --warped-labels W [--field U] --structures 2 3``
prints one JSON object. The same measures for every method, whatever it says of itself.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

from AutoRegLib.imaging.displacement import from_transform, jacobian_determinant
from AutoRegLib.imaging.files import read_displacement, read_volume
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.registration.metrics import dice, fold_measures


def overlap(fixed: Volume, other: Volume, structures: list[int]) -> float:
    """Mean Dice of the structures that at least one of the two volumes has."""
    return fmean(dice(fixed, other, structures).values())


def score(
    fixed_labels: Path, moving_labels: Path, warped_labels: Path, field: Path | None, structures: list[int]
) -> dict[str, float]:
    """Dice before and after; ``folds``, ``jacobian_min`` where there is a field."""
    fixed, moving = read_volume(fixed_labels, "labels"), read_volume(moving_labels, "labels")
    found: dict[str, float] = {
        "dice_before": overlap(fixed, resample(moving, fixed.geometry), structures),
        "dice": overlap(fixed, resample(read_volume(warped_labels, "labels"), fixed.geometry), structures),
    }
    if field is not None and field.is_file():
        displacement = read_displacement(field)
        if displacement.geometry.size != fixed.geometry.size:  # a coarser lattice is measured where the labels are
            displacement = from_transform(displacement.to_transform(), fixed.geometry)
        measures = fold_measures(jacobian_determinant(displacement))
        found |= {name: measures[name] for name in ("folds", "jacobian_min", "log_jacobian_std") if name in measures}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--fixed-labels", "--moving-labels", "--warped-labels"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--field", type=Path)
    parser.add_argument("--structures", type=int, nargs="+", required=True)
    given = parser.parse_args()
    print(json.dumps(score(
        given.fixed_labels, given.moving_labels, given.warped_labels, given.field, given.structures)))


if __name__ == "__main__":
    main()
