"""The module's other tabs: Register and Models beside Search and train after a real search and training: panels.png."""

from __future__ import annotations

from pathlib import Path

import frame
import panels
import scenes

SEARCH, TRAINING = 6.5, 12.0  # minutes


def draw(jobs: Path, path: Path, notes: dict[str, str]) -> None:
    """Search and train by clicks, or take up what ``jobs`` holds of an earlier run; write the picture."""
    scene = scenes.newScene()
    panels.loadDataset(scene)
    with panels.opened(scene, jobs) as desk:
        panels.probe(desk)
        panels.searchAndTrain(desk, SEARCH, TRAINING)
        trained = panels.grab(desk, "trainTab")
        panels.choosePair(desk, "Brain 02", "Brain 01")
        register = panels.grab(desk, "registerTab")
        panels.chooseModel(desk)
        models = panels.grab(desk, "modelsTab", trained.shape[0] - register.shape[0] - 2 * frame.GAP)
    wide = register.shape[1]
    canvas = frame.Canvas(2 * wide + 3 * frame.GAP, max(trained.shape[0], register.shape[0] + models.shape[0] + 6),
                          frame.BETWEEN)
    canvas.picture(0, 0, register)
    canvas.picture(0, register.shape[0] + 2 * frame.GAP, models)
    canvas.picture(wide + 3 * frame.GAP, 0, trained)
    canvas.save(path, {**notes, "Run": (
        f"{panels.CASES} brains with voxels of {panels.SPACING:g} mm, bent {panels.FURTHER:g} times as far as those of "
        f"the demo; search {SEARCH:g} min, training {TRAINING:g} min, learning from labels, on a CPU")})
