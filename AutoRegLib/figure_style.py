"""A dark page laid out in inches, and the colours that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from AutoRegLib.core.records import write_whole

BACKGROUND, TEXT, FAINT = "#0f1318", "#e8ebef", "#8b95a1"
BEFORE, AFFINE, AFTER, FOLD, CAUTION = "#6b7683", "#b39ddb", "#4fc3f7", "#ff2bd6", "#ffb454"

matplotlib.rcParams["text.parse_math"] = False  # names of structures, cases and landmarks may hold dollar signs


@dataclass(frozen=True)
class Picture:
    """A part of a sheet, filled in its own unit from its upper left corner. ``scale``: inches of the unit."""

    axes: Axes
    left: float
    top: float
    scale: float
    extent: tuple[float, float]

    def image(self, values: np.ndarray, **style: Any) -> None:
        """Values over the whole picture, the first row at its top; ``style`` as of matplotlib's ``imshow``."""
        width, height = (self.scale * size for size in self.extent)
        place = (self.left, self.left + width, self.top + height, self.top)
        self.axes.imshow(values, extent=place, aspect="auto", **({"interpolation": "bilinear"} | style))

    def lines(self, lines: Sequence[np.ndarray], **style: Any) -> None:
        """Lines, each (points, 2); ``style`` as of matplotlib's ``LineCollection``."""
        corner = np.array([self.left, self.top])
        self.axes.add_collection(LineCollection([corner + self.scale * line for line in lines], **style), autolim=False)


class _Plain(LogFormatter):
    """The marks that matplotlib would label, as plain numbers: its own are mathematics, which is not drawn here."""

    def __call__(self, value: float, place: int | None = None) -> str:
        return f"{value:g}" if super().__call__(value, place) else ""


def logarithmic(panel: Axes, names: str) -> None:
    """Make the axes "x", "y" or both, "xy", logarithmic, with plain numbers."""
    for name in names:
        getattr(panel, f"set_{name}scale")("log")
        axis = getattr(panel, f"{name}axis")
        axis.set_major_formatter(_Plain())
        axis.set_minor_formatter(_Plain())


class Sheet:
    """A figure laid out in inches from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (width, height)
        self.figure = Figure(figsize=(width, height), facecolor=BACKGROUND)
        FigureCanvasAgg(self.figure)
        self._pictures: Axes | None = None

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """A panel; positions in inches."""
        across, down = self.size
        panel = self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
        panel.set_facecolor(BACKGROUND)
        panel.tick_params(colors=FAINT, labelsize=7, length=2)
        for side in panel.spines.values():
            side.set_visible(False)
        return panel

    def picture(self, left: float, top: float, width: float, height: float, extent: tuple[float, float]) -> Picture:
        """A place for images and lines, without ticks; ``extent``: its width and height in a unit of its own.

        All share one set of axes: those of matplotlib take longer to make than what is shown in them.
        """
        if self._pictures is None:
            axes = self.axes(0, 0, *self.size)
            axes.set(xlim=(0, self.size[0]), ylim=(self.size[1], 0), autoscale_on=False)
            axes.axis("off")
            self._pictures = axes
        scale = min(width / extent[0], height / extent[1])
        return Picture(self._pictures, left + (width - scale * extent[0]) / 2, top + (height - scale * extent[1]) / 2,
                       scale, extent)

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Words whose upper left corner lies at a position in inches."""
        complete: dict[str, Any] = {"color": TEXT, "va": "top", "fontsize": 8} | style
        self.figure.text(left / self.size[0], 1 - top / self.size[1], text, **complete)

    def save(self, path: str | Path, *, dots: int = 110) -> None:
        """Write the PNG in one step. Raises DiskError."""
        quick = {"compress_level": 1}  # a third of the time of the usual 6, files 18 % larger
        write_whole(path, lambda name: self.figure.savefig(name, dpi=dots, facecolor=BACKGROUND, pil_kwargs=quick))
