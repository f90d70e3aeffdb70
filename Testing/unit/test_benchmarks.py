"""The benchmarks themselves at tiny sizes: every part runs, missing peers are rows, rows survive."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.scenes import make_scenario

from AutoRegLib.core.recipe import Network, Recipe, write_recipe
from AutoRegLib.networks.registry import build_network, count_parameters
from benchmarks import equal_time, learned, search_pays, summaries, tables
from benchmarks.environments import Needs, NotInstalledError, environment
from benchmarks.measure import ROOT, RunFailedError, run_process
from benchmarks.methods import METHODS
from benchmarks.networks import flatness, with_ratios
from benchmarks.pairs import PEERS
from benchmarks.run import main
from benchmarks.tables import Row, cached, csv_text, markdown
from benchmarks.training_step import CHILD


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_everything_runs_at_tiny_sizes(tmp_path: Path) -> None:
    """No network, no peer: they are listed as not installed, and the others have their figures."""
    results = tmp_path / "results"
    options = ["--quick", "--no-install", "--work", str(tmp_path / "work"), "--results", str(results), "--threads", "1",
               "--environments", str(tmp_path / "none"), "--methods", "autoreg-refine", "fireants", "ants-syn"]
    assert main(options) == 0
    pairs = {row["method"]: row for row in rows_of(results / "pairs.csv")}
    ours = pairs[METHODS["autoreg-refine"].title]
    assert float(ours["dice"]) > float(ours["dice_before"]) and float(ours["folds"]) == 0
    assert float(ours["process_cpu_s"]) > float(ours["registration_cpu_s"]) > 0 and float(ours["peak_gb"]) > 0.05
    assert all("not installed" in pairs[METHODS[name].title]["error"] for name in ("fireants", "ants-syn"))
    networks = {row["network"]: row for row in rows_of(results / "networks.csv") if row["size"] == "16x16x16"}
    assert float(networks["voxelmorph2"]["parameters"]) > 1e5
    assert "not installed" in networks["voxelmorph/VxmPairwise"]["error"]
    operations = rows_of(results / "operations.csv")
    assert {"ours", "grid_sample", "conv3", "dil7"} <= {row["by"] for row in operations}
    assert rows_of(results / "startup.csv")[0]["loads_torch"] == "False"
    for part in ("pairs", "networks", "operations", "startup"):
        text = (results / f"{part}.md").read_text()
        assert "processor:" in text and "commit" in text and str(tmp_path) not in text


def test_learned_systems_in_equal_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the pairs as they lie and of two networks, of two scenarios; kept when asked again."""
    scenario, other = (make_scenario(tmp_path / name) for name in ("one", "other"))
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    options = [str(scenario), "--test", str(other), "--work", str(tmp_path / "work"), "--name", "learned", "--seconds",
               "0.3", "--cases", "4", "--limit", "1", "--systems", "dirnet", "metareg-no-penalty"]
    rows = learned.main(options)
    assert [row["system"] for row in rows] == ["none", "dirnet", "metareg-no-penalty"]
    assert rows[0]["positive_percent"] == 100 and "parameters" not in rows[0]
    assert all(row["steps"] > 0 and 0 < row["dice"] <= 1 and row["hd95_mm"] >= 0 for row in rows[1:])
    assert all(row["other_dice"] == pytest.approx(rows[0]["dice"], abs=0.2) for row in rows)
    assert learned.main(options) == rows and len(rows_of(tmp_path / "results" / "learned.csv")) == 3


