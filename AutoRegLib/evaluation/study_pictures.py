"""Of every row a typical and its worst test pair: registered once more, kept as slices, drawn side by side."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np

from AutoRegLib.bridge import field_to_displacement
from AutoRegLib.core.measures import MEASURES, Measure
from AutoRegLib.core.records import write_whole
from AutoRegLib.core.scenario import Scenario, Split
from AutoRegLib.evaluation.evaluate import Alignments, Registrar, read_pair
from AutoRegLib.imaging.displacement import compose_on, jacobian_determinant
from AutoRegLib.imaging.volume import resample

FILE = "pictures.npz"
ROLES = ("typical", "worst")
#: the panels of a pair, in their order
PANELS = ("fixed", "moving", "warped", "difference", "field", "determinant")


def column_of(measure: Measure) -> str:
    """The column of ``pairs.csv`` that holds the measure."""
    return f"{measure.key}_mean" if measure.table == measure.key else measure.key


def choose_pairs(lines: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, str, float]]:
    """(fixed, moving, score) of the pair whose score is the median, and of the worst one; empty without any."""
    compared = (measure for measure in MEASURES.values() if measure.compares)
    measure = next((m for m in compared if lines and all(line.get(column_of(m)) for line in lines)), None)
    if measure is None:
        return {}
    scores = [measure.better * float(line[column_of(measure)]) for line in lines]
    chosen = {"typical": scores.index(median_low(scores)), "worst": scores.index(min(scores))}
    return {role: (lines[i]["fixed"], lines[i]["moving"], measure.better * scores[i]) for role, i in chosen.items()}


def keep_pictures(
    folder: Path, scenario: Scenario, registrar: Registrar, alignments: Alignments, *, split: Split,
    limit: int | None, seed: int,
) -> None:
    """Register the two pairs of an evaluation again and keep a slice of each as ``pictures.npz``. Raises DiskError."""
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as stream:
        chosen = choose_pairs(list(csv.DictReader(stream)))
    pairs = {(p.fixed.id, p.moving.id): p for p in scenario.pairs_of(split, limit=limit, seed=seed)}
    kept: dict[str, Any] = {}
    for role, (fixed, moving, score) in chosen.items():
        pair = pairs[fixed, moving]
        inputs = read_pair(scenario, pair)
        found = registrar(inputs, pair, alignments.get((fixed, moving), (None, 0.0))[0])
        grid, outer = inputs.fixed.geometry, found.alignment.transform
        affine = resample(inputs.moving, grid, outer).array
        warped = resample(inputs.moving, grid, found.field.to_transform()).array
        linear = field_to_displacement(compose_on(grid, outer)).numpy()[0]
        moved = field_to_displacement(found.field).numpy()[0] - linear
        determinant = jacobian_determinant(found.field).array
        cut = _middle(inputs.fixed.array if inputs.fixed_labels is None else inputs.fixed_labels.array)
        slices = {"fixed": inputs.fixed.array, "moving": affine, "warped": warped, "determinant": determinant}
        kept |= {f"{role}/{name}": np.asarray(array[cut], np.float32) for name, array in slices.items()}
        kept[f"{role}/field"] = moved[(slice(None), *cut)].astype(np.float32)
        kept[f"{role}/names"] = np.array([fixed, moving])
        kept[f"{role}/score"] = np.array(score)
    def write(name: str) -> None:
        with open(name, "wb") as stream:
            np.savez_compressed(stream, **kept)

    write_whole(folder / FILE, write)


def read_pictures(folder: Path) -> dict[str, dict[str, Any]]:
    """Role to the slices, names and score of its pair; empty where none were kept."""
    if not (folder / FILE).is_file():
        return {}
    with np.load(folder / FILE, allow_pickle=False) as stored:
        return {role: {name: stored[f"{role}/{name}"] for name in ("fixed", "moving", "warped", "determinant", "field",
                                                                     "names", "score")}
                for role in ROLES if f"{role}/fixed" in stored}


def _middle(matter: np.ndarray) -> tuple[Any, ...]:
    """The plane across the first axis through the middle of what is not 0; a picture is its own plane."""
    if matter.ndim == 2:
        return (slice(None), slice(None))
    inside = np.flatnonzero((matter != 0).any(axis=(1, 2)))
    return (int(inside[len(inside) // 2]) if len(inside) else matter.shape[0] // 2, slice(None), slice(None))
