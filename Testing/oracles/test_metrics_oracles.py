"""Overlap and surface distance against SimpleITK, MONAI and all pairs of voxels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.surface_distance import surface, surface_distances
from AutoRegLib.imaging.volume import Volume, to_sitk
from AutoRegLib.registration import metrics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai_metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")

SPACING = (1.0, 1.5, 2.0)


def _random_labels(seed: int) -> Volume:
    """Two rough structures that touch the border of the image."""
    random = np.random.default_rng(seed)
    noise = sitk.GetImageFromArray(random.normal(size=(18, 24, 20)))
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(noise, 2.0))
    array = np.zeros(smooth.shape, np.uint8)
    array[smooth > np.percentile(smooth, 70)] = 1
    array[smooth < np.percentile(smooth, 20)] = 2
    geometry = Geometry((20, 24, 18), SPACING, (0, 0, 0), tuple(np.eye(3).ravel()))
    return Volume(array, geometry, "labels")


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_dice_agrees_with_simpleitk(seed: int) -> None:
    first, second = _random_labels(seed), _random_labels(seed + 1)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(to_sitk(first), to_sitk(second))
    found = metrics.dice(first, second, (1, 2))
    assert max(abs(found[s] - overlap.GetDiceCoefficient(s)) for s in (1, 2)) < 1e-9
    assert max(found.values()) < 0.9


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_hd95_agrees_with_monai(seed: int) -> None:
    pytest.importorskip("scipy", reason="MONAI finds edges with scipy")
    first, second = _random_labels(seed), _random_labels(seed + 1)
    onehot = [torch.stack([torch.from_numpy(v.array == s) for s in (1, 2)])[None].float() for v in (first, second)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distance = monai_metrics.compute_hausdorff_distance(
            *onehot, include_background=True, percentile=95, spacing=list(SPACING[::-1]))[0]
    ours = metrics.hd95(first, second, (1, 2))
    assert max(abs(ours[s] - float(distance[s - 1])) for s in (1, 2)) < 1e-4
    assert min(ours.values()) > 1  # a distance of 0 would agree with anything that did nothing


def test_surface_distances_are_those_of_all_pairs_of_voxels() -> None:
    first, second = (_random_labels(seed).array == 1 for seed in (3, 4))
    edges = [np.argwhere(surface(mask)) * np.array(SPACING[::-1]) for mask in (first, second)]
    every = np.sqrt(((edges[0][:, None] - edges[1][None]) ** 2).sum(axis=-1))
    found = surface_distances(first, second, _random_labels(3).geometry)
    assert np.abs(np.sort(found[0]) - np.sort(every.min(axis=1))).max() < 1e-5
    assert np.abs(np.sort(found[1]) - np.sort(every.min(axis=0))).max() < 1e-5
