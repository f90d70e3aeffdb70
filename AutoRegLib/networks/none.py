"""No network at all: the answer is to move nothing."""

from __future__ import annotations

from torch import Tensor, nn

from AutoRegLib.fields.prediction import Prediction


class NoNetwork(nn.Module):
    """The zero velocity for every pair; what refinement starts from when there is no trained model."""

    def forward(self, moving: Tensor, fixed: Tensor) -> Prediction:
        """Shape: images (B, 1, *spatial), sizes that are multiples of 2."""
        dims, shape = fixed.ndim - 2, fixed.shape[2:]
        zero = fixed.new_zeros(len(fixed), dims, *shape)
        return Prediction(zero, fixed.new_zeros(len(fixed), dims, *(size // 2 for size in shape)))
