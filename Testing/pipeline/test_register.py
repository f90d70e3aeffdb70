"""What a registration says and refuses: the report's keys, its words, its errors."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pipeline.synthetic import (
    FIXED_GRID,
    MOVING_GRID,
    PLANE_FIXED,
    PLANE_MOVING,
    blobs,
    grid_about,
    known_model,
    two_blobs,
)

from AutoRegLib.core.errors import CancelledError, InputError, OutOfMemoryProblem
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Preprocessing
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.files import read_displacement, write_displacement, write_points, write_volume
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.run import RegisterOptions, register

KEYS = {
    "dice", "dice_before", "hd95_mm", "tre_mm", "lncc", "folds", "fold_fraction", "folds_in_mask", "jacobian_min",
    "log_jacobian_std", "inverse_consistency_mm", "seconds", "peak_memory_bytes", "parameters", "device", "model",
    "inputs", "warnings",
}


class Listener(Monitor):
    def __init__(self, wish: str = "") -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.answer = wish

    def event(self, type: str, **payload: Any) -> None:
        json.dumps(payload)
        self.events.append((type, payload))

    def wish(self) -> Any:
        return self.answer


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    write_volume(blobs(FIXED_GRID), tmp_path / "fixed.nii.gz")
    write_volume(blobs(MOVING_GRID, shift=(3, -2, 2)), tmp_path / "moving.nii.gz")
    return tmp_path


def run(folder: Path, strength: float = 0.5, **options: Any) -> dict[str, Any]:
    return register(known_model(3, strength), folder / "fixed.nii.gz", folder / "moving.nii.gz", output=folder / "out",
                    options=RegisterOptions(**options))


def add_labels(folder: Path) -> dict[str, Path]:
    write_volume(two_blobs(FIXED_GRID), folder / "fl.nii.gz")
    write_volume(two_blobs(MOVING_GRID, shift=(3, -2, 2)), folder / "ml.nii.gz")
    return {"fixed_labels": folder / "fl.nii.gz", "moving_labels": folder / "ml.nii.gz"}


def test_the_report_is_complete_and_on_disk(pair: Path) -> None:
    labels = add_labels(pair)
    write_points(["a"], np.array([[10.0, -20, 30]]), pair / "f.csv")
    write_points(["a"], np.array([[13.0, -22, 32]]), pair / "m.csv")
    listener = Listener()
    found = register(known_model(3, 0.5), pair / "fixed.nii.gz", pair / "moving.nii.gz", output=pair / "out",
                     options=RegisterOptions(**labels, fixed_landmarks=pair / "f.csv", moving_landmarks=pair / "m.csv",
                                             fixed_mask=labels["fixed_labels"], inverse=True), monitor=listener)
    assert set(found) >= KEYS
    assert json.loads((pair / "out/report.json").read_text()) == found
    assert set(found["outputs"]) == {p.name for p in (pair / "out").iterdir()} and "report.png" in found["outputs"]
    assert (pair / "out/report.png").read_bytes()[:4] == b"\x89PNG"
    assert set(found["dice"]) == {"1", "2", "mean"}
    assert len(found["inputs"]["fixed"]["sha256"]) == 64 and len(found["inputs"]) == 7
    assert found["seconds"] >= sum(found["seconds_by_step"].values()) * 0.99
    assert {e for e, _ in listener.events} == {"stage", "artifact"} | ({"warning"} if found["warnings"] else set())


def test_what_was_not_measured_has_no_key(pair: Path) -> None:
    found = run(pair)
    assert not {"dice", "dice_before", "hd95_mm", "tre_mm", "folds_in_mask"} & set(found)
    assert not (pair / "out/warped_labels.nii.gz").exists() and not (pair / "out/inverse_transform.nrrd").exists()
    assert {"lncc", "folds", "inverse_consistency_mm"} <= set(found)


def test_two_runs_are_the_same_to_the_bit(pair: Path) -> None:
    results = []
    for _ in range(2):
        run(pair)
        results.append((pair / "out/warped.nii.gz").read_bytes())
    assert results[0] == results[1]


def test_results_of_an_earlier_run_do_not_stay(pair: Path) -> None:
    run(pair, **add_labels(pair), inverse=True, transform_format=("h5",))
    (pair / "out/notes.txt").write_text("mine")
    found = run(pair)
    assert {p.name for p in (pair / "out").iterdir()} == {*found["outputs"], "notes.txt"}


def test_folds_of_a_network_are_mended_and_said(pair: Path) -> None:
    """Without integration a strong field folds; not what is delivered."""
    model = known_model(3, 0.0)

    class Folding(torch.nn.Module):
        def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> Any:
            from AutoRegLib.fields.prediction import Prediction

            field = torch.zeros(1, 3, *fixed.shape[2:])
            field[:, 2, :, :, ::4] = field[:, 2, :, :, 1::4] = 6.0  # two by two: central differences skip one
            return Prediction(field, None)

    found = register(replace(model, network=Folding()), pair / "fixed.nii.gz", pair / "moving.nii.gz",
                     output=pair / "out", options=RegisterOptions(affine="none", deliver="whole"))
    assert found["folds"] == 0 and found["jacobian_min"] > 0
    assert found["unfolded_voxels"] > 100
    assert any(f"folded at {found['unfolded_voxels']} voxels" in text for text in found["warnings"])


def test_labels_of_another_grid_are_refused_with_both_grids(pair: Path) -> None:
    write_volume(two_blobs(MOVING_GRID), pair / "fl.nii.gz")
    with pytest.raises(InputError, match=r"fixed labels lie on another.*size \(21, 34, 30\) against \(26, 31, 18\)"):
        run(pair, fixed_labels=pair / "fl.nii.gz")


def test_structures_of_one_image_only_are_named(pair: Path) -> None:
    labels = add_labels(pair)
    extra = two_blobs(FIXED_GRID)
    array = extra.array.copy()
    array[0, 0, 0] = 7
    write_volume(Volume(array, FIXED_GRID, "labels"), labels["fixed_labels"])
    found = run(pair, **labels)
    assert any("only in the fixed labels" in text and "7" in text for text in found["warnings"])
    assert "7" not in found["dice"]
    assert any("moving labels" in text for text in run(pair, fixed_labels=labels["fixed_labels"])["warnings"])


def test_little_common_field_of_view_is_said(tmp_path: Path) -> None:
    write_volume(blobs(FIXED_GRID), tmp_path / "fixed.nii.gz")
    small = grid_about((14, -16, 33), (12, 14, 12), (2.0, 2.0, 2.0), np.eye(3))
    write_volume(blobs(small), tmp_path / "moving.nii.gz")
    found = run(tmp_path, 0.0, affine="none")
    assert found["coverage"] < 0.5
    assert any("covers only" in text and "%" in text for text in found["warnings"])


def test_a_ct_given_to_an_mr_model_is_noticed(pair: Path) -> None:
    image = blobs(FIXED_GRID)
    write_volume(Volume(image.array * 8 - 1000, FIXED_GRID, "intensity"), pair / "fixed.nii.gz")
    model = known_model(3, 0.0)
    model = replace(model, recipe=replace(model.recipe, preprocessing=Preprocessing(modality="T1")))
    found = register(model, pair / "fixed.nii.gz", pair / "moving.nii.gz", output=pair / "out")
    assert [text for text in found["warnings"] if "looks like CT" in text and "fixed" in text]


@pytest.mark.parametrize(("options", "message"), [
    ({"refine": -3}, "iterations of the refinement"),
    ({"similarity": "mind"}, "the loss it was trained with"),
    ({"fixed_landmarks": "f.csv"}, "landmarks on one image only"),
    ({"fixed_mask": "empty.nii.gz"}, "is empty"),
    ({"initial_transform": "plane.tfm"}, "another dimension"),
])
def test_bad_requests_say_what_to_do(pair: Path, options: dict[str, Any], message: str) -> None:
    write_points(["a"], np.zeros((1, 3)), pair / "f.csv")
    write_volume(Volume(np.zeros(FIXED_GRID.shape, np.uint8), FIXED_GRID, "labels"), pair / "empty.nii.gz")
    sitk.WriteTransform(sitk.AffineTransform(2), str(pair / "plane.tfm"))
    paths = {key: pair / value if isinstance(value, str) and "." in value else value for key, value in options.items()}
    with pytest.raises(InputError, match=message) as caught:
        run(pair, **paths)
    assert caught.value.remedy


def test_refinement_improves_the_pair_and_leaves_the_model_alone(pair: Path) -> None:
    """The network's answer is wrong here; what counts is that the pair gets better and nothing else changes."""
    model = known_model(3, 2.0)
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    plain, listener = run(pair, 2.0, deliver="whole"), Listener()
    found = register(model, pair / "fixed.nii.gz", pair / "moving.nii.gz", output=pair / "out",
                     options=RegisterOptions(refine="auto", inverse=True), monitor=listener)
    assert found["lncc"] > plain["lncc"] + 0.02 and found["folds"] == 0
    assert found["refine"]["loss_after"] < found["refine"]["loss_before"] and found["refine"]["seconds"] > 0
    assert found["refine"]["iterations"] == found["refine"]["levels"][-1]["iterations"] > 0
    assert found["inverse_consistency_mm"] < 0.1 and "refine" not in plain
    assert {"name": "refine"}.items() <= next(e for t, e in listener.events if e.get("name") == "refine").items()
    assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.network.parameters())


