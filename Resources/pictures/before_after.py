"""The pair in Slicer's views before and after its registration, side by side: before-after.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import frame
import scenes
import views
from PySide6.QtCore import Qt

from AutoRegSlicerLib.scene import transforms, volumes

SIZE = 350
MADE_UP = "MNI152 template and the same template under a made-up deformation"


def offsets() -> dict[str, str]:
    """Where the slices lie, as in the bars of Slicer's views."""
    right, front, up = views.SPOT
    return {"Red": f"S: {up:.0f} mm", "Green": f"A: {front:.0f} mm", "Yellow": f"R: {right:.0f} mm"}


def registered(scene: Any, folder: Path) -> dict[str, Any]:
    """The pair and what the command line made of it, as nodes."""
    nodes = views.loadPair(scene, folder)
    result = folder / "result"
    nodes["warpedVolume"] = views.loadVolume(scene, "Brain B registered", result / "warped.nii.gz")
    nodes["warpedSegmentation"] = views.loadLabels(scene, "warped labels", result / "warped_labels.nii.gz",
                                                   nodes["fixedVolume"])
    nodes["transform"] = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Brain B to Brain A")
    transforms.fillFromFile(nodes["transform"], result / "transform.nrrd")
    nodes["jacobian"] = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Jacobian")
    volumes.read(nodes["jacobian"], result / "jacobian.nii.gz")
    return nodes


def draw(folder: Path, path: Path) -> None:
    """Render and write the picture."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    scene = scenes.newScene()
    stage = views.Stage(scene, registered(scene, folder), folder, SIZE)
    width, height = frame.side(SIZE)
    canvas = frame.Canvas(2 * width + 16, frame.CAPTION + height + 46)
    for left, role, title in ((0, "before", "Before"), (width + 16, "after", "After")):
        dice = facts["dice_before" if role == "before" else "dice"]["mean"]
        far = facts[f"distance_mm_{role}"]
        canvas.text(left + 10, 22, title, size=24, bold=True)
        canvas.text(left + 10, 47, "Brain A (fixed) and Brain B as it was" if role == "before" else
                    "Brain A (fixed) and Brain B registered to it", size=14, color=frame.FAINT)
        canvas.text(left + width - 10, 22, f"Dice {dice:.2f}", size=24, bold=True, align=Qt.AlignmentFlag.AlignRight)
        canvas.text(left + width - 10, 47, f"{far:.1f} mm from the true place (median)", size=14, color=frame.FAINT,
                    align=Qt.AlignmentFlag.AlignRight)
        shown = stage.pair(role)
        frame.four_up(canvas, left, frame.CAPTION, shown, millimeters=stage.millimeters, offsets=offsets(),
                      corners=stage.corners())
        frame.color_bar(canvas, left + SIZE + frame.GAP + 75, frame.CAPTION + frame.BAR + SIZE - 32, SIZE - 150,
                        views.ramp(16), [(0, "0"), (0.5, f"{views.FARTHEST / 2:.0f}"), (1, f"{views.FARTHEST:.0f}")],
                        views.DISTANCE, dark=True)
    anatomy = MADE_UP[:1].upper() + MADE_UP[1:]
    for line, words in enumerate((
        "Slices: both volumes at 50 %; outlines: structures of Brain A; filled: those of Brain B. "
        f"{anatomy}, {len(facts['dice']) - 1} structures.",
        f"No trained model, {facts['seconds']:.0f} s on one CPU thread, {facts['folds'] or 'no'} folds:  autoreg "
        "register --model none --refine auto.  Rendered by Slicer's own views, off screen.",
    )):
        canvas.text(10, frame.CAPTION + height + 15 + 19 * line, words, size=13, color=frame.FAINT)
    canvas.save(path, {"Command": facts["command"], "Seed": str(facts["seed"]), "Anatomy": MADE_UP})
