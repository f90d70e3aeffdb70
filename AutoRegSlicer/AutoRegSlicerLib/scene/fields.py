"""Displacement fields as AutoReg writes them, read slab by slab: Slicer's own reader holds the window meanwhile."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from AutoRegSlicerLib.scene import transforms
from AutoRegSlicerLib.scene.grids import RAS_LPS, Lattice
from AutoRegSlicerLib.scene.values import Node
from AutoRegSlicerLib.steps import Steps, slabs

_LONGEST_HEADER = 4096  # bytes
#: what the header of a field must say to be read here; Slicer's own reader takes all others
_PLAIN = {"type": "float", "dimension": "4", "space": "left-posterior-superior", "encoding": "raw", "endian": "little",
          "kinds": "vector domain domain domain", "displacement field type": "resampling"}


def fillFromFieldSteps(node: Node, path: str | Path) -> Steps:
    """Put the displacement field of a file (NRRD; mm LPS) into the node: the same as ``transforms.fillFromFile``.

    Raises InputError.
    """
    found = _header(Path(path))
    if found is None:
        transforms.fillFromFile(node, path)
        return
    lattice, offset = found
    try:
        stored = np.memmap(path, "<f4", "r", offset, (*lattice.size[::-1], 3))
    except ValueError:  # shorter than its header says
        raise transforms.unreadable(path) from None
    grid, vectors = transforms.emptyGrid(lattice)
    to_ras = np.diag(RAS_LPS)[:3].astype(np.float32)
    for slab in slabs(lattice.size):
        np.multiply(stored[slab], to_ras, out=vectors[slab])
        yield "transform"
    node.SetAndObserveTransformFromParent(grid)
    transforms.useLinearInterpolation(node)


def _header(path: Path) -> tuple[Lattice, int] | None:
    """Lattice of the field, and where its numbers begin; None where AutoReg did not write it. Raises InputError."""
    try:
        with path.open("rb") as file:
            start = file.read(_LONGEST_HEADER)
    except OSError:
        raise transforms.unreadable(path) from None
    text, blank, _rest = start.partition(b"\n\n")
    lines = [re.split(r":=|: ", line, maxsplit=1) for line in text.decode("latin-1").splitlines() if ":" in line]
    told = {line[0]: line[1] for line in lines if len(line) == 2}
    sizes = told.get("sizes", "").split()
    axes = [np.array(axis.split(","), float) for axis in re.findall(r"\(([^)]*)\)", told.get("space directions", ""))]
    origin = re.findall(r"\(([^)]*)\)", told.get("space origin", ""))
    if (not blank or any(told.get(key) != value for key, value in _PLAIN.items()) or len(sizes) != 4
            or sizes[0] != "3" or len(axes) != 3 or len(origin) != 1):
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(axes, axis=1)
    matrix[:3, 3] = np.array(origin[0].split(","), float)
    nx, ny, nz = map(int, sizes[1:])
    return Lattice((nx, ny, nz), RAS_LPS @ matrix), len(text) + 2
