"""The case table: what is in it, whether it is enough, and the scenario a search or a training reads."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import make_folder
from AutoRegLib.core.scenario import Case, Scenario, read_scenario, write_scenario
from AutoRegLib.core.tables import read_table
from AutoRegSlicerLib.registration.flat_cases import checkFlat, flattened, isFlat
from AutoRegSlicerLib.scene import landmarks, segmentations, transforms, volumes
from AutoRegSlicerLib.scene.grids import ownLattice
from AutoRegSlicerLib.scene.nodes import isMadeByAutoReg
from AutoRegSlicerLib.scene.values import CaseRow, Message, Node
from AutoRegSlicerLib.steps import Steps, finish
from AutoRegSlicerLib.wording import counted
from AutoRegSlicerLib.wording import tr as _

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
PAIRINGS = ("all", "within-subject", "atlas")
_LABEL_ENDINGS = ("_labels", "_label", "_seg", "-labels", "-label", "-seg")


def isNode(value: Any) -> bool:
    """Whether a cell of the table holds a node (else a path or nothing)."""
    return hasattr(value, "IsA")


def splits(rows: Sequence[CaseRow], validationPercent: float) -> list[str]:
    """The split of every used row: its role, else drawn by subject, evenly over the table and always the same."""
    used = [row for row in rows if row.use]
    fixed = {row.subject: row.role for row in used if row.role}
    free = [subject for subject in dict.fromkeys(row.subject for row in used) if subject not in fixed]
    wanted = round(len(free) * validationPercent / 100)
    if free and "val" not in fixed.values():
        wanted = max(wanted, min(2, len(free) - 2))  # one pair between two subjects is the least to validate by
    wanted = max(0, min(wanted, len(free)))
    chosen = {free[int((number + 0.5) * len(free) / wanted)] for number in range(wanted)}
    drawn = {subject: "val" if subject in chosen else "train" for subject in free}
    return [row.role or fixed.get(row.subject) or drawn[row.subject] for row in used]


def casesWith(what: str, split: str, rows: Sequence[CaseRow], validationPercent: float) -> int:
    """How many cases of a split have ``what``: "labels" or "landmarks"."""
    return sum(getattr(row, what) is not None for row in _ofSplit(split, rows, validationPercent))


def countPairs(split: str, rows: Sequence[CaseRow], validationPercent: float, pairing: str) -> int:
    """How many pairs of a split there are to register."""
    return _pairCount(_ofSplit(split, rows, validationPercent), pairing)


def _ofSplit(split: str, rows: Sequence[CaseRow], validationPercent: float) -> list[CaseRow]:
    used = [row for row in rows if row.use]
    return [row for row, its in zip(used, splits(rows, validationPercent), strict=True) if its == split]


def checkCases(
    rows: Sequence[CaseRow], validationPercent: float = 20.0, pairing: str = "all", template: Node = None,
) -> tuple[str, list[Message]]:
    """Summary like "24 cases, 6 structures, 342 training and 20 validation pairs", and the messages.

    Reads no voxels: label maps count once :func:`searchLabelsSteps` has been through them.
    A search needs 4 usable cases, 2 training subjects and 1 validation pair. Codes that block: too-few-cases,
    too-few-subjects, no-validation-pair, subject-in-two-splits, no-image, own-result, no-label-map, missing-file,
    mixed-case, no-template, bent-slice, mixed-dimensions.
    Remarks: no-labels, some-labels.
    """
    used = [row for row in rows if row.use]
    messages = [message for row in used for message in _checkRow(row)]
    messages += checkFlat([row.volume for row in used] + [template] * (pairing == "atlas" and template is not None))
    assigned = splits(rows, validationPercent)
    if len(used) < 4:
        messages.append(Message("too-few-cases", counted(
            len(used), _("{n} case is in use; a search needs at least 4."),
            _("{n} cases are in use; a search needs at least 4.")), "add"))
    home: dict[str, str] = {}
    for row, split in zip(used, assigned, strict=True):
        if home.setdefault(row.subject, split) != split:
            messages.append(Message("subject-in-two-splits", f"Subject '{row.subject}' is in {home[row.subject]} and "
                                    f"{split}; one person must stay in one."))
    if pairing == "atlas" and template is None:
        messages.append(Message("no-template", "Choose the template volume onto which all cases are registered."))
    counts = {split: _pairCount([r for r, s in zip(used, assigned, strict=True) if s == split], pairing)
              for split in ("train", "val", "test")}
    training = {row.subject for row, split in zip(used, assigned, strict=True) if split == "train"}
    if len(used) >= 4:
        if len(training) < 2 and pairing == "all":
            messages.append(Message("too-few-subjects", counted(
                len(training), _("{n} training subject; a search needs 2."),
                _("{n} training subjects; a search needs 2."))))
        elif not counts["train"]:
            messages.append(Message("too-few-subjects", "There is no pair to train on with this pairing.", "pairing"))
        if not counts["val"]:
            messages.append(Message("no-validation-pair", "There is no pair to validate on: set the role of two "
                                    "subjects to val, or raise the validation percentage.", "validation"))
    labeled = sum(row.labels is not None for row in used)
    if used and not labeled:
        messages.append(Message("no-labels", "No case has labels: networks are validated by image similarity alone.",
                                blocking=False))
    elif labeled < len(used):
        messages.append(Message("some-labels", counted(
            labeled, _("{n} of {all} cases has labels; the others take part in training only by their images."),
            _("{n} of {all} cases have labels; the others take part in training only by their images."),
            all=len(used)), blocking=False))
    return _summary(used, counts), messages


def _summary(used: Sequence[CaseRow], counts: dict[str, int]) -> str:
    subjects = len({row.subject for row in used})
    names = {name for row in used if isNode(row.labels) for name in _knownNames(row.labels)}
    parts = [_("{cases} of {subjects}").format(
        cases=counted(len(used), _("{n} case"), _("{n} cases")),
        subjects=counted(subjects, _("{n} subject"), _("{n} subjects")))]
    if names:
        parts.append(counted(len(names), _("{n} structure"), _("{n} structures")))
    parts.append(counted(counts["val"], _("{train} training and {n} validation pair"),
                         _("{train} training and {n} validation pairs"), train=counts["train"]))
    if counts["test"]:
        parts.append(counted(counts["test"], _("{n} test pair"), _("{n} test pairs")))
    return ", ".join(parts)


def _knownNames(labels: Node) -> list[str]:
    try:
        return segmentations.segmentNames(labels) if segmentations.isSearched(labels) else []
    except InputError:  # said by the check of its row
        return []


def searchLabelsSteps(rows: Sequence[CaseRow]) -> Steps:
    """Search the label maps that :func:`checkCases` does not know yet, one at a time; yields their names."""
    for row in rows:
        if isNode(row.labels) and not segmentations.isSearched(row.labels):
            with contextlib.suppress(InputError):  # said by the check of its row
                segmentations.labelValues(row.labels)
            yield row.labels.GetName()


def _pairCount(rows: Sequence[CaseRow], pairing: str) -> int:
    if pairing == "atlas":
        return len(rows)
    same = sum(a is not b and a.subject == b.subject for a in rows for b in rows)
    return same if pairing == "within-subject" else len(rows) * (len(rows) - 1) - same


def _checkRow(row: CaseRow) -> list[Message]:
    found = []
    if isNode(row.volume) and isMadeByAutoReg(row.volume):
        found.append(Message("own-result", f"'{row.volume.GetName()}' was made by AutoReg and is no data to "
                             "learn from: remove its row."))
    elif isNode(row.volume):
        image = row.volume.GetImageData()
        size = [] if image is None else [n for n in image.GetDimensions() if n != 1]
        if len(size) < 2 or min(size) < 4 or image.GetNumberOfScalarComponents() != 1:
            found.append(Message("no-image", f"'{row.volume.GetName()}' is no volume or slice with one value a voxel."))
    if isNode(row.labels) and segmentations.isSearched(row.labels):
        try:
            segmentations.segmentNames(row.labels)
        except InputError as problem:
            found.append(Message("no-label-map", f"Subject '{row.subject}': {problem.what}."))
    for cell in (row.volume, row.labels, row.landmarks):
        if cell is not None and not isNode(cell) and not Path(cell).is_file():
            found.append(Message("missing-file", f"Subject '{row.subject}': no such file: {cell}"))
    if row.labels is not None and isNode(row.labels) != isNode(row.volume):
        found.append(Message("mixed-case", f"Subject '{row.subject}': volume and labels must both be in the scene or "
                             "both be files."))
    return found


def readCaseTable(path: str | Path) -> list[CaseRow]:
    """Rows from a CSV (columns subject, volume, labels, landmarks, role; paths relative to the file), or from the
    images of a folder: ``<name>_labels`` beside ``<name>`` holds its labels, ``<name>.csv`` its landmarks, and the
    subject is the name. Raises InputError.
    """
    path = Path(path)
    if path.is_dir():
        return _ofFolder(path)
    lines = read_table(path, "a case table", needs=("volume",))

    def located(text: str | None) -> str | None:
        return str(path.parent / text.strip()) if text and text.strip() else None

    return [
        CaseRow((line.get("subject") or "").strip() or Path(line["volume"]).name, located(line["volume"]) or "",
                located(line.get("labels")), located(line.get("landmarks")), (line.get("role") or "").strip())
        for line in lines
    ]


def _ofFolder(folder: Path) -> list[CaseRow]:
    images = {_stem(file): file for file in sorted(folder.iterdir()) if file.name.lower().endswith(IMAGE_SUFFIXES)}
    labels = {name[:-len(ending)]: name for name in images for ending in _LABEL_ENDINGS
              if name.lower().endswith(ending) and name[:-len(ending)] in images}
    rows = []
    for name, file in images.items():
        if name in labels.values():
            continue
        points = folder / f"{name}.csv"
        rows.append(CaseRow(name, str(file), str(images[labels[name]]) if name in labels else None,
                            str(points) if points.is_file() else None))
    if not rows:
        raise InputError(f"{folder} has no images", expected=", ".join(IMAGE_SUFFIXES),
                         remedy="convert DICOM to NIfTI or NRRD first, or add volumes from the scene")
    return rows


def _stem(file: Path) -> str:
    return next(file.name[:-len(s)] for s in IMAGE_SUFFIXES if file.name.lower().endswith(s))


def exportScenarioSteps(
    rows: Sequence[CaseRow], folder: str | Path, pairing: str = "all", validationPercent: float = 20.0,
    template: Node = None, name: str = "",
) -> Steps:
    """:func:`exportScenario` one case at a time: yields what was done, returns the path."""
    if pairing not in PAIRINGS:
        raise InputError(f"no pairing '{pairing}'", expected=", ".join(PAIRINGS), got=pairing)
    used = [row for row in rows if row.use]
    if pairing == "atlas":
        if template is None:
            raise InputError("pairing with a template needs one", expected="a template volume",
                             remedy="choose the template volume")
        if not any(row.volume is template for row in used):
            used.append(CaseRow("template", template, role="train"))
    _, messages = checkCases(used, validationPercent, pairing, template)
    for message in messages:
        if message.blocking:
            raise InputError(message.text, remedy=message.action)
    folder = make_folder(folder)
    value, structures = labelValues(used)
    cases, atlas, flat = [], None, any(isFlat(row.volume) for row in used)
    names = uniqueNames(used)
    for row, split, case in zip(used, splits(used, validationPercent), names, strict=True):
        if row.volume is template and template is not None:
            atlas = case
        written = exportCase(row, case, split, folder, value)
        cases.append(flattened(written, folder) if flat else written)
        yield case
    path = folder / "scenario.json"
    write_scenario(path, Scenario(name or folder.name, 2 if flat else 3, pairing, tuple(cases), atlas, structures))
    read_scenario(path)  # what cannot be read back must not be found out by the search
    return path


def exportScenario(
    rows: Sequence[CaseRow], folder: str | Path, pairing: str = "all", validationPercent: float = 20.0,
    template: Node = None, name: str = "",
) -> Path:
    """Write ``scenario.json`` and the volumes of the scene it needs into ``folder``; returns its path.

    Nodes are exported in world coordinates, labels on their volume's grid with one value per segment name over all
    cases; files are named, not copied, and keep their values. Slices become pictures. ``pairing``: all,
    within-subject, or atlas (then ``template`` is the fixed volume of every pair). Raises InputError, DiskError.
    """
    return finish(exportScenarioSteps(rows, folder, pairing, validationPercent, template, name))


def labelValues(used: Sequence[CaseRow]) -> tuple[Callable[[Any], int], dict[int, str]]:
    """The label value of a structure, and the names by value."""
    nodes = [row.labels for row in used if isNode(row.labels)]
    byName = nodes and all(isNode(row.labels) for row in used if row.labels is not None) \
        and any(segmentations.isSegmentation(node) for node in nodes)
    if byName:
        names = dict.fromkeys(name for node in nodes for name in segmentations.segmentNames(node))
        values = {name: number for number, name in enumerate(names, start=1)}
        return (lambda structure: values[structure.name]), {number: name for name, number in values.items()}
    found = {s.value: s.name for node in nodes for s in segmentations.structuresOf(node)}
    return (lambda structure: structure.value), found


def exportCase(row: CaseRow, case: str, split: str, folder: Path, value: Callable[[Any], int]) -> Case:
    """One case, its nodes written to files beside the scenario."""
    paths: dict[str, str | None] = {"labels": None, "landmarks": None}
    if not isNode(row.volume):
        image = str(Path(row.volume).resolve())
    else:
        world = volumes.inWorld(row.volume, slicer.vtkMRMLScene())
        image = f"{case}.nrrd"
        volumes.write(world, folder / image)
        if row.labels is not None:
            lattice = ownLattice(world)
            structures = segmentations.structuresOf(row.labels, None, lattice)
            voxels = segmentations.voxelsOn(lattice, structures, value, transforms.toWorld(row.labels))
            paths["labels"] = f"{case}_labels.nrrd"
            segmentations.writeLabels(lattice, voxels, folder / paths["labels"])
    for key, cell in (("labels", row.labels), ("landmarks", row.landmarks)):
        if cell is not None and not isNode(cell):
            paths[key] = str(Path(cell).resolve())
    if isNode(row.landmarks):
        paths["landmarks"] = f"{case}_landmarks.csv"
        landmarks.write(row.landmarks, folder / paths["landmarks"])
    return Case(case, image, row.subject, split, labels=paths["labels"], landmarks=paths["landmarks"])  # type: ignore[arg-type]


def uniqueNames(rows: Sequence[CaseRow]) -> list[str]:
    """Short file-safe case names, one each."""
    names: list[str] = []
    for row in rows:
        text = row.volume.GetName() if isNode(row.volume) else _stem(Path(row.volume)) if str(row.volume).lower(
            ).endswith(IMAGE_SUFFIXES) else Path(row.volume).stem
        base = re.sub(r"[^\w.-]+", "_", text).strip("._")[:60] or "case"
        name, number = base, 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names
