"""A whole registration: scene, job folder, real child process, scene again; measured by SimpleITK and by Slicer."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk
import slicer

from AutoRegLib.core.errors import AutoRegError, InputError
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState
from AutoRegSlicerLib.logic import (
    RegistrationOutputs,
    applyToNodes,
    computeMetrics,
    importRegistration,
    registerCases,
    registerVolumes,
    restoreResults,
)
from AutoRegSlicerLib.scene import transforms, volumes
from AutoRegSlicerLib.scene.grids import imageLattice, imageVoxels
from AutoRegSlicerLib.scene.tables import rowsOf
from AutoRegSlicerLib.scene.volumes import worldCorners, worldLattice

PLACED = {"axis-aligned": "none", "oblique": "none", "anisotropic": "none", "left-handed": "none", "permuted": "none",
          "another size": "linear", "oblique, moved": "linear", "axis-aligned, bent": "warp", "T1 scans": "linear"}
EVERYTHING = RegistrationOutputs(createSegmentation=True, createInverse=True)


class Done:
    """One registration that ran, with the nodes it was given and made."""

    def __init__(self, kind: str, folder: Path, model: Path, data: Callable[[], Path]) -> None:
        self.scene = scenes.newScene()
        if kind == "T1 scans":
            self.pair = scenes.addScans(self.scene, data())
        else:
            self.pair = scenes.addPair(self.scene, kind.split(",")[0])
        self.bent = PLACED[kind] == "warp"
        fromWorld: list[sitk.Transform] = []  # of the moving nodes, the last one applied first
        if PLACED[kind] != "none":
            parent = scenes.addLinear(self.scene)
            for name in ("movingVolume", "movingSegmentation", "movingLandmarks"):
                self.pair[name].SetAndObserveTransformNodeID(parent.GetID())
            fromWorld.append(oracle.affineTransform(transforms.worldMatrix(self.pair["movingVolume"])).GetInverse())
            if self.bent:
                warp = scenes.addWarp(self.scene)
                fromWorld.append(oracle.gridTransform(*transforms.gridVectors(transforms.gridOf(warp))))
                parent.SetAndObserveTransformNodeID(warp.GetID())
            self.pair["fixedVolume"].SetAndObserveTransformNodeID(scenes.addLinear(self.scene, "fixed moved").GetID())
        self.jobs = Jobs(folder)
        self.result = registerVolumes(model=str(model), **self.pair, outputs=EVERYTHING, jobs=self.jobs,
                                      inverse=True, device="cpu", timeoutSeconds=120)
        self.out = self.result.folder / "out"
        self.inputs = self.result.folder / "in"
        self.fixed = sitk.ReadImage(str(self.inputs / "fixed.nrrd"))
        self.field = oracle.fieldTransform(self.out / "transform.nrrd")
        #: from points of the fixed image to the moving nodes' own coordinates
        self.whole = sitk.CompositeTransform([*fromWorld, self.field])


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tinyModel: Path) -> dict[str, Done]:
    """Every kind once, each in a child process of its own, made when first asked for."""
    class Runs(dict):  # type: ignore[type-arg]
        def __missing__(self, kind: str) -> Done:
            self[kind] = Done(kind, tmp_path_factory.mktemp("jobs"), tinyModel,
                              lambda: request.getfixturevalue("data_folder"))
            return self[kind]

    return Runs()


@pytest.fixture(params=list(PLACED))
def done(request: pytest.FixtureRequest, runs: dict[str, Done]) -> Done:
    return runs[request.param]


def test_points_go_where_simpleitk_sends_them(done: Done) -> None:
    """The transform node against the file, at random points of the fixed image: less than 1e-4 mm."""
    on = worldLattice(done.pair["fixedVolume"])
    index = np.random.default_rng(2).uniform(1, np.array(on.size) - 2, (500, 3))
    points = index @ on.ijkToRAS[:3, :3].T + on.ijkToRAS[:3, 3]
    found = transforms.transformPoints(transforms.warpToWorld(done.result.transform, inverse=True), points)
    expected = oracle.throughRAS(done.field, points)
    assert np.abs(expected - points).max() > 1.0  # the model does move points
    assert np.abs(found - expected).max() < 1e-4


def test_the_warped_volume_is_simpleitks(done: Done) -> None:
    """Imported node against SimpleITK's resampling of the exported moving image by the exported field."""
    image = sitk.ReadImage(str(done.inputs / "moving.nrrd"))
    node = oracle.nodeImage(done.result.volume)
    expected = oracle.resample(image, node, done.field, labels=False)
    found = sitk.GetArrayFromImage(node)
    assert np.abs(found - expected).max() < 1e-3 * np.ptp(expected)
    unmoved = oracle.resample(image, node, sitk.Transform(3, sitk.sitkIdentity), labels=False)
    assert np.abs(found - unmoved).max() > 0.05 * np.ptp(expected)


