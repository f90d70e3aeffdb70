"""A fold is one thing everywhere: determinant 0 or less, or not a number."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

import AutoRegLib
from AutoRegLib.core.folds import folded
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.metrics import fold_measures

VALUES = [1.0, 0.0, -0.5, float("nan"), 1e-9, float("inf")]
FOLDED = [False, True, True, True, False, False]


def test_numpy_and_torch_count_alike() -> None:
    assert folded(np.array(VALUES)).tolist() == FOLDED
    assert folded(torch.tensor(VALUES)).tolist() == FOLDED


def test_a_determinant_that_is_not_a_number_is_reported_as_a_fold() -> None:
    values = np.array([2.0, 0.5, -0.25, np.nan], np.float32).reshape(1, 2, 2)
    grid = Geometry((2, 2, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    found = fold_measures(Volume(values, grid, "intensity"))
    assert found == {"folds": 2, "fold_fraction": 0.5, "positive_jacobian": 0.5, "jacobian_min": -0.25,
                     "log_jacobian_std": float(np.log([2.0, 0.5]).std())}
    nothing = fold_measures(Volume(np.full_like(values, np.nan), grid, "intensity"))
    assert nothing == {"folds": 4, "fold_fraction": 1.0, "positive_jacobian": 0.0}


def test_no_module_says_for_itself_what_a_fold_is() -> None:
    own = re.compile(r"(jacobian|determinant)\w*(\([^)]*\))?\)? *<= *0\b")
    library = Path(AutoRegLib.__file__).parent
    assert [str(path) for path in library.rglob("*.py") if own.search(re.sub(r'""".*?"""|#.*', "", path.read_text(),
                                                                             flags=re.S))] == []
