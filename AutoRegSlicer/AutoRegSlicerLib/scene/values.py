"""What is registered with what, what shall come out, and what a check has to say: plain values, no scene needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import InputError

Node = Any  # a vtkMRMLNode; the type is not named, so that values load without Slicer

#: stands for a model: the pair alone is optimized
NO_MODEL = "none"
#: stands for a model too: the pair alone, by geodesic shooting
GEODESIC = "lddmm"
#: stands for a model too: the pair alone, by the loss that the last search found
FOUND_LOSS = "found-loss"


@dataclass(frozen=True, eq=False)
class RegistrationInputs:
    """Nodes and choices of one registration. Nothing here is ever changed by a registration.

    Segmentations may be segmentation or label map nodes; segment IDs None means all segments. Masks likewise;
    voxels of any of their segments count, no others (affine and refinement). Landmarks measure, guides (two lists of
    corresponding points) pull affine alignment and refinement softly. ``initialTransform`` is the node one
    would put on the moving volume. ``model`` is a bundle's folder or name, or ``NO_MODEL``: then only refinement
    deforms.
    """

    fixedVolume: Node
    movingVolume: Node
    model: str
    fixedSegmentation: Node = None
    movingSegmentation: Node = None
    fixedSegmentIDs: tuple[str, ...] | None = None
    movingSegmentIDs: tuple[str, ...] | None = None
    fixedLandmarks: Node = None
    movingLandmarks: Node = None
    fixedMask: Node = None
    movingMask: Node = None
    fixedGuides: Node = None
    movingGuides: Node = None
    roi: Node = None  # a markups ROI: the only part of the fixed volume that is registered
    initialTransform: Node = None
    affine: str = "auto"
    refine: int | str | None = 0  # most iterations of the finest level, auto, full; None: as the model was validated
    similarity: str = "auto"  # without a model: auto, lncc or mind
    transformation: str = "svf"  # without a model: svf or lddmm
    loss: str | None = None  # without a model: the recipe of a search, by the loss of which the pair is refined
    deliver: str = "auto"  # or whole: what was found, even where measures say that it harms
    inverse: bool = False
    device: str = "auto"
    fixedMaskSegmentIDs: tuple[str, ...] | None = None
    movingMaskSegmentIDs: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class RegistrationOutputs:
    """Where results go. A node given is filled, a node missing is made when its ``create...`` is True."""

    transform: Node = None
    volume: Node = None
    segmentation: Node = None
    inverseTransform: Node = None
    affineTransform: Node = None
    jacobian: Node = None
    createTransform: bool = True
    createVolume: bool = True
    createSegmentation: bool = False
    createInverse: bool = False
    createAffine: bool = False
    createJacobian: bool = True

    @property
    def wanted(self) -> frozenset[str]:
        """The results asked for: of transform, volume, segmentation, inverseTransform, affineTransform, jacobian."""
        asked = {
            "transform": self.createTransform, "volume": self.createVolume, "segmentation": self.createSegmentation,
            "inverseTransform": self.createInverse, "affineTransform": self.createAffine,
            "jacobian": self.createJacobian,
        }
        return frozenset(name for name, create in asked.items() if create or getattr(self, name) is not None)


@dataclass(frozen=True, eq=False)
class RegistrationResult:
    """The nodes a registration filled or made (None: not asked for or not available), and its report."""

    transform: Node = None
    volume: Node = None
    segmentation: Node = None
    inverseTransform: Node = None
    affineTransform: Node = None
    velocity: Node = None  # a geodesic's initial velocity, as a grid transform; only where one was shot
    jacobian: Node = None
    folds: Node = None  # label map of the voxels that fold; only where there are any
    metricsTable: Node = None
    landmarksTable: Node = None
    report: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class Message:
    """One remark of a check. ``action`` names the remedy a button may offer; blocking means: cannot run."""

    code: str
    text: str
    action: str = ""
    blocking: bool = True


@dataclass(frozen=True, eq=False)
class CaseRow:
    """One line of the case table. ``volume``, ``labels`` and ``landmarks`` are each a node or a file path.

    ``role`` is train, val or test; empty: drawn by the validation percentage. Rows not in ``use`` are left out.
    """

    subject: str
    volume: Node | str | Path
    labels: Node | str | Path | None = None
    landmarks: Node | str | Path | None = None
    role: str = ""
    use: bool = True

    def __post_init__(self) -> None:
        if self.role not in ("", "train", "val", "test"):
            raise InputError(f"the role of subject '{self.subject}'", expected="train, val, test or empty",
                             got=self.role, remedy="choose one of them")