def test_slicers_own_resampling_agrees(done: Done) -> None:
    """The moving node, under its own transforms, warped in the scene: SimpleITK's volume, interpolated once."""
    node = done.pair["movingVolume"]
    [copy] = applyToNodes(done.scene, done.result.transform, [node])
    moving, image = oracle.nodeImage(node), oracle.nodeImage(copy)
    expected, found = oracle.resample(moving, image, done.whole, labels=False), volumes.voxelsOf(copy)
    inside = oracle.inner(oracle.resample(moving * 0 + 1, image, done.whole, labels=False) > 0.999)
    assert inside.sum() > 3000
    assert np.abs(found - expected)[inside].max() < 1e-3 * np.ptp(expected)
    assert copy.GetParentTransformNode() is None and copy.GetName() == "moving warped"
    if not done.bent:  # a bent input was interpolated once more for its export
        other = sitk.Resample(oracle.nodeImage(done.result.volume), image, sitk.Transform(), sitk.sitkNearestNeighbor)
        assert np.abs(found - sitk.GetArrayFromImage(other))[inside].max() < 1e-3 * np.ptp(expected)


def labelsOf(segmentation: Any, like: sitk.Image) -> np.ndarray:
    """All segments of a node on a grid, by SimpleITK (value = number of the segment's name)."""
    result = np.zeros(like.GetSize()[::-1], np.uint8)
    for value, name in enumerate(scenes.NAMES, start=1):
        segment = segmentation.GetSegmentation().GetSegment(
            segmentation.GetSegmentation().GetSegmentIdBySegmentName(name))
        image = segment.GetRepresentation("Binary labelmap")
        drawn = oracle.toSitk((imageVoxels(image) == segment.GetLabelValue()).astype(np.uint8), imageLattice(image))
        result[oracle.resample(drawn, like, sitk.Transform(3, sitk.sitkIdentity), labels=True) > 0] = value
    return result


def test_warped_labels_are_exact(done: Done) -> None:
    """0 voxels differ from SimpleITK's nearest neighbor; the same when Slicer's nodes are warped in the scene."""
    labels = sitk.ReadImage(str(done.inputs / "moving_labels.nrrd"))
    reference = done.fixed
    expected = oracle.resample(labels, reference, done.field, labels=True)
    assert set(np.unique(expected)) == {0, 1, 2}
    assert int((labelsOf(done.result.segmentation, reference) != expected).sum()) == 0
    before = oracle.resample(labels, reference, sitk.Transform(3, sitk.sitkIdentity), labels=True)
    assert int((before != expected).sum()) > 100
    node = done.pair["movingSegmentation"]
    [copy] = applyToNodes(done.scene, done.result.transform, [node])
    image = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    drawn = oracle.toSitk(imageVoxels(image), imageLattice(image))
    assert int((labelsOf(copy, reference) != oracle.resample(drawn, reference, done.whole, labels=True)).sum()) == 0
    names = [done.result.segmentation.GetSegmentation().GetNthSegment(i).GetName() for i in range(2)]
    assert sorted(names) == sorted(scenes.NAMES)


