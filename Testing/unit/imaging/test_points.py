"""Landmarks: the CSV, Slicer's two formats, their coordinate systems, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.imaging.files import read_points, write_points
from AutoRegLib.imaging.points import partners

POINTS = np.array([[1.5, -2.25, 3.0], [1 / 3, 1e-9, -1e6]])
FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,10.0,20.0,30.0,0,0,0,1,1,1,0,apex,,
2,-1.0,2.0,-3.0,0,0,0,1,1,1,0,"base, left",,
"""


def markups(system: str) -> str:
    points = [{"id": "1", "label": "apex", "position": [10.0, 20.0, 30.0]},
              {"id": "2", "label": "base, left", "position": [-1.0, 2.0, -3.0]}]
    return json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": points}]})


@pytest.mark.parametrize("dims", [2, 3])
def test_a_table_comes_back_to_the_last_bit(dims: int, tmp_path: Path) -> None:
    write_points(("a", "b, c"), POINTS[:, :dims], tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().splitlines()[0] == "label,x,y,z"[:5 + 2 * dims]
    names, points = read_points(tmp_path / "p.csv")
    assert names == ("a", "b, c")
    assert np.array_equal(points, POINTS[:, :dims])


@pytest.mark.parametrize(("system", "sign"), [("LPS", 1), ("RAS", -1), ("0", -1), ("1", 1)])
def test_slicers_files_in_their_coordinate_systems(system: str, sign: int, tmp_path: Path) -> None:
    (tmp_path / "p.fcsv").write_text(FCSV.format(system=system))
    (tmp_path / "p.mrk.json").write_text(markups(system))
    for name in ("p.fcsv", "p.mrk.json"):
        names, points = read_points(tmp_path / name)
        assert names == ("apex", "base, left")
        assert points.tolist() == [[sign * 10.0, sign * 20.0, 30.0], [sign * -1.0, sign * 2.0, -3.0]]


def test_slicer_reads_and_writes_the_same_places(tmp_path: Path) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core, the Slicer runtime, is not installed")
    node = slicer.vtkMRMLScene().AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPoint([-10.0, -20.0, 30.0], "apex")  # RAS
    for kind, name in (("Json", "p.mrk.json"), ("Fiducial", "p.fcsv")):
        storage = getattr(slicer, f"vtkMRMLMarkups{kind}StorageNode")()
        storage.SetFileName(str(tmp_path / name))
        assert storage.WriteData(node)
        names, points = read_points(tmp_path / name)
        assert names == ("apex",)
        assert np.abs(points - [[10.0, 20.0, 30.0]]).max() < 1e-3


def test_a_table_without_labels_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("\ufeffX, Y,Z\n1,2,3\n4,5,6\n", encoding="utf-8")
    names, points = read_points(tmp_path / "p.csv")
    assert names == ("1", "2")
    assert points.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("name", ["p.fcsv", "p.mrk.json", "P.JSON"])
def test_the_suffix_decides_the_format(name: str, tmp_path: Path) -> None:
    write_points(("a", 'b, "c"'), POINTS, tmp_path / name)
    assert not (tmp_path / name).read_text().startswith("label,")
    names, points = read_points(tmp_path / name)
    assert names == ("a", 'b, "c"')
    assert np.array_equal(points, POINTS)


@pytest.mark.parametrize("name", ["p.fcsv", "p.mrk.json"])
def test_slicer_reads_what_is_written(name: str, tmp_path: Path) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core, the Slicer runtime, is not installed")
    write_points(("apex", "base, left"), POINTS, tmp_path / name)
    node = slicer.vtkMRMLScene().AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    kind = "Fiducial" if name == "p.fcsv" else "Json"
    storage = getattr(slicer, f"vtkMRMLMarkups{kind}StorageNode")()
    storage.SetFileName(str(tmp_path / name))
    assert storage.ReadData(node)
    assert [node.GetNthControlPointLabel(i) for i in range(2)] == ["apex", "base, left"]
    for i, (x, y, z) in enumerate(POINTS):
        assert node.GetNthControlPointPositionStatus(i) == node.PositionDefined
        assert np.allclose(node.GetNthControlPointPosition(i), (-x, -y, z), atol=1e-9)


def test_formats_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for name in ("p.vtk", "p.xlsx", "p"):
        with pytest.raises(InputError, match="cannot write points as"):
            write_points(("a", "b"), POINTS, tmp_path / name)
    for name in ("p.fcsv", "p.mrk.json"):
        with pytest.raises(InputError, match="3-D points"):
            write_points(("a", "b"), POINTS[:, :2], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("header", "sign"), [("r,a,s", -1), ("l,p,s", 1), ("R,A,S", -1)])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_slicers_point_table(header: str, sign: int, delimiter: str, tmp_path: Path) -> None:
    text = f"label,{header},defined,selected,visible,locked,description\n" \
        "apex,10,20,30,1,1,1,0,\nbase,-1,2,-3,1,1,1,0,\n"
    (tmp_path / "p.csv").write_text(text.replace(",", delimiter))
    names, points = read_points(tmp_path / "p.csv")
    assert names == ("apex", "base")
    assert points.tolist() == [[sign * 10, sign * 20, 30], [sign * -1, sign * 2, -3]]


def test_slicers_own_export_is_read(tmp_path: Path) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core, the Slicer runtime, is not installed")
    if not hasattr(slicer, "vtkSlicerMarkupsLogic"):
        pytest.skip("the Markups logic is not part of this runtime")
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPoint([-10.0, -20.0, 30.0], "apex")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    slicer.vtkSlicerMarkupsLogic.ExportControlPointsToTable(node, table)
    storage = slicer.vtkMRMLTableStorageNode()
    storage.SetFileName(str(tmp_path / "p.csv"))
    assert storage.WriteData(table)
    names, points = read_points(tmp_path / "p.csv")
    assert names == ("apex",)
    assert np.abs(points - [[10.0, 20.0, 30.0]]).max() < 1e-6


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("um", 1e-3), ("m", 1000), ("cm", 10), ("", 1),
                                          (["um", "UCUM", "micrometer"], 1e-3)])
