"""The hypergradient against autograd's exact second-order value and against a closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from AutoRegLib.core.errors import InputError
from AutoRegLib.search.bilevel import BilevelProblem, hypergradient


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, relative: float) -> None:
    size = max(float(v.abs().max()) for v in expected.values())
    assert size > 0
    worst = max(float((found[n] - expected[n]).abs().max()) for n in expected)
    assert worst < relative * size, f"{worst} against {size}"


def network_problem() -> tuple[BilevelProblem, dict[str, Tensor], dict[str, Tensor]]:
    """A small smooth network whose upper variable mixes two layers and weighs the lower loss."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()

    def output(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], x: Tensor) -> Tensor:
        mixed: Tensor = functional_call(net, dict(weights), (x * torch.sigmoid(upper["mix"]),))
        return mixed

    def lower(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], batch: Any) -> Tensor:
        decay = sum((w.square().sum() for w in weights.values()), torch.zeros((), dtype=torch.float64))
        return (output(weights, upper, batch[0]) - batch[1]).square().mean() + torch.exp(upper["decay"]) * decay

    def upper_loss(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], batch: Any) -> Tensor:
        return (output(weights, upper, batch[0]) - batch[1]).square().mean()

    weights = {n: p.detach().clone() for n, p in net.named_parameters()}
    upper = {"mix": torch.randn(4, dtype=torch.float64), "decay": torch.tensor(-2.0, dtype=torch.float64)}
    return BilevelProblem(lower, upper_loss), weights, upper


def batches(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    made = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 4, generator=made, dtype=torch.float64), torch.randn(8, 3, generator=made, dtype=torch.float64))
        for _ in range(count)
    ]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("epsilon", ["normalised", "rate"])
def test_difference_equals_the_exact_second_order_value(steps: int, epsilon: Any) -> None:
    problem, weights, upper = network_problem()
    rate = 0.1 if epsilon == "normalised" else 1e-3
    common: Any = {"train": batches(steps, 1), "validation": batches(2, 2), "rate": rate}
    exact = hypergradient(problem, weights, upper, method="exact", **common)
    found = hypergradient(problem, weights, upper, method="difference", epsilon=epsilon, **common)
    assert abs(float(found.loss - exact.loss)) < 1e-12
    close(found.slope, exact.slope, relative=1e-12)
    assert abs(float(found.lower_loss - exact.lower_loss)) < 1e-12
    close(found.gradient, exact.gradient, relative=1e-3)
    first = hypergradient(problem, weights, upper, method="first", **common)
    assert float(first.gradient["decay"]) == 0.0  # lambda has no direct term: all of it is second order
    assert float(exact.gradient["decay"].abs()) > 1e-6


def test_quadratic_problem_in_closed_form() -> None:
    """lower = a/2 (w - u)^2, upper = 1/2 (w - t)^2: one step gives w' = w - r a (w - u), d/du = r a (w' - t)."""
    a, r, t = 3.0, 0.1, 2.0
    problem = BilevelProblem(
        lambda w, u, b: a / 2 * (w["w"] - u["u"]).square().sum(), lambda w, u, b: 0.5 * (w["w"] - t).square().sum()
    )
    w, u = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.5, 4.0], dtype=torch.float64)
    expected = r * a * (w - r * a * (w - u) - t)
    for method in ("exact", "difference"):
        found = hypergradient(
            problem, {"w": w}, {"u": u}, train=[None], validation=[None], rate=r, method=method  # type: ignore[arg-type]
        )
        close(found.gradient, {"u": expected}, relative=1e-6)


def test_nothing_is_left_behind() -> None:
    problem, weights, upper = network_problem()
    before = {n: v.clone() for n, v in {**weights, **upper}.items()}
    hypergradient(problem, weights, upper, train=batches(2, 1), validation=batches(1, 2), rate=0.1)
    for name, value in {**weights, **upper}.items():
        assert torch.equal(value, before[name]) and value.grad is None and not value.requires_grad


def test_unknown_method_is_refused() -> None:
    problem, weights, upper = network_problem()
    with pytest.raises(InputError, match="unknown hypergradient"):
        hypergradient(problem, weights, upper, train=batches(1, 1), validation=batches(1, 2), rate=0.1, method="second")  # type: ignore[arg-type]
