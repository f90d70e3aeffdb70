"""What a network costs on the user's own device: seconds of every candidate, bytes of a step, before the start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import CELLS, EDGES_PER_CELL, OPERATORS, Genotype
from AutoRegLib.core.recipe import Recipe, Stage
from AutoRegLib.learning.data import Dataset, coarser
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.networks.cells import Cell
from AutoRegLib.networks.registry import build_network
from AutoRegLib.search.refined_loss import refining_seconds
from AutoRegLib.search.upper_variables import UPPERS, searched_kinds

LARGE = 1_000_000  # voxels; candidates are timed on a grid half as fine above this
REPEATS = 6


@dataclass(frozen=True)
class CostTable:
    """Cost of a forward pass: of every candidate on its edge, and of all that is not a candidate.

    Unit: seconds where it was measured, multiply-adds a voxel where it was counted.
    """

    candidates: dict[str, tuple[tuple[float, ...], ...]]  # cell -> edge -> candidate
    rest: float

    def total(self, genotype: Genotype) -> float:
        """The forward pass of a derived network, as the table predicts it."""
        return self.rest + sum(
            self.candidates[cell][edge][OPERATORS.index(name)]
            for cell in CELLS for edge, name in enumerate(genotype.cell(cell))
        )

    def expected(self, mixture: Mapping[str, Tensor]) -> Tensor:
        """Cost of the searched cells under their mixture, in units of the same cells all ``conv3``. Shape: scalar."""
        total, unit = torch.zeros(()), 0.0
        for cell, weights in mixture.items():
            costs = weights.new_tensor(self.candidates[cell])
            total = total.to(weights) + (weights * costs).sum()
            unit += float(costs[:, OPERATORS.index("conv3")].sum())
        return total / max(unit, 1e-9)


def measure_candidates(recipe: Recipe, shape: Sequence[int], *, device: str) -> CostTable:
    """Time every candidate on every edge of the recipe's network for one pair of images of ``shape``.

    The quickest of some passes, which other programs disturb least; on large grids the grid is halved and the times
    are scaled by the voxels.
    """
    factor = 2 if torch.Size(shape).numel() > LARGE else 1
    scale = float(factor ** len(shape))
    shape = [max(size // factor, 8) for size in shape]
    spent = _every_candidate(
        recipe, shape, watch=lambda candidate, seconds: _timed(candidate, seconds, device), device=device,
        repeats=REPEATS,
    )
    table = _table({place: scale * min(seconds) for place, seconds in spent.items()})
    plain = Genotype()
    whole = scale * forward_seconds(replace(recipe, genotype=plain), shape, device=device)
    return CostTable(table, max(whole - CostTable(table, 0.0).total(plain), 0.0))


def count_candidates(recipe: Recipe) -> CostTable:
    """The multiply-adds of every candidate on every edge, per voxel of the images; nothing else is counted.

    Counted and not timed: the same on every machine and in every run.
    """
    side = 16
    spent = _every_candidate(recipe, [side] * recipe.spatial_dims, watch=_counted, device="cpu")
    return CostTable(_table({place: sum(work) / side**recipe.spatial_dims for place, work in spent.items()}), 0.0)


Place = tuple[str, int, str]  # cell, edge, candidate


def _every_candidate(
    recipe: Recipe, shape: Sequence[int], *, watch: Callable[[torch.nn.Module, list[float]], None], device: str,
    repeats: int = 1,
) -> dict[Place, list[float]]:
    """Pass a pair through the network of all candidates; what ``watch`` notes of each on each pass."""
    network = build_network(recipe, searched=CELLS).to(device).eval()
    mixture = {cell: torch.full((EDGES_PER_CELL, len(OPERATORS)), 1.0 / len(OPERATORS), device=device)
               for cell in CELLS}
    noted: dict[Place, list[float]] = {}
    for name, module in network.named_modules():
        if not isinstance(module, Cell):
            continue
        for number, edge in enumerate(module.edges):
            for operator, candidate in edge.candidates.items():  # type: ignore[operator, union-attr]
                watch(candidate, noted.setdefault((name.rsplit(".", 1)[-1], number, operator), []))
    pair = [torch.rand(1, 1, *shape, device=device) for _ in range(2)]
    with torch.inference_mode():
        for _ in range(repeats):
            network(*pair, mixture)
    return noted


def _table(costs: Mapping[Place, float]) -> dict[str, tuple[tuple[float, ...], ...]]:
    return {
        cell: tuple(tuple(costs[cell, edge, name] for name in OPERATORS) for edge in range(EDGES_PER_CELL))
        for cell in CELLS
    }


def forward_seconds(recipe: Recipe, shape: Sequence[int], *, device: str) -> float:
    """Seconds of the quickest of some passes of the recipe's network over a pair of images of ``shape``."""
    network = build_network(recipe).to(device).eval()
    pair = [torch.rand(1, 1, *shape, device=device) for _ in range(2)]
    times = []
    with torch.inference_mode():
        for _ in range(REPEATS):
            began = _now(device)
            network(*pair)
            times.append(_now(device) - began)
    return min(times)