def test_markups_in_other_units(unit: object, mm: float, tmp_path: Path) -> None:
    data = json.loads(markups("LPS"))
    data["markups"][0]["coordinateUnits"] = unit
    (tmp_path / "p.mrk.json").write_text(json.dumps(data))
    assert np.allclose(read_points(tmp_path / "p.mrk.json")[1][0], np.array([10.0, 20.0, 30.0]) * mm, rtol=1e-15)


@pytest.mark.parametrize("status", ["undefined", "missing", "preview"])
def test_points_that_are_not_placed_are_refused_by_name(status: str, tmp_path: Path) -> None:
    data = json.loads(markups("LPS"))
    points = data["markups"][0]["controlPoints"]
    points[0]["positionStatus"] = "defined"
    points[1] |= {"positionStatus": status, "position": [0.0, 0.0, 0.0]}
    (tmp_path / "p.mrk.json").write_text(json.dumps(data))
    del points[1]["position"]
    (tmp_path / "q.mrk.json").write_text(json.dumps(data))
    number = {"undefined": 0, "preview": 1, "missing": 3}[status]
    lines = FCSV.format(system="LPS").splitlines()
    (tmp_path / "p.fcsv").write_text("\n".join([*lines[:-2], lines[-2] + ",2,0", f"{lines[-1]},{number},0"]) + "\n")
    (tmp_path / "p.csv").write_text("label,r,a,s,defined\napex,1,2,3,1\n\"base, left\",0,0,0,0\n")
    for name in ("p.mrk.json", "q.mrk.json", "p.fcsv", "p.csv"):
        with pytest.raises(InputError, match="not placed") as caught:
            read_points(tmp_path / name)
        assert "base, left" in str(caught.value) and "apex" not in str(caught.value)


@pytest.mark.parametrize("last", ["4,5,6", "4.5,5,6.125"])
def test_a_last_line_without_an_end_is_read(last: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"x,y,z\n1,2,3\n{last}")
    assert read_points(tmp_path / "p.csv")[1][1].tolist() == [float(v) for v in last.split(",")]


@pytest.mark.parametrize(("name", "text", "said"), [
    ("p.csv", "x,y,z\n1,5,2,0,3\n", "more values than the header"),
    ("p.csv", "label;x;y;z\na;1,5;2;3\n", "decimal points, not commas"),
    ("p.csv", "label,r,a,s,defined,selected\na,1,2,3,1,1\nb,1,2,3.1", "cut short"),
    ("p.csv", "x,y,z\n1.5,2.25,3.125\n1.5,2.25,31.0", "may be cut short"),
    ("p.csv", "x,y,z\n1.5,2.25,3.125\n1.5,2.25,31", "may be cut short"),
    ("p.fcsv", FCSV.format(system="LPS")[:-22], "cut short"),
    ("p.mrk.json", markups("LPS")[:-9], "not a markups file"),
    ("p.mrk.json", "[" * 100000, "not a markups file"),
    ("p.mrk.json", '{"markups": [{"coordinateUnits": "[in_i]", "controlPoints": []}]}', "unit of the coordinates"),
    ("p.csv", "1,2,3\n4,5,6\n", "not a table of points"),
    ("p.csv", "label,x,y,z\n", "no points"),
    ("p.csv", "label,x,y,z\na,1,2,three\n", "no position"),
    ("p.csv", "label,x,y,z\na,1,2\n", "no position"),
    ("p.csv", "label,x,y,z\na,1,2,nan\n", "not finite"),
    ("p.fcsv", "# CoordinateSystem = IJK\n1,2,3,4\n", "coordinate system"),
    ("p.fcsv", "1,2\n", "no position"),
    ("p.mrk.json", "{", "not a markups file"),
    ("p.mrk.json", "[]", "not a markups file"),
    ("p.mrk.json", '{"markups": []}', "no points"),
    ("p.mrk.json", '{"markups": [{"controlPoints": [{"label": "a"}]}]}', "no position"),
])
def test_bad_points_are_refused(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_points(tmp_path / name)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_points(tmp_path / "p.csv")
    with pytest.raises(InputError, match="points to write"):
        write_points(("a",), POINTS, tmp_path / "p.csv")
    with pytest.raises(DiskError):
        write_points(("a", "b"), POINTS, tmp_path / "no" / "p.csv")


def test_partners_are_found_by_name_or_else_by_order() -> None:
    assert partners("abc", "cab") == [1, 2, 0]
    assert partners(["F-1", "F-2"], ["F_1-1", "F_1-2"]) == [0, 1]
    assert partners("aab", "aab") == [0, 1, 2]  # a name twice says nothing, the places agree
    assert partners("abx", "aby") == [0, 1, 2]


@pytest.mark.parametrize(("fixed", "moving", "said"), [
    ("abx", "bay", "not their order"), ("abc", "ab", "do not correspond"), ("ab", "abb", "do not correspond"),
    ("ab", "xyz", "do not correspond"), ("ab", "", "do not correspond")])
def test_points_without_partners_are_refused(fixed: str, moving: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        partners(fixed, moving)