def test_landmarks_arrive_within_a_hundredth(done: Done) -> None:
    """Moving points carried to the fixed image, and from there through the field, end where they began."""
    [copy] = applyToNodes(done.scene, done.result.transform, [done.pair["movingLandmarks"]])
    start, arrived = [], []
    for index in range(copy.GetNumberOfControlPoints()):
        position = [0.0] * 3
        done.pair["movingLandmarks"].GetNthControlPointPositionWorld(index, position)
        start.append(position)
        arrived.append(copy.GetNthControlPointPosition(index))
    back = oracle.throughRAS(done.field, np.array(arrived))
    assert np.abs(np.array(arrived) - start).max() > 0.5
    assert np.linalg.norm(back - start, axis=1).max() < 0.01


def test_nodes_tell_their_origin(runs: dict[str, Done]) -> None:
    done = runs["oblique"]
    result, pair = done.result, done.pair
    for node in (result.transform, result.volume, result.segmentation, result.jacobian, result.metricsTable):
        assert node.GetNodeReference("spatialRegistrationFixed") is pair["fixedVolume"]
        assert node.GetNodeReference("spatialRegistrationMoving") is pair["movingVolume"]
        assert node.GetAttribute("AutoReg.Job") == result.folder.name
        assert node.GetAttribute("AutoReg.Model") == "tiny"
        assert node.GetAttribute("AutoReg.Folds") == str(result.report["folds"])
        assert len(node.GetAttribute("AutoReg.SHA256.moving")) == 64
    assert result.inverseTransform.GetNodeReference("spatialRegistrationFixed") is pair["movingVolume"]
    assert result.transform.GetName() == "moving to fixed" and result.volume.GetName() == "moving registered to fixed"
    for node in (result.transform, result.volume, result.segmentation, result.jacobian):
        assert node.GetStorageNode() is None or str(result.folder) not in (node.GetStorageNode().GetFileName() or "")
    assert done.jobs.status(result.folder).state is JobState.Done


def test_the_job_is_a_process_of_its_own(runs: dict[str, Done]) -> None:
    events = [json.loads(line) for line in (runs["oblique"].result.folder / "events.jsonl").read_text().splitlines()]
    assert events[0]["type"] == "hello" and events[0]["pid"] != os.getpid()


def test_the_inverse_undoes_the_transform(done: Done) -> None:
    """Inverse node after forward node, at the landmarks: as far off as the library's own figure says."""
    forward = transforms.warpToWorld(done.result.transform, inverse=True)
    back = transforms.warpToWorld(done.result.inverseTransform, inverse=True)
    points = worldCorners(done.pair["fixedVolume"]).mean(axis=0)
    points = points + np.random.default_rng(4).uniform(-8, 8, (40, 3))
    there = transforms.transformPoints(forward, points)
    assert np.linalg.norm(there - points, axis=1).max() > 1
    loop = np.linalg.norm(transforms.transformPoints(back, there) - points, axis=1)
    assert loop.max() < max(0.1, 1.5 * done.result.report["inverse_consistency_max_mm"]) and loop.mean() < 0.1


def test_the_jacobian_is_the_files(done: Done) -> None:
    image = sitk.ReadImage(str(done.out / "jacobian.nii.gz"))
    node = sitk.Resample(oracle.nodeImage(done.result.jacobian), image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(node), sitk.GetArrayFromImage(image))
    display = done.result.jacobian.GetDisplayNode()
    assert display.GetColorNode().GetColorName(0) == "fold"
    folded = int((volumes.voxelsOf(done.result.jacobian) <= 0).sum())
    assert folded == done.result.report["folds"]
    assert (done.result.folds is None) == (folded == 0)


