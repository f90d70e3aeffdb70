"""Setting up: one question, then installing with what is done and how long it takes in sight, over a restart too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import slicer.util
from slicer.i18n import tr as _

from AutoRegSlicerLib import environment, settings
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.session import Session, describe


class SetUp:
    """``text`` is what is being done, empty while nothing is. ``check`` looks again at what is there."""

    def __init__(self, session: Session, *, refresh: Callable[[], Any], check: Callable[[], Any]) -> None:
        self.session, self._refresh, self._check = session, refresh, check
        self._step = self._line = ""
        self._began = 0.0
        self._replaced = False  # a CPU build was replaced: the next answer tells whether that helped
        self._marked = False  # the restart is still to come

    @property
    def text(self) -> str:
        """What is done, for how long, and the last line of pip."""
        if not self._step:
            return ""
        passed = qtbits.duration(time.monotonic() - self._began)
        return "\n".join(filter(None, (_("{step}… ({time})").format(step=self._step, time=passed), self._line)))

    def ask(self) -> None:
        """Install what is missing, after one question; the only place from which anything is downloaded."""
        found = self.session.environment
        obstacle = self._obstacle(found)
        if obstacle:
            self.session.say(obstacle)
            return
        wheels = settings.read(settings.WHEELS) or None
        plan = environment.installPlan(found, wheelFolder=wheels)
        if plan.route in ("none", "manual"):
            self.session.dialogs.inform(environment.consentText(plan))
        elif self.session.dialogs.confirm(environment.consentText(plan), _("Set up AutoReg")):
            self._install(plan, wheels)

    def goOn(self) -> None:
        """Called with each answer about what is there: go on after the restart that the set-up needed.

        Once, and with what was agreed to: packages that were not in that question are not installed.
        """
        found = self.session.environment
        agreed = [] if self._marked else settings.read(settings.AGREED).split()
        if self._replaced and found.warns("cpu-build"):
            self.session.dialogs.inform(_(
                "PyTorch was installed again and is still built for the CPU. In the module PyTorch Utils another "
                "computation backend can be chosen, for example cu128."))
        self._replaced = False
        if not agreed or self._obstacle(found):
            return
        settings.write(settings.AGREED, "")
        wheels = settings.read(settings.WHEELS) or None
        plan = environment.installPlan(found, wheelFolder=wheels)
        if plan.route in ("none", "manual") or not set(plan.packages) <= set(agreed):
            return
        if plan.needsRestart:  # once more would be for ever
            self.session.dialogs.inform(_(
                "Set-up could not go on after the restart: the PyTorch extension is not there, or another extension "
                "loads PyTorch when Slicer starts. Look at the Extensions Manager."))
            return
        self.session.say(_("The set-up that you agreed to goes on."))
        self._install(plan, wheels)

    def _obstacle(self, found: Any) -> str:
        if self._step:
            return str(_("Being set up."))
        if found is None or self.session.jobs.running():
            return str(_("Wait until the running job is done, then set up."))
        return str(_("Another module installs packages: wait until it is done.")) if environment.pipBusy() else ""

    def _install(self, plan: environment.InstallPlan, wheels: str | None) -> None:
        self._began, self._replaced = time.monotonic(), bool(plan.replaces)
        self._next(_("Setting up"))
        # nothing may start meanwhile on a PyTorch that is being replaced
        self.session.environment = None
        self.session.run(
            lambda: environment.installSteps(plan, consented=True, step=self._next, log=self._heard,
                                             wheelFolder=wheels),
            lambda restart: self._installed(plan, restart), self._failed)

    def _next(self, step: str) -> None:
        self._step, self._line = step, ""
        self.session.settingUp = _("Being set up: see the line at the top.") if step else ""
        self._refresh()

    def _heard(self, line: str) -> None:
        self._line = line[:120]
        self._refresh()

    def _installed(self, plan: environment.InstallPlan, restart: bool) -> None:
        """Look again, or restart; the marker lets the set-up go on after it, whenever it comes."""
        self._next("")
        if restart:
            self._replaced, self._marked = False, True
            settings.write(settings.AGREED, " ".join(plan.packages))
            if self.session.dialogs.confirm(_(
                    "Slicer has to be restarted; then the set-up goes on by itself. Restart now?")):
                slicer.util.restart()
        self._check()

    def _failed(self, problem: Exception) -> None:
        """Say why, and what else can be done."""
        self._replaced = False
        self._next("")
        self._check()
        self.session.dialogs.inform("{1}\n\n{2}".format(*describe(problem)))
