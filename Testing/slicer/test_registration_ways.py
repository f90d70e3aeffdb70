"""Registrations that start far apart, fail, are not waited for, or lie in folders with odd names."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import scenes
import vtk

from AutoRegLib.core.errors import AutoRegError, InputError
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState
from AutoRegSlicerLib.logic import RegistrationOutputs, alignCenters, applyToNodes, registerVolumes

EVERYTHING = RegistrationOutputs(createSegmentation=True, createInverse=True)


def test_an_initial_transform_brings_volumes_together(scene: Any, tmp_path: Path, tinyModel: Path) -> None:
    """Volumes 70 mm apart: refused, then registered with their centers aligned; the result holds the whole way."""
    pair = scenes.addPair(scene, "axis-aligned")
    away = scene.AddNewNodeByClass("vtkMRMLTransformNode", "away")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(1, 3, -70.0)
    away.SetMatrixTransformToParent(matrix)
    for name in ("movingVolume", "movingSegmentation", "movingLandmarks"):
        pair[name].SetAndObserveTransformNodeID(away.GetID())
    choices = {"model": str(tinyModel), "affine": "none", "device": "cpu", "jobs": Jobs(tmp_path)}
    with pytest.raises(InputError, match="do not overlap in space"):
        registerVolumes(**pair, **choices)
    initial = alignCenters(scene, pair["fixedVolume"], pair["movingVolume"])
    result = registerVolumes(**pair, **choices, initialTransform=initial, fixedMask=pair["fixedSegmentation"],
                             timeoutSeconds=120)
    assert result.report["tre_before_mm"] > 60 and result.report["tre_mm"] < 8
    assert result.report["folds_in_mask"] == 0 and "initial_transform" in result.report["inputs"]
    [copy] = applyToNodes(scene, result.transform, [pair["movingLandmarks"]])
    arrived = np.array([copy.GetNthControlPointPosition(i) for i in range(6)])
    target = np.array([pair["fixedLandmarks"].GetNthControlPointPosition(i) for i in range(6)])
    assert np.linalg.norm(arrived - target, axis=1).max() < 12


def test_a_failed_job_says_why(scene: Any, tmp_path: Path) -> None:
    pair = scenes.addPair(scene)
    (tmp_path / "no model").mkdir()
    with pytest.raises(AutoRegError, match=r"model folder .* is incomplete") as caught:
        registerVolumes(model=str(tmp_path / "no model"), **pair, jobs=Jobs(tmp_path), device="cpu", timeoutSeconds=60)
    assert caught.value.code == "input"
    with pytest.raises(InputError, match="same volume"):
        registerVolumes(pair["fixedVolume"], pair["fixedVolume"], "m", jobs=Jobs(tmp_path))


def test_without_waiting_the_folder_comes_back(scene: Any, tmp_path: Path, tinyModel: Path) -> None:
    pair = scenes.addPair(scene)
    jobs = Jobs(tmp_path)
    folder = registerVolumes(model=str(tinyModel), **pair, jobs=jobs, wait=False, device="cpu")
    assert isinstance(folder, Path) and (folder / "job.json").is_file()
    jobs.cancel(folder)
    for _ in range(300):
        jobs.poll()
        if jobs.status(folder).state.over:
            break
        time.sleep(0.05)
    assert jobs.status(folder).state in (JobState.Cancelled, JobState.Importing)


def test_folders_with_blanks_and_letters_of_any_language(scene: Any, tmp_path: Path, tinyModel: Path) -> None:
    """As in the account of a user whose name is not plain ASCII: jobs, model and temporary files lie there."""
    home = tmp_path / "Jürgen Müller 影像"
    shutil.copytree(tinyModel, home / "Modell für Köpfe")
    result = registerVolumes(model=str(home / "Modell für Köpfe"), **scenes.addPair(scene), jobs=Jobs(home / "a b"),
                             outputs=EVERYTHING, inverse=True, device="cpu", timeoutSeconds=120)
    assert result.volume and result.transform and result.jacobian and result.segmentation
