"""Cases that are single slices: pictures to learn from, in coordinates of their planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from AutoRegLib.core.scenario import Case
from AutoRegSlicerLib.registration.slice_checks import bentSlice, isSlice
from AutoRegSlicerLib.scene.values import Message


def isFlat(volume: Any) -> bool:
    """Whether a cell of the case table holds a volume of the scene that is a single slice."""
    return hasattr(volume, "IsA") and isSlice(volume)


def checkFlat(cells: Sequence[Any]) -> list[Message]:
    """What is to be said of the volumes of a table, nodes or paths; it blocks: bent-slice, mixed-dimensions."""
    flat = [volume for volume in cells if isFlat(volume)]
    found = [message for volume in flat for message in bentSlice(f"'{volume.GetName()}'", volume)]
    if 0 < len(flat) < len(cells):
        other = next(volume for volume in cells if not isFlat(volume))
        name = other.GetName() if hasattr(other, "IsA") else Path(other).name
        found.append(Message("mixed-dimensions", f"'{flat[0].GetName()}' is a single slice of the scene and '{name}' "
                             "is not: use rows of one kind."))
    return found


def flattened(case: Case, folder: Path) -> Case:
    """A case of a single slice, written into ``folder``, with its files as those of a picture.

    Points go straight onto the plane. Raises InputError, DiskError.
    """
    from AutoRegLib.imaging import files  # loads SimpleITK, which comes with Slicer
    from AutoRegLib.imaging.single_slice import slice_pair

    geometry = files.read_geometry(folder / case.image, flat=False)
    pair = slice_pair(geometry, geometry)
    assert pair is not None, "asked for slices only"
    for kind, name in (("intensity", case.image), ("labels", case.labels)):
        if name is not None:
            volume = files.read_volume(folder / name, kind, flat=False)  # type: ignore[arg-type]
            files.write_volume(pair.fixed.volume(volume), folder / name)
    if case.landmarks is None:
        return case
    names, points = files.read_points(folder / case.landmarks)
    path = folder / f"{case.id}_landmarks.csv"
    files.write_points(names, pair.fixed.points(points), path)
    return replace(case, landmarks=path.name)
