"""The door to the scene: everything the panels, the self test and scripts call. No Qt; nodes in, nodes out.

Coordinates are mm: RAS in the scene, LPS in files. No function changes an input node or where it is saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AutoRegLib.jobs import JobRequest
from AutoRegSlicerLib.values import (
    CaseRow,
    Message,
    Node,
    RegistrationInputs,
    RegistrationOutputs,
    RegistrationResult,
)

__all__ = [
    "CaseRow", "Message", "RegistrationInputs", "RegistrationOutputs", "RegistrationResult", "applyToNodes",
    "checkCases", "checkRegistration", "computeMetrics", "exportRegistration", "exportScenario",
    "exportTable", "importRegistration", "readCaseTable", "registerCases", "registerVolumes", "restoreResults",
    "updateSearchPlots", "updateTrainingPlots",
]


def checkRegistration(scene: Any, inputs: RegistrationInputs, outputs: RegistrationOutputs) -> list[Message]:
    """What stands against, or should be known before, registering; no blocking message: it can run.

    Fast enough to call after every change of a selector: looks at nodes, never at voxels of a volume.
    Codes: no-fixed, no-moving, same-volume, no-image, color-image, flat-image, no-model, no-output, no-overlap
    (action "align-centers"), empty-segments, landmark-count, one-landmark-list, one-segmentation,
    nonlinear-fixed, nonlinear-moving (the last four not blocking).
    """
    raise NotImplementedError


def exportRegistration(inputs: RegistrationInputs, jobFolder: str | Path) -> JobRequest:
    """Write ``jobFolder/in/*`` (world coordinates: every parent transform flattened) and return the request.

    Paths in the request are relative to the job folder. Raises InputError, DiskError.
    """
    raise NotImplementedError


def importRegistration(
    scene: Any, jobFolder: str | Path, inputs: RegistrationInputs | None, outputs: RegistrationOutputs,
) -> RegistrationResult:
    """Load a finished job into the scene. ``inputs`` None (after a restart): nodes are found by what the job noted,
    or the result stands alone. Raises InputError when the job has no complete result.
    """
    raise NotImplementedError


def registerVolumes(
    fixedVolume: Node, movingVolume: Node, model: str, *, outputs: RegistrationOutputs | None = None,
    jobs: Any = None, wait: bool = True, timeoutSeconds: float | None = None, onStatus: Any = None, **more: Any,
) -> RegistrationResult | Path:
    """Register two volume nodes in a background process and import the result: the door for scripts.

    ``more``: the other fields of :class:`RegistrationInputs`. ``jobs``: a ``jobs_ui.Jobs``; by default one in
    Slicer's own job folder. ``wait`` False returns the job folder at once; call ``importRegistration`` when
    done. ``onStatus(JobStatus)`` is called while waiting. Raises InputError (checks), AutoRegError (the job failed).

    >>> result = registerVolumes(fixed, moving, "path/to/model", fixedSegmentation=s1, movingSegmentation=s2)
    >>> result.transform.GetName(), result.report["dice"]["mean"]
    """
    raise NotImplementedError


def registerCases(table: str | Path, model: str, output: str | Path, *, jobs: Any = None) -> list[dict[str, Any]]:
    """Register every line of a CSV table (columns fixed, moving; optional name, fixed_labels, moving_labels,
    fixed_landmarks, moving_landmarks), one folder each below ``output``; a line that fails does not stop the rest.

    Returns (and writes as ``output/summary.csv``) per line: name, state, error, dice, tre_mm, folds, folder.
    """
    raise NotImplementedError


def checkCases(rows: list[CaseRow], validationPercent: float = 20.0) -> tuple[str, list[Message]]:
    """Summary like "24 cases, 6 labels, 552 pairs" and the messages; a search needs 4 usable cases, 2 training
    subjects and 1 validation pair.
    """
    raise NotImplementedError


def readCaseTable(path: str | Path) -> list[CaseRow]:
    """Rows from a CSV (subject, volume, labels, landmarks, role; paths relative to the file) or, for a folder, from
    its images (``<name>_labels`` beside ``<name>`` are labels). Raises InputError.
    """
    raise NotImplementedError


def exportScenario(
    rows: list[CaseRow], folder: str | Path, pairing: str = "all", validationPercent: float = 20.0,
    template: Node = None,
) -> Path:
    """Write ``scenario.json`` and the volumes of the scene it needs into ``folder``; returns its path.

    ``pairing``: all, within-subject, or atlas (then ``template`` is the fixed volume of every pair). Rows whose
    volume is a file are named, not copied. Raises InputError, DiskError.
    """
    raise NotImplementedError


def applyToNodes(
    scene: Any, transformNode: Node, nodes: list[Node], referenceVolume: Node = None, inverse: bool = False,
) -> list[Node]:
    """Warped copies of volumes, label maps, segmentations, models and markups; inputs stay as they are.

    Each copy lies in world coordinates, under no transform: parent transforms and the warp are applied in one go.
    Volumes and segmentations come on ``referenceVolume``'s grid, by default that of the volume the transform was
    registered to (``inverse``: the moving one). Raises InputError naming the node that cannot be warped.
    """
    raise NotImplementedError


def computeMetrics(
    scene: Any, transformNode: Node, *, fixedSegmentation: Node = None, movingSegmentation: Node = None,
    fixedLandmarks: Node = None, movingLandmarks: Node = None, jacobian: Node = None, referenceVolume: Node = None,
    metricsTable: Node = None, landmarksTable: Node = None,
) -> tuple[Node, Node]:
    """Tables before and after: per structure Dice, HD95 mm, volume change %, folds %; per landmark error mm.

    Returns (metrics table or None, landmarks table or None): a table is made only where both inputs are there.
    Raises InputError.
    """
    raise NotImplementedError


def exportTable(tableNode: Node, path: str | Path) -> Path:
    """Write a table node as CSV and its settings (attributes) as JSON beside it; returns the CSV's path."""
    raise NotImplementedError


def updateSearchPlots(scene: Any, status: Any) -> tuple[Node, Node]:
    """Plot charts (convergence, accuracy against folds) of a search, updated in place from a ``JobStatus``.

    Nodes are hidden, never saved with the scene, and made once.
    """
    raise NotImplementedError


def updateTrainingPlots(scene: Any, status: Any) -> Node:
    """Plot chart of a training (every metric against the step), updated in place from a ``JobStatus``."""
    raise NotImplementedError


def restoreResults(scene: Any) -> int:
    """After a scene was loaded: AutoReg's transforms interpolate linearly again (files do not say), which is how
    they were computed. Call it at the end of an import; returns how many there are.
    """
    raise NotImplementedError
