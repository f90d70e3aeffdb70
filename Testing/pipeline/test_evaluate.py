"""An evaluation's table, summary and pictures agree with one another and with registering pair by pair."""

from __future__ import annotations

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.synthetic import MOVING_GRID, blobs, grid_about, known_model, two_blobs
from pipeline.world import World

from AutoRegLib.app.cli import main
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.evaluation import evaluate as evaluation
from AutoRegLib.evaluation.evaluate import evaluate, summarise
from AutoRegLib.imaging.files import write_points, write_volume
from AutoRegLib.registration import pipeline
from AutoRegLib.registration.run import RegisterOptions, register

GRIDS = (
    MOVING_GRID,
    grid_about((11, -20, 30), (24, 22, 20), (2.0, 2.0, 2.0), np.eye(3)),
    grid_about((10, -21, 31), (22, 22, 22), (2.0, 2.1, 1.9), np.eye(3)),
)


def scenario(folder: Path, *, labels: bool = True, landmarks: bool = False) -> Scenario:
    cases = []
    for number, grid in enumerate(GRIDS):
        shift = (1.5 * number, -number, 0.5 * number)
        write_volume(blobs(grid, shift=shift), folder / f"{number}.nii.gz")
        case = {"id": f"case{number}", "image": f"{number}.nii.gz", "subject": f"p{number}", "split": "test"}
        if labels:
            write_volume(two_blobs(grid, shift=shift), folder / f"{number}_labels.nii.gz")
            case["labels"] = f"{number}_labels.nii.gz"
        if landmarks:
            write_points(["a", "b"], np.array([[10.0, -20, 30], [6, -18, 28]]) + shift, folder / f"{number}.csv")
            case["landmarks"] = f"{number}.csv"
        cases.append(case)
    made = {"schema": "autoreg-scenario/1", "name": "blobs", "spatial_dims": 3, "pairing": "all", "cases": cases,
            "structures": {"1": "left", "2": "right"} if labels else {}}
    (folder / "scenario.json").write_text(json.dumps(made))
    return read_scenario(folder / "scenario.json")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


class Listener(Monitor):
    def __init__(self, wish: str = "") -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.answer = wish

    def event(self, type: str, **payload: Any) -> None:
        self.events.append((type, payload))

    def wish(self) -> Any:
        return self.answer


def test_table_summary_and_single_registration_agree(tmp_path: Path) -> None:
    cases = scenario(tmp_path, landmarks=True)
    listener = Listener()
    model = known_model(3, 0.3)
    summary = evaluate(model, cases, output=tmp_path / "out", limit=4, seed=1, monitor=listener)
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    rows = table(tmp_path / "out/metrics.csv")
    pairs = table(tmp_path / "out/pairs.csv")
    assert len(rows) == 8 and len(pairs) == summary["pairs"] == 4
    assert {row["name"] for row in rows} == {"left", "right"}
    for key in ("dice", "dice_before", "dice_affine"):
        for label in ("1", "2"):
            mean = np.mean([float(row[key]) for row in rows if row["structure"] == label])
            assert abs(summary[key][label] - mean) < 1e-9
        means = [np.mean([float(r[key]) for r in rows if (r["fixed"], r["moving"]) == (p["fixed"], p["moving"])])
                 for p in pairs]
        assert abs(summary[key]["mean"] - np.mean(means)) < 1e-9
        assert abs(summary[key]["sd"] - np.std(means, ddof=1)) < 1e-9
    assert abs(summary["hd95_mm"] - np.mean([float(row["hd95_mm"]) for row in rows])) < 1e-9
    assert summary["folds"] == sum(int(p["folds"]) for p in pairs)
    assert summary["pairs_with_folds"] == sum(int(p["folds"]) > 0 for p in pairs)
    assert abs(summary["seconds"] - np.median([float(p["seconds"]) for p in pairs])) < 1e-9
    assert {"tre_mm", "lncc", "fold_fraction", "model", "scenario", "split", "seed"} <= set(summary)
    assert (tmp_path / "out/figures/dice.png").exists() and (tmp_path / "out/figures/folds.png").exists()
    progress = [payload for kind, payload in listener.events if kind == "progress"]
    assert [p["done"] for p in progress] == [1, 2, 3, 4] and progress[-1]["eta_s"] == 0

    first = pairs[0]
    fixed, moving = (cases.case(first[role]) for role in ("fixed", "moving"))
    alone = register(model, fixed.image, moving.image, output=tmp_path / "one", options=RegisterOptions(
        fixed_labels=fixed.labels, moving_labels=moving.labels, seed=1))
    assert abs(alone["dice"]["mean"] - float(first["dice_mean"])) < 1e-9
    assert abs(alone["lncc"] - float(first["lncc"])) < 1e-6
    assert alone["dice"]["mean"] != alone["dice_before"]["mean"]


def test_cases_without_labels_are_evaluated_by_what_there_is(tmp_path: Path) -> None:
    summary = evaluate(known_model(3, 0.2), scenario(tmp_path, labels=False), output=tmp_path / "out", limit=2)
    assert not {"dice", "dice_before", "hd95_mm", "tre_mm"} & set(summary)
    assert {"lncc", "folds", "seconds"} <= set(summary)
    rows = table(tmp_path / "out/metrics.csv")
    assert len(rows) == 2 and all(row["structure"] == "" and float(row["lncc"]) > 0 for row in rows)
    assert not (tmp_path / "out/figures/dice.png").exists()


