"""What is given up, step by step, when a computation does not fit into memory.

Levels of one recipe: the same computation with one pair a step, then on a working grid of half the voxels, then of a
quarter. Half precision is not a level: it would change the numbers of every voxel, and saves less than half the grid.
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
SCHEMA = "autoreg-fallback/1"
FILE = "fallback.json"  # beside the checkpoint, which belongs to one level



def at_level(recipe: Recipe, verb: str, level: int) -> Recipe:
    """The recipe at a fallback level of the verb. A recipe without a working spacing keeps its grid."""
    pairs, part = VERBS[verb].fallback[level]
    if pairs is not None:
        recipe = replace(
            recipe, training=replace(recipe.training, batch=min(recipe.training.batch, pairs)),
            search=replace(recipe.search, batch=min(recipe.search.batch, pairs)),
        )
    wider = part ** (-1.0 / recipe.spatial_dims)
    spacing = tuple(round(s * wider, 3) for s in recipe.preprocessing.spacing)
    return replace(recipe, preprocessing=replace(recipe.preprocessing, spacing=spacing))


def with_less_memory(
    verb: str, recipe: Recipe, compute: Callable[[Recipe], T], *, monitor: Monitor, output: Path | None = None,
    resume: bool = False,
) -> T:
    """``compute`` the recipe; each time it does not fit into memory, one level lower, with a warning event.

    ``output``: where a checkpoint may lie: the level is kept beside it for ``resume``, and once there is a
    checkpoint no other level is tried, since it belongs to this one. Raises what ``compute`` raises.
    """
    level = _kept_level(output, verb) if output is not None and resume else 0
    while True:
        tried = at_level(recipe, verb, level)
        if output is not None:
            _keep_level(output, level)
        try:
            result = compute(tried)
            break
        except Exception as problem:
            if not isinstance(explain(problem), OutOfMemoryProblem):
                raise
            below = _next_level(recipe, verb, level, tried)
            if below is None or (output is not None and (output / "checkpoint.pt").is_file()):
                raise
        # outside of the handler, where the frames with their tensors are gone
        level = below
        _release()
        text = describe(recipe, at_level(recipe, verb, level))
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


def _next_level(recipe: Recipe, verb: str, level: int, tried: Recipe) -> int | None:
    """The next level that changes anything."""
    later = range(level + 1, len(VERBS[verb].fallback))
    return next((below for below in later if at_level(recipe, verb, below) != tried), None)


def _keep_level(output: Path, level: int) -> None:
    if level > 0:
        write_json(output / FILE, {"level": level}, schema=SCHEMA)
    else:
        (output / FILE).unlink(missing_ok=True)


def _kept_level(output: Path, verb: str) -> int:
    if not (output / FILE).is_file():
        return 0
    level: Any = read_json(output / FILE, schema=SCHEMA).get("level")
    last = len(VERBS[verb].fallback) - 1
    if not isinstance(level, int) or not 0 <= level <= last:
        raise InputError(f"{output / FILE} is damaged", expected=f"a level of 0 to {last}", got=level,
                         remedy="start without --resume")
    return level


def _release() -> None:
    """Give back what the failed attempt held."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
