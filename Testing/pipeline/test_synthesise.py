"""Made-up pairs: as strong as asked, without folds, what the file holds is the image under the field."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pipeline.scenes import make_scenario
from scipy.ndimage import map_coordinates

from AutoRegLib.app.cli import main
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.evaluation.synthesise import synthesise
from AutoRegLib.fields.gaussian_mixture import BUMPS, LEAST, WIDTHS, mixture_displacement
from AutoRegLib.learning.determinism import generator


def drawn(shape: tuple[int, ...], sigma: float, seed: int) -> np.ndarray:
    return mixture_displacement(shape, sigma=sigma, generator=torch.Generator().manual_seed(seed))[0].numpy()


@pytest.mark.parametrize("shape", [(64, 80), (24, 20, 28)])
def test_fields_are_as_strong_as_asked_and_do_not_fold(shape: tuple[int, ...]) -> None:
    """The variance at a point is sigma^2 times the sum of the bumps' squares there; folds by numpy's gradient."""
    fields = [drawn(shape, 0.02 * min(shape), seed) for seed in range(30)]
    for field in fields:
        slopes = np.stack([np.stack(np.gradient(component)) for component in field])
        matrix = np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(len(shape))
        inner = np.linalg.det(matrix)[(slice(1, -1),) * len(shape)]
        assert inner.min() > LEAST - 1e-3
    weak, strong = (np.sqrt(np.mean([drawn(shape, s, seed) ** 2 for seed in range(30)])) for s in (0.01, 0.02))
    assert strong / weak == pytest.approx(2, rel=1e-5)  # weak ones are never drawn again
    # E u^2 = sigma^2 BUMPS E exp(-r^2 / w^2), axis by axis for each width
    widths = min(shape) * np.linspace(*WIDTHS, 40)
    apart = [np.arange(n)[:, None] - np.linspace(0, n - 1, 200) for n in shape]
    shares = [np.prod([np.exp(-((a / w) ** 2)).mean() for a in apart]) for w in widths]
    assert weak == pytest.approx(0.01 * np.sqrt(BUMPS * np.mean(shares)), rel=0.1)


def test_too_strong_for_the_grid_is_said() -> None:
    with pytest.raises(InputError, match="without folding"):
        drawn((16, 16), 60.0, 0)


def test_crosses_of_strengths(tmp_path: Path) -> None:
    source = read_scenario(make_scenario(tmp_path / "data", (40, 44)))
    found = synthesise(source, output=tmp_path / "out", sigmas=(1.0, 2.0), pairs=(3, 1, 2), seed=5)
    assert found["pairs"] == 12 and [Path(p).stem for p in found["scenarios"]] == [
        "blobs-1-1", "blobs-1-2", "blobs-2-1", "blobs-2-2"]
    cross = read_scenario(tmp_path / "out" / "blobs-1-2.json")
    pairs = [cross.pairs_of(split) for split in ("train", "val", "test")]
    assert [{p.moving.id.split("-")[1] for p in some} for some in pairs] == [{"s1"}, {"s1"}, {"s2"}]
    assert [len(some) for some in pairs] == [3, 1, 2]
    again = synthesise(source, output=tmp_path / "again", sigmas=(2.0,), pairs=(0, 0, 1), seed=5)
    pair = cross.pairs_of("test")[0]
    other = read_scenario(again["scenarios"][0]).pairs_of("test")[0]
    assert np.array_equal(nibabel.load(pair.moving.image).get_fdata(), nibabel.load(other.moving.image).get_fdata())
    # the file against scipy's linear sampling of the fixed image at the drawn field
    image = nibabel.load(pair.fixed.image).get_fdata().T
    seed = generator(5, f"synthesis/{pair.moving.id}", 0).getrandbits(62)
    places = np.indices(image.shape) + drawn(image.shape, 2.0, seed)
    expected = map_coordinates(image, places, order=1, mode="nearest")
    written = nibabel.load(pair.moving.image).get_fdata().T
    inside = np.all([(p > 0) & (p < n - 1) for p, n in zip(places, image.shape, strict=True)], axis=0)
    assert np.abs(written - expected)[inside].max() < 1e-4 and np.abs(written - image).max() > 0.05
    labels = nibabel.load(str(pair.moving.labels)).get_fdata().T
    nearest = map_coordinates(nibabel.load(str(pair.fixed.labels)).get_fdata().T, places, order=0, mode="nearest")
    assert (labels != nearest)[inside].mean() < 0.002  # halves may round the other way


def test_one_image_by_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_scenario(tmp_path / "data", (40, 44))
    argv = ["synthesise", str(tmp_path / "data" / "s0.nii.gz"), "--labels", str(tmp_path / "data" / "s0_labels.nii.gz"),
            "--output", str(tmp_path / "out"), "--sigma", "1", "--json", "--pairs", "2", "1"]
    assert main([*argv]) == 2 and "three" in capsys.readouterr().err
    assert main([*argv, "1"]) == 0
    scenario = read_scenario(json.loads(capsys.readouterr().out)["scenarios"][0])
    assert {p.fixed.id for split in ("train", "val", "test") for p in scenario.pairs_of(split)} == {"s0"}
    assert all(c.labels for c in scenario.cases)
