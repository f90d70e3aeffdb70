"""The demo's subjects: their true maps really carry one onto the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from AutoRegLib.app.synthetic_dataset import Subject, make_subject, make_template, smooth_noise, truth_between
from AutoRegLib.imaging.displacement import DisplacementField, jacobian_determinant
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.registration.metrics import coordinates, dice

SPACING = 4.0
GRID = Geometry((36, 40, 32), (SPACING,) * 3, (-70.0, -78.0, -62.0), tuple(np.eye(3).ravel().tolist()))


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    """Two subjects from a phantom of four blobs, on a template grid with other axes than theirs."""
    direction = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)
    own = Geometry((76, 70, 80), (2.0,) * 3, (75.0, -70.0, 69.0), direction)
    at = coordinates(own).reshape(*own.shape, 3)
    labels = np.zeros(own.shape, np.uint8)
    centres = ((-30, 0, 0), (28, 10, 5), (0, -35, -10), (5, 30, 20))
    for code, centre in zip((1, 2, 3, 103), centres, strict=True):
        labels[np.linalg.norm(at - np.array(centre, float), axis=-1) < 21] = code
    image = (100.0 * (labels > 0) + 40.0 * (labels == 2) + 10.0 * np.cos(at[..., 0] / 9)).astype(np.float32)
    template = make_template(
        Volume(image, own, "intensity"), Volume(labels, own, "labels"), {1: 1, 2: 2, 3: 3, 103: 3}, spacing=SPACING
    )
    return [make_subject(template, GRID, seed=seed) for seed in (1, 2)]


def test_truth_carries_moving_onto_fixed(subjects: list[Subject]) -> None:
    fixed, moving = subjects
    truth = truth_between(fixed.to_template, moving.to_template)
    before = dice(fixed.labels, moving.labels, (1, 2, 3))
    after = dice(fixed.labels, resample(moving.labels, GRID, truth.to_transform()), (1, 2, 3))
    back = truth_between(moving.to_template, fixed.to_template)  # the wrong way round must not do
    wrong = dice(fixed.labels, resample(moving.labels, GRID, back.to_transform()), (1, 2, 3))
    for code in (1, 2, 3):
        assert after[code] > 0.9
        assert after[code] > before[code] + 0.04
        assert wrong[code] < before[code]


def test_truth_meets_in_the_template(subjects: list[Subject]) -> None:
    fixed, moving = (person.to_template for person in subjects)
    points = coordinates(GRID).reshape(-1, 3)
    inner = points[(np.abs(points - GRID.centre) < 45).all(axis=1)]
    there = truth_between(fixed, moving).warp_points(inner)
    gap = np.abs(moving.warp_points(there) - fixed.warp_points(inner)).max()
    assert gap < 0.01  # mm; the displacements themselves are millimetres
    assert np.linalg.norm(there - inner, axis=1).max() > 3.0


def test_truth_of_translations_by_hand() -> None:
    def moved(*mm: float) -> DisplacementField:
        return DisplacementField(np.broadcast_to(np.float32(mm), (*GRID.shape, 3)).copy(), GRID)

    truth = truth_between(moved(3, 0, -1), moved(1, 2, 0))  # y = x + (3, 0, -1) - (1, 2, 0)
    assert np.abs(truth.vectors - np.float32((2, -2, -1))).max() < 1e-4


def test_subjects_are_plausible_and_reproducible(subjects: list[Subject]) -> None:
    for person in subjects:
        assert jacobian_determinant(person.to_template).array.min() > 0
        size = np.linalg.norm(person.to_template.vectors, axis=-1)
        assert 2.0 < size.max() < 20.0
        assert set(np.unique(person.labels.array)) == {0, 1, 2, 3}
    assert np.abs(subjects[0].image.array - subjects[1].image.array).max() > 100


def test_noise_has_unit_size_and_the_asked_smoothness() -> None:
    noise = smooth_noise((512, 512), (4.0, 4.0), torch.Generator().manual_seed(0))
    assert abs(float(noise.mean())) < 1e-5 and abs(float(noise.std()) - 1) < 1e-5
    step = float((noise[1:] - noise[:-1]).std())
    # a Gaussian of sigma s has the correlation exp(-d^2 / 4 s^2): a step of one voxel has sqrt(2 - 2 exp(-1/64))
    assert step == pytest.approx((2 - 2 * np.exp(-1 / 64)) ** 0.5, rel=0.1)