def test_variants_of_a_recipe_in_equal_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of refinement alone and one of each variant, which finished has a lower loss; kept when asked again."""
    monkeypatch.setenv("AUTOREG_CACHE", str(tmp_path / "cache"))
    scenario, work = make_scenario(tmp_path / "data"), tmp_path / "work"
    options = [str(scenario), "--work", str(work), "--seconds", "0.3", "--cases", "2", "--pairs", "1", "--variants",
               "plain", "labels", "--resume"]
    rows = equal_time.main(options)
    assert [row["variant"] for row in rows] == ["refinement alone", "plain", "labels"]
    assert all(0 < row["dice"] <= 1 and row["seconds"] > 0 for row in rows)
    for row in rows[1:]:
        assert row["steps"] > 0 and rows[0]["loss"] < row["loss"] >= row["finished loss"]
    assert equal_time.main(options) == rows


def test_every_peer_has_its_file() -> None:
    assert all(not one.script or (PEERS / one.script).is_file() for one in METHODS.values())


def test_a_peer_without_environment_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(NotInstalledError, match="not installed"):
        environment("peer", Needs(("peer",)), cache=tmp_path, install=False)
    assert not (tmp_path / "peer").exists()


def test_a_row_is_kept_for_resume_and_a_failed_one_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> Row:
        raise RunFailedError("broke")

    assert cached(tmp_path, "a", fail, resume=True, names={"method": "m"}) == {"method": "m", "error": "broke"}
    made = cached(tmp_path, "a", lambda: {"s": 1.0}, resume=True, names={"method": "m"})
    assert made["method"] == "m" and made["s"] == 1.0 and made["commit"]
    assert cached(tmp_path, "a", fail, resume=True, names={"method": "m"})["s"] == 1.0
    assert "broke" in capsys.readouterr().out


def test_a_process_is_measured(tmp_path: Path) -> None:
    busy = "import time\nheld = bytearray(200_000_000)\nt = time.process_time()\n"
    busy += "while time.process_time() < t + 0.3: pass"
    usage = run_process([sys.executable, "-c", busy], log=tmp_path / "log.txt", threads=1)
    assert usage.wall >= 0.29 and 0.3 <= usage.cpu < 3
    assert usage.peak > 2e8  # and no upper bound here: it counts what this process holds, too


def test_a_process_that_fails_or_hangs_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="exit code 1: ValueError: no"):
        run_process([sys.executable, "-c", "raise ValueError('no')"], log=tmp_path / "log.txt", threads=1)
    with pytest.raises(RunFailedError, match="stopped after"):
        run_process([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log.txt", threads=1,
                    timeout=0.5)


def row_of(name: str, **figures: float) -> Row:
    return {"scenario": "s", "method": METHODS[name].title, "fixed": "f", "moving": "m", **figures}


@pytest.mark.parametrize("folds, seconds, word", [(0, 9.0, "holds"), (1, 9.0, "does not"), (0, 11.0, "does not")])
def test_the_promise_of_refinement(folds: int, seconds: float, word: str) -> None:
    rows = [row_of("autoreg-refine", dice=0.7, registration_cpu_s=seconds, registration_wall_s=1.0, folds=folds),
            row_of("fireants", dice=0.7, registration_cpu_s=10.0, registration_wall_s=1.0, folds=0)]
    assert f"**{word}" in summaries.lines(rows).splitlines()[0].split(" by the processor")[0]
    assert summaries.lines(rows[:1]).count("not measured") == 2


def test_ratios_and_flatness() -> None:
    base: Row = {"network": "voxelmorph2", "cpu_s_median": 2.0, "peak_gb": 1.0}
    half = with_ratios([base, {"network": "n", "cpu_s_median": 1.0, "peak_gb": 3.0}], "voxelmorph2")[1]
    assert half["time_of_VM-2"] == 0.5 and half["memory_of_VM-2"] == 3.0
    cubes: list[Row] = [{"cpu_ns_a_voxel": time, "bytes_a_voxel": 100.0} for time in (1.0, 1.0, 1.5)]
    assert flatness(cubes).count("**flat**") == 1 and flatness(cubes).count("**not flat**") == 1
    freed: list[Row] = [{**cube, "bytes_a_voxel": 0.0} for cube in cubes]  # a small pass takes no memory of its own
    assert "too little to measure" in flatness(freed) and flatness(freed).count("**") == 2


def test_tables_hold_every_column() -> None:
    rows: list[Row] = [{"a": 1.25, "b": "x|y"}, {"a": None, "error": "no"}]
    assert csv_text(rows).splitlines() == ["a,b,error", "1.25,x|y,", ",,no"]
    assert markdown(rows).splitlines()[2:] == ["| 1.25 | x/y |  |", "|  |  | no |"]
    assert json.loads(json.dumps(rows)) == rows


def test_training_steps_of_a_tree(tmp_path: Path) -> None:
    """The child that times another version's training: steps on images from a file, weights of the recipe's network."""
    image = torch.rand(1, 1, 8, 8, 8)
    torch.save({"images": {"a": image, "b": image.flip(2)}, "labels": {}, "pairs": {"train": (("a", "b"),)},
                "structures": ()}, tmp_path / "data.pt")
    recipe = Recipe(network=Network(features=(2, 2), decoder=(2, 2, 2)))
    write_recipe(tmp_path / "recipe.json", recipe)
    run_process([sys.executable, CHILD, "--tree", ROOT, "--data", tmp_path / "data.pt", "--recipe",
                 tmp_path / "recipe.json", "--steps", "2"], log=tmp_path / "log.txt", threads=1)
    told = json.loads((tmp_path / "log.txt").read_text().splitlines()[-1])
    assert len(told["seconds"]) == 2 and min(told["seconds"]) > 0
    assert told["parameters"] == count_parameters(build_network(recipe))


def test_what_a_search_is_worth_counts_what_is_delivered() -> None:
    """Gains pair by pair over the default of the same seed, over the seeds; finished, where there is a finish."""
    rows: list[Row] = [
        {"row": "default", "seed": 0, "by_pair": [0.5, 0.6, 0.7], "finished_by_pair": [0.6, 0.7, 0.8]},
        {"row": "default", "seed": 1, "by_pair": [0.5, 0.6, 0.7]},
        {"row": "searched", "seed": 0, "by_pair": [0.7, 0.7, 0.7]},
        {"row": "searched", "seed": 1, "by_pair": [0.4, 0.4, 0.4], "finished_by_pair": [0.6, 0.7, 0.8]},
        {"row": "searched", "seed": 2, "by_pair": [0.0, 0.0, 0.0]},
    ]
    gain, error = search_pays.gains(rows, search_pays.delivered)["searched"]
    assert abs(gain - 0.05) < 1e-12 and abs(error - np.std([0.1, 0.05, 0.0], ddof=1) / 3**0.5) < 1e-12
    gain, _ = search_pays.gains(rows, search_pays.alone)["searched"]
    assert abs(gain - np.mean([0.05, -0.05, -0.15])) < 1e-12
