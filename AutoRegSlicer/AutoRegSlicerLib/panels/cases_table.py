"""The table of cases: which volumes, with which labels, for training or validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoRegSlicerLib.logic import CaseRow
from AutoRegSlicerLib.nodes import isMadeByAutoReg
from AutoRegSlicerLib.panels import qtbits

ROLES = ("", "train", "val", "test")
LABEL_NODES = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")
POINT_NODES = ("vtkMRMLMarkupsFiducialNode",)
AT_ONCE = 40  # rows whose combo boxes are made in one go; more would hold up the window
USE, SUBJECT, VOLUME, LABELS, LANDMARKS, SIZE, SPACING, ROLE, CHECK = range(9)


@dataclass
class Row:
    """One line as the user edits it; volume, labels and landmarks are nodes or paths."""

    volume: Any
    subject: str
    labels: Any = None
    landmarks: Any = None
    role: str = ""
    use: bool = True
    remark: str = ""

    def case(self) -> CaseRow:
        return CaseRow(self.subject, self.volume, self.labels, self.landmarks, self.role, self.use)


class CasesTable:
    """Rows behind ``casesTableView``. ``changed`` is called after every change by the user."""

    def __init__(self, view: Any, scene: Any, changed: Callable[[], Any]) -> None:
        self.view, self.scene, self.changed = view, scene, changed
        self.rows: list[Row] = []
        self.model = qtbits.make_table(view, [
            _("Use"), _("Subject"), _("Volume"), _("Labels"), _("Landmarks"), _("Size"), _("Spacing (mm)"), _("Role"),
            _("Check"),
        ])
        self._widgets: list[Any] = []  # PythonQt needs the cells' widgets to be held
        self._lists: dict[int, Any] = {}  # column: the choices of all its combo boxes
        self._widths: dict[int, int] = {}  # of the columns that hold them
        self._filling = False
        self._fills = 0
        qtbits.on(self.model, "itemChanged", self._edited)

    def cases(self) -> list[CaseRow]:
        return [row.case() for row in self.rows]

    def add(self, cases: list[CaseRow]) -> None:
        """More rows; a volume that is listed already is left as it is."""
        known = [_key(row.volume) for row in self.rows]
        for case in cases:
            if _key(case.volume) not in known:
                self.rows.append(Row(case.volume, case.subject, case.labels, case.landmarks, case.role, case.use))
        self.fill()

    def addFromScene(self) -> None:
        """Every scalar volume of the scene that AutoReg did not make, with what belongs to it.

        Results are no data: a network would learn from what a network did.
        """
        volumes = [node for node in _given(self.scene, ("vtkMRMLScalarVolumeNode",)) if node.GetImageData() is not None]
        labels, points = (companions(volumes, _given(self.scene, kinds)) for kinds in (LABEL_NODES, POINT_NODES))
        self.add([CaseRow(v.GetName(), v, labels.get(v.GetID()), points.get(v.GetID())) for v in volumes])

    def removeSelected(self) -> None:
        gone = set(qtbits.selected_rows(self.view))
        self.rows = [row for i, row in enumerate(self.rows) if i not in gone]
        self.fill()

    def dropDeleted(self) -> None:
        """Rows whose node left the scene go; labels and landmarks that left are forgotten."""
        def present(value: Any) -> bool:
            return not hasattr(value, "GetID") or self.scene.GetNodeByID(value.GetID() or "") is value

        kept = [row for row in self.rows if present(row.volume)]
        stale = [r for r in kept if not (present(r.labels) and present(r.landmarks))]
        for row in stale:
            row.labels = row.labels if present(row.labels) else None
            row.landmarks = row.landmarks if present(row.landmarks) else None
        if stale or len(kept) != len(self.rows):
            self.rows = kept
            self.fill()

    # ---- showing

    def fill(self) -> None:
        """Show the rows as they are now."""
        self._filling = True
        self.model.removeRows(0, self.model.rowCount())
        self._widgets, self._widths = [], {}
        self._lists = {}
        for row in self.rows:
            dims, spacing = geometry(row.volume)
            self.model.appendRow([
                qtbits.cell("", checked=row.use, tip=_("Use this row.")), qtbits.cell(row.subject, editable=True),
                qtbits.cell(title(row.volume), tip=str(row.volume) if isinstance(row.volume, (str, Path)) else ""),
                qtbits.cell(title(row.labels)), qtbits.cell(title(row.landmarks)), qtbits.cell(dims),
                qtbits.cell(spacing), qtbits.cell(""), qtbits.cell(row.remark),
            ])
        self.view.resizeColumnsToContents()
        self._fills += 1
        self._dress(0, self._fills)
        self._filling = False
        self.changed()

    def _dress(self, start: int, fill: int) -> None:
        """Give the rows from ``start`` on their combo boxes, some now and the others when Qt is idle."""
        if fill != self._fills:  # the table was filled anew meanwhile
            return
        labels, points = ([None, *_nodes(self.scene, kinds)] for kinds in (LABEL_NODES, POINT_NODES))
        stop = min(start + AT_ONCE, len(self.rows))
        for number, row in enumerate(self.rows[start:stop], start=start):
            self._choice(number, ROLE, [_("Automatic"), _("Training"), _("Validation"), _("Test")], list(ROLES), "role")
            if hasattr(row.volume, "GetID"):
                for column, name, nodes in ((LABELS, "labels", labels), (LANDMARKS, "landmarks", points)):
                    self._choice(number, column, [title(n) or _("None") for n in nodes], nodes, name)
        for column, width in self._widths.items():
            self.view.setColumnWidth(column, max(width, self.view.horizontalHeader().sectionSizeHint(column)))
        if stop < len(self.rows):
            qtbits.soon(lambda: self._dress(stop, fill))

    def _choice(self, number: int, column: int, texts: list[str], values: list[Any], name: str) -> None:
        """A combo box in a cell that sets one attribute of the row."""
        row, combo = self.rows[number], qt.QComboBox()
        present = getattr(row, name)
        if column not in self._lists:  # one list for all rows: hundreds of cases are many combo boxes
            self._lists[column] = qt.QStandardItemModel()
            for text in texts:
                self._lists[column].appendRow(qt.QStandardItem(text))
        combo.setModel(self._lists[column])
        combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(min(24, max(map(len, texts))))
        combo.setCurrentIndex(values.index(present) if present in values else 0)

        def chosen() -> None:
            setattr(row, name, values[int(qtbits.read(combo, "currentIndex"))])
            self.changed()

        qtbits.on(combo, "currentIndexChanged", chosen)
        self.view.setIndexWidget(self.model.index(number, column), combo)
        self._widgets.append(combo)
        self._widths[column] = max(self._widths.get(column, 0), qtbits.read(combo, "sizeHint").width() + 6)

    def _edited(self) -> None:
        if self._filling:
            return
        for number, row in enumerate(self.rows):
            row.use = qtbits.is_checked(self.model.item(number, USE))
            row.subject = self.model.item(number, SUBJECT).text().strip() or row.subject
        self.changed()

    # ---- keeping in the scene

    def text(self) -> str:
        """The rows as JSON, for the parameter node: nodes by ID, files by path."""
        return json.dumps([
            {"volume": _key(r.volume), "subject": r.subject, "labels": _key(r.labels), "landmarks": _key(r.landmarks),
             "role": r.role, "use": r.use} for r in self.rows
        ])

    def restore(self, text: str) -> None:
        """The rows of ``text``; those whose node is not in the scene are left out."""
        def found(key: dict[str, str] | None) -> Any:
            if not key:
                return None
            return self.scene.GetNodeByID(key["node"]) if "node" in key else Path(key["path"])

        self.rows = []
        for item in json.loads(text or "[]"):
            volume = found(item["volume"])
            if volume is not None:
                self.rows.append(Row(volume, item["subject"], found(item["labels"]), found(item["landmarks"]),
                                     item["role"], item["use"]))
        self.fill()


def companions(volumes: list[Any], nodes: list[Any]) -> dict[str, Any]:
    """The node that belongs to each volume, by the volume's ID: one drawn on it, else one named after it.

    A node belongs to the volume with the longest name that its own name begins with.
    """
    names = {volume.GetName(): volume.GetID() for volume in volumes}
    drawn, named = {}, {}
    for node in nodes:
        drawn.setdefault(node.GetNodeReferenceID("referenceImageGeometryRef"), node)
        name = node.GetName()
        owner = next((names[name[:n]] for n in range(len(name), 0, -1) if name[:n] in names), None)
        named.setdefault(owner, node)
    ids = names.values()
    return {i: drawn[i] if i in drawn else named[i] for i in ids if i in drawn or i in named}


def title(value: Any) -> str:
    """Name of a node or of a file."""
    if value is None:
        return ""
    return value.GetName() if hasattr(value, "GetName") else Path(value).name


def geometry(volume: Any) -> tuple[str, str]:
    """Size in voxels and spacing in mm of a node; files are not opened for this."""
    image = volume.GetImageData() if hasattr(volume, "GetImageData") else None
    if image is None:
        return "", ""
    return " × ".join(map(str, image.GetDimensions())), " × ".join(f"{s:.3g}" for s in volume.GetSpacing())


def _given(scene: Any, kinds: tuple[str, ...]) -> list[Any]:
    """Those of exactly these classes that AutoReg did not make."""
    return [node for node in _nodes(scene, kinds) if not isMadeByAutoReg(node)]


def _nodes(scene: Any, kinds: tuple[str, ...]) -> list[Any]:
    found = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    return [node for node in found if node.GetClassName() in kinds and not node.GetHideFromEditors()]


def _key(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    return {"node": value.GetID()} if hasattr(value, "GetID") else {"path": str(value)}
