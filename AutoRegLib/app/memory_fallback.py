"""What is given up, step by step, when a computation does not fit into memory.

A ladder of recipes: the same computation with one pair a step, then on a working grid of half the voxels, then of a
quarter. Half precision is not a rung: it would change the numbers of every voxel, and saves less than half the grid.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from AutoRegLib.core.errors import InputError, OutOfMemoryProblem
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import read_json, write_json
from AutoRegLib.core.verbs import VERBS

T = TypeVar("T")
SCHEMA = "autoreg-economy/1"
FILE = "economy.json"  # beside the checkpoint, which belongs to one rung



def economical(recipe: Recipe, verb: str, rung: int) -> Recipe:
    """The recipe at a rung of the verb's ladder. A recipe without a working spacing keeps its grid."""
    pairs, part = VERBS[verb].fallback[rung]
    if pairs is not None:
        recipe = replace(
            recipe, training=replace(recipe.training, batch=min(recipe.training.batch, pairs)),
            search=replace(recipe.search, batch=min(recipe.search.batch, pairs)),
        )
    wider = part ** (-1.0 / recipe.spatial_dims)
    spacing = tuple(round(s * wider, 3) for s in recipe.preprocessing.spacing)
    return replace(recipe, preprocessing=replace(recipe.preprocessing, spacing=spacing))


def economise(
    verb: str, recipe: Recipe, compute: Callable[[Recipe], T], *, monitor: Monitor, output: Path | None = None,
    resume: bool = False,
) -> T:
    """``compute`` the recipe; each time it does not fit into memory, one rung lower, with a warning event.

    ``output``: where a checkpoint may lie: the rung is kept beside it for ``resume``, and once there is a
    checkpoint no other rung is tried, since it belongs to this one. Raises what ``compute`` raises.
    """
    rung = _kept_rung(output, verb) if output is not None and resume else 0
    while True:
        tried = economical(recipe, verb, rung)
        if output is not None:
            _keep_rung(output, rung)
        try:
            result = compute(tried)
            break
        except Exception as problem:
            if not isinstance(explain(problem), OutOfMemoryProblem):
                raise
            below = _next_rung(recipe, verb, rung, tried)
            if below is None or (output is not None and (output / "checkpoint.pt").is_file()):
                raise
        # outside of the handler, where the frames with their tensors are gone
        rung = below
        _release()
        text = describe(recipe, economical(recipe, verb, rung))
        monitor.event("warning", code="memory", text=f"Not enough memory: going on with {text}.")
    if output is not None:
        (output / FILE).unlink(missing_ok=True)
    return result


def describe(whole: Recipe, reduced: Recipe) -> str:
    """What was given up, in words; spacing in mm."""
    parts = []
    if (reduced.training.batch, reduced.search.batch) != (whole.training.batch, whole.search.batch):
        parts.append("one pair a step")
    if reduced.preprocessing.spacing != whole.preprocessing.spacing:
        spacing = " x ".join(f"{s:g}" for s in reduced.preprocessing.spacing)
        parts.append(f"a working grid of {spacing} mm")
    return " and ".join(parts) or "everything as it was"


def _next_rung(recipe: Recipe, verb: str, rung: int, tried: Recipe) -> int | None:
    """The next rung that changes anything."""
    later = range(rung + 1, len(VERBS[verb].fallback))
    return next((below for below in later if economical(recipe, verb, below) != tried), None)


def _keep_rung(output: Path, rung: int) -> None:
    if rung > 0:
        write_json(output / FILE, {"rung": rung}, schema=SCHEMA)
    else:
        (output / FILE).unlink(missing_ok=True)


def _kept_rung(output: Path, verb: str) -> int:
    if not (output / FILE).is_file():
        return 0
    rung: Any = read_json(output / FILE, schema=SCHEMA).get("rung")
    last = len(VERBS[verb].fallback) - 1
    if not isinstance(rung, int) or not 0 <= rung <= last:
        raise InputError(f"{output / FILE} is damaged", expected=f"a rung of 0 to {last}", got=rung,
                         remedy="start without --resume")
    return rung


def _release() -> None:
    """Give back what the failed attempt held."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
