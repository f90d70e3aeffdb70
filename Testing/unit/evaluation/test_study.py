"""The rows of a study and its tables, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from AutoRegLib.app.worker import _prepared
from AutoRegLib.core.arguments import check_arguments
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import CELLS, OPERATORS, Genotype
from AutoRegLib.core.jobs import JobRequest, Monitor
from AutoRegLib.core.memory import keep_freed_memory
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.presets import preset_recipe
from AutoRegLib.core.recipe import LossWeights, Network, Recipe, Training
from AutoRegLib.core.recipe_loss import with_loss
from AutoRegLib.core.scenario import Case, Scenario
from AutoRegLib.core.study_rows import ROWS, TABLES, Table, choose_rows, row_recipe
from AutoRegLib.core.study_verbs import StudyArguments
from AutoRegLib.evaluation.study import RunMonitor
from AutoRegLib.evaluation.study_report import (
    chosen_score,
    over_seeds,
    pair_scores,
    paired_gain,
    structure_scores,
    table_lines,
)
from AutoRegLib.registration.metrics import peak_memory_bytes, reset_peak_memory
from AutoRegLib.search.random_search import CANDIDATES, FACTOR, affordable, draw_candidates, validations
from AutoRegLib.search.refined_loss import other_similarities
from AutoRegLib.search.successive_halving import by_hand


def test_names_are_unambiguous_and_every_row_stands_in_a_table() -> None:
    assert not set(ROWS) & set(TABLES) and "all" not in {*ROWS, *TABLES}
    assert {row for table in TABLES.values() for _, row in table.lines} == set(ROWS)
    ours = [row for row in ROWS.values() if row.method != "peer"]
    assert len({replace(row, name="", words="") for row in ours}) == len(ours)
    assert {row.network for row in ours} == set(NETWORKS), "every network can be compared"


def test_every_row_can_be_made() -> None:
    for row in ROWS.values():
        assert row.network in NETWORKS and row.genotype in {*OPERATORS, "random"}
        assert not {"feature", "deformation"} & set(row.searched) or NETWORKS[row.network].searchable
        recipe = row_recipe(Recipe(), row, 3, Recipe(network=Network(features=(4, 4))))
        assert recipe.seed == 3 and recipe.training == Recipe().training
        assert [stage.upper for stage in recipe.search.stages] == [u for u in ("feature", "deformation", "lambda")
                                                                  if u in row.searched]
        assert len(recipe.search.shares) == len(recipe.search.stages)


def test_another_network_trains_in_a_study_as_it_does_alone() -> None:
    """By Adam at its own rate: what was measured for the AutoReg network is no other network's."""
    scenario = Scenario("s", 3, "all", (Case("a", "a.nii.gz", "p", "train"),))
    start = preset_recipe(scenario, "quick")
    assert start.training.optimiser == "muon" and start.objective.counted == "foreground"
    for row in ("voxelmorph2", "metareg", "multiprop"):
        alone = preset_recipe(scenario, "quick", network=ROWS[row].network)
        made = row_recipe(start, ROWS[row], 0)
        assert alone.training.optimiser == "adam"
        assert (made.training, made.network, made.objective) == (alone.training, alone.network, alone.objective)
        on = row_recipe(start, ROWS["fine-tuned"], 0, alone)
        assert (on.training, on.network, on.objective) == (alone.training, alone.network, alone.objective)
    on = row_recipe(start, ROWS["fine-tuned"], 0, start)
    assert (on.training, on.network, on.objective) == (start.training, start.network, start.objective)


def test_rows_are_chosen_once_and_in_running_order() -> None:
    assert [row.name for row in choose_rows(["similarity", "ncc"])] == [
        "manual-medium", "loss-weights", "ncc", "mind", "mse", "nmi"]
    assert choose_rows(["all", "manual"]) == tuple(ROWS.values())
    bare = {row.name for row in choose_rows(["all"], start=False, peers=())}
    assert bare == {row.name for row in ROWS.values() if not row.start and row.method != "peer"}
    some = choose_rows(["networks"], start=False, peers=("elastix",))
    assert {row.name for row in some if row.method == "peer"} == {"elastix"}
    for name, said in (("fine-tuned", "model to start from"), ("ants-syn", "file of peers"), ("transfer", "no rows")):
        with pytest.raises(InputError, match=said):
            choose_rows([name], start=False, peers=())
    with pytest.raises(InputError, match="ablation"):
        choose_rows(["ablations"])
    with pytest.raises(InputError):
        choose_rows([])


