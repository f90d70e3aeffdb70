"""Landmarks: the CSV, Slicer's two formats, their coordinate systems, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.imaging.files import read_points, write_points

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


@pytest.mark.parametrize(("name", "text", "said"), [
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
