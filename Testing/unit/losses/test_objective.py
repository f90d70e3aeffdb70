"""The registration loss: every scale of a network counts, or is refused."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import LossWeights, Objective
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.losses.objective import as_weights, registration_loss


def terms(scales: int) -> dict[str, torch.Tensor]:
    moving, fixed = torch.rand(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    fields = tuple(torch.zeros(1, 2, 32 // 2**i, 32 // 2**i) for i in range(1, scales + 1))
    prediction = Prediction(torch.zeros(1, 2, 32, 32), None, fields)
    return registration_loss(prediction, moving, fixed, as_weights(LossWeights()), objective=Objective())


def test_every_scale_is_in_the_loss() -> None:
    assert [len({"half_scale", "quarter_scale"} & set(terms(n))) for n in range(3)] == [0, 1, 2]


def test_a_scale_without_a_weight_is_refused() -> None:
    with pytest.raises(InputError, match="no weight for every scale") as caught:
        terms(5)
    assert "5 coarse scales" in str(caught.value)
