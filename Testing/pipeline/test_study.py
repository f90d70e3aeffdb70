"""A study from scenario to tables: every run's own folder, what is finished is kept, what fails is told."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipeline.scenes import make_scenario

from AutoRegLib.app.cli import main
from AutoRegLib.core.errors import CancelledError, DivergedError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Network, Preprocessing, Recipe, Search, Stage, Training, read_recipe
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.core.study_rows import ROWS
from AutoRegLib.evaluation import study as module
from AutoRegLib.evaluation import study_run as runs
from AutoRegLib.evaluation.study import study
from AutoRegLib.search.successive_halving import PLAINER

RECIPE = Recipe(
    spatial_dims=2,
    structures={1: "shell", 2: "core"},
    network=Network(features=(4, 6), decoder=(8, 6, 4)),
    preprocessing=Preprocessing(affine="none"),
    training=Training(steps=2, validation_pairs=1),
    search=Search(
        finalists=2, final_steps=2, check_every=2, shares=(0.3, 0.3),
        stages=(
            Stage("feature architecture", "feature", "registration", 3, 3e-2),
            Stage("loss weights", "lambda", "segmentation", 3, 4e-2, inner_rate=0.05),
        ),
    ),
)


class Listener(Monitor):
    """Hears everything; ``after`` so many starts of a stage that holds ``mark`` it wishes."""

    def __init__(self, wish: Any = "", mark: str = "", after: int = 1) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.kind, self.mark, self.after = wish, mark, after

    def event(self, type: str, **payload: Any) -> None:
        self.events.append((type, payload))

    def wish(self) -> Any:
        return self.kind if sum(self.mark in name for name in self.stages()) >= self.after else ""

    def stages(self) -> list[str]:
        return [payload["name"] for kind, payload in self.events if kind == "stage"]


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return read_scenario(make_scenario(tmp_path / "data"))


@pytest.fixture(autouse=True)
def no_pictures_of_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a test of their own and would take most of the time here."""
    monkeypatch.setattr("AutoRegLib.evaluation.evaluate._draw", lambda *args, **options: "")


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "study.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_are_searched_trained_and_evaluated(tmp_path: Path, scenario: Scenario) -> None:
    listener = Listener()
    out = tmp_path / "out"
    rows = ["manual-small", "manual-medium", "loss-weights"]
    found = study(RECIPE, scenario, output=out, rows=rows, monitor=listener)
    assert (found["runs"], found["failed"], found["left"]) == (3, 0, 0)
    table = lines(out)
    assert [line["row"] for line in table] == ["manual-medium", "loss-weights", "manual-small"]
    for line in table:
        summary = json.loads((out / line["row"] / "0" / "evaluation" / "summary.json").read_text())
        assert float(line["dice"]) == summary["dice"]["mean"] and float(line["dice_sd"]) == summary["dice"]["sd"]
        assert float(line["dice_before"]) == summary["dice_before"]["mean"]
        assert int(line["folds"]) == summary["folds"] and int(line["parameters"]) == summary["parameters"]
        assert float(line["seconds"]) == summary["seconds"] and float(line["train_seconds"]) > 0
        assert bool(line["search_seconds"]) == (line["row"] == "loss-weights")
    # an ablation searches its own part alone, and its training takes what was found
    searched = (out / "loss-weights" / "0" / "search" / "history.csv").read_text()
    assert "loss weights," in searched and "feature architecture," not in searched
    trained, taken = (read_recipe(out / "loss-weights" / "0" / part) for part in ("model", "search"))
    assert trained == taken
    assert int(table[0]["parameters"]) > int(table[2]["parameters"])  # conv3 and conv1
    text = (out / "study.md").read_text()
    assert "Table III" in text and "Table IV" in text and "Table V)" not in text  # none of its rows
    page = (out / "study.html").read_text()
    for name in ("boxes", "seconds", "pictures"):  # every picture with the figures behind it, and all on one page
        assert (out / "figures" / f"{name}.png").stat().st_size > 5000
        assert len((out / "figures" / f"{name}.csv").read_text().splitlines()) > 3
    assert page.count("data:image/png;base64,") == 3 and "Table III" in page and text.count("![") == 3
    assert found["best"] in rows and found["best_dice"] == max(float(line["dice"]) for line in table)