def fastest_choice(
    shares: Mapping[str, Tensor], table: CostTable, *, most: float, cells: Collection[str] = CELLS
) -> Genotype:
    """The genotype of the largest shares whose predicted pass takes at most ``most`` seconds.

    Starting from the argmax, the edge that gives up the least share (log) per second saved steps to a cheaper
    candidate until the limit holds. ``shares``: softmax(alpha) per cell, (edges, candidates); ``cells``: those that may
    change.
    Raises InputError when even the fastest candidates are too slow.
    """
    chosen = {cell: [int(i) for i in shares[cell].argmax(dim=1)] for cell in CELLS}

    def genotype() -> Genotype:
        return Genotype(**{c: tuple(OPERATORS[i] for i in picks) for c, picks in chosen.items()})  # type: ignore[arg-type]

    while (slow := table.total(genotype())) > most:
        steps = [
            (float(torch.log(shares[cell][edge, now] / shares[cell][edge, other])) / saved, cell, edge, other)
            for cell in cells for edge, now in enumerate(chosen[cell]) for other in range(len(OPERATORS))
            if (saved := table.candidates[cell][edge][now] - table.candidates[cell][edge][other]) > 1e-9
        ]
        if not steps:
            raise InputError("no network of the search space is that fast on this device", expected=f"<= {most:.3g} s",
                             got=f"{slow:.3g} s", remedy="raise --max-seconds, or use a coarser working grid")
        _, cell, edge, other = min(steps)
        chosen[cell][edge] = other
    return genotype()


def choice_shares(genotype: Genotype) -> dict[str, Tensor]:
    """A genotype as shares: cells that were not searched keep their operators as long as a limit lets them."""
    every = {cell: torch.full((EDGES_PER_CELL, len(OPERATORS)), 1e-6) for cell in CELLS}
    for cell, rows in every.items():
        for edge, name in enumerate(genotype.cell(cell)):
            rows[edge, OPERATORS.index(name)] = 1.0
    return every


def step_cost(recipe: Recipe, dataset: Dataset, stage: Stage | None = None) -> tuple[float, int]:
    """Seconds and bytes of one step of training, or of one lower step of a search stage, tried out once.

    Bytes: what the forward pass keeps for the backward pass, and four copies of the weights (gradient and Adam).
    """
    searched = UPPERS[stage.upper].searched if stage else ()
    network = build_network(recipe, searched=searched, recompute=bool(stage and stage.recompute)).to(dataset.device)
    batch = dataset.draw("train", size=recipe.search.batch if stage else recipe.training.batch, seed=0, stream="cost",
                        step=0)
    batch = coarser(batch, stage.coarsen if stage else 1)
    mixture = {cell: torch.full((EDGES_PER_CELL, len(OPERATORS)), 1.0 / len(OPERATORS), device=dataset.device)
               for cell in searched}
    loss: list[Tensor] = []

    def forward() -> None:
        prediction = network(batch.moving, batch.fixed, mixture)
        loss.append(registration_loss(prediction, batch.moving, batch.fixed, as_weights(recipe.loss_weights),
                                      objective=recipe.objective)["total"])

    began = _now(dataset.device)
    kept = saved_bytes(forward)
    loss[0].backward()  # type: ignore[no-untyped-call]
    seconds = _now(dataset.device) - began if stage else training_seconds(recipe, dataset)
    return seconds, kept + 16 * sum(p.numel() for p in network.parameters())


