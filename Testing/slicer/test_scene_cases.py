"""The case table: what the search reads is what the table says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.files import read_volume
from AutoRegSlicerLib.logic import CaseRow, checkCases, exportScenario, readCaseTable
from AutoRegSlicerLib.scene.transforms import worldMatrix
from AutoRegSlicerLib.scene.volumes import voxelsOf


def codes(messages: list[Any]) -> list[str]:
    return [m.code for m in messages if m.blocking]


def test_a_scenario_from_nodes(scene: Any, tmp_path: Path) -> None:
    """Transforms are flattened, equal names are equal values, subjects stay apart."""
    rows = scenes.caseRows(scene, 6)
    moved = rows[1].volume
    parent = scenes.addLinear(scene)
    for node in (moved, rows[1].labels):
        node.SetAndObserveTransformNodeID(parent.GetID())
    rows[2].labels.GetSegmentation().GetSegment("Segment_1").SetName("right blob")  # drawn in the other order
    rows[2].labels.GetSegmentation().GetSegment("Segment_2").SetName("left blob")
    rows[3] = replace(rows[3], landmarks=scenes.addPoints(scene, "points", scenes.CENTER + np.eye(3)))
    rows.append(replace(rows[0], subject="left out", use=False))
    path = exportScenario(rows, tmp_path / "data", validationPercent=34)
    scenario = read_scenario(path)
    assert [case.split for case in scenario.cases].count("val") == 2 and len(scenario.cases) == 6
    assert scenario.structures == {1: "left blob", 2: "right blob"}
    assert len(scenario.pairs_of("train")) == 12 and len(scenario.pairs_of("val")) == 2
    case = scenario.cases[1]
    image = sitk.ReadImage(case.image)
    corner = oracle.nodeImage(moved).TransformIndexToPhysicalPoint((1, 2, 3))
    expected = oracle.affineTransform(worldMatrix(moved)).TransformPoint(corner)
    assert np.allclose(image.TransformIndexToPhysicalPoint((1, 2, 3)), expected, atol=1e-9)
    assert np.array_equal(sitk.GetArrayFromImage(image), voxelsOf(moved))
    drawn = scenes.labels(scenes.positions(scenes.lattice((16,) * 3, (3.0,) * 3)),
                          tuple(np.random.default_rng(2).normal(0, 1.5, 3)))
    found = sitk.GetArrayFromImage(sitk.ReadImage(scenario.cases[2].labels))
    assert np.array_equal(found, np.choose(drawn, (0, 2, 1)))
    for case in scenario.cases:  # each label map lies on its image
        assert read_volume(case.labels, "labels").geometry.close_to(read_volume(case.image, "intensity").geometry)
    assert scenario.cases[3].landmarks and Path(scenario.cases[3].landmarks).is_file()


def test_the_draw_is_by_subject_and_repeatable(scene: Any) -> None:
    """Two scans of one person never end in two splits; roles that were set stay."""
    volume = scenes.caseRows(scene, 1)[0].volume
    rows = [CaseRow(f"p{n // 2}", volume, role="test" if n in (0, 1) else "") for n in range(20)]
    from AutoRegSlicerLib.registration.cases import splits

    first = splits(rows, 25)
    assert first == splits(rows, 25) and first[:2] == ["test", "test"]
    assert all(first[n] == first[n + 1] for n in range(0, 20, 2))
    assert first.count("val") == 4
    summary, messages = checkCases(rows, 25)
    assert "20 cases of 10 subjects" in summary and codes(messages) == []


def test_what_is_missing_is_said(scene: Any, tmp_path: Path) -> None:
    rows = scenes.caseRows(scene, 5)
    summary, messages = checkCases(rows)
    assert messages == [] and summary == ("5 cases of 5 subjects, 2 structures, 6 training and 2 validation pairs")
    assert codes(checkCases(rows[:3])[1]) == ["too-few-cases"]
    assert codes(checkCases([replace(row, role="train") for row in rows])[1]) == ["no-validation-pair"]
    assert codes(checkCases([replace(row, role="val") for row in rows])[1]) == ["too-few-subjects"]
    double = [*rows, replace(rows[0], role="val"), replace(rows[1], subject=rows[0].subject, role="train")]
    assert codes(checkCases(double)[1]) == ["subject-in-two-splits"]
    assert codes(checkCases([*rows, CaseRow("x", str(tmp_path / "no.nii.gz"))])[1]) == ["missing-file"]
    assert codes(checkCases([*rows, replace(rows[0], subject="y", labels=str(tmp_path))])[1]) == [
        "missing-file", "mixed-case"]
    assert codes(checkCases(rows, pairing="atlas")[1]) == ["no-template"]
    _, messages = checkCases([replace(row, labels=None) for row in rows])
    assert [m.code for m in messages] == ["no-labels"] and not messages[0].blocking
    with pytest.raises(InputError, match="3 cases are in use"):
        exportScenario(rows[:3], tmp_path / "few")
    with pytest.raises(InputError, match="role of subject 'z'"):
        CaseRow("z", "image.nii.gz", role="training")


def test_onto_a_template(scene: Any, tmp_path: Path) -> None:
    rows = scenes.caseRows(scene, 5)
    template = scenes.addVolume(scene, "the template", scenes.lattice((16,) * 3, (3.0,) * 3),
                                scenes.blobs(scenes.positions(scenes.lattice((16,) * 3, (3.0,) * 3))))
    scenario = read_scenario(exportScenario(rows, tmp_path / "atlas", "atlas", template=template))
    assert scenario.atlas == "the_template"
    assert all(pair.fixed.id == "the_template" for pair in scenario.pairs_of("train"))


def test_files_are_named_not_copied(scene: Any, tmp_path: Path) -> None:
    """A folder and a table of the same files make the same scenario; labels keep their values."""
    on = scenes.lattice((16,) * 3, (3.0,) * 3)
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        image = oracle.toSitk(scenes.blobs(scenes.positions(on), (number, 0, 0)).astype(np.float32), on)
        sitk.WriteImage(image, str(folder / f"s{number}.nii.gz"))
        labels = oracle.toSitk(3 * scenes.labels(scenes.positions(on), (number, 0, 0)), on)
        sitk.WriteImage(labels, str(folder / f"s{number}_labels.nii.gz"))
    rows = readCaseTable(folder)
    assert [row.subject for row in rows] == ["s0", "s1", "s2", "s3"] and all(row.labels for row in rows)
    table = tmp_path / "table.csv"
    lines = [f"p{n},scans/s{n}.nii.gz,scans/s{n}_labels.nii.gz,,{'val' if n > 1 else 'train'}" for n in range(4)]
    table.write_text("\n".join(["subject,volume,labels,landmarks,role", *lines]))
    scenario = read_scenario(exportScenario(readCaseTable(table), tmp_path / "out"))
    assert [case.split for case in scenario.cases] == ["train", "train", "val", "val"]
    assert Path(scenario.cases[0].image) == folder / "s0.nii.gz"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["scenario.json"]
    assert set(np.unique(read_volume(scenario.cases[0].labels, "labels").array)) == {0, 3, 6}
    with pytest.raises(InputError, match="not a case table"):
        (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
        readCaseTable(tmp_path / "bad.csv")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="has no images"):
        readCaseTable(tmp_path / "nothing")
