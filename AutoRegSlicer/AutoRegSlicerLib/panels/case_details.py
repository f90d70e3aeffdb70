"""What does not fit into a narrow table: subject, role, landmarks, size and check of the selected cases."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.cases_table import POINT_NODES, CasesTable, Row, nodesOf, title
from AutoRegSlicerLib.wording import counted

ROLES = ("", "train", "val", "test")


class CaseDetails:
    """The form below the table. Subject and role may be set for several rows at once: scans of one person."""

    def __init__(self, ui: Any, table: CasesTable) -> None:
        self.ui, self.table = ui, table
        self._rows: list[Row] = []
        self._shown: Any = None
        self._points: list[Any] = [None]
        qtbits.on(ui.caseSubjectLineEdit, "editingFinished", self.setSubject)
        qtbits.on(ui.caseRoleComboBox, "currentIndexChanged", self.setRole)
        qtbits.on(ui.caseLandmarksComboBox, "currentIndexChanged", self.setLandmarks)

    def refresh(self) -> None:
        """Show the selected rows; while they stay the same nothing is touched, somebody may be typing."""
        rows = self.table.selected()
        points = [None, *nodesOf(self.table.scene, POINT_NODES)] if rows else [None]
        now = ([(id(r), r.subject, r.role, r.landmarks, r.remark) for r in rows], [title(p) for p in points],
               bool(self.table.rows))
        if now == self._shown:
            return
        self._shown, self._rows, self._points = now, rows, points
        ui, first = self.ui, rows[0] if rows else None
        ui.caseDetailsWidget.setVisible(bool(self.table.rows))
        none = [] if rows else [_("Select one or more rows of the table.")]
        qtbits.offer(ui.caseSubjectLineEdit, none, _("Whose images these are. One subject is never in training and in "
                                                     "validation at once."))
        qtbits.offer(ui.caseRoleComboBox, none, _("What the cases are for. Automatic: drawn by the share below."))
        landmarks = none if len(rows) != 1 else [] if hasattr(rows[0].volume, "GetID") else [
            _("Landmarks of a file are named in its table.")]
        qtbits.offer(ui.caseLandmarksComboBox, landmarks or ([] if len(rows) == 1 else [_("Select one row.")]),
                     _("Points that correspond between the cases, in the same order."))
        before = ui.caseSubjectLineEdit.blockSignals(True)
        ui.caseSubjectLineEdit.setText(first.subject if first and len({r.subject for r in rows}) == 1 else "")
        ui.caseSubjectLineEdit.blockSignals(before)
        roles = {row.role for row in rows}
        qtbits.fill(ui.caseRoleComboBox, [_("Automatic"), _("Training"), _("Validation"), _("Test")],
                    ROLES.index(roles.pop()) if len(roles) == 1 else -1)
        own = first.landmarks if first else None
        texts = [title(point) or _("None") for point in points]
        if own is not None and own not in points:  # a file
            texts[0] = title(own)
        qtbits.fill(ui.caseLandmarksComboBox, texts, points.index(own) if own in points else 0)
        ui.caseInfoLabel.setText(info(rows))

    def setSubject(self) -> None:
        name = str(qtbits.read(self.ui.caseSubjectLineEdit, "text")).strip()
        if name and any(row.subject != name for row in self._rows):
            for row in self._rows:
                row.subject = name
            self.table.changed()

    def setRole(self) -> None:
        index = int(qtbits.read(self.ui.caseRoleComboBox, "currentIndex"))
        if index >= 0:
            for row in self._rows:
                row.role = ROLES[index]
            self.table.changed()

    def setLandmarks(self) -> None:
        index = int(qtbits.read(self.ui.caseLandmarksComboBox, "currentIndex"))
        if len(self._rows) == 1 and 0 <= index < len(self._points):
            self._rows[0].landmarks = self._points[index]
            self.table.changed()


def info(rows: list[Row]) -> str:
    """Size, spacing and the last check of one row in words, or how many rows are selected."""
    if not rows:
        return _("Select a row to see and change its subject, role and landmarks.")
    if len(rows) > 1:
        return counted(len(rows), _("{n} row is selected."), _("{n} rows are selected."))
    return " ".join(part for part in (geometry(rows[0].volume), rows[0].remark) if part)


def geometry(volume: Any) -> str:
    """Size in voxels and spacing in mm of a node; files are not opened for this."""
    image = volume.GetImageData() if hasattr(volume, "GetImageData") else None
    if image is None:
        return ""
    size = " × ".join(map(str, image.GetDimensions()))
    return _("{size} voxels of {spacing} mm.").format(
        size=size, spacing=" × ".join(f"{s:.3g}" for s in volume.GetSpacing()))