def test_resume_keeps_what_is_finished_and_adds_rows_and_seeds(tmp_path: Path, scenario: Scenario) -> None:
    out = tmp_path / "out"
    study(RECIPE, scenario, output=out, rows=["manual-small"])
    kept = (out / "manual-small" / "0" / "result.json").stat().st_mtime_ns
    listener = Listener()
    study(RECIPE, scenario, output=out, rows=["ncc"], resume=True, monitor=listener)
    found = study(RECIPE, scenario, output=out, rows=["manual-small"], seeds=2, resume=True, monitor=listener)
    assert [s for s in listener.stages() if "seed" in s] == ["ncc, seed 0", "manual-small, seed 1"]
    assert (out / "manual-small" / "0" / "result.json").stat().st_mtime_ns == kept
    assert found["runs"] == 3 and [line["seed"] for line in lines(out)] == ["0", "1", "0"]
    again = Listener()
    study(RECIPE, scenario, output=out, rows=["manual-small"], seeds=2, resume=True, monitor=again)
    assert not again.stages()  # not even the data are read
    with pytest.raises(InputError, match="other settings"):
        study(RECIPE, scenario, output=out, rows=["ncc"], minutes=1.0, resume=True)
    with pytest.raises(InputError, match="nothing to resume"):
        study(RECIPE, scenario, output=tmp_path / "none", rows=["ncc"], resume=True)
    (out / "ncc" / "notes").mkdir()
    module.keep_settings(out, RECIPE, scenario, minutes=None, limit=100, device="cpu", resume=False)
    assert module.read_results(out) == [] and (out / "ncc" / "notes").is_dir()  # its runs are gone, nothing else


