"""What a fold is, said once for numpy and torch."""

from __future__ import annotations

from typing import Any


def folded(determinants: Any) -> Any:
    """Where the map folds: its Jacobian determinant is 0 or less, or not a number.

    Shape: an array or a tensor of determinants, as the result (bool).
    """
    return ~(determinants > 0)
