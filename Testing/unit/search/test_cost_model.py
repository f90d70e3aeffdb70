"""The cost table: what it predicts, how it is weighed, how a limit on seconds is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline.scenes import make_scenario
from torch.func import functional_call

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import CELLS, OPERATORS, Genotype
from AutoRegLib.core.recipe import Network, Preprocessing, Recipe, Search, Stage, Training
from AutoRegLib.core.records import from_plain, to_plain
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.search.cost_model import CostTable, count_candidates, fastest_choice, measure_candidates, saved_bytes
from AutoRegLib.search.search import search

#: conv1 costs 1, conv3 2, and so on, everywhere
TABLE = CostTable({cell: (tuple(float(i + 1) for i in range(8)),) * 3 for cell in CELLS}, rest=5.0)


def test_a_resumed_search_reads_the_costs_of_the_first_run() -> None:
    assert from_plain(CostTable, to_plain(TABLE), where="checkpoint") == TABLE


def test_table_sums_the_edges() -> None:
    assert TABLE.total(Genotype.uniform("conv1")) == 5.0 + 12 * 1.0
    assert TABLE.total(Genotype.uniform("dil7")) == 5.0 + 12 * 8.0


def test_expected_cost_by_hand_and_its_gradient() -> None:
    alpha = torch.zeros(3, 8, requires_grad=True)
    expected = TABLE.expected({"feature_half": torch.softmax(alpha, dim=1)})
    assert float(expected.detach()) == pytest.approx(4.5 / 2.0)  # mean of 1 .. 8, in units of conv3
    expected.backward()
    assert alpha.grad is not None
    assert (alpha.grad[:, 0] < 0).all() and (alpha.grad[:, 7] > 0).all(), "cheap candidates gain"


def test_a_limit_gives_up_the_least_share() -> None:
    shares = {cell: torch.full((3, 8), 0.05) for cell in CELLS}
    for cell in CELLS:
        shares[cell][:, 2] = 0.6  # conv5, cost 3
        shares[cell][:, 0] = 0.1
    shares["feature_half"][0, 0] = 0.59  # here conv1 is nearly as good
    assert fastest_choice(shares, TABLE, most=100.0) == Genotype.uniform("conv5")
    quick = fastest_choice(shares, TABLE, most=TABLE.total(Genotype.uniform("conv5")) - 1.0)
    assert quick.feature_half == ("conv1", "conv5", "conv5")
    assert quick.deformation_half == ("conv5", "conv5", "conv5")
    with pytest.raises(InputError, match="max-seconds"):
        fastest_choice(shares, TABLE, most=16.0)


def test_measured_table_has_every_candidate() -> None:
    recipe = Recipe(spatial_dims=2, network=Network(features=(4, 6), decoder=(8, 6, 4)))
    table = measure_candidates(recipe, (32, 32), device="cpu")
    assert set(table.candidates) == set(CELLS)
    assert all(len(edge) == len(OPERATORS) and min(edge) > 0 for edges in table.candidates.values() for edge in edges)


def test_counted_table_by_hand() -> None:
    recipe = Recipe(spatial_dims=2, network=Network(features=(4, 6), decoder=(8, 6, 4)))
    table = count_candidates(recipe)
    features, deformation = table.candidates["feature_half"][0], table.candidates["deformation_quarter"][1]
    place = {name: i for i, name in enumerate(OPERATORS)}
    # two images, a quarter of the voxels each; one sixteenth at the quarter scale
    assert features[place["conv3"]] == 2 * 1 * 4 * 9 / 4
    assert deformation[place["conv5"]] == 8 * 6 * 25 / 16
    assert deformation[place["sep3"]] == (8 * 9 + 8 * 6) / 16


def test_saved_bytes_counts_what_backward_needs() -> None:
    x = torch.rand(1000, requires_grad=True)
    assert saved_bytes(lambda: (x * x).sum()) == 4000  # x itself, once
    assert saved_bytes(lambda: (x + 1).sum()) == 0


def test_search_keeps_the_limit_and_leaves_card_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    stage = Stage("deformation architecture", "deformation", "registration", 3, 3e-2, warmup=0.0)
    recipe = Recipe(
        spatial_dims=2, structures={1: "shell", 2: "core"}, network=Network(features=(4, 6), decoder=(8, 6, 4)),
        preprocessing=Preprocessing(affine="none"), training=Training(steps=3, validation_pairs=2),
        search=Search(stages=(stage,), shares=(1.0,), finalists=2, final_steps=2, max_seconds=100.0, speed_weight=0.1),
    )
    search(recipe, scenario, output=tmp_path / "out")
    card = (tmp_path / "out" / "card.md").read_text()
    assert "| start | 1 | 2 |" in card and "validation Dice" in card and "One pass over a pair" in card
    assert {p.name for p in (tmp_path / "out" / "figures").iterdir()} == {"architecture.png", "finals.png"}

    # counted and not timed: this machine may be busy
    monkeypatch.setattr("AutoRegLib.search.search.measure_candidates", lambda r, shape, device: count_candidates(r))
    table = count_candidates(recipe)
    between = 0.5 * (table.total(Genotype.uniform("conv1")) + table.total(Genotype.uniform("dil7")))
    dilated = replace(recipe, genotype=Genotype.uniform("dil7"), search=replace(recipe.search, max_seconds=between))
    found = search(dilated, scenario, output=tmp_path / "limited")
    assert found.genotype is not None and table.total(found.genotype) <= between < table.total(Genotype.uniform("dil7"))
    with pytest.raises(InputError, match="that fast"):  # before anything is searched
        search(replace(recipe, search=replace(recipe.search, max_seconds=-1.0, stages=(replace(stage, steps=10**9),))),
               scenario, output=tmp_path / "impossible")


def test_recomputing_saves_memory_and_changes_no_gradient() -> None:
    from AutoRegLib.networks.registry import build_network
    from AutoRegLib.search.bilevel import value_and_gradients

    recipe = Recipe(spatial_dims=2, network=Network(features=(4, 6), decoder=(8, 6, 4)))
    images = [torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    found = []
    for recompute in (False, True):
        network = build_network(recipe, searched=CELLS, recompute=recompute)
        weights = {n: p + 0.01 for n, p in network.named_parameters()}  # not the module's own values

        def loss(weights: Any, upper: Any, batch: Any, network: Any = network) -> torch.Tensor:
            mixture = {cell: torch.softmax(upper[cell], dim=1) for cell in CELLS}
            return functional_call(network, dict(weights), (*batch, mixture)).displacement.square().mean()

        upper = {cell: torch.zeros(3, 8) for cell in CELLS}
        kept = saved_bytes(lambda loss=loss, weights=weights, upper=upper: loss(weights, upper, images))
        found.append((kept, value_and_gradients(loss, weights, upper, images)))
    (plain, first), (spared, second) = found
    assert spared < 0.7 * plain
    for part in (1, 2):
        for name, gradient in first[part].items():
            assert float((gradient - second[part][name]).abs().max()) < 1e-7, name
    assert max(float(g.abs().max()) for g in first[1].values()) > 1e-4
