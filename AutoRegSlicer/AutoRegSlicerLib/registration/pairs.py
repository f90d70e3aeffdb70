"""Many pairs at once: volumes of the scene and files as one table for ``autoreg batch``, and its results back again."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AutoRegLib.core.pair_table import PAIR_FILES, PairLine
from AutoRegLib.core.records import make_folder, write_text
from AutoRegSlicerLib.registration.cases import exportCase, isNode, labelValues, uniqueNames
from AutoRegSlicerLib.registration.results import markResult, marksOf, readReport, showLike
from AutoRegSlicerLib.registration.slice_checks import dimensions
from AutoRegSlicerLib.scene import landmarks, segmentations, transforms, volumes
from AutoRegSlicerLib.scene.values import CaseRow, Message, Node, RegistrationInputs
from AutoRegSlicerLib.steps import Steps


@dataclass(frozen=True, eq=False)
class NodePair:
    """Two volumes of the scene, each with its labels and landmarks."""

    name: str
    fixed: CaseRow
    moving: CaseRow


def nodePairs(fixed: CaseRow, moving: Sequence[CaseRow], taken: Sequence[str] = ()) -> list[NodePair]:
    """Every moving volume onto the fixed one, named after the moving ones; no name is among ``taken``."""
    names: list[str] = []
    for base in uniqueNames(moving):
        name, number = base, 2
        while name.lower() in (other.lower() for other in (*taken, *names)):
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return [NodePair(name, fixed, row) for name, row in zip(names, moving, strict=True)]


def checkPairs(pairs: Sequence[NodePair | PairLine], dims: int | None) -> list[Message]:
    """What stands against registering the pairs of the scene with a model for ``dims`` dimensions (None: no model).

    Codes, all of which block: model-dimension, unplaced-landmarks. Files are not opened for this.
    """
    own, found = [pair for pair in pairs if isinstance(pair, NodePair)], []
    other = [pair.name for pair in own if dims not in (None, dimensions(pair.fixed.volume, pair.moving.volume))]
    if other:
        found.append(Message("model-dimension", f"This model is for {dims}-D images and '{other[0]}' is not: choose "
                             "another model, or none."))
    points = {id(row.landmarks): row.landmarks for pair in own for row in (pair.fixed, pair.moving)
              if isNode(row.landmarks)}
    found += [Message("unplaced-landmarks", f"'{node.GetName()}' has points that are not placed: place or remove them.")
              for node in points.values() if landmarks.unplaced(node)]
    return found


def exportPairsSteps(pairs: Sequence[NodePair | PairLine], folder: str | Path, *, guided: bool = False) -> Steps:
    """Write ``pairs.csv`` and the volumes of the scene it names, in world coordinates; files stay where they are.

    A volume of several pairs is written once. ``guided``: the landmarks of volumes of the scene guide, instead of
    measuring. Yields what was done, returns the table's path.
    Raises InputError, DiskError.
    """
    folder = make_folder(folder)
    sides = [side for pair in pairs if isinstance(pair, NodePair) for side in (pair.fixed, pair.moving)]
    rows = list({side.volume.GetID(): side for side in sides}.values())
    value, _names = labelValues(rows)
    cases = {}
    for row, name in zip(rows, uniqueNames(rows), strict=True):
        cases[row.volume.GetID()] = exportCase(row, name, "test", folder, value)
        yield name
    lines = []
    for pair in pairs:
        if isinstance(pair, PairLine):
            lines.append({"name": pair.name, **pair.files})
            continue
        both = {"fixed": cases[pair.fixed.volume.GetID()], "moving": cases[pair.moving.volume.GetID()]}
        line = {"name": pair.name, **{role: case.image for role, case in both.items()}}
        line |= {f"{role}_labels": case.labels for role, case in both.items() if case.labels}
        if all(case.landmarks for case in both.values()):
            what = "guides" if guided else "landmarks"
            line |= {f"{role}_{what}": case.landmarks for role, case in both.items()}
        lines.append(line)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ("name", *PAIR_FILES), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(folder / "pairs.csv", stream.getvalue())
    return folder / "pairs.csv"


def loadPairSteps(scene: Any, folder: str | Path, name: str, fixed: Node = None, moving: Node = None) -> Steps:
    """Bring the results of one pair into the scene: transform, warped volume, and warped labels where there are any.

    ``fixed``, ``moving``: its volumes, where they are nodes. Yields what was done, returns the nodes.
    Raises InputError when the folder holds no complete result.
    """
    folder = Path(folder)
    report = readReport(folder)
    marks, inputs = marksOf(folder, report), RegistrationInputs(fixed, moving, str(report.get("model", "")))

    def new(className: str, title: str) -> Node:
        node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(title))
        markResult(node, marks, inputs)
        return node

    made = [new("vtkMRMLTransformNode", f"{name} transform")]
    transforms.fillFromFile(made[0], folder / "transform.nrrd")
    yield "transform"
    warped = new("vtkMRMLScalarVolumeNode", f"{name} registered")
    volumes.read(warped, folder / "warped.nii.gz")
    showLike(warped, moving)
    made.append(warped)
    yield "warped volume"
    if (folder / "warped_labels.nii.gz").is_file():
        import slicer

        labels = slicer.vtkMRMLScene().AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        volumes.read(labels, folder / "warped_labels.nii.gz")
        made.append(new("vtkMRMLSegmentationNode", f"{name} labels registered"))
        segmentations.fillFromLabels(made[-1], labels, {}, fixed or warped)
        yield "warped labels"
    return made
