"""A registration by geodesic shooting, files in and files out: it finds a known map and is an ordinary result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AutoRegLib.app.cli import main
from AutoRegLib.bridge import displacement_to_field, field_to_displacement
from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.predictor import PredictorSettings, RegularityPredictor, save_predictor
from AutoRegLib.geodesic.shooting import shoot
from AutoRegLib.imaging.displacement import transform_points
from AutoRegLib.imaging.files import read_displacement, read_transform, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes

SHAPE = (60, 64)
GRID = Geometry(SHAPE[::-1], (1.5, 1.5), (-20.0, 10.0), (1.0, 0.0, 0.0, 1.0))


def anatomy() -> tuple[Volume, Volume, Any]:
    """A textured image, what a known geodesic makes of it, and that map."""
    random = torch.Generator().manual_seed(7)
    moving = 2 * gaussian(torch.rand(1, 1, *SHAPE, generator=random), 2.0)
    band = Band(SHAPE, 7)
    metric = Metric.of(band, 8.0)
    truth = shoot(3 * band.zeros().normal_(generator=random) * metric.operator(-0.5), metric).on_grid()
    fixed = warp(moving, truth)
    images = [Volume(image[0, 0].numpy(), GRID, "intensity") for image in (fixed, moving)]
    return images[0], images[1], displacement_to_field(truth, GRID)


def errors(found: Any, truth: Any) -> tuple[float, float]:
    """Mean distance of a field, and of no motion at all, to the truth, away from the border. Unit: mm."""
    inside = (slice(8, -8), slice(8, -8))
    return tuple(float(np.linalg.norm(field - truth.vectors, axis=-1)[inside].mean())  # type: ignore[return-value]
                 for field in (found.vectors, 0 * truth.vectors))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("geodesic")
    fixed, moving, truth = anatomy()
    write_volume(fixed, folder / "fixed.nrrd")
    write_volume(moving, folder / "moving.nrrd")
    argv = ["lddmm", "register", str(folder / "fixed.nrrd"), str(folder / "moving.nrrd"), "--output",
            str(folder / "out"), "--alpha", "18", "--affine", "none", "--inverse", "--quiet", "--device", "cpu"]
    assert main(argv) == 0
    return folder / "out", truth


def test_it_finds_a_known_map_in_mm(result: tuple[Path, Any]) -> None:
    left, before = errors(read_displacement(result[0] / "transform.nrrd"), result[1])
    assert before > 1.0
    assert left < 0.3 * before


def test_it_says_what_it_did(result: tuple[Path, Any]) -> None:
    report = json.loads((result[0] / "report.json").read_text())
    done = report["refine"]
    assert done["transformation"] == "lddmm" and done["alpha_chosen_by"] == "request"
    assert abs(done["alpha_mm2"] - 18) < 1e-4  # 8 voxels squared
    assert done["loss_after"] < done["loss_before"]
    assert report["folds"] == 0 and report["jacobian_min"] > 0
    assert report["lncc"] > report["lncc_before"]


def test_its_initial_velocity_shoots_the_result(result: tuple[Path, Any]) -> None:
    """Shown like any field: as the pull-back of a way that goes straight on."""
    course, field = (read_displacement(result[0] / f"{name}.nrrd") for name in ("initial_velocity", "transform"))
    apart = np.linalg.norm(course.vectors - field.vectors, axis=-1).mean()
    assert 0.02 < apart / np.linalg.norm(field.vectors, axis=-1).mean() < 0.5
    band = Band(SHAPE)
    shot = shoot(band.from_grid(-field_to_displacement(course)), Metric.of(band, 8.0))
    assert float((shot.on_grid() - field_to_displacement(field)).abs().max()) < 1e-3


def test_its_inverse_leads_back(result: tuple[Path, Any]) -> None:
    points = np.stack(np.meshgrid(np.linspace(5, 55, 6), np.linspace(30, 80, 6)), -1).reshape(-1, 2)
    there, back = (read_transform(result[0] / f"{name}.nrrd") for name in ("transform", "inverse_transform"))
    moved = transform_points(there, points)
    assert np.linalg.norm(moved - points, axis=1).mean() > 0.5
    assert np.linalg.norm(transform_points(back, moved) - points, axis=1).max() < 0.15  # a tenth of a voxel


def test_alpha_may_come_from_the_images_and_a_refinement_may_follow() -> None:
    fixed, moving, truth = anatomy()
    bundle = no_network(GRID, GRID)
    found = register_volumes(bundle, fixed, moving, affine="none", transformation="lddmm", regularity="map")
    assert found.refinement["alpha_chosen_by"] == "images"
    assert abs(found.refinement["alpha_mm2"] - 16 * 1.5**2) > 1
    assert 1 / 3 < found.refinement["alpha_mm2"] / (8 * 1.5**2) < 3  # though it moves three times as far as the prior
    refined = register_volumes(bundle, fixed, moving, affine="none", transformation="lddmm", refine=5)
    assert refined.refinement["start"] == "lddmm"
    assert refined.refinement["shooting"]["transformation"] == "lddmm"
    for registration in (found, refined):
        left, before = errors(registration.field, truth)
        assert left < 0.4 * before


def test_a_predictor_tells_alpha(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that always tells 9 squared voxels of 1 mm; the working grid has 1.5 mm."""
    network = RegularityPredictor(PredictorSettings(streams=(2, 2, 2, 2), fusion=(2, 2, 2)))
    network.learn_range(torch.tensor([9.0, 9.0]))
    torch.nn.init.zeros_(network.answer.weight)
    save_predictor(tmp_path / "predictor", network, network.state_dict(), spacing=1.0, facts={})
    fixed, moving, _ = anatomy()
    write_volume(fixed, tmp_path / "fixed.nrrd")
    write_volume(moving, tmp_path / "moving.nrrd")
    pair = [str(tmp_path / "fixed.nrrd"), str(tmp_path / "moving.nrrd")]
    argv = ["register", *pair, "--affine", "none", "--quiet", "--predictor", str(tmp_path / "predictor")]
    assert main([*argv, "--output", str(tmp_path / "out"), "--transformation", "lddmm"]) == 0
    done = json.loads((tmp_path / "out" / "report.json").read_text())["refine"]
    assert done["alpha_chosen_by"] == "predictor" and abs(done["alpha_mm2"] - 9.0) < 1e-3
    told = ["lddmm", "predict", str(tmp_path / "predictor"), *pair, "--no-affine", "--quiet", "--json"]
    assert main([*told, "--output", str(tmp_path / "told")]) == 0
    assert abs(json.loads(capsys.readouterr().out)["alpha"] - 9.0) < 1e-4
    assert json.loads((tmp_path / "told" / "prediction.json").read_text())["predictor"] == str(tmp_path / "predictor")
    for asked in (["--transformation", "svf"], ["--transformation", "lddmm", "--alpha", "3"]):
        assert main([*argv, "--output", str(tmp_path / "other"), *asked]) == 2


