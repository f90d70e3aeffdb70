"""Made-up datasets in which the right answer is known (see planted_truth.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.learning.data import Dataset

SIZE = 48


def smooth(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> np.ndarray:
    """Periodic Gaussian noise of unit variance, ``sigma`` voxels wide."""
    frequencies = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    gain = np.exp(-2.0 * (np.pi * sigma) ** 2 * sum(f**2 for f in frequencies))
    field = np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape)) * gain).real
    return field / field.std()


def dataset_of(images: list[np.ndarray], labels: list[np.ndarray], structures: tuple[int, ...]) -> Dataset:
    """Two thirds of the images train, the rest validate; all pairs of different images."""
    count = len(images)
    cut = 2 * count // 3
    names = [f"case{i}" for i in range(count)]
    pairs = {
        split: tuple((a, b) for a in part for b in part if a != b)
        for split, part in (("train", names[:cut]), ("val", names[cut:]))
    }
    geometry = Geometry(images[0].shape, (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    return Dataset(
        geometry, {n: torch.tensor(i, dtype=torch.float32)[None, None] for n, i in zip(names, images, strict=True)},
        {n: torch.tensor(v, dtype=torch.int16)[None, None] for n, v in zip(names, labels, strict=True)}, pairs,
        structures,
    )


def shifted(seed: int, *, most: int, count: int = 90, size: int = 64) -> tuple[Dataset, int]:
    """A disc with a core, anywhere up to ``most`` voxels off centre, and the largest shift between two of them.

    The shift of a pair is the larger of its components. Two images in opposite corners are always among those that
    train, so that the largest shift is twice ``most``. The disc is 30 voxels wide: those of most pairs overlap, so that
    the loss says which way to go, while a voxel at its edge learns how far only by seeing the other disc's edge.
    """
    rng = np.random.default_rng(seed)
    yy, xx = np.meshgrid(*[np.arange(size) - size / 2] * 2, indexing="ij")
    corners = [(-most, -most), (most, most)]
    places = corners + [tuple(rng.integers(-most, most + 1, size=2)) for _ in range(count - len(corners))]
    images, labels = [], []
    for y, x in places:
        label = np.array([2, 1, 0])[np.searchsorted([6, 15], np.hypot(yy - y, xx - x), side="right")]
        images.append(np.array([0.0, 1.0, 0.4])[label] + 0.05 * rng.standard_normal((size, size)))
        labels.append(label)
    return dataset_of(images, labels, (1, 2)), 2 * most


def cluttered(seed: int, *, count: int = 60, deformation: float = 2.5, clutter: float = 0.15) -> Dataset:
    """A disc in two rings, smoothly deformed by some ``deformation`` voxels, under independent clutter.

    The clutter is as wide as structures that can be matched, but nothing corresponds in it: a field that is let
    loose follows it and tears the thin rings, a field that is held too stiff does not follow them.
    """
    rng = np.random.default_rng(seed)
    yy, xx = np.meshgrid(*[np.arange(SIZE)] * 2, indexing="ij")
    images, labels = [], []
    for _ in range(count):
        y, x = (axis - SIZE / 2 + deformation * smooth(rng, (SIZE, SIZE), 6.0) for axis in (yy, xx))
        label = np.array([3, 0, 2, 1, 0])[np.searchsorted([6, 10, 14, 18], np.hypot(y, x), side="right")]
        images.append(label / 3 + 0.02 * rng.standard_normal((SIZE, SIZE)) + clutter * smooth(rng, (SIZE, SIZE), 2.0))
        labels.append(label)
    return dataset_of(images, labels, (1, 2, 3))
