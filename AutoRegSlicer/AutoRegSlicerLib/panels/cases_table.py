"""The table of cases: which volumes, with which labels, for training or validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.strict_json import parse_json
from AutoRegSlicerLib.logic import CaseRow
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.scene.nodes import isMadeByAutoReg

LABEL_NODES = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")
POINT_NODES = ("vtkMRMLMarkupsFiducialNode",)
AT_ONCE = 40  # rows whose combo boxes are made in one go; more would hold up the window
USE, VOLUME, LABELS = range(3)


@dataclass
class Row:
    """One line as the user edits it; volume, labels and landmarks are nodes or paths."""

    volume: Any
    subject: str
    labels: Any = None
    landmarks: Any = None
    role: str = ""
    use: bool = True
    remark: str = ""  # of the last check
    faulty: bool = False  # the remark is a fault

    def case(self) -> CaseRow:
        return CaseRow(self.subject, self.volume, self.labels, self.landmarks, self.role, self.use)


class CasesTable:
    """Rows behind ``casesTableView``: what is used, and with which labels; the rest stands in ``CaseDetails``.

    ``changed`` is called after every change by the user.
    """

    def __init__(self, view: Any, scene: Any, changed: Callable[[], Any]) -> None:
        self.view, self.scene, self.changed = view, scene, changed
        self.rows: list[Row] = []
        self.model = qtbits.make_table(view, [_("Use"), _("Volume"), _("Labels")])
        qtbits.stretch(view, [VOLUME, LABELS], 3)
        self._widgets: list[Any] = []  # PythonQt needs the cells' widgets to be held
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
        """Results are no data: a network would learn from what a network did."""
        self.add(casesOfScene(self.scene))

    def selected(self) -> list[Row]:
        return [self.rows[number] for number in qtbits.selected_rows(self.view) if number < len(self.rows)]

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
        """Show the rows as they are now; what was selected stays so."""
        self._filling, selected = True, self.selected()
        self.model.removeRows(0, self.model.rowCount())
        self._widgets = []
        for row in self.rows:
            name = title(row.volume)
            path = "" if hasattr(row.volume, "GetID") else f"{row.volume}\n"
            self.model.appendRow([
                qtbits.cell("", checked=row.use, tip=_("Use this row.")),
                qtbits.cell(f"⚠ {name}" if row.faulty else name, tip=f"{path}{row.remark}" or name),
                qtbits.cell(title(row.labels)),
            ])
        for number, row in enumerate(self.rows):
            if any(row is other for other in selected):
                qtbits.select_row(self.view, self.model.index(number, USE))
        self._fills += 1
        self._dress(0, self._fills)
        self._filling = False
        self.changed()

    def _dress(self, start: int, fill: int) -> None:
        """Give the rows from ``start`` on their combo boxes, some now and the others when Qt is idle."""
        if fill != self._fills:  # the table was filled anew meanwhile
            return
        if start == 0:
            self._labels = [None, *nodesOf(self.scene, LABEL_NODES)]
            self._texts = qt.QStandardItemModel()  # one list for all rows: hundreds of cases are many combo boxes
            for node in self._labels:
                self._texts.appendRow(qt.QStandardItem(title(node) or _("None")))
        stop = min(start + AT_ONCE, len(self.rows))
        for number, row in enumerate(self.rows[start:stop], start=start):
            if hasattr(row.volume, "GetID"):
                self._choice(number, row)
        if stop < len(self.rows):
            qtbits.soon(lambda: self._dress(stop, fill))

    def _choice(self, number: int, row: Row) -> None:
        """The combo box of a row's labels."""
        combo, nodes = qt.QComboBox(), self._labels
        combo.setModel(self._texts)
        combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        combo.setToolTip(_("The labels drawn on this volume."))
        combo.setCurrentIndex(nodes.index(row.labels) if row.labels in nodes else 0)

        def chosen() -> None:
            row.labels = nodes[int(qtbits.read(combo, "currentIndex"))]
            self.changed()

        qtbits.on(combo, "currentIndexChanged", chosen)
        self.view.setIndexWidget(self.model.index(number, LABELS), combo)
        self._widgets.append(combo)

    def _edited(self) -> None:
        if self._filling:
            return
        for number, row in enumerate(self.rows):
            row.use = qtbits.is_checked(self.model.item(number, USE))
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
            return self.scene.GetNodeByID(str(key["node"])) if "node" in key else Path(key["path"])

        self.rows = []
        for item in _items(text):
            with suppress(KeyError, TypeError, AttributeError):  # somebody else's scene
                volume = found(item["volume"])
                if volume is not None:
                    self.rows.append(Row(volume, str(item["subject"]), found(item["labels"]), found(item["landmarks"]),
                                         str(item["role"]), bool(item["use"])))
        self.fill()


def _items(text: str) -> list[Any]:
    """The rows in a scene's text; none where it holds something else."""
    try:
        items = parse_json(text or "[]", where="the table of cases")
    except InputError:
        return []
    return items if isinstance(items, list) else []


def casesOfScene(scene: Any) -> list[CaseRow]:
    """Every scalar volume with voxels that AutoReg did not make, with the labels and landmarks that belong to it."""
    volumes = [node for node in _given(scene, ("vtkMRMLScalarVolumeNode",)) if node.GetImageData() is not None]
    labels, points = (companions(volumes, _given(scene, kinds)) for kinds in (LABEL_NODES, POINT_NODES))
    return [CaseRow(v.GetName(), v, labels.get(v.GetID()), points.get(v.GetID())) for v in volumes]


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


def _given(scene: Any, kinds: tuple[str, ...]) -> list[Any]:
    """Those of exactly these classes that AutoReg did not make."""
    return [node for node in nodesOf(scene, kinds) if not isMadeByAutoReg(node)]


def nodesOf(scene: Any, kinds: tuple[str, ...]) -> list[Any]:
    found = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    return [node for node in found if node.GetClassName() in kinds and not node.GetHideFromEditors()]


def _key(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    return {"node": value.GetID()} if hasattr(value, "GetID") else {"path": str(value)}
