"""What the slice views show, in the third tab: volumes compared, before and after, the Jacobian map and its folds.

The views are the user's: every change is taken back when the module is left, when the scene is saved and when it is
closed. Only a new result stays, shown once where the user wants it.
"""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.scene import display, views
from AutoRegSlicerLib.scene.previews import ownTransform
from AutoRegSlicerLib.wording import counted

ROCK_MILLISECONDS, FLICKER_MILLISECONDS = 80, 500
BEFORE_AFTER_KEY = "Shift+B"  # the slice views take B, F, G, R, T, V and brackets for themselves


class SlicesPanel:
    """Works on the volumes and the Jacobian map that Register names."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.folds: list[tuple[float, float, float]] = []
        self.fold = -1
        self._jacobian: Any = None  # whose folds are listed
        self._phase = 0.0
        self._direction = 1
        self._fade: float | None = None  # the user's, while it is rocked
        self._work: Any = None  # what the views are to show, while it is made
        self._due = False  # a result came while another module was shown
        session.showResult = self.showResult
        self._timer = qt.QTimer()
        qtbits.on(self._timer, "timeout", self.animate)
        self._shortcut = qt.QShortcut(qt.QKeySequence(BEFORE_AFTER_KEY), self.ui.evaluateTab)
        qtbits.on(self._shortcut, "activated", self.ui.beforeAfterButton.toggle)
        for name, signal, action in (
            ("workflowTabWidget", "currentChanged", self.show),
            ("compareModeComboBox", "currentIndexChanged", self.show), ("compareModeComboBox", "activated", self.show),
            ("fadeSliderWidget", "valueChanged", self.show), ("beforeAfterButton", "toggled", self.show),
            ("linkViewsCheckBox", "toggled", self.show),
            ("rockCheckBox", "toggled", self.rock), ("flickerCheckBox", "toggled", self.flicker),
            ("jacobianOverlayCheckBox", "toggled", self.show), ("foldsOnlyCheckBox", "toggled", self.show),
            ("jacobianRangeWidget", "minimumValueChanged", lambda: self.rangeChanged("Minimum")),
            ("jacobianRangeWidget", "maximumValueChanged", lambda: self.rangeChanged("Maximum")),
            ("nextFoldButton", "clicked", self.nextFold),
        ):
            qtbits.on(getattr(self.ui, name), signal, action)

    # ---- looking

    def refresh(self) -> None:
        p, ui = self.session.parameters, self.ui
        if p is None:
            return
        pair = [] if p.fixedVolume and (p.outputVolume or p.movingVolume) else [
            _("Choose a fixed and a moving volume in Register.")]
        for name, tip in (("compareModeComboBox", _("How the volumes are shown together.")),
                          ("fadeSliderWidget", _("0 = fixed volume, 1 = warped volume.")),
                          ("rockCheckBox", _("Fade to and fro.")), ("flickerCheckBox", _("Switch twice a second."))):
            qtbits.offer(getattr(ui, name), pair, tip)
        before = pair or ([] if p.outputVolume and p.movingVolume else [
            _("There is no warped volume to compare with.")])
        qtbits.offer(ui.beforeAfterButton, before, _(
            "Show the moving volume as it was, or as it was registered. Shortcut: {key}.").format(key=BEFORE_AFTER_KEY))
        self._caption(before)
        no_map = [] if p.outputJacobian else [_("There is no Jacobian map: set its box under Outputs and register.")]
        for name in ("jacobianOverlayCheckBox", "foldsOnlyCheckBox"):
            qtbits.offer(getattr(ui, name), no_map, _("Color the slices by the local change of volume."))
        qtbits.offer(ui.jacobianRangeWidget, no_map, _("Colors run between these two; 1 = no change of volume."))
        self._foldList(no_map)

    def _caption(self, before: list[str]) -> None:
        """Which of the two is seen now."""
        p = self.session.parameters
        text = ""
        if self._comparing() and not before:
            moving, own = p.movingVolume, p.movingVolume.GetParentTransformNode() is ownTransform(p.movingVolume)
            text = (_("After: {name}.").format(name=p.outputVolume.GetName()) if not self._before()
                    else _("Before: {name}, not registered.").format(name=moving.GetName()) if own
                    else _("{name} is previewed under the result: clear that box in Register to see it as it "
                           "was.").format(name=moving.GetName()))
        qtbits.show(self.ui.beforeAfterLabel, text)

    def _foldList(self, no_map: list[str]) -> None:
        ui, jacobian = self.ui, self.session.parameters.outputJacobian
        mark = None if jacobian is None else (jacobian.GetID(), jacobian.GetMTime())
        if mark != self._jacobian:
            self._jacobian, self.fold = mark, -1
            self.folds = display.foldCenters(jacobian) if jacobian is not None else []
        qtbits.offer(ui.nextFoldButton, no_map or ([] if self.folds else [_("Nothing is folded.")]), _(
            "Center the views on the next fold, the largest first."))
        many = counted(len(self.folds), _("{n} folded region"), _("{n} folded regions"))
        at = _(", at number {i}").format(i=self.fold + 1) if self.fold >= 0 else ""
        ui.foldSummaryLabel.setText("" if no_map else many + at if self.folds else _("No folds"))

    def parametersChanged(self) -> None:
        """Another parameter set: the range widget has no connection of its own to the parameters."""
        p, widget = self.session.parameters, self.ui.jacobianRangeWidget
        with qtbits.quiet(widget):
            widget.setValues(p.jacobianMinimum, p.jacobianMaximum)

    # ---- showing

    def _before(self) -> bool:
        return bool(qtbits.read(self.ui.beforeAfterButton, "checked"))

    def _comparing(self) -> bool:
        """Whether the views are on loan: from this tab alone, never because the module was opened."""
        tabs, p = self.ui.workflowTabWidget, self.session.parameters
        opened = tabs.indexOf(self.ui.evaluateTab) == qtbits.read(tabs, "currentIndex")
        return bool(opened and not self.session.away and p is not None and p.fixedVolume and (
            p.outputVolume or p.movingVolume))

    def show(self) -> None:
        """The views as the tab says: at once, or when the volume that has to be made for it is ready."""
        self._work = self._steps() if self._comparing() else None
        self._goOn()

    def _goOn(self, work: Any = None) -> None:
        """One step of what was asked for last; what was asked for before is given up."""
        if self._work is not None and work in (None, self._work):
            self.session.attemptAt(self.ui.evaluateMessageLabel, self._step)

    def _step(self) -> None:
        work, self._work = self._work, None
        for _made in work:
            self._work = work
            qtbits.soon(lambda: self._goOn(work))
            return
        self.session.changed()

    def _steps(self) -> Any:
        p, scene = self.session.parameters, self.session.scene
        before = self._before() and p.movingVolume is not None
        yield from display.compareSteps(
            scene, p.compareMode.value, p.fixedVolume, p.outputVolume or p.movingVolume, p.movingVolume,
            opacity=p.fade, before=before, linked=p.linkViews)
        if p.outputJacobian is not None and (p.jacobianOverlay or p.foldsOnly):
            display.showJacobian(scene, p.outputJacobian, lower=p.jacobianMinimum, upper=p.jacobianMaximum,
                                 foldsOnly=p.foldsOnly)

    def putAway(self) -> None:
        """The views are the user's again, and nothing moves."""
        self._work = None
        self._timer.stop()
        self.ui.rockCheckBox.setChecked(False)
        self.ui.flickerCheckBox.setChecked(False)
        views.giveBack(self.session.scene)

    def showAgain(self) -> None:
        """After :meth:`putAway`."""
        if self._due:
            self.showResult()
        self.show()

    def showResult(self) -> None:
        """A registration is done: fixed and warped volume, once, where the box beside Apply is set."""
        p = self.session.parameters
        self._due = bool(self.session.away)
        if self._due or p is None or not p.showResult or p.fixedVolume is None or p.outputVolume is None:
            return
        views.giveBack(self.session.scene)
        display.showResult(self.session.scene, p.fixedVolume, p.outputVolume)
        self.ui.beforeAfterButton.setChecked(False)
        self.show()

    def sceneClosed(self) -> None:
        self._jacobian, self._due = None, False
        self.ui.beforeAfterButton.setChecked(False)

    # ---- moving

    def rock(self) -> None:
        self._animation("rockCheckBox", "flickerCheckBox", ROCK_MILLISECONDS)

    def flicker(self) -> None:
        self._animation("flickerCheckBox", "rockCheckBox", FLICKER_MILLISECONDS)

    def _animation(self, mine: str, other: str, milliseconds: int) -> None:
        p = self.session.parameters
        if qtbits.read(getattr(self.ui, mine), "checked"):
            self._fade = p.fade if p is not None and self._fade is None else self._fade
            getattr(self.ui, other).setChecked(False)
            self._timer.start(milliseconds)
        elif not qtbits.read(getattr(self.ui, other), "checked"):
            self._timer.stop()
            if p is not None and self._fade is not None:
                p.fade = self._fade
            self._fade = None

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

    # ---- the Jacobian map

    def rangeChanged(self, end: str) -> None:
        """One end of the range was moved; the other one stays as it is stored, however the widget shows it."""
        p = self.session.parameters
        if p is not None:
            setattr(p, f"jacobian{end}", float(qtbits.read(self.ui.jacobianRangeWidget, f"{end.lower()}Value")))
            self.show()

    def nextFold(self) -> None:
        if self.folds:
            self.fold = (self.fold + 1) % len(self.folds)
            display.jumpTo(self.session.scene, self.folds[self.fold])
            self.session.changed()
