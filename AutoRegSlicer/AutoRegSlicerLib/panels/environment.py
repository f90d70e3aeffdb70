"""The line at the top: what computes, how to get it, and under Advanced which Python and which folders are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoRegLib.core.records import make_folder
from AutoRegSlicerLib import environment, logic, settings
from AutoRegSlicerLib.jobs.jobs import Jobs
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.panels.setup import SetUp

PROBE_MILLISECONDS = 250
#: warnings that the user can do something about stand below the line, the others in its tooltip
TOLD = ("cpu-build", "driver", "old-torch", "torch-broken", "numpy")


def chosenInterpreter() -> str | None:
    """The Python chosen by the user, None for Slicer's own."""
    return settings.read(settings.PYTHON) or None


class EnvironmentPanel:
    """Asks the Python that computes what it has, and installs what is missing after one question."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self._probe: Any = None
        self._absent = ""  # a chosen path where there is no Python
        self._timer = qt.QTimer()
        self._timer.setInterval(PROBE_MILLISECONDS)
        qtbits.on(self._timer, "timeout", self.poll)
        self.ui.externalPythonPathEdit.setCurrentPath(settings.read(settings.PYTHON))
        self.ui.wheelFolderPathEdit.setCurrentPath(settings.read(settings.WHEELS))
        qtbits.write(self.ui.workspaceDirectoryButton, "directory", str(logic.defaultWorkspace()))
        self.setup = SetUp(session, refresh=self.refresh, check=lambda: self.check())
        qtbits.write(self.ui.stopJobsCheckBox, "checked", bool(settings.read(settings.STOP_JOBS)))
        session.setUp = self.setup.ask
        qtbits.on(self.ui.setupEnvironmentButton, "clicked", self.setup.ask)
        qtbits.on(self.ui.refreshEnvironmentButton, "clicked", self.check)
        qtbits.on(self.ui.externalPythonPathEdit, "currentPathChanged", self.interpreterChanged)
        qtbits.on(self.ui.wheelFolderPathEdit, "currentPathChanged", self.wheelFolderChanged)
        qtbits.on(self.ui.workspaceDirectoryButton, "directoryChanged", self.workspaceChanged)
        qtbits.on(self.ui.stopJobsCheckBox, "toggled", self.stopJobsChanged)
        self.refresh()

    # ---- what is there

    def check(self) -> None:
        """Ask the Python that computes what it has; the answer comes by the timer. Not while it is being changed."""
        if self.setup.text:
            return
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
            self.setup.goOn()

    def stop(self) -> None:
        """Ask no more."""
        self._timer.stop()
        if self._probe is not None:
            self._probe.stop()
            self._probe = None

    def refresh(self) -> None:
        """What computes, what is being installed, and a button where something is missing."""
        found = self.session.environment
        self.ui.environmentStatusLabel.setText(self.setup.text or self._absent or self._found(found))
        self.ui.environmentStatusLabel.setToolTip("\n".join(text for _code, text in found.warnings) if found else "")
        self.ui.setupEnvironmentButton.setVisible(
            bool(self.setup.text) or (found is not None and (not found.ready or found.warns("cpu-build"))))
        installing = [_("Being set up.")] if self.setup.text else []
        qtbits.offer(self.ui.setupEnvironmentButton, installing, _(
            "Install what AutoReg computes with, or choose a Python that has it. Nothing is downloaded before you "
            "agree."))
        qtbits.offer(self.ui.refreshEnvironmentButton, installing or ([] if found else [_("Looking already.")]), _(
            "Look again for PyTorch and a GPU."))
        names = [device.name for device in found.devices] if found else []
        if found is not None and found.mps:
            names.append(_("Apple GPU (experimental, used only when chosen)"))
        self.ui.deviceComboBox.setToolTip(_("Automatic takes a GPU where there is one. Found: {what}.").format(
            what=", ".join(names) or _("CPU only")))

    def _found(self, found: Any) -> str:
        if found is None:
            return str(_("Looking for PyTorch and a GPU…"))
        if found.state == "missing" and "torch" in found.missing:
            if environment.tooOldForTorch(found):
                return str(_("No PyTorch fits this Python, but another can be used: press “Set up…”."))
            return str(_("PyTorch is not installed (about {size}).").format(
                size=qtbits.size(environment.diskNeeded(found))))
        return "\n".join([found.text, *(text for code, text in found.warnings if code in TOLD)])

    # ---- what was chosen

    def interpreterChanged(self) -> None:
        """Another Python from the next job on; while a path is being typed nothing changes."""
        path = qtbits.read(self.ui.externalPythonPathEdit, "currentPath")
        absent = bool(path) and not Path(path).is_file()
        self._absent = _("There is no Python at {path}.").format(path=path) if absent else ""
        self.refresh()
        if absent:
            return
        settings.write(settings.PYTHON, path)
        self.session.jobs.setInterpreter(chosenInterpreter())
        self.check()

    def wheelFolderChanged(self) -> None:
        """Install from this folder from now on."""
        settings.write(settings.WHEELS, qtbits.read(self.ui.wheelFolderPathEdit, "currentPath"))

    def stopJobsChanged(self) -> None:
        """What becomes of running jobs when Slicer is closed."""
        settings.write(settings.STOP_JOBS, "yes" if qtbits.read(self.ui.stopJobsCheckBox, "checked") else "")

    def workspaceChanged(self) -> None:
        """Jobs of the former folder go on; they are found again when the folder is chosen again."""
        folder = qtbits.read(self.ui.workspaceDirectoryButton, "directory")
        if folder and Path(folder) != logic.defaultWorkspace() and self.session.attempt(lambda: make_folder(folder)):
            settings.write(settings.WORKSPACE, folder)
            self.session.jobs = Jobs(folder, chosenInterpreter())
            self.session.jobs.attachExisting()
            self.session.poll()
