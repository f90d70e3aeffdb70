"""What searches found, as rows of a table and as recipes to train. No widgets."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.jobs import read_request
from AutoRegLib.core.recipe import read_recipe
from AutoRegLib.core.recipe_loss import loss_words
from AutoRegLib.core.strict_json import read_object
from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.footer import state_text
from AutoRegSlicerLib.scene.nodes import helper


@dataclass(frozen=True)
class Found:
    """A finished search: where its recipe and its data are."""

    folder: Path
    title: str
    recipe: Path
    scenario: Path


def headers() -> list[str]:
    return [_("#"), _("Network"), _("Status"), _("Validation loss"), _("Found loss"), _("Time"), _("Memory")]


def read_found(status: JobStatus) -> Found | None:
    """The recipe that a search left, None while there is none."""
    recipe = status.folder / "out" / "recipe.json"
    scenario = status.folder / "in" / "scenario.json"
    if status.state not in (JobState.Done, JobState.Importing, JobState.DoneNotImported) or not recipe.is_file():
        return None
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.created))
    return Found(status.folder, f"{_network(status)}, {at}", recipe, scenario)


def last_found(statuses: Sequence[JobStatus]) -> Found | None:
    """The newest search that left a recipe."""
    found = (read_found(status) for status in reversed(statuses) if status.verb == "search")
    return next((one for one in found if one is not None), None)


def cells(number: int, status: JobStatus) -> list[str]:
    """One line of the table; a figure that was not measured stays empty."""
    found = read_found(status)
    loss = ""
    if found is not None:
        try:
            loss = loss_words(read_recipe(found.recipe))
        except AutoRegError as problem:
            loss = problem.what
    score = status.metrics.get("upper_loss") or status.metrics.get("lower_loss")
    return [
        str(number), _network(status), state_text(status.state), format(score[-1][1], ".3f") if score else "", loss,
        qtbits.duration(status.secondsRunning) if status.secondsRunning else "",
        qtbits.size(status.memory[0]) if status.memory else "",
    ]


def _network(status: JobStatus) -> str:
    """The network a search was asked for."""
    try:
        return str(read_request(status.folder).arguments.get("network", "autoreg"))
    except AutoRegError:
        return ""


def plot_view(scene: Any, name: str) -> Any:
    """The hidden view node of an embedded plot; it stays out of saved scenes.

    It belongs to a layout of our own: for one without, Slicer's layout makes a second, hidden plot view.
    """
    node = scene.GetSingletonNode(f"AutoReg-{name}", "vtkMRMLPlotViewNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLPlotViewNode")
        node.UnRegister(None)
        node.SetSingletonTag(f"AutoReg-{name}")
        node.SetName(f"AutoReg {name}")
        node.SetLayoutName(f"AutoReg{name}")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetAndObserveParentLayoutNodeID(helper(scene, "plots", "vtkMRMLScriptedModuleNode").GetID())
        node = scene.AddNode(node)
    return node


def settings_text(found: Found) -> str:
    """The recipe as readable JSON."""
    return json.dumps(read_object(found.recipe), indent=1)