def test_tables_say_what_the_report_says(runs: dict[str, Done]) -> None:
    """Measured again from the nodes alone, Dice and distances are the library's own."""
    done = runs["oblique, moved"]
    report = done.result.report
    columns, rows = rowsOf(done.result.metricsTable)
    assert columns[:3] == ["Structure", "Dice before", "Dice after"] and rows[-1][0] == "Mean"
    assert {row[0] for row in rows} == {*scenes.NAMES, "Mean"}
    pair = {key: value for key, value in done.pair.items() if "Segmentation" in key or "Landmarks" in key}
    metrics, points = computeMetrics(done.scene, done.result.transform, jacobian=done.result.jacobian, **pair)
    columns, own = rowsOf(metrics)
    assert columns == ["Structure", "Dice before", "Dice after", "HD95 before (mm)", "HD95 after (mm)",
                       "Volume change (%)", "Folds (%)"]
    described = json.loads((done.inputs / "nodes.json").read_text())["structures"]
    values = {look["name"]: value for value, look in described.items()}
    for row in own[:-1]:
        value = values[row[0]]
        assert row[1] == pytest.approx(report["dice_before"][value], abs=1e-12)
        assert row[2] == pytest.approx(report["dice"][value], abs=1e-12)
        assert row[4] == pytest.approx(report["hd95_by_structure_mm"][value], abs=1e-5)
    _, errors = rowsOf(points)
    for name, before, after in errors[:-1]:
        assert after == pytest.approx(report["tre_by_landmark_mm"][name], abs=1e-4)
        assert before != after
    assert errors[-1][1:] == pytest.approx([report["tre_before_mm"], report["tre_mm"]], abs=1e-4)
    assert rowsOf(done.result.landmarksTable)[1][0][1] == pytest.approx(errors[0][1], abs=1e-6)


def test_volume_change_follows_the_jacobian(runs: dict[str, Done]) -> None:
    """Warped volume over drawn volume: near the inverse of the mean determinant inside the warped structure."""
    done = runs["oblique"]
    metrics, _ = computeMetrics(done.scene, done.result.transform, fixedSegmentation=done.pair["fixedSegmentation"],
                                movingSegmentation=done.pair["movingSegmentation"])
    jacobian = oracle.nodeImage(done.result.jacobian)
    warped = labelsOf(done.result.segmentation, jacobian)
    for row in rowsOf(metrics)[1][:-1]:
        mean = sitk.GetArrayFromImage(jacobian)[warped == scenes.NAMES.index(row[0]) + 1].mean()
        assert 1 + row[5] / 100 == pytest.approx(1 / mean, abs=0.06)


def test_saved_and_loaded_again_everything_is_there(runs: dict[str, Done], tmp_path: Path) -> None:
    """.mrb and back: transform, volumes, labels, Jacobian, table, references and attributes."""
    done = runs["left-handed"]
    result = done.result
    points = scenes.CENTER + np.random.default_rng(4).uniform(-8, 8, (50, 3))
    before = transforms.transformPoints(transforms.warpToWorld(result.transform, inverse=True), points)
    assert done.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    loaded = scenes.newScene()
    scenes.giveCache(loaded, tmp_path / "cache")
    messages = slicer.vtkMRMLMessageCollection()
    assert loaded.ReadFromMRB(str(tmp_path / "scene.mrb"), False, messages)
    assert restoreResults(loaded) == 2

    def again(node: Any) -> Any:
        return loaded.GetFirstNodeByName(node.GetName())

    transform = again(result.transform)
    after = transforms.transformPoints(transforms.warpToWorld(transform, inverse=True), points)
    assert np.abs(after - before).max() < 1e-4
    for node in (result.volume, result.jacobian, done.pair["fixedVolume"], done.pair["movingVolume"]):
        image = oracle.nodeImage(node)
        other = sitk.Resample(oracle.nodeImage(again(node)), image, sitk.Transform(), sitk.sitkNearestNeighbor)
        assert np.array_equal(sitk.GetArrayFromImage(other), sitk.GetArrayFromImage(image))
    reference = done.fixed
    assert np.array_equal(labelsOf(again(result.segmentation), reference), labelsOf(result.segmentation, reference))
    assert rowsOf(again(result.metricsTable))[0] == rowsOf(result.metricsTable)[0]
    assert [row[0] for row in rowsOf(again(result.metricsTable))[1]] == [
        row[0] for row in rowsOf(result.metricsTable)[1]]
    assert transform.GetNodeReference("spatialRegistrationFixed") is again(done.pair["fixedVolume"])
    assert transform.GetAttribute("AutoReg.Job") == result.folder.name
    assert again(result.jacobian).GetDisplayNode().GetColorNode().GetColorName(0) == "fold"


