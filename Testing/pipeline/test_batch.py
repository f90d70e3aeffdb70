"""One model over a table of pairs: what is written, what a bad line does, and going on after a stop."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.world import World

from AutoRegLib.app.perform import perform
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import JobRequest, Monitor


class Listener(Monitor):
    """Notes the events, and wishes something once so many pairs were begun."""

    def __init__(self, wish: str = "", after: int = 0) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._wish, self._after = wish, after

    def event(self, type: str, **payload: Any) -> None:
        self.events.append((type, payload))

    def wish(self) -> Any:
        return self._wish if sum(type == "progress" for type, _ in self.events) >= self._after else ""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for number in range(3):
        made.write(f"m{number}", np.roll(made.image, number, axis=1))
    lines = ["name,fixed,moving,fixed_labels,moving_labels"]
    lines += [f"p{number},fixed.nii.gz,m{number}.nii.gz,labels.nii.gz,labels.nii.gz" for number in range(3)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    return made


def run(world: World, monitor: Monitor | None = None, **more: Any) -> dict[str, Any]:
    return perform(JobRequest("batch", {
        "table": str(world.folder / "pairs.csv"), "model": str(world.model), "output": str(world.output),
        "device": "cpu", "affine": "none", **more}), monitor=monitor)


def summary(world: World) -> list[dict[str, str]]:
    return list(csv.DictReader((world.output / "summary.csv").read_text().splitlines()))


def test_every_pair_has_a_folder_and_a_line(world: World) -> None:
    listener = Listener()
    assert run(world, listener)["done"] == 3
    rows = summary(world)
    assert [(row["name"], row["state"]) for row in rows] == [(f"p{n}", "done") for n in range(3)]
    for row in rows:
        assert (world.output / row["name"] / "transform.nrrd").is_file()
        assert float(row["dice"]) > 0 and float(row["lncc"]) > 0 and row["folds"].isdigit() and not row["error"]
    counted = [payload["done"] for type, payload in listener.events if type == "progress"]
    assert counted == [1, 2, 3]  # of pairs, not of the steps within


def test_a_pair_that_fails_says_why_and_the_others_go_on(world: World) -> None:
    (world.folder / "m1.nii.gz").unlink()
    found = run(world)
    assert (found["done"], found["failed"]) == (2, 1)
    assert [row["state"] for row in summary(world)] == ["done", "failed", "done"]
    assert "m1.nii.gz" in summary(world)[1]["error"]
    for number in (0, 2):
        (world.folder / f"m{number}.nii.gz").unlink()
    with pytest.raises(InputError, match="m0"):  # none at all: the batch has failed
        run(world, output=str(world.folder / "other"))


def test_stopping_keeps_what_is_finished_and_resuming_does_the_rest(world: World) -> None:
    """``finish`` ends after a pair, ``cancel`` ends the batch; neither result is registered twice."""
    found = run(world, Listener("finish", after=1))
    assert (found["done"], found["waiting"]) == (1, 2)
    assert [row["state"] for row in summary(world)] == ["done", "waiting", "waiting"]
    first = (world.output / "p0" / "transform.nrrd").stat().st_mtime_ns
    with pytest.raises(CancelledError, match="after 2 of 3"):
        run(world, Listener("cancel", after=1), resume=True)
    assert run(world, resume=True)["done"] == 3
    assert (world.output / "p0" / "transform.nrrd").stat().st_mtime_ns == first
    assert all(row["dice"] for row in summary(world))


def test_nothing_of_somebody_else_is_replaced(world: World) -> None:
    """A folder with another batch, or with a registration under a pair's name."""
    run(world)
    with pytest.raises(InputError, match="results of another run"):
        run(world)
    with pytest.raises(InputError, match="holds another batch"):
        run(world, resume=True, affine="auto")
    other = world.folder / "other"
    (other / "p1").mkdir(parents=True)
    (other / "p1" / "transform.nrrd").write_text("mine")
    for resume in (False, True):
        found = run(world, output=str(other), resume=resume)
        assert (found["done"], found["failed"]) == (2, 1)
        assert (other / "p1" / "transform.nrrd").read_text() == "mine"
        assert [path.name for path in (other / "p1").iterdir()] == ["transform.nrrd"]
