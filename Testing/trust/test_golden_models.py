"""Models written by earlier versions load and answer as they did there: ``Testing/golden`` is never made anew.

Each folder: a model with weights that were drawn, saved by the version of its format, and ``displacement.npy``: what
the network of that version said of the two blobs below.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from AutoRegLib.bundle import export_bundle, import_bundle, load_bundle
from AutoRegLib.core.bundle_folder import read_bundle

GOLDEN = sorted((Path(__file__).parents[1] / "golden").iterdir())


def blob(shape: tuple[int, ...], *centre: float) -> torch.Tensor:
    """A round spot. Shape: (1, 1, *shape). Unit: centre in half widths of the image from its middle."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    square = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=False))
    return torch.tensor(np.exp(-4 * square), dtype=torch.float32)[None, None]


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_a_model_answers_as_it_did_when_it_was_saved(folder: Path) -> None:
    expected = np.load(folder / "displacement.npy")
    shape = expected.shape[1:]
    with torch.inference_mode():
        found = load_bundle(folder).network(blob(shape, -0.15, 0.1, 0.2), blob(shape, 0.1, -0.1, 0.0)).displacement
    assert np.abs(expected).max() > 0.05  # voxels: an untrained network says nothing
    assert np.abs(found[0].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_it_is_listed_exported_and_imported(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    imported = import_bundle(export_bundle(folder, tmp_path / "copy.zip"))
    assert read_bundle(imported).parameters == read_bundle(folder).parameters > 100
    assert load_bundle(imported).recipe == load_bundle(folder).recipe


def test_there_are_some_and_they_are_small() -> None:
    assert len(GOLDEN) >= 4
    assert all(sum(path.stat().st_size for path in folder.iterdir()) < 100_000 for folder in GOLDEN)
