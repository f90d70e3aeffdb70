"""A sweep from recipe to table: one training a value, the best by validation, kept and gone on with."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.scenes import make_scenario
from pipeline.test_study import RECIPE, Listener

from AutoRegLib.app.cli import main
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.recipe import Training, read_recipe, write_recipe
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.evaluation.field_colours import colours
from AutoRegLib.evaluation.sweep import sweep

FIELD = "loss_weights.smoothness"


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return read_scenario(make_scenario(tmp_path / "data"))


@pytest.fixture(autouse=True)
def no_pictures_of_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("AutoRegLib.evaluation.evaluate._draw", lambda *args, **options: "")


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_value_is_trained_and_validation_chooses(tmp_path: Path, scenario: Scenario) -> None:
    out, heard = tmp_path / "out", Listener()
    recipe = replace(RECIPE, training=Training(steps=3, validation_pairs=1))
    found = sweep(recipe, scenario, field=FIELD, values=["0", "0.5", "500"], output=out, monitor=heard)
    table = lines(out / "sweep.csv")
    assert [float(line[FIELD]) for line in table] == [0, 0.5, 500]
    for line in table:
        folder = out / f"value-{line[FIELD]}"
        assert read_recipe(folder / "model").loss_weights.smoothness == float(line[FIELD])
        summary = json.loads((folder / "evaluation" / "summary.json").read_text())
        assert summary["split"] == "val" and float(line["dice"]) == summary["dice"]["mean"]
        assert float(line["positive_jacobian"]) == pytest.approx(1 - summary["fold_fraction"])
    best = max(table, key=lambda line: float(line["dice"]) - 10 * float(line["fold_fraction"]))
    assert found["best"] == best[FIELD] and found["best_dice"] == float(best["dice"])
    tested = json.loads((out / "test" / "summary.json").read_text())
    assert tested["split"] == "test" and found["test_dice"] == tested["dice"]["mean"]
    assert f"**{best[FIELD]}**" in (out / "sweep.md").read_text()
    curve = lines(out / "figures" / "curve.csv")
    assert [float(line["dice_affine"]) for line in curve] == [float(line["dice_affine"]) for line in table]
    assert all((out / "figures" / name).stat().st_size > 5000 for name in ("curve.png", "fields.png"))
    upto = next(i for i, (kind, payload) in enumerate(heard.events) if payload.get("name") == "register pairs")
    shares = [payload["done"] for kind, payload in heard.events[:upto] if kind == "progress"]  # then the test split
    assert shares == sorted(shares) and 900 < shares[-1] <= 1000


def test_more_values_more_processes_and_another_curve(tmp_path: Path, scenario: Scenario) -> None:
    """What processes compute is what one computes; finished values are kept."""
    one, two = tmp_path / "one", tmp_path / "two"
    sweep(RECIPE, scenario, field=FIELD, values=["1", "2"], output=one)
    stamp = (one / "value-1" / "result.json").stat().st_mtime_ns
    sweep(RECIPE, scenario, field=FIELD, values=["1", "2"], output=two, jobs=2, beside=[one])
    timed = {"seconds", "train_seconds", "peak_memory_bytes"}
    first, second = ([{k: v for k, v in line.items() if k not in timed} for line in lines(f / "sweep.csv")]
                     for f in (one, two))
    assert first == second
    assert {line["sweep"] for line in lines(two / "figures" / "curve.csv")} == {"one", "two"}
    heard = Listener()
    found = sweep(RECIPE, scenario, field=FIELD, values=["1", "2", "3"], output=one, resume=True, monitor=heard)
    assert found["values"] == 3 and [s for s in heard.stages() if FIELD in s] == [f"{FIELD} 3"]
    assert (one / "value-1" / "result.json").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="other settings: field"):
        sweep(RECIPE, scenario, field="training.augment", values=["0"], output=one, resume=True)
    with pytest.raises(InputError, match="another field"):
        sweep(RECIPE, scenario, field="training.augment", values=["0"], output=tmp_path / "three", beside=[one])
    with pytest.raises(InputError, match="all different"):
        sweep(RECIPE, scenario, field=FIELD, values=["1", "1"], output=tmp_path / "three")


@pytest.mark.parametrize("wish", ["cancel", "finish"])
def test_stopped_within_a_value(tmp_path: Path, scenario: Scenario, wish: Any) -> None:
    out, values = tmp_path / "out", ["1", "2"]
    listener = Listener(wish, mark=f"{FIELD} 2")
    if wish == "cancel":
        with pytest.raises(CancelledError):
            sweep(RECIPE, scenario, field=FIELD, values=values, output=out, monitor=listener)
    else:
        found = sweep(RECIPE, scenario, field=FIELD, values=values, output=out, monitor=listener)
        assert (found["values"], found["left"], found["best"]) == (1, 1, "1") and "test_dice" not in found
    assert not (out / "value-2" / "result.json").exists()
    again = Listener()
    assert sweep(RECIPE, scenario, field=FIELD, values=values, output=out, resume=True, monitor=again)["left"] == 0
    assert [s for s in again.stages() if FIELD in s] == [f"{FIELD} 2"]


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_scenario(tmp_path / "data")
    write_recipe(tmp_path / "recipe.json", RECIPE)
    argv = ["sweep", str(tmp_path / "recipe.json"), "--scenario", str(path), "--output", str(tmp_path / "out"),
            "--device", "cpu", "--json", "--over", "training.augment"]
    assert main(argv) == 2 and "one value or more" in capsys.readouterr().err
    assert main([*argv, "0"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] == "0"
    assert main([*argv, "0", "--overwrite"]) == 0  # computed anew, not taken from the folder
    assert "Replacing" in capsys.readouterr().err


def test_the_colours_of_a_field() -> None:
    """By hand: axis order (y, x) to red = x, green = y; 10 voxels and more are the ends of the scale."""
    field = np.zeros((2, 1, 3))
    field[1, 0] = (-20, 0, 5)  # x
    field[0, 0] = (0, 10, 0)  # y
    expected = np.array([[[0, 0.5, 0.5], [0.5, 1, 0.5], [0.75, 0.5, 0.5]]])
    assert np.abs(colours(field) - expected).max() < 1e-6
