"""Cases as tensors: labels keep their values, whatever they are numbered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.scenes import make_scenario

from AutoRegLib.bridge import labels_to_tensor
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Preprocessing, Recipe
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.files import read_volume, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.learning.data import prepare

RECIPE = Recipe(preprocessing=Preprocessing(spacing=(1.0, 1.0, 1.0), affine="none"))


@pytest.mark.parametrize("code", [3, 32767, 40000, 100001, 2**24])
def test_labels_keep_their_values_in_training(code: int, tmp_path: Path) -> None:
    """FreeSurfer and atlases number structures beyond 16 bits."""
    path = make_scenario(tmp_path, (12, 12, 12))
    facts = json.loads(path.read_text())
    for case in facts["cases"]:
        labels = read_volume(tmp_path / case["labels"], "labels")
        renamed = np.where(labels.array == 2, code, 0).astype(np.int32)
        write_volume(replace(labels, array=renamed), tmp_path / case["labels"])
    facts["structures"] = {str(code): "core"}
    path.write_text(json.dumps(facts))
    dataset = prepare(read_scenario(path), RECIPE, ["train"])
    assert dataset.structures == (code,)
    for labels in dataset.labels.values():
        assert set(labels.unique().tolist()) == {0, code}
        assert labels.dtype == (torch.int16 if code <= 32767 else torch.int32)


def test_labels_that_float32_confuses_are_refused() -> None:
    grid = Geometry((2, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    for value in (2**24 + 1, 2**40, -(2**24) - 1):
        with pytest.raises(InputError, match="too large") as caught:
            labels_to_tensor(Volume(np.array([[[0, value]]]), grid, "labels"))
        assert str(value) in str(caught.value)
