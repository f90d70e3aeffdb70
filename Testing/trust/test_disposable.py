"""What can be made again, or done without, ends no work: pictures, tables beside the results, locks, logs, marks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.app import worker
from AutoRegLib.app.batch import SETTINGS, run_batch
from AutoRegLib.core import locks
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.errors import DiskError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import JobRequest, Monitor, write_request
from AutoRegLib.core.pair_table import PairLine
from AutoRegLib.core.result_set import together
from AutoRegLib.core.scenario import Case, Scenario
from AutoRegLib.evaluation import evaluate as evaluation
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState


class Heard(Monitor):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def event(self, type: str, **payload: Any) -> None:
        if type == "warning":
            self.warnings.append(payload["text"])


def scenario(folder: Path, names: dict[int, str], name: str = "x") -> Scenario:
    cases = []
    for i, shift in enumerate((0.0, 0.1)):
        y, x = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32), indexing="ij")
        radius = np.hypot(y, x - shift)
        sitk.WriteImage(sitk.GetImageFromArray(np.exp(-4 * radius**2).astype(np.float32)), str(folder / f"i{i}.nii"))
        labels = (radius < 0.5).astype(np.uint8) + (radius < 0.3)
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / f"l{i}.nii"))
        cases.append(Case(f"c{i}", str(folder / f"i{i}.nii"), labels=str(folder / f"l{i}.nii"), subject=f"p{i}",
                          split="test"))
    return Scenario(name=name, spatial_dims=2, pairing="all", structures=names, cases=tuple(cases))


@pytest.mark.parametrize("name", ["$\\frac{$", "a$b$c^", "$_$"])
def test_names_with_dollar_signs_are_drawn_as_they_are(name: str, tmp_path: Path) -> None:
    told = evaluation.evaluate(None, scenario(tmp_path, {1: name, 2: "b"}, name), output=tmp_path / "e", limit=1)
    assert "warnings" not in told and (tmp_path / "e" / "figures" / "dice.png").stat().st_size > 1000


def test_a_picture_that_fails_costs_no_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoRegLib.evaluation import figures

    monkeypatch.setattr(figures, "dice_boxes", lambda *_, **__: 1 / 0)
    told = evaluation.evaluate(None, scenario(tmp_path, {1: "a", 2: "b"}), output=tmp_path / "e", limit=1)
    assert told["warnings"] == ["No figures: ZeroDivisionError: division by zero."]
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["dice"]["mean"] == told["dice"]["mean"]


def test_only_what_is_ours_is_passed_on_from_a_picture() -> None:
    def full() -> None:
        raise DiskError("no room")

    with pytest.raises(DiskError):
        attempted(full, "figures")
    assert attempted(lambda: __import__("no_such_package"), "figures").endswith("(pip install matplotlib).")


def test_a_batch_whose_record_is_damaged_registers_every_pair_again(tmp_path: Path) -> None:
    pairs = [PairLine(name, {"fixed": "f", "moving": "m"}) for name in ("a", "b")]
    done: list[str] = []

    def register(pair: PairLine, folder: Path, inner: Monitor) -> dict[str, Any]:
        done.append(pair.name)
        (folder / "report.json").write_text("{}")
        return {}

    def run(**changes: Any) -> list[str]:
        heard = Heard()
        done.clear()
        run_batch(pairs, register, output=tmp_path, settings={}, overwrite=False, monitor=heard,
                  **{"resume": True, **changes})
        return heard.warnings

    run(resume=False)
    assert run() == [] and done == []
    for damage in (b"", b"{", b"\xff\0", b"[]"):
        (tmp_path / SETTINGS).write_bytes(damage)
        (warning,) = run()
        assert "every pair is registered again" in warning and done == ["a", "b"]
        assert run() == [] and done == []


def test_a_folder_in_the_place_of_a_lock_is_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.mkdir()
    os.utime(lock, (time.time() - 60,) * 2)
    locks.take(lock, what="the work")
    assert lock.is_file()
    locks.release(lock)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_log_ends_no_job(tmp_path: Path) -> None:
    write_request(tmp_path / "j", JobRequest("apply", {"transform": "none", "input": "none", "output": "out/x.csv"}))
    (tmp_path / "j" / "log.txt").mkdir()
    assert worker.run_job(tmp_path / "j") == 2  # for its input
    assert json.loads((tmp_path / "j" / "state.json").read_text())["exit_code"] == 2


def test_a_damaged_wish_hides_no_job(tmp_path: Path) -> None:
    folders = [Jobs(tmp_path, "python").create("apply", name) for name in ("a", "b")]
    for folder in folders:
        write_request(folder, JobRequest("apply", {"transform": "t", "input": "x", "output": "out/x.csv"}))
        record = json.loads((folder / "ui.json").read_text())
        (folder / "ui.json").write_text(json.dumps({**record, "state": "running"}))
    (folders[0] / "control").write_bytes(b"can\xff\0")
    assert [status.state for status in Jobs(tmp_path, "python").attachExisting()] == [JobState.Interrupted] * 2


@pytest.mark.parametrize("way", ["a file where a folder belongs", "a folder where a file belongs"])
def test_what_is_in_the_way_of_a_result_is_a_matter_of_the_disk(way: str, tmp_path: Path) -> None:
    if way.startswith("a file"):
        (tmp_path / "figures").write_text("somebody's")
    else:
        (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError) as caught, together(tmp_path, last="end.json") as stage:
        for name in ("a.png", "figures/b.png", "end.json"):
            (stage / name).parent.mkdir(exist_ok=True)
            (stage / name).write_text("new")
    assert explain(caught.value).exit_code == 7
    assert not (tmp_path / "end.json").exists()
