"""What each panel of ``report.png`` shows: images with outlines, differences, the deformation, the Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from contourpy import contour_generator
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm, Normalize

from AutoRegLib.figure_style import FOLD, Picture
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.preprocess import intensity_scaling
from AutoRegLib.imaging.volume import Volume, label_values
from AutoRegLib.registration.inverse import fit_affine
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.report import ResultVolumes
from AutoRegLib.registration.slices import Plane, Views

TITLES = {
    "fixed": "Fixed", "before": "Before", "after": "After", "difference before": "Difference before",
    "difference after": "Difference after", "deformation": "Deformation", "jacobian": "Jacobian",
}
STRUCTURES = ("#4fc3f7", "#ffb454", "#aed581", "#f48fb1", "#b39ddb", "#fff176", "#80cbc4", "#ff8a65", "#90caf9",
              "#e6ee9c")
DIFFERENCE = LinearSegmentedColormap.from_list("difference", ["#7fd3ff", "#1f6fb2", "#0f1318", "#b4501f", "#ffc38a"])
#: as in the Slicer module: blue shrinks, white keeps, red grows
VOLUME_CHANGE = LinearSegmentedColormap.from_list("volume", ["#1a3fd6", "#8fa6f5", "#ffffff", "#f59a8f", "#d6261a"])
DISTANCE = LinearSegmentedColormap.from_list("distance", ["#16202b", "#1d4f86", "#3aa6a0", "#f2d16b", "#fff6d8"])
CHANGE = LogNorm(0.5, 2.0)  # color range of the Jacobian
DIFFERENT = Normalize(-0.6, 0.6)  # of intensities scaled to about 0 to 1
_GRAY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}


class Pictures:
    """Everything that the panels show, scaled and cut on demand."""

    def __init__(self, pair: PairInputs, field: DisplacementField, volumes: ResultVolumes) -> None:
        self.pair, self.volumes, self.field = pair, volumes, field
        # The moving image keeps one window, so that a change in the panel is a change in place.
        window = intensity_scaling(pair.moving)
        self.windows = {"fixed": intensity_scaling(pair.fixed), "before": window, "after": window}
        self.images = {"fixed": pair.fixed, "before": volumes.before, "after": volumes.warped}
        self.views = Views(pair.fixed.geometry, self._matter())
        matrix, offset = fit_affine(field)
        own = field.geometry.index_to_physical
        there = own.copy()  # what the affine part alone makes of an index
        there[:-1] = matrix @ own[:-1]
        there[:-1, -1] += offset
        self.affine = there - own
        sparse = _sparse(field.geometry.shape)
        largest = float(np.percentile(self._bend(lambda array: array[sparse]), 99))
        self.distance = Normalize(0, max(float(f"{largest:.2g}"), 1e-3))  # mm
        values = [] if pair.fixed_labels is None else label_values(pair.fixed_labels.array)
        self.structures = [value for value in values if value != 0]

    def _matter(self) -> np.ndarray:
        """The voxels the slices should pass through."""
        if self.pair.fixed_labels is not None and self.pair.fixed_labels.array.any():
            return self.pair.fixed_labels.array
        window = self.windows["fixed"]
        bright = 0.8 * window.low + 0.2 * window.high
        return self.pair.mask if self.pair.mask is not None else self.pair.fixed.array > bright

    def bend(self, plane: Plane) -> np.ndarray:
        """How far the field moves the points of a slice beyond its affine part. Unit: mm."""
        return self._bend(lambda array: self.views.cut(array, plane))

    def _bend(self, cut: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        shape = self.field.geometry.shape
        *steps, offset = self.affine[:-1].T
        rest = cut(self.field.vectors) - offset
        for axis, step in enumerate(reversed(steps)):
            along = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
            rest -= cut(np.broadcast_to(along, shape))[..., None] * step
        return np.asarray(np.linalg.norm(rest, axis=-1))

    def draw(self, picture: Picture, kind: str, plane: Plane) -> None:
        """One panel, in mm, the first row at the top. ``kind``: one of ``TITLES``."""

        def cut(array: np.ndarray) -> np.ndarray:
            return self.views.cut(array, plane)

        def gray(role: str) -> np.ndarray:
            return self.windows[role].applied(cut(self.images[role].array))

        if kind == "fixed":
            picture.image(gray("fixed"), **_GRAY)
            self._outline(picture, self.pair.fixed_labels, plane)
        elif kind in ("before", "after"):
            picture.image(gray(kind), **_GRAY)
            self._outline(picture, self.volumes.labels_before if kind == "before" else self.volumes.warped_labels,
                          plane)
            self._outline(picture, self.pair.fixed_labels, plane, dashed=True)
        elif kind.startswith("difference"):
            picture.image(gray("fixed") - gray(kind.split()[1]), cmap=DIFFERENCE, norm=DIFFERENT)
        elif kind == "deformation":
            picture.image(self.bend(plane), cmap=DISTANCE, norm=self.distance)
            self._grid(picture, plane)
        else:
            determinant = cut(self.volumes.jacobian.array)
            picture.image(np.clip(determinant, CHANGE.vmin, CHANGE.vmax), cmap=VOLUME_CHANGE, norm=CHANGE)
            folded = determinant <= 0
            if folded.any():
                picture.image(np.ma.masked_equal(folded, 0), cmap=ListedColormap([FOLD]), interpolation="nearest")

    def _outline(self, picture: Picture, labels: Volume | None, plane: Plane, *, dashed: bool = False) -> None:
        """Outlines of the fixed image's structures, one color each; ``dashed``: all white."""
        if labels is None:
            return
        across, down = self.views.centres(plane)
        cut = self.views.cut(labels.array, plane)
        thin = 0.6 if len(self.structures) > 10 else 1.0  # many outlines would hide the image
        lines: list[np.ndarray] = []
        colors: list[str] = []  # all in one artist: a contour set for each of thirty structures takes seconds
        for number, structure in enumerate(self.structures):
            mask = (cut == structure).astype(float)
            if mask.min() < mask.max():
                outlines = [np.asarray(line) for line in contour_generator(across, down, mask).lines(0.5)]
                lines += outlines
                colors += ["white" if dashed else STRUCTURES[number % len(STRUCTURES)]] * len(outlines)
        picture.lines(lines, colors=colors, linewidths=(0.8 if dashed else 1.2) * thin,
                      linestyles="dashed" if dashed else "solid", alpha=0.8 if dashed else 1.0)

    def _grid(self, picture: Picture, plane: Plane) -> None:
        """A regular grid of moving space as it comes to lie on the fixed image."""
        across, down = self.views.centres(plane)
        pitch = max(self.views.extent(plane)) / 20
        lines: list[np.ndarray] = []
        for position in self.views.moved(self.field.vectors, plane):
            generator = contour_generator(across, down, position)
            levels = np.arange(np.ceil(position.min() / pitch), np.floor(position.max() / pitch) + 1) * pitch
            for level in levels[(levels > position.min()) & (levels < position.max())]:
                lines += [np.asarray(line) for line in generator.lines(level)]
        picture.lines(lines, colors="white", linewidths=0.7, alpha=0.75)


def _sparse(shape: Sequence[int], *, most: int = 100) -> tuple[slice, ...]:
    """Every so many voxels, at most some hundred along each axis: enough for a percentile."""
    return tuple(slice(None, None, -(-size // most)) for size in shape)