def test_only_the_scenarios_structures_count(tmp_path: Path) -> None:
    cases = scenario(tmp_path)
    summary = evaluate(known_model(3, 0.2), replace(cases, structures={2: "right"}), output=tmp_path / "out", limit=1)
    assert set(summary["dice"]) == {"mean", "2"}  # and no spread of a single pair


def test_without_a_model_the_similarity_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoRegLib.evaluation import evaluate as module

    used = []

    def register_volumes(*images: Any, **options: Any) -> Any:
        found = pipeline.register_volumes(*images, **options)
        used.append(found.refinement["similarity"])
        return found

    monkeypatch.setattr(module, "register_volumes", register_volumes)
    cases = scenario(tmp_path)
    for kind in ("lncc", "mind"):
        evaluate(None, cases, output=tmp_path / kind, limit=1, refine=2, similarity=kind)  # type: ignore[arg-type]
    assert used == ["lncc", "mind"]
    with pytest.raises(InputError, match="a model compares images by the loss it was trained with"):
        evaluate(known_model(3, 0.0), cases, output=tmp_path / "model", similarity="mind")


def test_what_cannot_be_evaluated_is_refused(tmp_path: Path) -> None:
    cases = scenario(tmp_path)
    with pytest.raises(InputError, match="no pairs"):
        evaluate(known_model(3, 0.0), cases, output=tmp_path / "out", split="val")
    with pytest.raises(InputError, match="does not fit the scenario"):
        evaluate(known_model(2, 0.0), cases, output=tmp_path / "out")
    with pytest.raises(InputError, match="at least 1"):
        evaluate(known_model(3, 0.0), cases, output=tmp_path / "out", limit=0)
    with pytest.raises(CancelledError):
        evaluate(known_model(3, 0.0), cases, output=tmp_path / "out", monitor=Listener("cancel"))
    assert not (tmp_path / "out/summary.json").exists()


def test_finishing_early_keeps_what_is_done(tmp_path: Path) -> None:
    listener = Listener("finish")
    summary = evaluate(known_model(3, 0.0), scenario(tmp_path), output=tmp_path / "out", monitor=listener)
    assert summary["pairs"] == 1 and summary["pairs_asked"] == 6
    assert summary["warnings"] == ["Stopped after 1 of 6 pairs: the figures are of these alone."]
    assert ("warning", {"code": "evaluation", "text": summary["warnings"][0]}) in listener.events
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    assert len(table(tmp_path / "out/pairs.csv")) == 1 and (tmp_path / "out/figures/dice.png").is_file()


class AfterTwo(Listener):
    """Cancels when two pairs are done."""

    def wish(self) -> Any:
        return "cancel" if sum(type == "progress" for type, _ in self.events) == 2 else ""


def test_cancelling_keeps_what_is_done_too(tmp_path: Path) -> None:
    with pytest.raises(CancelledError, match="Stopped after 2 of 6 pairs, whose results are kept"):
        evaluate(known_model(3, 0.0), scenario(tmp_path), output=tmp_path / "out", monitor=AfterTwo())
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["pairs"], summary["pairs_asked"]) == (2, 6) and "Stopped after 2 of 6" in summary["warnings"][0]
    assert len(table(tmp_path / "out/pairs.csv")) == 2 and len(table(tmp_path / "out/metrics.csv")) == 4


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_at_the_command_line_keeps_finished_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    world = World(tmp_path)
    whole = evaluation._one

    def one(*arguments: Any, **options: Any) -> dict[str, Any]:
        report = whole(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)
        return report

    monkeypatch.setattr(evaluation, "_one", one)
    assert main([*world.evaluate(), "--split", "train"]) == 3
    summary = json.loads((world.output / "summary.json").read_text())
    assert summary["pairs"] == 1 < summary["pairs_asked"]
    assert "Stopped after 1 of" in capsys.readouterr().err


def test_summary_by_hand() -> None:
    base = {"jacobian_min": 0.5, "fold_fraction": 0.0, "lncc": 0.2, "seconds": 1.0}
    pairs = [
        {**base, "dice": {"1": 0.4, "mean": 0.4}, "folds": 0},
        {**base, "dice": {"1": 0.6, "2": 1.0, "mean": 0.8}, "folds": 3, "fold_fraction": 0.5, "seconds": 3.0},
        {**base, "folds": 2, "jacobian_min": -1.0, "seconds": 11.0},
    ]
    found = summarise(pairs)
    assert found["dice"] == {"mean": pytest.approx(0.6), "sd": pytest.approx(np.std([0.4, 0.8], ddof=1)),
                             "1": pytest.approx(0.5), "2": 1.0}
    assert (found["folds"], found["pairs_with_folds"], found["jacobian_min"], found["seconds"]) == (5, 2, -1.0, 3.0)
    assert found["fold_fraction"] == pytest.approx(1 / 6)
