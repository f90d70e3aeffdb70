"""The third tab: how the transform is drawn, what can be measured. The slice views are a panel of their own."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AutoRegSlicerLib import logic
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.choices import TransformDisplay
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.scene import display, surfaces, tables
from AutoRegSlicerLib.wording import counted


class EvaluatePanel:
    """Works on the nodes that Register names."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self._tables: tuple[Any, Any] = (None, None)
        self._ranged: Any = None
        self._meshing = False  # surfaces are being made
        session.showTables = self.showTables
        for name, signal, action in (
            ("workflowTabWidget", "currentChanged", self.showTransform),
            ("transformDisplayComboBox", "currentIndexChanged", self.showTransform),
            ("gridSpacingDisplaySliderWidget", "valueChanged", self.showTransform),
            ("show3DCheckBox", "toggled", self.showTransform),
            ("computeMetricsButton", "clicked", self.compute), ("exportMetricsButton", "clicked", self.export),
        ):
            qtbits.on(getattr(self.ui, name), signal, action)

    # ---- looking

    def refresh(self) -> None:
        p, ui = self.session.parameters, self.ui
        if p is None:
            return
        transform = p.outputTransform
        no_transform = [] if transform else [_("There is no result yet: register first.")]
        qtbits.offer(ui.transformDisplayComboBox, no_transform, _("Draw the output transform in the slice views."))
        qtbits.offer(ui.show3DCheckBox, no_transform, _(
            "Show the transform as a grid, and the warped labels as surfaces, in the 3-D views."))
        drawn = transform is not None and (p.show3D or p.transformDisplay is not TransformDisplay.Nothing)
        qtbits.offer(ui.gridSpacingDisplaySliderWidget, [] if drawn else no_transform or [
            _("Choose Grid, Glyphs or Contours above.")], _("Distance of the lines or arrows."))
        self._spacingRange()
        self._metricsButtons(no_transform)

    def _spacingRange(self) -> None:
        """The slider's limits follow the size of the fixed volume, and hold the spacing that was chosen before."""
        p = self.session.parameters
        mark = None if p.fixedVolume is None or p.fixedVolume.GetImageData() is None else (
            p.fixedVolume.GetID(), p.gridSpacing)
        if mark is not None and mark != self._ranged:
            self._ranged = mark
            least, most, _sensible = display.gridSpacingRange(p.fixedVolume)
            slider = self.ui.gridSpacingDisplaySliderWidget
            with qtbits.quiet(slider):
                qtbits.write(slider, "minimum", min(max(1.0, least), p.gridSpacing))
                qtbits.write(slider, "maximum", max(min(100.0, max(most, 2.0)), p.gridSpacing))
                qtbits.write(slider, "value", p.gridSpacing)

    def _metricsButtons(self, no_transform: list[str]) -> None:
        p, reasons = self.session.parameters, list(no_transform)
        labels, points = (p.fixedSegmentation, p.movingSegmentation), (p.fixedLandmarks, p.movingLandmarks)
        if not (all(labels) or all(points)):
            reasons.append(_("Choose fixed and moving labels, or fixed and moving landmarks, in Register."))
        elif all(points) and not all(labels):
            counts = [node.GetNumberOfControlPoints() for node in points]
            if counts[0] != counts[1]:
                reasons.append(_("The landmark lists have {a} and {b} points: they must correspond.").format(
                    a=counts[0], b=counts[1]))
        qtbits.offer(self.ui.computeMetricsButton, reasons, _(
            "Overlap and surface distance of the labels, and distance of the landmarks, before and after."))
        have = any(table is not None for table in self._tables)
        qtbits.offer(self.ui.exportMetricsButton, [] if have else [_("Compute the metrics first.")], _(
            "Write the tables as CSV, with the settings beside them as JSON."))
        for view, table in zip(("metricsTableView", "landmarksTableView"), self._tables, strict=True):
            getattr(self.ui, view).setVisible(table is not None)

    # ---- deformation

    def showTransform(self) -> None:
        """The transform as chosen, in the slice views and in the 3-D views; the warped labels in the latter."""
        tabs, p = self.ui.workflowTabWidget, self.session.parameters
        opened = tabs.indexOf(self.ui.evaluateTab) == qtbits.read(tabs, "currentIndex")
        if opened and p is not None and p.outputTransform is not None:
            self.session.attemptAt(self.ui.evaluateMessageLabel, lambda: display.setTransformDisplay(
                p.outputTransform, p.transformDisplay.value, p.gridSpacing, p.fixedVolume, p.show3D))
            self._showSurfaces(p.outputSegmentation, p.show3D)
        self.session.changed()

    def _showSurfaces(self, segmentation: Any, on: bool) -> None:
        """Surfaces come one by one; what is wanted is looked at again when the last one is there."""
        if self._meshing or segmentation is None or on == surfaces.areShown(segmentation):
            return
        if not on:
            surfaces.hide(segmentation)
            return
        self._meshing = True

        def done(problem: Exception | None = None) -> None:
            self._meshing = False
            if problem is None:
                self.showTransform()
            else:
                self.session.explain(self.ui.evaluateMessageLabel, problem)

        self.session.run(lambda: surfaces.showSteps(segmentation), lambda _result: done(), done)

    # ---- metrics

    def compute(self) -> None:
        p = self.session.parameters
        self.ui.metricsSummaryLabel.setText(_("Computing…"))
        self.session.run(lambda: logic.computeMetricsSteps(
            self.session.scene, p.outputTransform, fixedSegmentation=p.fixedSegmentation,
            movingSegmentation=p.movingSegmentation, fixedLandmarks=p.fixedLandmarks,
            movingLandmarks=p.movingLandmarks, jacobian=p.outputJacobian, referenceVolume=p.fixedVolume,
        ), self.showTables, lambda problem: self.session.explain(self.ui.metricsSummaryLabel, problem))

    def showTables(self, found: tuple[Any, Any]) -> None:
        """Metrics of each structure and of each landmark."""
        self._tables = found
        for view, table in zip(("metricsTableView", "landmarksTableView"), found, strict=True):
            getattr(self.ui, view).setMRMLTableNode(tables.readable(self.session.scene, view, table))
        self.ui.metricsSummaryLabel.setText(summary(*found))
        self.session.changed()

    def export(self) -> None:
        path = self.session.dialogs.save_file(_("Export metrics"), "metrics.csv", "CSV (*.csv)")
        if not path:
            return
        stem = path.removesuffix(".csv")
        for table, name in zip(self._tables, (f"{stem}.csv", f"{stem}-landmarks.csv"), strict=True):
            if table is not None:
                self.session.attemptAt(self.ui.evaluateMessageLabel,
                                       lambda table=table, name=name: logic.exportTable(table, name))
        self.session.say(_("Metrics written to {path}.").format(path=f"{stem}.csv"))

    def sceneClosed(self) -> None:
        self._tables, self._ranged = (None, None), None
        self.ui.metricsTableView.setMRMLTableNode(None)
        self.ui.landmarksTableView.setMRMLTableNode(None)
        self.ui.metricsSummaryLabel.setText("")


def summary(structures: Any, landmarks: Any) -> str:
    """The means of the two tables in words; their last row holds them."""
    parts = []
    for node, one, many, what, unit in (
        (structures, _("{n} structure"), _("{n} structures"), "Dice", ""),
        (landmarks, _("{n} landmark"), _("{n} landmarks"), "Error", " mm"),
    ):
        columns, rows = tables.rowsOf(node) if node is not None else ([], [])
        if rows:
            means = dict(zip(columns, rows[-1], strict=True))
            ends = [value for name, value in means.items() if name.startswith((f"{what} before", f"{what} after"))]
            figures = " → ".join(f"{value:.2f}" for value in ends)
            count = counted(len(rows) - 1, one, many)
            parts.append(f"{count}: {what} {figures}{unit}." if ends else f"{count}.")
    return " ".join(parts)