@pytest.mark.parametrize("grids", [(FIXED_GRID, MOVING_GRID), (PLANE_FIXED, PLANE_MOVING)])
def test_without_a_network_the_pair_alone_is_enough(tmp_path: Path, grids: Any) -> None:
    shift = (3, -2, 2)
    for name, grid, moved in (("fixed", grids[0], (0, 0, 0)), ("moving", grids[1], shift)):
        write_volume(blobs(grid, shift=moved), tmp_path / f"{name}.nii.gz")
        write_volume(two_blobs(grid, shift=moved), tmp_path / f"{name}_labels.nii.gz")
    found = register(None, tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", output=tmp_path / "out",
                     options=RegisterOptions(refine="auto", affine="none", inverse=True,
                                             fixed_labels=tmp_path / "fixed_labels.nii.gz",
                                             moving_labels=tmp_path / "moving_labels.nii.gz"))
    assert found["model"] == found["network"] == "none" and found["parameters"] == 0
    assert found["dice"]["mean"] > found["dice_before"]["mean"] + 0.1 and found["folds"] == 0
    assert (tmp_path / "out/inverse_transform.nrrd").exists() and (tmp_path / "out/report.png").exists()
    text = register(None, tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", output=tmp_path / "out")["warnings"]
    assert any("no refinement" in line for line in text)


def test_the_affine_part_is_a_file_of_its_own(pair: Path) -> None:
    """Without network and refinement it is the whole transform; without an affine there is none, also of before."""
    found = register(None, pair / "fixed.nii.gz", pair / "moving.nii.gz", output=pair / "out")
    assert "affine.tfm" in found["outputs"]
    affine = sitk.ReadTransform(str(pair / "out/affine.tfm"))
    whole = read_displacement(pair / "out/transform.nrrd")
    points = FIXED_GRID.centre + np.random.default_rng(0).uniform(-8, 8, (20, 3))
    moved = np.array([affine.TransformPoint(point) for point in points.tolist()])
    assert affine.IsLinear() and np.abs(moved - points).max() > 0.5
    assert np.abs(moved - whole.warp_points(points)).max() < 1e-4
    assert "affine.tfm" not in run(pair, affine="none")["outputs"] and not (pair / "out/affine.tfm").exists()


def test_other_dimensions_are_refused(pair: Path) -> None:
    write_volume(blobs(PLANE_MOVING), pair / "plane.nii.gz")
    with pytest.raises(InputError, match="different dimensions"):
        register(known_model(3, 0.0), pair / "fixed.nii.gz", pair / "plane.nii.gz", output=pair / "out")
    with pytest.raises(InputError, match="the model is for 2-D"):
        register(known_model(2, 0.0), pair / "fixed.nii.gz", pair / "moving.nii.gz", output=pair / "out")


def test_an_input_is_never_written_over(pair: Path) -> None:
    (pair / "fixed.nii.gz").rename(pair / "warped.nii.gz")
    before = (pair / "warped.nii.gz").read_bytes()
    with pytest.raises(InputError, match="overwrite the fixed"):
        register(known_model(3, 0.0), pair / "warped.nii.gz", pair / "moving.nii.gz", output=pair)
    assert (pair / "warped.nii.gz").read_bytes() == before


def test_cancelling_and_memory_have_their_own_errors(pair: Path) -> None:
    with pytest.raises(CancelledError):
        register(known_model(3, 0.0), pair / "fixed.nii.gz", pair / "moving.nii.gz", output=pair / "out",
                 monitor=Listener("cancel"))

    class Greedy(torch.nn.Module):
        def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> Any:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    with pytest.raises(OutOfMemoryProblem, match="does not fit into memory"):
        register(replace(known_model(3, 0.0), network=Greedy()), pair / "fixed.nii.gz", pair / "moving.nii.gz",
                 output=pair / "out")


def test_pictures_of_two_dimensions(tmp_path: Path) -> None:
    for name, grid, shift in (("fixed", PLANE_FIXED, 0.0), ("moving", PLANE_MOVING, 2.0)):
        image = blobs(grid, shift=(shift, 0, 0))
        write_volume(Volume(np.rint(np.clip(image.array, 0, 255)), grid, "intensity"), tmp_path / f"{name}.png")
        labels = two_blobs(grid, shift=(shift, 0, 0)).array.astype(np.int32)
        write_volume(Volume(labels, grid, "labels"), tmp_path / f"{name}_labels.png")
    found = register(known_model(2, 1.0), tmp_path / "fixed.png", tmp_path / "moving.png", output=tmp_path / "out",
                     options=RegisterOptions(fixed_labels=tmp_path / "fixed_labels.png", inverse=True,
                                             moving_labels=tmp_path / "moving_labels.png"))
    assert {"warped.nii.gz", "transform.nrrd", "jacobian.nii.gz", "report.png"} <= set(found["outputs"])
    assert found["dice"]["mean"] > 0.5


def test_without_matplotlib_the_report_says_so(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "AutoRegLib.registration.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [n for n in sys.modules if n.startswith(("matplotlib.", "AutoRegLib.figure_style"))]:
        monkeypatch.delitem(sys.modules, name)
    found = run(pair)
    assert any("matplotlib" in text for text in found["warnings"])
    assert "report.png" not in found["outputs"] and (pair / "out/transform.nrrd").exists()


@pytest.mark.parametrize(("share", "said"), [(1.0, False), (0.5, True)])
def test_an_initial_field_that_ends_within_the_fixed_image_is_told(share: float, said: bool, tmp_path: Path) -> None:
    write_volume(blobs(FIXED_GRID), tmp_path / "fixed.nii.gz")
    write_volume(blobs(MOVING_GRID), tmp_path / "moving.nii.gz")
    part = replace(FIXED_GRID, size=(*FIXED_GRID.size[:2], round(share * FIXED_GRID.size[2])))
    write_displacement(DisplacementField(np.zeros((*part.shape, 3), np.float32), part), tmp_path / "initial.nrrd")
    warnings = register(known_model(3, 0.0), tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz",
                        output=tmp_path / "out", options=RegisterOptions(
                            affine="none", initial_transform=tmp_path / "initial.nrrd"))["warnings"]
    assert any("ends within the fixed image" in text and "%" in text for text in warnings) == said
