"""What a search looked like: the shares of the candidates (AutoReg Fig. 3) and lambda over time (Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from AutoRegLib.core.genotype import CELLS, EDGES_PER_CELL, OPERATORS
from AutoRegLib.core.measures import validation_measure
from AutoRegLib.core.recipe import WEIGHTS, Recipe
from AutoRegLib.core.records import make_folder, write_whole

#: what a stage's validation loss is, by its validation objective
VALIDATION_TITLES = {"segmentation": "1 - Dice + folds", "landmarks": "distance of landmarks (mm) + folds",
          "unsupervised": "loss at the start's weights + folds", "registration": "loss of training"}


def search_figures(history: Sequence[dict[str, Any]], recipe: Recipe, folder: Path) -> list[Path]:
    """Draw what the history holds into ``folder``."""
    from matplotlib.figure import Figure

    make_folder(folder)
    drawn = []
    for name, draw in (("architecture.png", _architecture), ("loss_weights.png", _weights), ("finals.png", _finals)):
        figure = draw(history, Figure)
        if figure is not None:
            path = folder / name
            write_whole(path, lambda temporary, figure=figure: figure.savefig(temporary, dpi=150))  # type: ignore[misc]
            drawn.append(path)
    return drawn


def _architecture(history: Sequence[dict[str, Any]], new_figure: Any) -> Any:
    """Heat map: candidates across, the twelve edges down, the last share of each."""
    cells = [c for c in CELLS if any(f"{c}.1.{OPERATORS[0]}" in row for row in history)]
    if not cells:
        return None
    rows, names = [], []
    for cell in cells:
        last = [row for row in history if f"{cell}.1.{OPERATORS[0]}" in row][-1]
        for edge in range(1, EDGES_PER_CELL + 1):
            rows.append([last[f"{cell}.{edge}.{operator}"] for operator in OPERATORS])
            names.append(f"{cell.replace('_', ' ')}, edge {edge}")
    figure = new_figure(figsize=(7.5, 1.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(rows, cmap="viridis", vmin=0.0, aspect="auto")
    axes.set_xticks(range(len(OPERATORS)), OPERATORS)
    axes.set_yticks(range(len(names)), names)
    for y, row in enumerate(rows):
        best = max(range(len(row)), key=row.__getitem__)
        for x, value in enumerate(row):
            bright = value > 0.6 * max(max(r) for r in rows)
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8,
                      color="black" if bright else "white", fontweight="bold" if x == best else "normal")
    axes.set_title("Share of each candidate at the end of the search (bold: chosen)")
    figure.colorbar(image, ax=axes, label="softmax(alpha)")
    return figure


def _weights(history: Sequence[dict[str, Any]], new_figure: Any) -> Any:
    """The searched loss weights and the validation loss over the steps of their stage."""
    rows = [row for row in history if "smoothness" in row]
    if len(rows) < 2:
        return None
    figure = new_figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    for name in (n for n in WEIGHTS if n in rows[0]):
        left.plot(steps, [row[name] for row in rows], marker=".", label=WEIGHTS[name]["title"])
    left.set(title="Loss weights", xlabel="step", ylabel="value")
    left.legend(frameon=False)
    known = [(row["step"], row["upper_loss"]) for row in rows if "upper_loss" in row]
    right.plot([s for s, _ in known], [v for _, v in known], marker=".", color="tab:gray")
    right.set(title="Validation loss", xlabel="step", ylabel=VALIDATION_TITLES[rows[-1]["judge"]])
    return figure


def _finals(history: Sequence[dict[str, Any]], new_figure: Any) -> Any:
    """What the finalists reached, over the seconds they were trained, and their folds."""
    rows = [row for row in history if "finalist" in row]
    if not rows:
        return None
    measure = validation_measure(rows[0])
    figure = new_figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for marker, name in zip("osD^vP*X", dict.fromkeys(row["finalist"] for row in rows), strict=False):
        mine = [row for row in rows if row["finalist"] == name]
        seconds = [row["seconds"] for row in mine]
        left.plot(seconds, [row[measure.key] for row in mine], marker=marker, label=name)
        right.plot(seconds, [100.0 * row["val_fold_fraction"] for row in mine], marker=marker)
    left.set(title="Finals: trained from scratch in equal time", xlabel="seconds of training",
             ylabel=f"{measure.title} on validation pairs")
    left.legend(frameon=False, fontsize=8)
    right.set(title="Folds", xlabel="seconds of training", ylabel="voxels with det J <= 0 (%)")
    right.set_ylim(bottom=0.0)
    return figure
