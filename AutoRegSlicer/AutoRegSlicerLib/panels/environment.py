"""The line at the top: what computes, how to get it, and under Advanced which Python and which folders are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _

from AutoRegLib.core.records import make_folder
from AutoRegSlicerLib import environment, logic, settings
from AutoRegSlicerLib.jobs_ui import Jobs
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.session import Session, describe

PROBE_MILLISECONDS = 250


def chosenInterpreter() -> str | None:
    """The Python chosen by the user, None for Slicer's own."""
    return settings.read(settings.PYTHON) or None


class EnvironmentPanel:
    """Asks the Python that computes what it has, and installs what is missing after one question."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self._probe: Any = None
        self._note = ""  # shown instead of what was found: an installation that runs, a path without a Python
        self._timer = qt.QTimer()
        self._timer.setInterval(PROBE_MILLISECONDS)
        qtbits.on(self._timer, "timeout", self.poll)
        self.ui.externalPythonPathEdit.setCurrentPath(settings.read(settings.PYTHON))
        self.ui.wheelFolderPathEdit.setCurrentPath(settings.read(settings.WHEELS))
        qtbits.write(self.ui.workspaceDirectoryButton, "directory", str(logic.defaultWorkspace()))
        session.setUp = self.setUp
        qtbits.on(self.ui.setupEnvironmentButton, "clicked", self.setUp)
        qtbits.on(self.ui.refreshEnvironmentButton, "clicked", self.check)
        qtbits.on(self.ui.externalPythonPathEdit, "currentPathChanged", self.interpreterChanged)
        qtbits.on(self.ui.wheelFolderPathEdit, "currentPathChanged", self.wheelFolderChanged)
        qtbits.on(self.ui.workspaceDirectoryButton, "directoryChanged", self.workspaceChanged)
        self.refresh()

    # ---- what is there

    def check(self) -> None:
        """Ask the Python that computes what it has; the answer comes by the timer."""
        self.stop()
        self.session.environment, self._probe = None, environment.probe(chosenInterpreter())
        self._timer.start()
        self.refresh()

    def poll(self) -> None:
        """Take the answer once it is there."""
        found = self._probe.poll() if self._probe is not None else None
        if found is not None:
            self._probe, self.session.environment = None, found
            self._timer.stop()
            self.session.changed()

    def stop(self) -> None:
        """Ask no more."""
        self._timer.stop()
        if self._probe is not None:
            self._probe.stop()
            self._probe = None

    def refresh(self) -> None:
        """What computes, and a button where something is missing."""
        found = self.session.environment
        ready = found is not None and found.ready
        improvable = found is not None and any(code == "cpu-build" for code, _text in found.warnings)
        text = found.text if found else _("Looking for PyTorch and a GPU…")
        if found is not None and "torch" in found.missing:
            text = _("PyTorch is not installed (about {size}).").format(
                size=qtbits.size(environment.installPlan(found).bytesNeeded))
        self.ui.environmentStatusLabel.setText(self._note or text)
        self.ui.environmentStatusLabel.setToolTip("\n".join(text for _code, text in found.warnings) if found else "")
        self.ui.setupEnvironmentButton.setVisible(found is not None and (not ready or improvable))
        qtbits.offer(self.ui.refreshEnvironmentButton, [] if found else [_("Looking already.")], _(
            "Look again for PyTorch and a GPU."))
        names = [device.name for device in found.devices] if found else []
        self.ui.deviceComboBox.setToolTip(_("Automatic takes a GPU where there is one. Found: {what}.").format(
            what=", ".join(names) or _("CPU only")))

    # ---- what is missing

    def setUp(self) -> None:
        """Install what is missing, after one question; the only place from which anything is downloaded."""
        found = self.session.environment
        if found is None or self.session.jobs.running():
            self.session.say(_("Wait until the running job is done, then set up."))
            return
        wheels = settings.read(settings.WHEELS) or None
        plan = environment.installPlan(found, wheelFolder=wheels)
        if plan.route in ("none", "manual"):
            self.session.dialogs.inform(environment.consentText(plan))
            return
        if not self.session.dialogs.confirm(environment.consentText(plan), _("Set up AutoReg")):
            return
        self._note = _("Installing. This takes some minutes…")
        self.refresh()
        self.session.run(
            lambda: environment.install(plan, consented=True, log=self.session.say, wheelFolder=wheels),
            self.installed, self.notInstalled)

    def notInstalled(self, problem: Exception) -> None:
        """Say why, and what else can be done."""
        self._note = ""
        self.refresh()
        self.session.dialogs.inform("{1}\n\n{2}".format(*describe(problem)))

    def installed(self, restart: bool) -> None:
        """Installing ended well: look again, or restart."""
        self._note = ""
        if restart and self.session.dialogs.confirm(_("Slicer has to be restarted. Restart now?")):
            slicer.util.restart()
        self.check()

    # ---- what was chosen

    def interpreterChanged(self) -> None:
        """Another Python from the next job on; while a path is being typed nothing changes."""
        path = qtbits.read(self.ui.externalPythonPathEdit, "currentPath")
        absent = bool(path) and not Path(path).is_file()
        self._note = _("There is no Python at {path}.").format(path=path) if absent else ""
        self.refresh()
        if absent:
            return
        settings.write(settings.PYTHON, path)
        self.session.jobs.setInterpreter(chosenInterpreter())
        self.check()

    def wheelFolderChanged(self) -> None:
        """Install from this folder from now on."""
        settings.write(settings.WHEELS, qtbits.read(self.ui.wheelFolderPathEdit, "currentPath"))

    def workspaceChanged(self) -> None:
        """Jobs of the former folder go on; they are found again when the folder is chosen again."""
        folder = qtbits.read(self.ui.workspaceDirectoryButton, "directory")
        if folder and Path(folder) != logic.defaultWorkspace() and self.session.attempt(lambda: make_folder(folder)):
            settings.write(settings.WORKSPACE, folder)
            self.session.jobs = Jobs(folder, chosenInterpreter())
            self.session.jobs.attachExisting()
            self.session.poll()
