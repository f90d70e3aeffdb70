"""Overlap by hand, absent structures, refusals."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.losses.dice import one_hot, soft_dice
from AutoRegLib.losses.objective import label_dice, label_overlap


def test_one_hot() -> None:
    maps = one_hot(torch.tensor([[[[0, 3], [7, 3]]]]), (3, 7, 9))
    assert maps.tolist() == [[[[0, 1], [0, 1]], [[0, 0], [1, 0]], [[0, 0], [0, 0]]]]


def test_by_hand() -> None:
    a = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    b = torch.tensor([[[0.0, 1.0, 1.0, 0.0]]])
    assert soft_dice(a, b) == 0.5
    assert soft_dice(0.5 * a, b).item() == pytest.approx(2 * 0.5 / 3)


def test_structures_absent_from_both_do_not_count() -> None:
    a = one_hot(torch.tensor([[[[1, 1, 2, 0]]], [[[1, 0, 0, 0]]]]), (1, 2, 3))
    b = one_hot(torch.tensor([[[[1, 1, 0, 0]]], [[[1, 0, 2, 0]]]]), (1, 2, 3))
    assert soft_dice(a, b).item() == pytest.approx((1 + 0 + 1 + 0) / 4)  # structure 3 is nowhere, 2 is missed twice
    assert soft_dice(a, a) == 1


def test_nothing_present_is_no_loss_and_no_gradient() -> None:
    a = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss = 1 - soft_dice(a, torch.zeros(1, 2, 4, 4))
    assert loss == 0
    assert torch.autograd.grad(loss, a)[0].abs().max() == 0


def test_refusals() -> None:
    with pytest.raises(InputError, match="one channel"):
        one_hot(torch.zeros(1, 2, 4, 4, dtype=torch.int64), (1,))
    with pytest.raises(InputError, match="at least one structure"):
        one_hot(torch.zeros(1, 1, 4, 4, dtype=torch.int64), ())
    with pytest.raises(InputError, match="do not fit"):
        soft_dice(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))


def test_validation_by_labels_does_not_favour_standing_still() -> None:
    """A stripe two voxels thick, moved by part of a voxel: its nearest voxels fit, the warped map is blurred."""
    moving, fixed = torch.zeros(1, 1, 8, 8, 8, dtype=torch.int16), torch.zeros(1, 1, 8, 8, 8, dtype=torch.int16)
    moving[..., 2:4], fixed[..., 3:5] = 3, 3
    shifts = {name: torch.zeros(1, 3, 8, 8, 8) for name in ("none", "half", "whole")}
    shifts["half"][:, 2], shifts["whole"][:, 2] = -0.6, -1.0
    found = {name: float(label_dice(Prediction(shift, None, ()), moving, fixed, structures=(3,)))
             for name, shift in shifts.items()}
    assert found == {"none": 0.5, "half": 1.0, "whole": 1.0}
    assert float(label_overlap(Prediction(shifts["half"], None, ()), moving, fixed, structures=(3,))) < 0.85
