"""Weights that answer to lambda: by hand, their derivative, and what they learn where the answer is known."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch
from torch import Tensor

from AutoRegLib.search.best_response import MARK, perturb, respond, with_response


def test_the_answer_by_hand() -> None:
    weights = with_response({"a.weight": torch.tensor([[2.0], [3.0]]), "a.bias": torch.tensor([0.0, 1.0])}, 1)
    offset = {"smoothness": torch.tensor(3.0)}
    same = respond(weights, offset, spread=3.0)
    assert sorted(same) == ["a.bias", "a.weight"]
    assert torch.equal(same["a.weight"], weights["a.weight"]), "nothing is answered before anything is learnt"
    weights[f"a.weight{MARK}"] = torch.tensor([[0.1, 0.0], [0.0, 0.2]])
    weights[f"a.bias{MARK}"] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # h = 3 of 3: the straight part is 3, the bent part 9 / 3 - 3 / 3 = 2
    answered = respond(weights, offset, spread=3.0)
    assert torch.allclose(answered["a.weight"], torch.tensor([[2.0 * 1.3], [3.0 * 1.4]]))
    assert torch.allclose(answered["a.bias"], torch.tensor([3.0, 3.0]))


def test_the_derivative_in_the_middle_is_the_straight_part() -> None:
    weights = with_response({"weight": torch.tensor([[2.0]], dtype=torch.float64)}, 2)
    weights[f"weight{MARK}"] = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    offset = {name: torch.zeros((), dtype=torch.float64, requires_grad=True) for name in ("one", "two")}
    found = torch.autograd.grad(respond(weights, offset, spread=3.0)["weight"].sum(), list(offset.values()))
    assert [float(g) for g in found] == pytest.approx([2.0 * 0.1, 2.0 * 0.2])
    far = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
           for name, value in (("one", 0.7), ("two", -1.1))}

    def answer(one: Tensor, two: Tensor) -> Tensor:
        return respond(weights, {"one": one, "two": two}, spread=3.0)["weight"]

    assert torch.autograd.gradcheck(answer, tuple(far.values()))


def test_nudges_fill_the_range_and_come_from_the_seed() -> None:
    upper = {"smoothness": torch.tensor(0.4), "half_scale": torch.tensor(1.0)}
    moves = torch.tensor([[float(v) for v in perturb(upper, Random(i), spread=3.0).values()] for i in range(400)])
    assert moves.abs().max() <= 3.0 and moves.abs().max() > 2.9
    assert moves.mean(dim=0).abs().max() < 0.3
    assert abs(float(moves.std(dim=0).mean()) - 3.0 / math.sqrt(3.0)) < 0.15
    first, again = (perturb(upper, Random(7), spread=3.0) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in upper)


def test_training_at_every_lambda_finds_how_the_minimiser_moves() -> None:
    """(w - 1)^2 + exp(h) w^2 is least at w = 1 / (1 + exp(h)): 1/2 in the middle, and falling."""
    spread = 3.0
    weights = with_response({"w": torch.tensor([[0.1]])}, 1)
    for value in weights.values():
        value.requires_grad_()
    optimiser = torch.optim.Adam(weights.values(), lr=2e-2)
    for step in range(1500):
        move = perturb({"h": torch.tensor(0.0)}, Random(step), spread=spread)
        w = respond(weights, move, spread=spread)["w"]
        weight = torch.exp(move["h"])
        optimiser.zero_grad()
        (((w - 1.0).square() + weight * w.square()).sum() / (1.0 + weight)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    for h in (-2.0, 0.0, 2.0):
        found = respond(weights, {"h": torch.tensor(h)}, spread=spread)["w"].item()
        assert found == pytest.approx(1.0 / (1.0 + math.exp(h)), abs=0.08)