def test_after_a_restart_the_result_finds_its_nodes(runs: dict[str, Done]) -> None:
    """Import by the folder alone: references are found again by ID and name; in another scene it stands alone."""
    done = runs["oblique"]
    again = importRegistration(done.scene, done.result.folder)
    assert again.transform.GetNodeReference("spatialRegistrationMoving") is done.pair["movingVolume"]
    assert again.segmentation is not None and again.inverseTransform is not None
    other = scenes.newScene()
    scenes.addVolume(other, "somebody else", scenes.lattice((8, 8, 8), (1.0,) * 3), np.ones((8, 8, 8), np.int16))
    alone = importRegistration(other, done.result.folder)
    assert alone.transform.GetNodeReference("spatialRegistrationFixed") is None
    assert np.array_equal(volumes.voxelsOf(alone.volume), volumes.voxelsOf(done.result.volume))
    with pytest.raises(InputError, match="complete result"):
        importRegistration(other, done.result.folder.parent)


def test_given_output_nodes_are_filled(runs: dict[str, Done], scene: Any) -> None:
    done = runs["axis-aligned"]
    outputs = RegistrationOutputs(
        transform=scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "mine"),
        volume=scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine too"),
        createTransform=False, createVolume=False, createJacobian=False)
    outputs.volume.SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    result = importRegistration(scene, done.result.folder, None, outputs)
    assert result.transform is outputs.transform and result.volume is outputs.volume and result.jacobian is None
    assert transforms.gridOf(outputs.transform) is not None and outputs.volume.GetParentTransformNode() is None
    assert np.array_equal(volumes.voxelsOf(outputs.volume), volumes.voxelsOf(done.result.volume))


def test_a_table_of_pairs(runs: dict[str, Done], tmp_path: Path, tinyModel: Path) -> None:
    """One good line, one bad one: the good one is registered, the bad one says why."""
    source = runs["oblique"].inputs
    table = tmp_path / "pairs.csv"
    table.write_text(f"name,fixed,moving,fixed_labels,moving_labels\n"
                     f"good,{source}/fixed.nrrd,{source}/moving.nrrd,{source}/fixed_labels.nrrd,"
                     f"{source}/moving_labels.nrrd\nbad,{source}/fixed.nrrd,{source}/nothing.nrrd,,\n")
    rows = registerCases(table, str(tinyModel), tmp_path / "out", jobs=Jobs(tmp_path / "jobs"), device="cpu")
    assert [row["state"] for row in rows] == ["done", "failed"]
    assert rows[0]["dice"] == pytest.approx(runs["oblique"].result.report["dice"]["mean"])
    assert "nothing.nrrd" in rows[1]["error"]
    written = list(csv.DictReader((tmp_path / "out/summary.csv").read_text().splitlines()))
    assert float(written[0]["dice"]) == rows[0]["dice"] and (tmp_path / "out/good/transform.nrrd").is_file()
    with pytest.raises(AutoRegError, match="holds another batch"):  # the same one would be gone on with
        registerCases(table, str(tinyModel), tmp_path / "out", jobs=Jobs(tmp_path / "jobs"), device="cpu", inverse=True)
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a table of pairs"):
        registerCases(tmp_path / "wrong.csv", "m", tmp_path / "out2", jobs=Jobs(tmp_path / "jobs"))
