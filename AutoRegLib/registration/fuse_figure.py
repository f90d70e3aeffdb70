"""The picture of a fusion: both images, fused as they lay, fused after the registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from AutoRegLib.figure_style import Sheet
from AutoRegLib.imaging.volume import Volume

_TILE = 2.6  # inches


def fusion_figure(path: str | Path, fixed: Volume, moved: Volume, before: Volume, after: Volume) -> None:
    """Middle planes across the first axis, in the proportions of the body. Raises DiskError."""
    tiles = (("fixed", fixed), ("moving, registered", moved), ("fused without registration", before),
             ("fused after registration", after))
    spacing = fixed.geometry.spacing
    rows, columns = fixed.array.shape[-2:]
    high = _TILE * rows * spacing[1] / (columns * spacing[0])
    sheet = Sheet(0.3 + len(tiles) * (_TILE + 0.1), high + 0.6)
    for number, (words, volume) in enumerate(tiles):
        plane = volume.array if volume.array.ndim == 2 else volume.array[volume.array.shape[0] // 2]
        low, high_value = np.percentile(plane, (1, 99.5))
        sheet.text(0.25 + number * (_TILE + 0.1), 0.15, words, fontsize=9)
        panel = sheet.axes(0.25 + number * (_TILE + 0.1), 0.4, _TILE, high)
        panel.imshow(plane, cmap="gray", vmin=low, vmax=high_value, interpolation="nearest", aspect="auto",
                     origin="upper" if volume.array.ndim == 2 else "lower")
        panel.set_xticks([])
        panel.set_yticks([])
    sheet.save(path)