def test_a_table_and_a_split_of_pairs_are_shot_too(tmp_path: Path) -> None:
    fixed, moving, _ = anatomy()
    cases = []
    for name, volume in (("fixed", fixed), ("moving", moving)):
        write_volume(volume, tmp_path / f"{name}.nrrd")
        write_volume(Volume((volume.array > 1).astype(np.uint8), GRID, "labels"), tmp_path / f"{name}_labels.nrrd")
        cases.append({"id": name, "image": f"{name}.nrrd", "labels": f"{name}_labels.nrrd", "subject": name,
                      "split": "test"})
    (tmp_path / "pairs.csv").write_text("name,fixed,moving\none,fixed.nrrd,moving.nrrd\n")
    (tmp_path / "scenario.json").write_text(json.dumps({
        "schema": "autoreg-scenario/1", "name": "two", "spatial_dims": 2, "pairing": "all",
        "structures": {"1": "bright"}, "cases": cases}))
    shot = ["--transformation", "lddmm", "--alpha", "18", "--quiet", "--device", "cpu"]
    batch = ["batch", str(tmp_path / "pairs.csv"), "--model", "none", "--affine", "none"]
    assert main([*batch, "--output", str(tmp_path / "batch"), *shot]) == 0
    done = json.loads((tmp_path / "batch" / "one" / "report.json").read_text())["refine"]
    assert done["transformation"] == "lddmm" and abs(done["alpha_mm2"] - 18) < 1e-4
    ask = ["evaluate", "--model", "none", "--scenario", str(tmp_path / "scenario.json")]
    assert main([*ask, "--output", str(tmp_path / "eval"), *shot]) == 0
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert summary["transformation"] == "lddmm" and summary["refine"] == 0
    assert summary["dice"]["mean"] > summary["dice_before"]["mean"] + 0.05
    assert main([*batch, "--output", str(tmp_path / "no"), "--predictor", str(tmp_path), "--quiet"]) == 2


def test_a_model_keeps_its_own_transformation(capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.synthetic import known_model

    fixed, moving, _ = anatomy()
    with pytest.raises(InputError, match="transformation"):
        register_volumes(known_model(2, 0.1), fixed, moving, transformation="lddmm")
    assert main(["register", "f", "m", "--output", "o", "--alpha", "much"]) == 2
    assert "not auto, map or a number" in capsys.readouterr().err.replace("\n", " ")