def test_wrong_rows_and_seeds_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    good = StudyArguments(output="o", scenario=str(tmp_path / "s.json"))
    check_arguments(good)
    for change in ({"rows": ("tables",)}, {"seeds": 0}, {"minutes": 0.0}):
        with pytest.raises(InputError):
            check_arguments(replace(good, **change))  # type: ignore[arg-type]


def test_what_the_rows_of_the_paper_are() -> None:
    model = Recipe(spatial_dims=3, network=Network(features=(4, 4)), genotype=Genotype.uniform("sep3"),
                   loss_weights=LossWeights(smoothness=7.0), training=Training(steps=1))
    made = {name: row_recipe(Recipe(), row, 0, model) for name, row in ROWS.items()}
    for name in ("retrained", "fine-tuned", "from-all"):  # its network and loss, this scenario's budget
        assert (made[name].network, made[name].genotype, made[name].loss_weights) == (
            model.network, model.genotype, model.loss_weights)
        assert made[name].training == Recipe().training
    assert made["multiprop-images"].network.propagation.pyramid == "images"
    assert made["multiprop-images"].loss_weights.kl == 0.0 < made["multiprop"].loss_weights.kl
    assert made["multiprop-scales-4"].network.propagation.scales == 4
    with pytest.raises(InputError, match="no model to start from"):
        row_recipe(Recipe(), ROWS["retrained"], 0)
    with pytest.raises(InputError, match="no model to start from"):
        row_recipe(Recipe(spatial_dims=2), ROWS["retrained"], 0, model)
    assert made["manual-medium"].genotype == Genotype() == Genotype.uniform("conv3")
    assert made["manual-small"].genotype == Genotype.uniform("conv1")
    assert made["manual-large"].genotype == Genotype.uniform("dil7")
    assert (made["ncc"].loss_weights, made["mind"].loss_weights) == (
        LossWeights(similarity_mix=1.0), LossWeights(similarity_mix=0.0))
    drawn = [row_recipe(Recipe(), ROWS["random-genotype"], seed).genotype for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_random_candidates_differ_in_what_is_searched_only() -> None:
    start = Recipe(seed=5)
    whole = draw_candidates(start, {"feature", "deformation", "lambda"}, count=CANDIDATES)
    assert whole[0] == ("start", start) and len({name for name, _ in whole}) == CANDIDATES
    assert whole == draw_candidates(start, {"feature", "deformation", "lambda"}, count=CANDIDATES)
    byhand = by_hand(start, {"feature", "deformation", "lambda"})
    assert whole[: len(byhand)] == byhand, "what a search's finals get without searching"
    for _, recipe in whole[len(byhand):]:
        assert replace(recipe, genotype=start.genotype, loss_weights=start.loss_weights,
                       objective=start.objective) == start
        seen = recipe.objective
        assert replace(seen, windows=start.objective.windows, data_term=start.objective.data_term) == start.objective
        around = [start, *(with_loss(start, name) for name in other_similarities(start))]  # what a search's start tries
        pairs = [[(getattr(recipe.loss_weights, name), getattr(other.loss_weights, name))
                  for name in ("smoothness", "half_scale", "quarter_scale")]
                 for other in around if other.objective.data_term == seen.data_term]
        assert any(all(1 / FACTOR <= found / given <= FACTOR if given else found == 0.0 for found, given in weights)
                   for weights in pairs)
    assert len({recipe.objective.windows for _, recipe in whole}) > 1, "a search's start chooses windows too"
    assert {recipe.objective.data_term for _, recipe in whole} == {"lncc", "mse", "nmi"}, "and the similarity"
    for _, recipe in draw_candidates(start, {"deformation"}, count=4)[1:]:
        assert recipe.loss_weights == start.loss_weights and recipe.genotype is not None
        assert recipe.genotype.feature_half == recipe.genotype.feature_quarter == ("conv3",) * 3
        assert recipe.genotype.deformation_half != ("conv3",) * 3


def test_validation_never_takes_the_time_of_training() -> None:
    assert [validations(n) for n in (2, 3, 4, 16)] == [2, 6, 7, 16 + 9 + 6 + 4]
    assert affordable(1400.0, 10.0) == CANDIDATES  # 35 validations, 350 s: just a quarter
    assert affordable(1399.0, 10.0) == CANDIDATES - 1
    assert affordable(280.0, 10.0) == 4 and affordable(1.0, 10.0) == affordable(0.0, 10.0) == 2


def test_a_random_genotype_uses_every_operator_on_every_edge() -> None:
    drawn = [Genotype.random(Random(seed)) for seed in range(200)]
    for cell in CELLS:
        for edge in range(3):
            assert {genotype.cell(cell)[edge] for genotype in drawn} == set(OPERATORS)


def test_mean_and_spread_over_seeds() -> None:
    runs = [{"dice": 0.5}, {"dice": 0.7}, {"dice": 0.9}, {}]
    assert over_seeds(runs, "dice") == (pytest.approx(0.7), pytest.approx(0.2))  # sqrt((0.04 + 0 + 0.04) / 2)
    assert over_seeds(runs[:1], "dice") == (0.5, None)
    assert over_seeds(runs, "tre_mm") is None


def test_gain_is_counted_pair_by_pair() -> None:
    base = {("a", "b"): 0.2, ("b", "a"): 0.6, ("a", "c"): 0.5}
    other = {("a", "b"): 0.4, ("b", "a"): 0.7}
    # differences 0.2 and 0.1: mean 0.15, sd 0.0707107, standard error 0.05
    assert paired_gain(base, other) == (pytest.approx(0.15), pytest.approx(0.05))
    assert paired_gain(base, {("a", "c"): 0.4}) == (pytest.approx(-0.1), None)
    assert paired_gain(base, {}) is None


def evaluation(folder: Path, row: str, seed: int, dice: dict[tuple[str, str], tuple[float, float]]) -> dict[str, Any]:
    """The tables that an evaluation leaves, for two structures; returns the run's result."""
    place = folder / row / str(seed) / "evaluation"
    place.mkdir(parents=True)
    pairs = [f"{fixed},{moving},{(a + b) / 2}" for (fixed, moving), (a, b) in dice.items()]
    (place / "pairs.csv").write_text("\n".join(["fixed,moving,dice_mean", *pairs, ""]))
    lines = [f"{n},{value}" for values in dice.values() for n, value in zip(("head", "body"), values, strict=True)]
    (place / "metrics.csv").write_text("\n".join(["name,dice", *lines, ""]))
    mean = sum(a + b for a, b in dice.values()) / 2 / len(dice)
    return {"row": row, "seed": seed, "status": "done", "dice": mean, "folds": 3 - seed, "seconds": 0.25,
            "train_seconds": 60.0}


def test_the_table_of_two_rows_by_hand(tmp_path: Path) -> None:
    results = [
        evaluation(tmp_path, "manual-medium", 0, {("a", "b"): (0.4, 0.6), ("b", "a"): (0.6, 0.8)}),
        evaluation(tmp_path, "ncc", 0, {("a", "b"): (0.5, 0.7), ("b", "a"): (0.9, 0.9)}),
        evaluation(tmp_path, "ncc", 1, {("a", "b"): (0.7, 0.9), ("b", "a"): (0.9, 0.9)}),
    ]
    scores = pair_scores(tmp_path, results)
    assert scores["manual-medium"] == pytest.approx({("a", "b"): 0.5, ("b", "a"): 0.7})
    assert scores["ncc"] == pytest.approx({("a", "b"): 0.7, ("b", "a"): 0.9})  # over seeds: (0.6 + 0.8) / 2
    assert structure_scores(tmp_path, results)["body"] == {"manual-medium": [0.6, 0.8], "ncc": [0.7, 0.9, 0.9, 0.9]}
    table = Table("Two", (("unified", "manual-medium"), ("LNCC", "ncc"), ("not run", "mind")), costs=True)
    assert table_lines(table, results, scores) == [
        "## Two",
        "",
        "|  | seeds | Dice | gain | folded voxels | s a pair | training s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| unified | 1 | 0.600 |  | 3 | 0.25 | 60 |",
        # Dice 0.75 and 0.85: mean 0.8, sd 0.0707; the gains are 0.2 and 0.2; folds 3 and 2
        "| LNCC | 2 | **0.800 ± 0.071** | +0.200 ± 0.000 | **2 ± 1** | 0.25 | 60 |",
        "",
    ]
    assert table_lines(table, results[:1], scores) == []  # nothing to compare
    # one of 3 pairs beside one of 9: not the best, whatever it has, and no line that others are compared with
    few = [{**result, "pairs": 3 if result["row"] == "manual-medium" else 9, "dice": 0.9 - result["dice"]}
           for result in results]
    head, _, first, second, _ = table_lines(table, few, scores)[2:]
    assert head.startswith("|  | seeds | pairs | Dice | gain |")
    assert "**" not in first and "+" not in second


def test_without_labels_landmarks_decide(tmp_path: Path) -> None:
    results = [
        {"row": "manual-medium", "seed": 0, "status": "done", "tre_mm": 3.0, "lncc": 0.3},
        {"row": "ncc", "seed": 0, "status": "done", "tre_mm": 2.0, "lncc": 0.2},
    ]
    scored = chosen_score(results)
    assert scored.key == "tre_mm"
    assert chosen_score([{"lncc": 0.3}]).key == "lncc" and chosen_score([]).key == "dice"
    for result, errors in zip(results, ((2.0, 4.0), (1.5, 2.5)), strict=True):
        folder = tmp_path / str(result["row"]) / "0" / "evaluation"
        folder.mkdir(parents=True)
        (folder / "pairs.csv").write_text(f"fixed,moving,tre_mm\na,b,{errors[0]}\nb,a,{errors[1]}\n")
    scores = pair_scores(tmp_path, results, scored)
    table = Table("Two", (("unified", "manual-medium"), ("LNCC", "ncc")))
    # gains 0.5 and 1.5 mm: mean 1, sd 0.7071, standard error 0.5; a smaller error is a gain
    assert table_lines(table, results, scores, scored)[2:6] == [
        "|  | seeds | TRE mm | gain | LNCC |",
        "| --- | --- | --- | --- | --- |",
        "| unified | 1 | 3.00 |  | **0.300** |",
        "| LNCC | 1 | **2.00** | +1.00 ± 0.50 | 0.200 |",
    ]


def test_memory_is_measured_from_the_restart_on() -> None:
    if not reset_peak_memory():
        pytest.skip("this system cannot restart its measure of memory")
    keep_freed_memory()  # as the command line does: what is kept must not count
    held = np.ones(25_000_000)
    high = peak_memory_bytes()
    del held
    assert high is not None and reset_peak_memory()
    low = peak_memory_bytes()
    assert low is not None and high - low > 150_000_000


def test_a_warning_about_a_pair_is_passed_on_once() -> None:
    heard: list[str] = []

    class Listener(Monitor):
        def event(self, type: str, **payload: Any) -> None:
            heard.append(payload["text"])

        def wish(self) -> Any:
            return "finish"

    monitor = RunMonitor(Listener())
    for text in ("a onto b: covers only 83.4 %.", "a onto b: covers only 83.5 %.", "b onto a: covers only 83.4 %."):
        monitor.event("warning", code="registration", text=text)
    assert len(heard) == 2 and monitor.wish() == "cancel"


def test_a_job_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    request = JobRequest("study", {"scenario": "s.json"})
    assert "resume" not in _prepared(request, tmp_path).arguments
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.json").write_text("{}")
    assert _prepared(request, tmp_path).arguments["resume"] is True
