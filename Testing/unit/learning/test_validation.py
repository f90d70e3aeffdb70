"""The validation objective of lambda: labels, landmarks or the images alone, as the data allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from AutoRegLib.core.recipe import Network, Preprocessing, Recipe, Search, Stage, Training
from AutoRegLib.core.scenario import Case, Scenario, read_scenario, write_scenario
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.imaging.points import write_points
from AutoRegLib.learning.data import choose_validation, coarser, prepare
from AutoRegLib.losses.objective import landmark_error
from AutoRegLib.search.search import search

SPACING, ORIGIN = (2.0, 3.0, 1.5), (10.0, -20.0, 5.0)


def make(folder: Path, *, landmarks: bool) -> Scenario:
    """Six subjects whose bright blob, and its landmark, lie at different places of an anisotropic grid."""
    folder.mkdir()
    rng, cases = np.random.default_rng(0), []
    for number, split in enumerate(("train", "train", "train", "val", "val", "test")):
        z, y, x = rng.integers(5, 11, size=3)
        grid = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"))
        distance = ((grid - np.array([z, y, x]).reshape(3, 1, 1, 1)) ** 2).sum(0)
        image = sitk.GetImageFromArray((100 * np.exp(-distance / 12)).astype(np.float32))
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        sitk.WriteImage(image, str(folder / f"{number}.nii.gz"))
        point = image.TransformContinuousIndexToPhysicalPoint((float(x), float(y), float(z)))
        write_points(["blob", f"own{number}"], np.array([point, point]), folder / f"{number}.csv")
        cases.append(Case(
            str(number), str(folder / f"{number}.nii.gz"), f"s{number}", split,  # type: ignore[arg-type]
            landmarks=str(folder / f"{number}.csv") if landmarks else None,
        ))
    write_scenario(folder / "scenario.json", Scenario("blobs", 3, "all", tuple(cases)))
    return read_scenario(folder / "scenario.json")


RECIPE = Recipe(
    network=Network(features=(2, 2), decoder=(4, 3, 2)), preprocessing=Preprocessing(affine="none"),
    training=Training(validation_pairs=2),
    search=Search(stages=(Stage("loss weights", "lambda", "auto", 4, 5e-2, spread=3.0, unrolled=False, warmup=0.2),),
                  shares=(1.0,), finalists=2, final_steps=2, check_every=2),
)


def test_landmarks_reach_the_grid_and_their_error_is_in_mm(tmp_path: Path) -> None:
    dataset = prepare(make(tmp_path / "data", landmarks=True), RECIPE, ("train", "val"))
    assert choose_validation(dataset) == "landmarks"
    pair = dataset.pairs["val"][0]
    batch = dataset.batch([pair])
    assert batch.landmarks is not None
    (moving, fixed), = batch.landmarks
    assert moving.shape == (1, 3), "only the landmark that both have"
    for image, point in ((batch.moving, moving), (batch.fixed, fixed)):
        centre = (image[0, 0] > 0.9 * image.max()).nonzero().float().mean(dim=0)  # scaling flattens the top
        assert torch.allclose(point[0], centre, atol=1e-3), "the landmark is the middle of the blob"
    shift = (moving - fixed)[0]
    still = Prediction(torch.zeros(1, 3, 16, 16, 16), None, ())
    right = Prediction(shift.view(1, 3, 1, 1, 1).expand(1, 3, 16, 16, 16).contiguous(), None, ())
    spacing = tuple(reversed(SPACING))
    expected = float((shift * torch.tensor(spacing)).norm())
    assert expected > 1.0
    assert float(landmark_error(still, batch.landmarks, spacing=spacing)) == pytest.approx(expected, abs=1e-4)
    assert float(landmark_error(right, batch.landmarks, spacing=spacing)) < 1e-4
    half = coarser(batch, 2)
    assert half.landmarks is not None
    assert torch.allclose(half.landmarks[0][0] * 2 + 0.5, moving)


@pytest.mark.parametrize(("landmarks", "validation"), [(True, "landmarks"), (False, "unsupervised")])
def test_a_scenario_without_labels_searches_lambda(landmarks: bool, validation: str, tmp_path: Path) -> None:
    scenario = make(tmp_path / "data", landmarks=landmarks)
    assert choose_validation(prepare(scenario, RECIPE, ("val",))) == validation
    search(RECIPE, scenario, output=tmp_path / "out")
    lines = (tmp_path / "out" / "history.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    searched = [row for row in rows if row["stage"] == "loss weights"]
    assert float(searched[-1]["smoothness"]) != pytest.approx(RECIPE.loss_weights.smoothness, abs=1e-3)
    assert ("val_tre_mm" in names) == landmarks
    asked = replace(RECIPE, search=replace(RECIPE.search, stages=(
        replace(RECIPE.search.stages[0], judge="segmentation"),)))
    if not landmarks:
        with pytest.raises(Exception, match="nothing can be searched"):
            search(asked, scenario, output=tmp_path / "none")