def training_seconds(recipe: Recipe, dataset: Dataset) -> float:
    """Of a whole step of training, drawing the batch and all, after one that loads what all others share."""
    trainee = Trainee(recipe, device=dataset.device)
    trainee.advance(dataset, progress=0.0)
    began = _now(dataset.device)
    trainee.advance(dataset, progress=0.0)
    return _now(dataset.device) - began


def estimate(recipe: Recipe, dataset: Dataset, stages: Sequence[Stage], *, minutes: float | None) -> dict[str, Any]:
    """Before the start: ``seconds`` of the whole search and ``bytes`` at its peak, from one trial step of each part and
    one refinement; ``stage_steps``: how many steps each stage comes to.
    """
    training = step_cost(recipe, dataset)
    costs = [step_cost(recipe, dataset, stage) for stage in stages]
    # an upper step unrolls a training step, validates it, and looks twice for the difference: for operators and for
    # loss weights, where both are searched
    second = recipe.search.second_order
    gradients = [(2 + stage.inner_steps * (3 if stage.unrolled and second else 1)) * (2 if stage.upper == "all" else 1)
                 for stage in stages]
    each = [cost[0] * (stage.warmup + (1.0 - stage.warmup) * count)
            for stage, cost, count in zip(stages, costs, gradients, strict=True)]
    steps = [stage.steps if minutes is None else int(60.0 * minutes * share_of(recipe, stage.name) / seconds)
             for stage, seconds in zip(stages, each, strict=True)]
    seconds = sum(count * one for count, one in zip(steps, each, strict=True))
    if recipe.search.finalists > 1:
        seconds += 2.0 * recipe.search.finalists * recipe.search.final_steps * training[0]
    if minutes is None and "lambda" in searched_kinds(stages):
        seconds += refining_seconds(recipe, dataset)
    return {
        "seconds": 60.0 * minutes if minutes is not None else seconds,
        "bytes": float(max(cost[1] for cost in (training, *costs))),
        "train_step_seconds": training[0], "stage_steps": steps,
    }


def share_of(recipe: Recipe, part: str) -> float:
    """The part of a search's time that is meant for a stage, by its name, or for the finals, by any other."""
    search = recipe.search
    shares = {stage.name: share for stage, share in zip(search.stages, search.shares, strict=True)}
    finals = search.finals_share if search.finalists > 1 else 0.0
    return shares.get(part, finals) / (sum(shares.values()) + finals)


def free_memory(device: str) -> int | None:
    """Bytes still free on the device; None where the system does not tell."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def saved_bytes(compute: Callable[[], Any]) -> int:
    """Bytes that a forward pass keeps for its backward pass: what decides the memory of a training step."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute()
    total = sum(kept.values())
    del result
    return total


def _timed(module: torch.nn.Module, times: list[float], device: str) -> None:
    """Append the seconds of every pass through ``module``."""
    began = [0.0]

    def before(*_: Any) -> None:
        began[0] = _now(device)

    def after(*_: Any) -> None:
        times.append(_now(device) - began[0])

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)


def _counted(module: torch.nn.Module, work: list[float]) -> None:
    """Append the multiply-adds of every pass through ``module``: each of its kernels at every voxel of its result."""

    def after(_module: torch.nn.Module, _inputs: Any, result: Tensor) -> None:
        kernels = sum(value.numel() for value in module.parameters() if value.dim() > 1)
        work.append(float(kernels * result.shape[0] * result.shape[2:].numel()))

    module.register_forward_hook(after)


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
