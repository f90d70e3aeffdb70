"""Scenarios and tables of strangers: refused or read within seconds and memory, and nothing written outside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from trust.strangers import limited

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.pair_table import read_pair_table
from AutoRegLib.core.recipe import read_recipe
from AutoRegLib.core.scenario import Case, Scenario, read_scenario
from AutoRegLib.evaluation.study_series import folder_of
from AutoRegLib.evaluation.synthesise import synthesise


def written(folder: Path, **changed: Any) -> Path:
    """A scenario of three cases with changes, beside an image."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((12, 12)).astype(np.float32))
    sitk.WriteImage(image, str(folder / "a.nii.gz"))
    cases = [{"id": name, "image": "a.nii.gz", "subject": name, "split": split}
             for name, split in (("a", "train"), ("b", "val"), ("c", "test"))]
    cases[0] |= changed.pop("case", {})
    data = {"schema": "autoreg-scenario/1", "name": "x", "spatial_dims": 2, "pairing": "all", "cases": cases} | changed
    path = folder / "scenario.json"
    path.write_text(json.dumps(data))
    return path


def many(count: int, subject: Callable[[int], str], pairing: str = "all") -> Scenario:
    cases = tuple(Case(f"{i}", "a.nii.gz", subject(i), "train") for i in range(count))
    return Scenario("many", 3, pairing, cases)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["image", "labels", "mask", "landmarks"])
@pytest.mark.parametrize("way", ["pipe", "device", "loop", "folder", "climbs", "NUL", "long", "another's"])
def test_files_of_a_case_that_are_none_are_refused(field: str, way: str, tmp_path: Path) -> None:
    if way == "pipe":
        os.mkfifo(tmp_path / "x")
    elif way in ("device", "loop"):
        (tmp_path / "x").symlink_to("/dev/zero" if way == "device" else "x")
    elif way == "folder":
        (tmp_path / "x").mkdir()
    name = {"climbs": "../../../../../../nobody/has/this", "NUL": "a\0b", "long": "x" * 5000,
            "another's": "//host/share/a.nii.gz"}.get(way, "x")
    path = written(tmp_path, case={field: name})
    with limited(), pytest.raises(InputError, match="not there"):
        read_scenario(path)


@pytest.mark.parametrize("way", ["pipe", "device", "loop", "folder"])
@pytest.mark.parametrize("read", [read_scenario, read_recipe])
def test_a_file_without_an_end_is_not_read(way: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if way == "pipe":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if way == "device" else path)
    with limited(), pytest.raises(InputError):
        read(path)


@pytest.mark.parametrize(("changed", "why"), [
    ({"structures": {"1": "a", "01": "b"}}, "twice"), ({"spatial_dims": 2.0}, "spatial_dims"),
    ({"structures": {"0x1": "a"}}, "structures"), ({"cases": {"a": 1}}, "not a list"), ({"name": ["x"]}, "name"),
    ({"pairing": "listed", "pairs": [{"fixed": "a", "moving": "z", "split": "test"}]}, "unknown case"),
    ({"pairing": "atlas", "atlas": "z"}, "no case"), ({"case": {"split": "test ", "id": "q"}}, "split"),
    ({"case": {"subject": "c"}}, "two splits")])
def test_scenarios_that_contradict_themselves_are_refused(changed: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = written(tmp_path, **changed)
    with limited(), pytest.raises(InputError, match=why):
        read_scenario(path)


def test_lists_within_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in ('{"cases":' * 100_000, '{"schema": "autoreg-scenario/1", "cases": ' + "[" * 1000 + "]" * 1000 + "}"):
        path.write_text(text)
        with limited(), pytest.raises(InputError):
            read_scenario(path)


def test_a_hundred_thousand_cases_with_one_id_twice(tmp_path: Path) -> None:
    written(tmp_path)
    line = {"image": "a.nii.gz", "split": "train"}
    cases = [{"id": f"case-{i}", "subject": f"{i}", **line} for i in range(100_000)]
    path = written(tmp_path, cases=[*cases, cases[-1]])
    with limited(20), pytest.raises(InputError, match="'case-99999' occurs twice"):
        read_scenario(path)


def test_pairs_of_a_hundred_thousand_cases(tmp_path: Path) -> None:
    """All with all are too many, for time and memory; few pairs among many cases are found at once."""
    with limited():
        for limit in (None, 10):
            with pytest.raises(InputError, match="too many pairs"):
                many(100_000, str).pairs_of("train", limit=limit)
        with pytest.raises(InputError, match="has no pairs"):
            many(100_000, lambda i: "one").pairs_of("train")
        assert len(many(100_000, lambda i: str(i // 2), "within-subject").pairs_of("train")) == 100_000
        assert len(many(50_000, lambda i: str(i == 7)).pairs_of("train")) == 2 * 49_999


def test_pairs_stand_in_the_order_of_the_cases() -> None:
    found = many(4, lambda i: "ab"[i // 2]).pairs_of("train")
    assert [(p.fixed.id, p.moving.id) for p in found] == [
        ("0", "2"), ("0", "3"), ("1", "2"), ("1", "3"), ("2", "0"), ("2", "1"), ("3", "0"), ("3", "1")]
    found = many(4, lambda i: "ab"[i % 2], "within-subject").pairs_of("train")
    assert [(p.fixed.id, p.moving.id) for p in found] == [("0", "2"), ("1", "3"), ("2", "0"), ("3", "1")]


@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "a/b", "C:\\out", "..", "con", "x\x1b[2J", "out\n", ""])
def test_the_name_of_a_scenario_writes_nowhere_else(name: str, tmp_path: Path) -> None:
    inner = tmp_path / "deep" / "er"
    inner.mkdir(parents=True)
    path = written(inner, name=name, case={"id": "../../a/b", "subject": "../../a"})
    before = {p for p in tmp_path.rglob("*")}
    synthesise(read_scenario(path), output=inner / "made", sigmas=(1.0,), pairs=(1, 1, 1))
    new = {p.relative_to(inner).parts[0] for p in tmp_path.rglob("*") if p not in before}
    assert new == {"made"}
    assert all(folder_of(Scenario(name, 2, "all", ())) not in (bad, "") for bad in ("..", "con"))


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["name,fixed,moving", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["..", "a/b", "a\\b", "/tmp/x", ".hidden", "con", "Aux.1", "a.", "x" * 300, "a\x1b[2J",
                                  "\u202ea"])
def test_names_of_pairs_that_no_folder_has_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder name"):
        read_pair_table(table(tmp_path / "t.csv", f"{name},a.nii,b.nii"))


@pytest.mark.parametrize("two", [("a", "A"), ("\u00e9", "e\u0301"), ("x", "\uff58"), ("stra\u00dfe", "STRASSE")])
def test_names_of_pairs_that_some_systems_take_for_one_are_refused(two: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="used twice"):
        read_pair_table(table(tmp_path / "t.csv", *(f"{name},a.nii,b.nii" for name in two)))


def test_a_table_of_many_lines_is_read_in_seconds(tmp_path: Path) -> None:
    lines = [f"p{i},a.nii,b.nii" for i in range(5_000)]
    with limited():
        assert len(read_pair_table(table(tmp_path / "t.csv", *lines))) == 5_000
        with pytest.raises(InputError, match="line 5001 "):
            read_pair_table(table(tmp_path / "t.csv", *lines, lines[0]))
