"""What may accompany a registration, all the way: from nodes through a real child process to nodes and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk

from AutoRegSlicerLib.jobs.jobs import Jobs
from AutoRegSlicerLib.logic import RegistrationOutputs, registerVolumes
from AutoRegSlicerLib.scene import transforms


def test_masks_similarity_and_the_affine_part_go_all_the_way(scene: Any, tmp_path: Path) -> None:
    """From nodes under transforms to the report; the affine node sends points where SimpleITK's file does."""
    pair = scenes.addPair(scene)
    pair["movingVolume"].SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    outputs = RegistrationOutputs(createAffine=True, createVolume=False, createJacobian=False)
    result = registerVolumes(
        pair["fixedVolume"], pair["movingVolume"], "none", fixedMask=pair["fixedSegmentation"], refine=2,
        movingMask=pair["movingSegmentation"], similarity="mind", outputs=outputs, jobs=Jobs(tmp_path), device="cpu",
        timeoutSeconds=120)
    assert {"fixed_mask", "moving_mask"} <= set(result.report["inputs"])
    assert result.report["refine"]["similarity"] == "mind"
    # the moving mask stays where the segmentation is while the volume is moved: what that misleads is not delivered
    assert result.report["lncc"] > result.report["lncc_before"] + 0.2
    affine = sitk.ReadTransform(str(result.folder / "out/affine.tfm"))
    points = scenes.CENTER + np.random.default_rng(3).uniform(-20, 20, (50, 3))
    found = transforms.transformPoints(transforms.warpToWorld(result.affineTransform, inverse=True), points)
    assert np.abs(found - points).max() > 1.0
    assert np.abs(found - oracle.throughRAS(affine, points)).max() < 1e-4
    assert result.affineTransform.IsLinear() and result.affineTransform.GetName() == "moving to fixed affine"
    assert result.affineTransform.GetParentTransformNode() is None