def test_a_failing_row_is_recorded_and_the_others_go_on(
    tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = runs.train

    def fragile(recipe: Recipe, *args: Any, **options: Any) -> Any:
        if recipe.loss_weights.similarity_mix == 1.0:
            raise DivergedError("training diverged at step 3")
        return train(recipe, *args, **options)

    monkeypatch.setattr(runs, "train", fragile)
    listener = Listener()
    out = tmp_path / "out"
    found = study(RECIPE, scenario, output=out, rows=["ncc", "mind"], monitor=listener)
    assert (found["runs"], found["failed"], found["left"]) == (1, 1, 1)
    failed, done = lines(out)
    assert failed["row"] == "ncc" and failed["status"] == "failed" and "diverged at step 3" in failed["error"]
    assert done["row"] == "mind" and done["status"] == "done" and not done["error"]
    assert "diverged at step 3" in (out / "study.md").read_text()
    assert "Traceback" in (out / "ncc" / "0" / "error.log").read_text()
    assert any("diverged" in payload.get("text", "") for kind, payload in listener.events if kind == "warning")
    with pytest.raises(DivergedError):  # nothing else to show for it
        study(RECIPE, scenario, output=tmp_path / "alone", rows=["ncc"])
    monkeypatch.setattr(runs, "train", train)
    found = study(RECIPE, scenario, output=out, rows=["ncc", "mind"], resume=True)
    assert (found["runs"], found["failed"]) == (2, 0) and not (out / "ncc" / "0" / "error.log").exists()


def test_without_labels_rows_are_compared_by_similarity(tmp_path: Path) -> None:
    bare = read_scenario(make_scenario(tmp_path / "data", labels=False))
    out = tmp_path / "out"
    found = study(replace(RECIPE, structures={}), bare, output=out, rows=["mind", "loss-weights"])
    assert (found["runs"], found["failed"]) == (1, 1) and found["best"] == "mind"
    assert found["best_lncc"] == float(next(line for line in lines(out) if line["status"] == "done")["lncc"])
    failed = next(line for line in lines(out) if line["status"] == "failed")
    assert failed["row"] == "loss-weights" and "nothing can be searched" in failed["error"]


@pytest.mark.parametrize("wish", ["cancel", "finish"])
def test_stopped_in_a_run_and_resumed(tmp_path: Path, scenario: Scenario, wish: str) -> None:
    """A run cut short never stands in the table; ``finish`` gives the tables of those before it."""
    out, rows = tmp_path / "out", ["mind", "ncc"]
    listener = Listener(wish, mark="train", after=2)
    if wish == "cancel":
        with pytest.raises(CancelledError):
            study(RECIPE, scenario, output=out, rows=rows, monitor=listener)
    else:
        found = study(RECIPE, scenario, output=out, rows=rows, monitor=listener)
        assert (found["runs"], found["left"]) == (1, 1) and (out / "figures" / "boxes.png").exists()
    assert [line["row"] for line in lines(out)] == ["ncc"]
    assert (out / "mind" / "0" / "model" / "checkpoint.pt").is_file()
    after = Listener()
    assert study(RECIPE, scenario, output=out, rows=rows, resume=True, monitor=after)["left"] == 0
    assert [s for s in after.stages() if "seed" in s] == ["mind, seed 0"]
    if wish == "finish":
        with pytest.raises(CancelledError):  # nothing was finished: nothing to show
            study(RECIPE, scenario, output=tmp_path / "new", rows=rows, monitor=Listener("finish", mark="train"))


def test_random_search_takes_the_time_of_the_whole_search(
    tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def spy(name: str) -> Any:
        whole = runs.SEARCHES[name]

        def seek(*args: Any, minutes: float | None = None, **options: Any) -> Any:
            given[name] = minutes
            return whole(*args, minutes=minutes, **options)

        return seek

    monkeypatch.setattr("AutoRegLib.search.random_search.CANDIDATES", 3)
    monkeypatch.setattr(runs, "SEARCHES", {name: spy(name) for name in runs.SEARCHES})
    out = tmp_path / "out"
    study(RECIPE, scenario, output=out, rows=["random-search", "autoreg"])
    spent = json.loads((out / "autoreg" / "0" / "search_cost.json").read_text())["seconds"]
    assert given == {"gradient": None, "random": pytest.approx(spent / 60)}
    found = read_recipe(out / "random-search" / "0" / "search")
    assert found.genotype is not None and found.genotype.deformation_half == ("conv3",) * 3  # no stage searches it
    winners = {line["row"]: line["search_winner"] for line in lines(out)}
    assert winners["random-search"] in ("start", *PLAINER, "random 1", "random 2")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_scenario(tmp_path / "data")
    argv = ["study", str(path), "--output", str(tmp_path / "out"), "--rows", "manual-small", "--preset", "quick",
            "--minutes", "0.005", "--device", "cpu", "--json"]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 1
    assert main(argv) == 2 and "--resume" in capsys.readouterr().err
    assert main([*argv, "--resume", "--quiet"]) == 0
    assert main([*argv[:-1], "--rows", "nothing"]) == 2


def test_a_row_that_aligns_otherwise_takes_no_alignment_of_the_others(
    tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the affine sub-network see pairs as they lie, whatever rows before them have found."""
    used: dict[str, Any] = {}

    def evaluated(model: Any, *args: Any, alignments: Any, **options: Any) -> dict[str, Any]:
        used[model.network.name] = alignments
        return {"pairs": 1}

    monkeypatch.setattr(runs, "evaluate", evaluated)
    monkeypatch.setattr(runs, "keep_pictures", lambda *args, **options: None)
    monkeypatch.setattr(runs, "pair_registrar", lambda *args, **options: None)
    monkeypatch.setattr(runs, "_trained", lambda row, recipe, *args, **options: recipe)
    aligned = replace(RECIPE, preprocessing=replace(RECIPE.preprocessing, affine="auto"))
    setup = runs.Setup(aligned, scenario, tmp_path, None, None, "cpu", alignments=dict.fromkeys([("a", "b")]))
    for name in ("manual-medium", "multiprop-affine"):
        runs.run_row(ROWS[name], setup, seed=0, monitor=Monitor())
    assert used["autoreg"] is setup.alignments and used["multiprop"] == {}
