"""How much memory a job will need, before it starts: from its recipe and the sizes of its images."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.jobs import JobRequest
from AutoRegLib.core.pair_table import read_pair_table
from AutoRegLib.core.presets import SCALES, preset_network
from AutoRegLib.core.recipe import Recipe, bytes_by_voxel, read_recipe
from AutoRegLib.core.scenario import read_scenario

#: Python, PyTorch, SimpleITK and their work space, in bytes of main memory (a GPU's context is about as large)
BASE = 500_000_000
SEARCH_FACTOR = 2.5  # a supernet holds every candidate of an edge
#: bytes by voxel of the fixed image, of all that is delivered on it: a brain of 6.9 million voxels took 2.0 GB
DELIVERY = 220


@dataclass(frozen=True)
class MemoryEstimate:
    """``needed`` and ``free`` in bytes (None: unknown); ``text`` for the panel, e.g. "needs about 9.1 GB"."""

    needed: int | None = None
    free: int | None = None
    text: str = ""

    @property
    def fits(self) -> bool:
        """False only when both are known and it will not fit."""
        return self.needed is None or self.free is None or self.needed <= self.free


def estimate_memory(request: JobRequest, base: Path, *, free: int | None = None) -> MemoryEstimate:
    """The estimate for a request whose relative paths start at ``base``; unknown when its files do not tell."""
    try:
        needed = int(_needed(request, base))
    except (AutoRegError, KeyError, OSError, RuntimeError, ImportError, ValueError):
        return MemoryEstimate(None, free)
    text = f"needs about {needed / 1e9:.1f} GB"
    if free is not None:
        text += f", {free / 1e9:.1f} GB free"
    return MemoryEstimate(needed, free, text)


def _needed(request: JobRequest, base: Path) -> float:
    arguments = request.arguments
    if request.verb in ("register", "batch", "evaluate"):
        recipe = read_recipe(base / str(arguments["model"]))
        if request.verb == "register":
            shape, spacing = image_size(base / str(arguments["fixed"]))
        elif request.verb == "batch":
            shape, spacing = image_size(Path(read_pair_table(base / str(arguments["table"]))[0].files["fixed"]))
        else:
            shape, spacing = _largest(base / str(arguments["scenario"]))
        voxels = working_voxels(shape, spacing, recipe.preprocessing.spacing)
        return BASE + voxels * bytes_by_voxel(recipe)[0] + prod(shape) * DELIVERY
    shape, spacing = _largest(base / str(arguments["scenario"]))
    if request.verb == "search":
        preset = str(arguments.get("preset", "standard"))
        start = Recipe(network=preset_network(preset))
        return BASE + min(prod(shape), SCALES[preset][0]) * 2 * bytes_by_voxel(start)[1] * SEARCH_FACTOR
    recipe = read_recipe(base / str(arguments["recipe"]))
    voxels = working_voxels(shape, spacing, recipe.preprocessing.spacing)
    return BASE + voxels * recipe.training.batch * bytes_by_voxel(recipe)[1]


def working_voxels(shape: tuple[int, ...], spacing: tuple[float, ...], working: tuple[float, ...]) -> int:
    """Voxels of the grid the network sees: the image's field of view at the working spacing (its own when empty)."""
    if not working:
        return prod(shape)
    if len(shape) > len(working):  # a slice, which a model of pictures sees as one
        shape, spacing = zip(*((n, s) for n, s in zip(shape, spacing, strict=True) if n > 1), strict=True)
    # the header's axes taken in their order: for a volume stored in another one the number is a good guess
    return prod(ceil(size * own / wanted) for size, own, wanted in zip(shape, spacing, working, strict=True))


def image_size(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Size and spacing (mm) of an image, from its header alone. Raises RuntimeError, ImportError."""
    import SimpleITK as sitk

    reader: Any = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return tuple(reader.GetSize()), tuple(reader.GetSpacing())


def _largest(scenario: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Size and spacing of the scenario's first image: all are prepared on one grid like it."""
    return image_size(Path(read_scenario(scenario).cases[0].image))
