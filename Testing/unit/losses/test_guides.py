"""The term of guide landmarks: scipy's interpolation, a case by hand, its gradient."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from AutoRegLib.losses.guides import TOLERANCE, WEIGHT, Guides, guide_loss


def made(dims: int, seed: int = 0) -> tuple[torch.Tensor, Guides]:
    random = np.random.default_rng(seed)
    shape = (9, 11, 8)[:dims]
    field = torch.from_numpy(random.normal(0, 1, (1, dims, *shape)))
    points, targets = (torch.from_numpy(random.uniform(4, 12, (6, dims))) for _ in range(2))
    return field, Guides(points, targets, torch.from_numpy(random.normal(0, 1, (dims, dims))))


def test_the_term_is_scipys_interpolation_at_the_points() -> None:
    for dims in (2, 3):
        field, guides = made(dims)
        places = (guides.points.numpy() + 0.5) / 2 - 0.5
        moved = np.stack([ndimage.map_coordinates(part, places.T, order=1, mode="nearest")
                          for part in field[0].numpy()])
        error = (guides.points.numpy() + 2 * moved.T - guides.targets.numpy()) @ guides.to_mm.numpy().T
        expected = WEIGHT * (error**2).sum(axis=1).mean() / TOLERANCE**2
        assert abs(float(guide_loss(field, guides, factor=2)) - expected) < 1e-9 * expected


def test_by_hand_two_tolerances_apart_weigh_four_times_the_weight() -> None:
    guides = Guides(torch.tensor([[4.0, 4.0]]), torch.tensor([[4.0, 4.0 + TOLERANCE]]), 2 * torch.eye(2))
    assert abs(float(guide_loss(torch.zeros(1, 2, 8, 8), guides, factor=1)) - 4 * WEIGHT) < 1e-6
    along = torch.zeros(1, 2, 8, 8)
    along[:, 1] = TOLERANCE
    assert float(guide_loss(along, guides, factor=1)) < 1e-9
    followed = guides.following(along)
    assert float(guide_loss(torch.zeros(1, 2, 8, 8), followed, factor=1)) < 1e-9


def test_its_gradient() -> None:
    for dims in (2, 3):
        field, guides = made(dims)
        assert torch.autograd.gradcheck(lambda field, guides=guides: guide_loss(field, guides, factor=2),
                                        field.requires_grad_())


def test_a_slice_has_the_points_nearest_to_it() -> None:
    _, guides = made(3)
    points = torch.tensor([[0.2, 5, 5], [0.9, 3, 4], [3.0, 1, 2]])
    of = Guides(points, points + 1, torch.eye(3)).of_slice(0, 1)
    assert of is not None and of.points.tolist() == [[3, 4]] and of.to_mm.shape == (3, 2)
    assert guides.of_slice(0, 40) is None
