"""From the scene to a job folder: everything in world coordinates, and a note of which nodes it was."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import fields
from pathlib import Path
from typing import Any

import slicer

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import JobRequest
from AutoRegLib.core.records import make_folder, read_json, write_json
from AutoRegSlicerLib.scene import landmarks, regions, segmentations, transforms, volumes
from AutoRegSlicerLib.scene.grids import Lattice, ownLattice
from AutoRegSlicerLib.scene.values import Node, RegistrationInputs, RegistrationOutputs
from AutoRegSlicerLib.steps import Steps, finish

NOTE_SCHEMA = "autoreg-slicer-note/1"

_INPUT_NODES = ("fixedVolume", "movingVolume", "fixedSegmentation", "movingSegmentation", "fixedLandmarks",
                "movingLandmarks", "fixedMask", "movingMask", "fixedGuides", "movingGuides", "roi", "initialTransform")
_OUTPUT_NODES = ("transform", "volume", "segmentation", "inverseTransform", "affineTransform", "jacobian")


def exportRegistrationSteps(
    inputs: RegistrationInputs, jobFolder: str | Path, outputs: RegistrationOutputs | None = None,
) -> Steps:
    """:func:`exportRegistration` one node at a time: yields what was done, returns the request."""
    folder = make_folder(Path(jobFolder) / "in")
    files: dict[str, Any] = {}
    lattices: dict[str, Lattice] = {}
    for role, node in (("fixed", inputs.fixedVolume), ("moving", inputs.movingVolume)):
        scratch = slicer.vtkMRMLScene()
        world = volumes.inWorld(node, scratch)
        if role == "fixed" and inputs.roi is not None:
            world = regions.cropped(world, inputs.roi, scratch)
        lattices[role] = ownLattice(world)
        yield f"{role} volume in world coordinates"
        volumes.write(world, folder / f"{role}.nrrd")
        files[role] = f"in/{role}.nrrd"
        yield f"{role} volume"
    described = yield from _labels(inputs, folder, lattices, files)
    for role, mask, ids in (("fixed", inputs.fixedMask, inputs.fixedMaskSegmentIDs),
                            ("moving", inputs.movingMask, inputs.movingMaskSegmentIDs)):
        if mask is None:
            continue
        structures = segmentations.structuresOf(mask, ids, lattices[role])
        voxels = yield from segmentations.voxelsOnSteps(
            lattices[role], structures, lambda structure: 1, transforms.toWorld(mask))
        if not voxels.any():
            raise InputError(f"the {role} mask has no voxels inside the {role} volume", expected="a mask on the volume",
                             remedy="draw the mask, or leave it out")
        segmentations.writeLabels(lattices[role], voxels, folder / f"{role}_mask.nrrd")
        files[f"{role}_mask"] = f"in/{role}_mask.nrrd"
        yield f"{role} mask"
    for kind, (fixed, moving) in (("landmarks", (inputs.fixedLandmarks, inputs.movingLandmarks)),
                                  ("guides", (inputs.fixedGuides, inputs.movingGuides))):
        if fixed is None or moving is None:
            continue
        for role, node in (("fixed", fixed), ("moving", moving)):
            landmarks.write(node, folder / f"{role}_{kind}.csv")
        written = [f"in/{role}_{kind}.csv" for role in ("fixed", "moving")]
        files |= {"guide_landmarks": written} if kind == "guides" else {
            "fixed_landmarks": written[0], "moving_landmarks": written[1]}
        yield kind
    if inputs.initialTransform is not None:
        name = transforms.writeInitial(inputs.initialTransform, folder, lattices["fixed"])
        files["initial_transform"] = f"in/{name}"
        yield "initial transform"
    writeNote(folder.parent, inputs, outputs, described)
    inverse = inputs.inverse or (outputs is not None and "inverseTransform" in outputs.wanted)
    return JobRequest("register", {
        "model": str(inputs.model), **files, "affine": inputs.affine, "refine": inputs.refine,
        "similarity": inputs.similarity, "transformation": inputs.transformation, "deliver": inputs.deliver,
        "inverse": inverse, "device": inputs.device, **({} if inputs.loss is None else {"loss": inputs.loss}),
        "output": "out", "compress": False,  # reading a compressed field holds up the window twice as long
    })


def _labels(
    inputs: RegistrationInputs, folder: Path, lattices: dict[str, Lattice], files: dict[str, Any],
) -> Generator[str, None, dict[str, Any]]:
    """Write the label maps; returns the look of every structure by label value, moving before fixed."""
    given = {"moving": (inputs.movingSegmentation, inputs.movingSegmentIDs),
             "fixed": (inputs.fixedSegmentation, inputs.fixedSegmentIDs)}
    structures = {role: segmentations.structuresOf(node, ids, lattices[role])
                  for role, (node, ids) in given.items() if node is not None}
    if not structures:
        return {}
    value = segmentations.commonValues(*((given[role][0], found) for role, found in structures.items()))
    described: dict[str, Any] = {}
    for role, found in structures.items():
        node = given[role][0]
        voxels = yield from segmentations.voxelsOnSteps(lattices[role], found, value, transforms.toWorld(node))
        if not voxels.any():
            raise InputError(f"the {role} segmentation has no voxels inside the {role} volume",
                             expected="segments on the volume", remedy="choose the segmentation of this volume")
        segmentations.writeLabels(lattices[role], voxels, folder / f"{role}_labels.nrrd")
        files[f"{role}_labels"] = f"in/{role}_labels.nrrd"
        for structure in found:
            described.setdefault(str(value(structure)), structure.described())
        yield f"{role} segmentation"
    return described


def writeNote(
    folder: Path, inputs: RegistrationInputs, outputs: RegistrationOutputs | None, structures: dict[str, Any],
) -> None:
    """Note in ``in/nodes.json`` which nodes the job is about, so that a restarted Slicer can find them again."""
    note: dict[str, Any] = {
        "inputs": {name: _named(getattr(inputs, name)) for name in _INPUT_NODES},
        "structures": structures,
        "names": {"fixed": inputs.fixedVolume.GetName(), "moving": inputs.movingVolume.GetName()},
        "options": {"model": str(inputs.model), "affine": inputs.affine, "refine": inputs.refine,
                    "similarity": inputs.similarity, "transformation": inputs.transformation,
                    "inverse": inputs.inverse, "device": inputs.device, "loss": inputs.loss},
    }
    if outputs is not None:
        wanted = {f.name: getattr(outputs, f.name) for f in fields(outputs) if f.name.startswith("create")}
        note["outputs"] = {**{name: _named(getattr(outputs, name)) for name in _OUTPUT_NODES}, **wanted}
    write_json(folder / "in" / "nodes.json", note, schema=NOTE_SCHEMA)


def readNote(folder: str | Path) -> dict[str, Any]:
    """The note of :func:`writeNote`. Raises InputError."""
    return read_json(Path(folder) / "in" / "nodes.json", schema=NOTE_SCHEMA)


def nodesOfNote(scene: Any, note: dict[str, Any]) -> tuple[RegistrationInputs, RegistrationOutputs]:
    """The job's nodes as they are in this scene; a node that is gone, or bears another name, is None."""
    inputs = {name: _find(scene, mark) for name, mark in note.get("inputs", {}).items()}
    noted = note.get("outputs", {})
    outputs = {name: value if name.startswith("create") else _find(scene, value) for name, value in noted.items()}
    return RegistrationInputs(**inputs, model=note["options"]["model"]), RegistrationOutputs(**outputs)


def _named(node: Node) -> dict[str, str] | None:
    return None if node is None or not node.GetID() else {"id": node.GetID(), "name": node.GetName() or ""}


def _find(scene: Any, mark: dict[str, str] | None) -> Node:
    """IDs are counted anew in every scene, so the name must fit as well."""
    node = None if not mark else scene.GetNodeByID(mark["id"])
    return node if node is not None and node.GetName() == mark["name"] else None  # type: ignore[index]


def exportRegistration(
    inputs: RegistrationInputs, jobFolder: str | Path, outputs: RegistrationOutputs | None = None,
) -> JobRequest:
    """Write ``jobFolder/in/*`` (world coordinates: every parent transform flattened) and return the request.

    Label maps get one value per structure name, the same in both images. ``outputs``: noted, so that a restarted
    Slicer knows where results go. Paths in the request are relative to the job folder. Raises InputError, DiskError.
    """
    return finish(exportRegistrationSteps(inputs, jobFolder, outputs))


