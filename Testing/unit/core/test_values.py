"""Records, genotype, recipe and scenario: strict JSON, exact round trips, messages that help."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.genotype import OPERATORS, Genotype
from AutoRegLib.core.presets import SCALES, preset_recipe, with_published_loss
from AutoRegLib.core.recipe import LossWeights, Network, Recipe, Stage, read_recipe, write_recipe
from AutoRegLib.core.records import write_whole
from AutoRegLib.core.scenario import read_scenario


def test_recipe_round_trip_is_exact_and_readable(tmp_path: Path) -> None:
    recipe = Recipe(
        structures={1: "head", 12: "left putamen"}, seed=3, loss_weights=LossWeights(0.123456789012345, 1e-9, 3.0, 0.0),
        genotype=Genotype(("conv1", "dil7", "sep5"), ("sep3", "conv5", "dil5"), ("dil3",) * 3, ("conv3",) * 3),
        network=Network(features=(8, 24)),
    )
    write_recipe(tmp_path / "recipe.json", recipe)
    assert read_recipe(tmp_path / "recipe.json") == recipe == read_recipe(tmp_path)
    assert '"feature_half": ["conv1", "dil7", "sep5"]' in (tmp_path / "recipe.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(sede=1), r"unknown key 'sede'.*did you mean 'seed'"),
        (lambda d: d["network"].update(featurs=[1, 2]), r"unknown key 'featurs'.*'features'"),
        (lambda d: d.update(schema="autoreg-recipe/99"), r"another schema.*autoreg-recipe/1.*autoreg-recipe/99"),
        (lambda d: d["loss_weights"].update(similarity_mix=1.5), r"out of range.*0 to 1.*1.5"),
        (lambda d: d["loss_weights"].update(smoothness=-1.0), r"negative"),
        (lambda d: d.update(seed="one"), r"seed has the wrong type.*int.*'one'"),
        (lambda d: d.update(seed=True), r"seed has the wrong type"),
        (lambda d: d["network"].update(features=[1, 2, 3]), r"wrong length.*2.*3"),
        (lambda d: d["network"].update(update="subtract"), r"add or compose or replace.*subtract"),
        (lambda d: d["genotype"].update(feature_half=["conv3"]), r"wrong length"),
    ],
)
def test_a_damaged_recipe_is_refused_by_name(tmp_path: Path, change: Any, message: str) -> None:
    write_recipe(tmp_path / "recipe.json", Recipe())
    data = json.loads((tmp_path / "recipe.json").read_text())
    change(data)
    (tmp_path / "recipe.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=f"(?s){message}"):
        read_recipe(tmp_path / "recipe.json")


def test_a_writer_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")

    def fail(temporary: str) -> None:
        Path(temporary).write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskError, match="No space left"):
        write_whole(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write_whole(path, lambda temporary: Path(temporary).write_text("new"))
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_uniform_genotypes() -> None:
    assert set(Genotype.uniform("dil7").cell("deformation_half")) == {"dil7"}
    assert len(OPERATORS) == 8
    with pytest.raises(InputError, match="wrong number of edges"):
        Genotype(feature_half=("conv3",))  # type: ignore[arg-type]


def scenario_data(**changes: Any) -> dict[str, Any]:
    cases = [
        {"id": name, "image": f"{name}.nii.gz", "subject": subject, "split": split}
        for name, subject, split in (
            ("a1", "a", "train"), ("a2", "a", "train"), ("b1", "b", "train"), ("c1", "c", "val"), ("d1", "d", "test"),
            ("e1", "e", "test"),
        )
    ]
    return {"schema": "autoreg-scenario/1", "name": "n", "spatial_dims": 3, "pairing": "all", "cases": cases, **changes}


def written(folder: Path, data: dict[str, Any]) -> Path:
    for case in data["cases"]:
        (folder / case["image"]).touch()
    (folder / "scenario.json").write_text(json.dumps(data))
    return folder / "scenario.json"


def test_pairing_rules(tmp_path: Path) -> None:
    def pairs(split: Any = "train", **changes: Any) -> set[tuple[str, str]]:
        scenario = read_scenario(written(tmp_path, scenario_data(**changes)))
        return {(p.fixed.id, p.moving.id) for p in scenario.pairs_of(split)}

    assert pairs() == {("a1", "b1"), ("b1", "a1"), ("a2", "b1"), ("b1", "a2")}
    assert pairs(pairing="within-subject") == {("a1", "a2"), ("a2", "a1")}
    assert pairs("test", pairing="atlas", atlas="a1") == {("a1", "d1"), ("a1", "e1")}
    listed = [{"fixed": "d1", "moving": "e1", "split": "test"}]
    assert pairs("test", pairing="listed", pairs=listed) == {("d1", "e1")}


def test_limited_pairs_are_drawn_by_seed(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, scenario_data()))
    assert scenario.pairs_of("train", limit=2, seed=1) == scenario.pairs_of("train", limit=2, seed=1)
    assert len({scenario.pairs_of("train", limit=2, seed=s) for s in range(9)}) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairings": "all"}, "unknown key 'pairings'.*did you mean 'pairing'"),
        ({"pairing": "everything"}, "all or atlas or within-subject or listed.*everything"),
        ({"pairing": "atlas"}, "names no atlas"),
        ({"pairing": "atlas", "atlas": "zz"}, "no case 'zz'"),
        ({"spatial_dims": 4}, "2 or 3.*4"),
        ({"pairs": [{"fixed": "a1", "moving": "b1", "split": "train"}]}, "set pairing to 'listed'"),
        ({"pairing": "listed", "pairs": [{"fixed": "a1", "moving": "zz", "split": "train"}]}, "unknown case.*zz"),
    ],
)
def test_a_wrong_scenario_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        read_scenario(written(tmp_path, scenario_data(**changes)))


def test_a_subject_in_two_splits_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    data = scenario_data()
    data["cases"][3]["subject"] = "a"
    with pytest.raises(InputError, match=r"subject 'a' is in two splits.*'a1' in train, 'c1' in val"):
        read_scenario(written(tmp_path, data))
    path = written(tmp_path, scenario_data())
    (tmp_path / "d1.nii.gz").unlink()
    with pytest.raises(InputError, match="'d1' names a file that is not there"):
        read_scenario(path)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    data = scenario_data()
    data["cases"] = data["cases"][:3]
    scenario = read_scenario(written(tmp_path, data))
    with pytest.raises(InputError, match=r"split 'test'.*has no pairs"):
        scenario.pairs_of("test")


def test_presets_follow_the_scenario(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, scenario_data(structures={"3": "x"})))
    budgets = []
    for name in [name for name in SCALES if name != "published"]:  # which counts in epochs
        recipe = preset_recipe(scenario, name, spacing=(1.0, 1.0, 2.0), same_space=True)  # type: ignore[arg-type]
        assert recipe.structures == {3: "x"} and recipe.preprocessing.affine == "none"
        budgets.append(recipe.training.steps)
    assert budgets == sorted(set(budgets))
    mixed = replace(scenario, cases=(replace(scenario.cases[0], modality="T2"), *scenario.cases[1:]))
    plain = preset_recipe(scenario)
    assert preset_recipe(mixed).loss_weights.similarity_mix < plain.loss_weights.similarity_mix == 1.0
    assert plain.loss_weights == plain.loss_weights.at_full_scale(), "nothing is computed that does not pay"
    assert with_published_loss(plain).loss_weights == LossWeights(), "a study is about the paper's loss"
    assert with_published_loss(preset_recipe(mixed)) == preset_recipe(mixed)


@pytest.mark.parametrize("upper", ["feature", "deformation"])
def test_a_spread_belongs_to_the_loss_weights(upper: str) -> None:
    Stage("loss weights", "lambda", "auto", 10, 1e-2, spread=3.0)
    with pytest.raises(InputError, match="cannot have a spread") as caught:
        Stage("architecture", upper, "registration", 10, 1e-2, spread=3.0)  # type: ignore[arg-type]
    assert "spread to 0" in caught.value.remedy
