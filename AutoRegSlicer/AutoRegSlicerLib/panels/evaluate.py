"""The third tab: look at a result and measure it."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from AutoRegSlicerLib import display, logic, tables
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.choices import TransformDisplay
from AutoRegSlicerLib.panels.session import Session, describe

ROCK_MILLISECONDS, FLICKER_MILLISECONDS = 80, 500


class EvaluatePanel:
    """Works on the volumes and the output transform that Register names."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.folds: list[tuple[float, float, float]] = []
        self.fold = -1
        self._jacobian: Any = None  # whose folds are listed
        self._tables: tuple[Any, Any] = (None, None)
        self._phase = 0.0
        self._direction = 1
        self._ranged: Any = None
        session.showTables = self.showTables
        self._timer = qt.QTimer()
        qtbits.on(self._timer, "timeout", self.animate)
        shortcut = qt.QShortcut(qt.QKeySequence("B"), self.ui.evaluateTab)
        qtbits.on(shortcut, "activated", self.ui.beforeAfterButton.toggle)
        self._shortcut = shortcut
        for name, signal, action in (
            ("compareModeComboBox", "currentIndexChanged", self.compare),
            ("fadeSliderWidget", "valueChanged", self.compare),
            ("beforeAfterButton", "toggled", self.compare), ("linkViewsCheckBox", "toggled", self.link),
            ("rockCheckBox", "toggled", self.rock), ("flickerCheckBox", "toggled", self.flicker),
            ("transformDisplayComboBox", "currentIndexChanged", self.showTransform),
            ("gridSpacingDisplaySliderWidget", "valueChanged", self.showTransform),
            ("jacobianOverlayCheckBox", "toggled", self.showJacobian),
            ("foldsOnlyCheckBox", "toggled", self.showJacobian),
            ("jacobianRangeWidget", "valuesChanged", self.rangeChanged), ("nextFoldButton", "clicked", self.nextFold),
            ("computeMetricsButton", "clicked", self.compute), ("exportMetricsButton", "clicked", self.export),
        ):
            qtbits.on(getattr(self.ui, name), signal, action)

    # ---- looking

    def refresh(self) -> None:
        p, ui = self.session.parameters, self.ui
        if p is None:
            return
        transform = p.outputTransform
        first = _("There is no result yet: register first.")
        pair = [] if p.fixedVolume and (p.outputVolume or p.movingVolume) else [
            _("Choose a fixed and a moving volume in Register.")]
        for name, tip in (("compareModeComboBox", _("How the volumes are shown together.")),
                          ("fadeSliderWidget", _("0 = fixed volume, 1 = warped volume.")),
                          ("rockCheckBox", _("Fade to and fro.")), ("flickerCheckBox", _("Switch twice a second."))):
            qtbits.offer(getattr(ui, name), pair, tip)
        before = pair or ([] if p.outputVolume and p.movingVolume else [
            _("There is no warped volume to compare with.")])
        qtbits.offer(ui.beforeAfterButton, before, _("Show the moving volume as it was. Shortcut: B."))
        no_transform = [] if transform else [first]
        qtbits.offer(ui.transformDisplayComboBox, no_transform, _("Draw the output transform in the slice views."))
        drawn = transform is not None and p.transformDisplay is not TransformDisplay.Nothing
        qtbits.offer(ui.gridSpacingDisplaySliderWidget, [] if drawn else no_transform or [
            _("Choose Grid, Glyphs or Contours above.")], _("Distance of the lines or arrows."))
        no_map = [] if p.outputJacobian else [_("There is no Jacobian map: set its box under Outputs and register.")]
        for name in ("jacobianOverlayCheckBox", "foldsOnlyCheckBox"):
            qtbits.offer(getattr(ui, name), no_map, _("Color the slices by the local change of volume."))
        qtbits.offer(ui.jacobianRangeWidget, no_map, _("Colors run between these two; 1 = no change of volume."))
        self._foldList(no_map)
        self._spacingRange()
        self._metricsButtons(no_transform)

    def _foldList(self, no_map: list[str]) -> None:
        ui, jacobian = self.ui, self.session.parameters.outputJacobian
        mark = None if jacobian is None else (jacobian.GetID(), jacobian.GetMTime())
        if mark != self._jacobian:
            self._jacobian, self.fold = mark, -1
            self.folds = display.foldCenters(jacobian) if jacobian is not None else []
        qtbits.offer(ui.nextFoldButton, no_map or ([] if self.folds else [_("Nothing is folded.")]), _(
            "Center the views on the next fold, the largest first."))
        many = _("{n} folded regions").format(n=len(self.folds)) if len(self.folds) > 1 else _("1 folded region")
        at = _(", at number {i}").format(i=self.fold + 1) if self.fold >= 0 else ""
        ui.foldSummaryLabel.setText("" if no_map else many + at if self.folds else _("No folds"))

    def _spacingRange(self) -> None:
        """The slider's limits follow the size of the fixed volume."""
        volume = self.session.parameters.fixedVolume
        mark = None if volume is None else volume.GetID()
        if volume is not None and mark != self._ranged:
            self._ranged = mark
            least, most, _sensible = display.gridSpacingRange(volume)
            slider = self.ui.gridSpacingDisplaySliderWidget
            qtbits.write(slider, "minimum", max(1.0, least))
            qtbits.write(slider, "maximum", min(100.0, max(most, 2.0)))

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

    # ---- compare

    def active(self) -> bool:
        """Slice views are changed only from this tab, never because the module was opened."""
        tabs = self.ui.workflowTabWidget
        return tabs.indexOf(self.ui.evaluateTab) == qtbits.read(tabs, "currentIndex")

    def compare(self) -> None:
        """Show the volumes as chosen."""
        p = self.session.parameters
        if not self.active() or p is None or p.fixedVolume is None or not (p.outputVolume or p.movingVolume):
            return
        before = bool(qtbits.read(self.ui.beforeAfterButton, "checked"))
        self.ui.beforeAfterButton.setText(_("Show after") if before else _("Show before"))
        self.attempt(lambda: display.setCompareMode(
            self.session.scene, p.compareMode.value, p.fixedVolume, p.outputVolume or p.movingVolume, p.movingVolume,
            opacity=p.fade, before=before))

    def link(self) -> None:
        """Slice views move and fade together, or each alone."""
        if not self.active():
            return
        nodes = self.session.scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
        nodes.UnRegister(None)
        for i in range(nodes.GetNumberOfItems()):
            nodes.GetItemAsObject(i).SetLinkedControl(bool(qtbits.read(self.ui.linkViewsCheckBox, "checked")))

    def rock(self) -> None:
        self._animation("rockCheckBox", "flickerCheckBox", ROCK_MILLISECONDS)

    def flicker(self) -> None:
        self._animation("flickerCheckBox", "rockCheckBox", FLICKER_MILLISECONDS)

    def _animation(self, mine: str, other: str, milliseconds: int) -> None:
        if qtbits.read(getattr(self.ui, mine), "checked"):
            getattr(self.ui, other).setChecked(False)
            self._timer.start(milliseconds)
        elif not qtbits.read(getattr(self.ui, other), "checked"):
            self._timer.stop()

    def animate(self) -> None:
        """One step of rocking or flickering."""
        p = self.session.parameters
        if p is None:
            return
        if qtbits.read(self.ui.flickerCheckBox, "checked"):
            p.fade = 0.0 if p.fade > 0.5 else 1.0
        else:
            self._phase += 0.05 * self._direction
            if not 0.0 <= self._phase <= 1.0:
                self._direction = -self._direction
                self._phase = min(1.0, max(0.0, self._phase))
            p.fade = round(self._phase, 2)

    def stop(self) -> None:
        """Nothing moves while the module is not shown."""
        self._timer.stop()
        self.ui.rockCheckBox.setChecked(False)
        self.ui.flickerCheckBox.setChecked(False)

    # ---- deformation

    def showTransform(self) -> None:
        p = self.session.parameters
        if self.active() and p is not None and p.outputTransform is not None:
            self.attempt(lambda: display.setTransformDisplay(
                p.outputTransform, p.transformDisplay.value, p.gridSpacing, p.fixedVolume))
        self.session.changed()

    def rangeChanged(self) -> None:
        p = self.session.parameters
        if p is not None:
            p.jacobianMinimum = float(qtbits.read(self.ui.jacobianRangeWidget, "minimumValue"))
            p.jacobianMaximum = float(qtbits.read(self.ui.jacobianRangeWidget, "maximumValue"))
            self.showJacobian()

    def showJacobian(self) -> None:
        p = self.session.parameters
        if self.active() and p is not None and p.outputJacobian is not None:
            self.attempt(lambda: display.showJacobian(
                self.session.scene, p.outputJacobian, visible=p.jacobianOverlay or p.foldsOnly,
                lower=p.jacobianMinimum, upper=p.jacobianMaximum, foldsOnly=p.foldsOnly))

    def nextFold(self) -> None:
        if self.folds:
            self.fold = (self.fold + 1) % len(self.folds)
            display.jumpTo(self.session.scene, self.folds[self.fold])
            self.session.changed()

    # ---- metrics

    def compute(self) -> None:
        p = self.session.parameters
        self.ui.metricsSummaryLabel.setText(_("Computing…"))
        self.session.run(lambda: logic.computeMetricsSteps(
            self.session.scene, p.outputTransform, fixedSegmentation=p.fixedSegmentation,
            movingSegmentation=p.movingSegmentation, fixedLandmarks=p.fixedLandmarks,
            movingLandmarks=p.movingLandmarks, jacobian=p.outputJacobian, referenceVolume=p.fixedVolume,
        ), self.showTables, lambda problem: self.fail(problem, self.ui.metricsSummaryLabel))

    def showTables(self, found: tuple[Any, Any]) -> None:
        """Metrics of each structure and of each landmark."""
        self._tables = found
        self.ui.metricsTableView.setMRMLTableNode(found[0])
        self.ui.landmarksTableView.setMRMLTableNode(found[1])
        self.ui.metricsSummaryLabel.setText(summary(*found))
        self.session.changed()

    def export(self) -> None:
        path = self.session.dialogs.save_file(_("Export metrics"), "metrics.csv", "CSV (*.csv)")
        if not path:
            return
        stem = path.removesuffix(".csv")
        for table, name in zip(self._tables, (f"{stem}.csv", f"{stem}-landmarks.csv"), strict=True):
            if table is not None:
                self.attempt(lambda table=table, name=name: logic.exportTable(table, name))
        self.session.say(_("Metrics written to {path}.").format(path=f"{stem}.csv"))

    # ---- failures

    def attempt(self, action: Any) -> None:
        """Do it, or say in the panel why not."""
        try:
            action()
        except Exception as problem:
            self.fail(problem, self.ui.evaluateMessageLabel)
        else:
            qtbits.show(self.ui.evaluateMessageLabel, "")

    def fail(self, problem: Exception, label: Any) -> None:
        _code, text, hint = describe(problem)
        qtbits.show(label, f"{text} {hint}".strip())

    def sceneClosed(self) -> None:
        self._tables, self._jacobian, self._ranged = (None, None), None, None
        self.ui.metricsTableView.setMRMLTableNode(None)
        self.ui.landmarksTableView.setMRMLTableNode(None)
        self.ui.metricsSummaryLabel.setText("")


def summary(structures: Any, landmarks: Any) -> str:
    """The means of the two tables in words; their last row holds them."""
    parts = []
    for node, one, many, what, unit in (
        (structures, _("1 structure"), _("{n} structures"), "Dice", ""),
        (landmarks, _("1 landmark"), _("{n} landmarks"), "Error", " mm"),
    ):
        columns, rows = tables.rowsOf(node) if node is not None else ([], [])
        if rows:
            means = dict(zip(columns, rows[-1], strict=True))
            ends = [value for name, value in means.items() if name.startswith((f"{what} before", f"{what} after"))]
            figures = " → ".join(f"{value:.2f}" for value in ends)
            count = one if len(rows) == 2 else many.format(n=len(rows) - 1)
            parts.append(f"{count}: {what} {figures}{unit}." if ends else f"{count}.")
    return " ".join(parts)
