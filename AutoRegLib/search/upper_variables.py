"""What a search can search: the kinds of upper variable, as a table (docs/method.md, section 1.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from AutoRegLib.core.genotype import OPERATORS, Genotype
from AutoRegLib.core.recipe import WEIGHTS, Recipe, Stage
from AutoRegLib.core.recipe_loss import contained_weights
from AutoRegLib.losses.objective import to_constrained, to_free
from AutoRegLib.networks.autoreg import searched_cells
from AutoRegLib.search.bilevel import Tensors


@dataclass(frozen=True)
class Upper:
    """One kind of upper variable: how it starts, what it does to the loss, what is written down of it.

    ``start(recipe)`` the free variable; ``use(upper)`` (mixture, loss weights or None) for the loss;
    ``apply_to(recipe, upper)`` the recipe with the found values; ``row(upper)`` figures for the history;
    ``change(before, after)`` how far it moved between two checks (for the stability rule).
    """

    searched: tuple[str, ...]
    start: Callable[[Recipe], Tensors]
    use: Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor] | None]]
    apply_to: Callable[[Recipe, Tensors], Recipe]
    row: Callable[[Tensors], dict[str, float]]
    change: Callable[[Tensors, Tensors], float]


def _architecture(kind: str) -> Upper:
    cells = searched_cells(kind)

    def apply_to(recipe: Recipe, alpha: Tensors) -> Recipe:
        names = {c: tuple(OPERATORS[int(i)] for i in alpha[c].argmax(dim=1)) for c in cells}
        return replace(recipe, genotype=replace(recipe.genotype or Genotype(), **names))  # type: ignore[arg-type]

    def change(before: Tensors, after: Tensors) -> float:
        if any(bool((before[c].argmax(1) != after[c].argmax(1)).any()) for c in cells):
            return math.inf
        return max(float((before[c].softmax(1) - after[c].softmax(1)).abs().max()) for c in cells)

    return Upper(
        searched=cells,
        start=lambda recipe: {c: torch.zeros(3, len(OPERATORS)) for c in cells},
        use=lambda alpha: ({c: torch.softmax(alpha[c], dim=1) for c in cells}, None),
        apply_to=apply_to,
        row=lambda alpha: {
            f"{c}.{edge + 1}.{name}": round(float(share), 5)
            for c in cells
            for edge, shares in enumerate(alpha[c].softmax(1))
            for name, share in zip(OPERATORS, shares, strict=True)
        },
        change=change,
    )


def searched_weights(recipe: Recipe) -> tuple[str, ...]:
    """The loss weights that a search of this recipe moves: those of terms that its loss computes.

    A weight of exactly 0, or a share of exactly 0 or 1, leaves a term out, as does a network without coarser scales:
    what has no gradient would drift. The smoothness is always searched.
    """
    values = asdict(contained_weights(recipe))
    return tuple(name for name, value in values.items() if name == "smoothness" or (
        0.0 < value < 1.0 if WEIGHTS[name]["free"] == "logit" else value > 0.0))


def _loss_weights() -> Upper:
    def start(recipe: Recipe) -> Tensors:
        free = to_free(recipe.loss_weights)
        return {name: free[name] for name in searched_weights(recipe)}

    def apply_to(recipe: Recipe, free: Tensors) -> Recipe:
        found = {name: float(value) for name, value in to_constrained(free).items()}
        return replace(recipe, loss_weights=replace(recipe.loss_weights, **found))

    def change(before: Tensors, after: Tensors) -> float:
        return max(float((after[n] - before[n]).abs()) for n in before)  # free values: a relative change

    return Upper(
        searched=(),
        start=start,
        use=lambda free: ({}, to_constrained(free)),
        apply_to=apply_to,
        row=lambda free: {name: round(float(v), 5) for name, v in to_constrained(free).items()},
        change=change,
    )


def _all_of(parts: Sequence[Upper]) -> Upper:
    """Several upper variables as one, their names side by side."""

    def own(part: Upper, values: Mapping[str, Tensor]) -> Tensors:
        return {n: v for n, v in values.items() if (n in part.searched if part.searched else n in WEIGHTS)}

    def use(upper: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        mixture: dict[str, Tensor] = {}
        lambdas: dict[str, Tensor] | None = None
        for part in parts:
            found, weights = part.use(own(part, upper))
            mixture |= found
            lambdas = weights if lambdas is None else lambdas
        return mixture, lambdas

    def apply_to(recipe: Recipe, upper: Tensors) -> Recipe:
        for part in parts:
            recipe = part.apply_to(recipe, own(part, upper))
        return recipe

    return Upper(
        searched=tuple(cell for part in parts for cell in part.searched),
        start=lambda recipe: {n: v for part in parts for n, v in part.start(recipe).items()},
        use=use,
        apply_to=apply_to,
        row=lambda upper: {n: v for part in parts for n, v in part.row(own(part, upper)).items()},
        change=lambda before, after: max(part.change(own(part, before), own(part, after)) for part in parts),
    )


#: the upper variables a stage can name
UPPERS: dict[str, Upper] = {
    "feature": _architecture("feature"),
    "deformation": _architecture("deformation"),
    "lambda": _loss_weights(),
    "all": _all_of((_architecture("feature"), _architecture("deformation"), _loss_weights())),
}


def searched_kinds(stages: Iterable[Stage]) -> set[str]:
    """What is searched by stages together: ``feature``, ``deformation``, ``lambda``."""
    return {kind for stage in stages for kind in (set(UPPERS) - {"all"} if stage.upper == "all" else {stage.upper})}
