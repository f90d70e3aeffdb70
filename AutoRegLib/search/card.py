"""What a search found, in words: what was chosen, what it gained, and why it may differ from the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from AutoRegLib.core.genotype import CELLS, Genotype
from AutoRegLib.core.measures import validation_measure
from AutoRegLib.core.recipe import Recipe, network_differences
from AutoRegLib.search.refined_loss import STAGE as REFINED_LOSS
from AutoRegLib.search.successive_halving import FOUND
from AutoRegLib.search.successive_halving import STAGE as FINALS


def search_card(
    start: Recipe, found: Recipe, history: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> str:
    """The card in Markdown. ``facts``: the search's provenance (scenario, seed, winner, seconds of a pass)."""
    lines = [
        f"# Search on {facts['scenario']}",
        "",
        f"Seed {facts['seed']}, {facts['seconds'] / 60:.1f} min on {facts['device']}. Network: {found.network.name}.",
        "",
        *_comparison(history, facts),
        "",
        "## Architecture",
        "",
        *_topology(start, found),
        *_architecture(start.genotype, found.genotype),
        "",
        "## Loss weights",
        "",
        "| weight | start | found |",
        "| --- | --- | --- |",
        *(
            f"| {name.replace('_', ' ')} | {value:.4g} | {getattr(found.loss_weights, name):.4g} |"
            for name, value in asdict(start.loss_weights).items()
        ),
        "",
        *_refined_loss(history),
        *_speed(facts),
    ]
    return "\n".join(lines) + "\n"


def _comparison(history: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> list[str]:
    """Who won the finals and by how much."""
    rows = [row for row in history if row.get("stage") == FINALS]
    if not rows:
        what = "There was no time to train rivals: the network is the default's" if facts["winner"] == "start" else \
            "What was found has not been compared with the default"
        return [f"{what}; there were no finals."]
    measure = validation_measure(rows[0])
    text = {
        "start": "The default stays: nothing that was found beat it by more than twice the standard error of the gain.",
    }.get(facts["winner"], f"Chosen: {facts['winner']}. It beat the default on the validation pairs in equal training.")
    gain = found_gain(history)
    untouched = "" if gain is None else (
        f" What the gradients found, as they found it, was {abs(gain):.4f} {'better' if gain > 0 else 'worse'} than "
        "the default (score on the validation pairs, in its last round).")
    table = [f"| finalist | round | steps | seconds | validation {measure.title} | voxels with folds | parameters |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    table += [
        f"| {row['finalist']} | {row['round']} | {row['step']} | {row['seconds']:.1f} "
        f"| {measure.text(row[measure.key])} | {100 * row['val_fold_fraction']:.3g} % | {row['parameters']} |"
        for row in rows
    ]
    return [text + untouched, "", *table]


def found_gain(history: Sequence[Mapping[str, Any]]) -> float | None:
    """By how much the score of what the stages found exceeds the start's, in its last round of the finals.

    None where it did not enter: no finals, or nothing else than the start was found.
    """
    rows = [row for row in history if row.get("stage") == FINALS]
    mine = [row for row in rows if row["finalist"] == FOUND]
    if not mine:
        return None
    start = next(row for row in rows if row["finalist"] == "start" and row["round"] == mine[-1]["round"])
    return float(mine[-1]["score"] - start["score"])


def _topology(start: Recipe, found: Recipe) -> list[str]:
    """What is not an operator: where the found network differs from the default's."""
    changed = network_differences(start, replace(found, genotype=start.genotype))
    return [f"Changed beside the operators: {'; '.join(changed)}.", ""] if changed else []


def _architecture(start: Genotype | None, found: Genotype | None) -> list[str]:
    """The operators cell by cell, and what changed about how far they see."""
    if found is None or start is None:
        return ["This network has no architecture to search."]
    lines = ["| cell | edge 1 | edge 2 | edge 3 | reach (voxels of its scale) | default reach |",
             "| --- | --- | --- | --- | --- | --- |"]
    for cell in CELLS:
        names = found.cell(cell)
        reach = f"{found.reach(cell)} | {start.reach(cell)}"
        lines.append(f"| {cell.replace('_', ' ')} | {' | '.join(names)} | {reach} |")
    changed = [cell for cell in CELLS if found.cell(cell) != start.cell(cell)]
    if not changed:
        return [*lines, "", "Every edge is the default."]
    wide, plain = found.reach(*CELLS), start.reach(*CELLS)
    text = "sees further than" if wide > plain else "sees less far than" if wide < plain else "sees as far as"
    return [
        *lines, "", f"Changed cells: {', '.join(c.replace('_', ' ') for c in changed)}. The found network {text} the "
        "default: a wide reach suits large displacements, a narrow one trains faster on small ones.",
    ]


def _speed(facts: Mapping[str, Any]) -> list[str]:
    passes = facts.get("network_seconds")
    if not passes:
        return []
    return ["## Speed", "", f"One pass over a pair on the working grid: {passes['found']:.3g} s "
                            f"(default {passes['start']:.3g} s) on this device."]


def _refined_loss(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What refining the validation pairs came to with each loss tried."""
    rows = [row for row in history if row["stage"] == REFINED_LOSS]
    if not rows:
        return []
    return [
        f"Before any training {rows[0]['step']} validation pairs were refined with each of these losses; another one "
        "was taken only where it was better by more than twice the standard error, and what the first pairs refuse was "
        "not tried on all:", "",
        "| similarity | smoothness | windows (voxels) | pairs | score on them |", "| --- | --- | --- | --- | --- |",
        *(f"| {row['tried_similarity']} | {row['tried_smoothness']:.4g} | {row['tried_window'] or ''} | {row['step']} "
          f"| {row['score']:.4f} |" for row in rows), "",
        "Registration without a network refines by this loss too: `--model none --loss` and this folder.", "",
    ]
