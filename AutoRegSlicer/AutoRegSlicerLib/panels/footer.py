"""The job below all tabs: what it does, how long it still takes, how it ended and what to do next."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus
from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.session import Session

LOG_LINES = 5000
CONFIRM_SECONDS = 300  # cancelling something older than this asks first


def state_text(state: JobState) -> str:
    """A state in words."""
    return {
        JobState.Idle: _("Idle"), JobState.Preparing: _("Preparing"), JobState.Queued: _("Waiting for its turn"),
        JobState.Launching: _("Starting"), JobState.Running: _("Running"), JobState.Stalled: _("Not responding"),
        JobState.Finishing: _("Stopping, keeping the best"), JobState.Cancelling: _("Cancelling"),
        JobState.Importing: _("Loading the result"), JobState.DoneNotImported: _("Done, result not loaded"),
        JobState.Done: _("Done"), JobState.Failed: _("Failed"), JobState.Cancelled: _("Cancelled"),
        JobState.Interrupted: _("Interrupted"),
    }[state]


def next_step_text(key: str) -> str:
    """What the user may do now, for the keys of ``JobStatus.nextStep``."""
    return {
        "resume": _("Resume goes on from the last checkpoint."), "discard": _("Discard gives it up."),
        "wait": _("Wait, or cancel."), "cancel": _("Cancel it if this takes too long."),
        "setUp": _("Choose “Set up…” at the top."),
        "useCpu": _("Choose “CPU” under Register, Advanced, Compute on; then start again."),
        "showLog": _("Open the log below, or copy the diagnostics."),
        "freeDisk": _("Free disk space (Models, Clean up jobs) or choose another jobs folder; then resume."),
        "useCheckpoint": _("Resume uses the last good checkpoint."),
        "openResult": _("Open result loads it into this scene."),
        "checkInput": _("Check the inputs, then start again."),
    }.get(key, "")


class JobFooter:
    """Shows one job: the one that runs, else the last; or the one chosen in the list."""

    def __init__(self, session: Session) -> None:
        self.session, self.ui = session, session.ui
        self.chosen: Path | None = None
        self.past: list[JobStatus] = []
        self._log = self._listed = None
        for button, action in {
            "jobCancelButton": self.cancel, "jobResumeButton": self.resume, "jobDiscardButton": self.discard,
            "openJobFolderButton": self.openFolder, "copyDiagnosticsButton": self.copyDiagnostics,
        }.items():
            qtbits.on(getattr(self.ui, button), "clicked", action)
        qtbits.on(self.ui.jobHistoryComboBox, "currentIndexChanged", self.choose)
        self.refresh()

    def shown(self) -> JobStatus | None:
        """The job on display."""
        statuses = self.session.statuses
        if self.chosen is not None:
            past = next((status for status in self.past if status.folder == self.chosen), None)
            return self.session.status(self.chosen) or past
        busy = [status for status in statuses if not status.state.over]
        return busy[0] if busy else statuses[-1] if statuses else None

    def follow(self, statuses: list[JobStatus]) -> None:
        """A new job takes the display; the list is read again when a job came or ended."""
        mark = [(status.folder, status.state) for status in statuses]
        if mark != self._listed:
            if self._listed is not None and len(mark) > len(self._listed):
                self.chosen = None
            self._listed = mark
            self.readHistory()

    def readHistory(self) -> None:
        """The list of all jobs of the workspace, newest first."""
        self.past = self.session.jobs.history()
        texts = [_("Present job")] + [f"{status.title}: {state_text(status.state)}" for status in self.past]
        folders = [None, *(status.folder for status in self.past)]
        current = folders.index(self.chosen) if self.chosen in folders else 0
        qtbits.fill(self.ui.jobHistoryComboBox, texts, current)

    def choose(self) -> None:
        index = int(qtbits.read(self.ui.jobHistoryComboBox, "currentIndex"))
        self.chosen = self.past[index - 1].folder if 0 < index <= len(self.past) else None
        self.refresh()

    def refresh(self) -> None:
        """Everything about the shown job."""
        ui, status = self.ui, self.shown()
        state = status.state if status else JobState.Idle
        for name in ("jobProgressBar", "stageProgressBar", "jobEtaLabel", "jobMemoryLabel", "jobLogGroupBox",
                     "jobCancelButton", "openJobFolderButton", "copyDiagnosticsButton"):
            getattr(ui, name).setVisible(status is not None)
        ui.jobHistoryComboBox.setVisible(bool(self.past))
        resumable = state is JobState.Interrupted or (status is not None and status.nextStep in (
            "resume", "useCheckpoint"))
        ui.jobResumeButton.setVisible(resumable or state is JobState.DoneNotImported)
        ui.jobResumeButton.setText(_("Open result") if state is JobState.DoneNotImported else _("Resume"))
        ui.jobResumeButton.setToolTip(_("Load the result into this scene.") if state is JobState.DoneNotImported
                                      else _("Go on from the last checkpoint."))
        ui.jobDiscardButton.setVisible(state is JobState.Interrupted)
        if status is None:
            ui.jobTitleLabel.setText(_("No job is running."))
            qtbits.show(ui.jobMessageLabel, "")
            return
        ui.jobTitleLabel.setText(f"{status.title}: {state_text(state)}")
        cannot = [] if not state.over and state not in (JobState.Cancelling, JobState.Importing) else [
            _("It has ended.") if state.over else _("It is ending already.")]
        qtbits.offer(ui.jobCancelButton, cannot, _("Stop this job. What it found so far stays in its folder."))
        self._progress(status)
        self._message(status)
        self._showLog(status)

    def _progress(self, status: JobStatus) -> None:
        running = status.state in (JobState.Launching, JobState.Running, JobState.Finishing)
        self.ui.jobProgressBar.setMaximum(0 if status.state is JobState.Launching else 1000)
        self.ui.jobProgressBar.setValue(round(1000 * status.fraction))
        self.ui.stageProgressBar.setVisible(running and status.stage.count > 1)
        self.ui.stageProgressBar.setValue(round(1000 * status.stageFraction))
        self.ui.stageProgressBar.setFormat(_("{name} ({index} of {count})").format(
            name=status.stage.name.capitalize(), index=status.stage.index + 1, count=status.stage.count))
        eta = "" if status.etaSeconds is None or not running else _("About {time} left").format(
            time=qtbits.duration(status.etaSeconds)) if status.etaSeconds >= 1 else _("Almost done")
        if status.state.over and status.secondsRunning:
            eta = _("Took {time}").format(time=qtbits.duration(status.secondsRunning))
        self.ui.jobEtaLabel.setText(eta)
        device = {"cuda": _("GPU"), "cpu": _("CPU"), "mps": _("Apple GPU")}.get(status.device, "")
        used = "" if not status.memory or not running else _("{used} of {total} memory").format(
            used=qtbits.size(status.memory[0]), total=qtbits.size(status.memory[1]))
        self.ui.jobMemoryLabel.setText(" · ".join(text for text in (device, used) if text))

    def _message(self, status: JobStatus) -> None:
        """One line about the state, why it failed, the newest warning, and the next step."""
        running = status.state is JobState.Running  # then the bars say what it does
        parts = [status.error.text, status.error.hint] if status.error else [] if running else [status.message]
        if not status.error and status.warnings:
            parts.append(status.warnings[-1][1])
        parts += [] if running else [next_step_text(status.nextStep)]
        lines = dict.fromkeys(part.strip() for part in parts if part and part.strip())
        text = " ".join(line if line[-1] in ".!?…" else line + "." for line in lines)
        qtbits.show(self.ui.jobMessageLabel, text)

    def _showLog(self, status: JobStatus) -> None:
        if (status.folder, status.logTail) == self._log or qtbits.read(self.ui.jobLogGroupBox, "collapsed"):
            return
        self._log = (status.folder, status.logTail)
        self.ui.jobLogTextEdit.setPlainText("\n".join(status.logTail.splitlines()[-LOG_LINES:]))
        bar = self.ui.jobLogTextEdit.verticalScrollBar()
        bar.setValue(qtbits.read(bar, "maximum"))

    # ---- buttons

    def cancel(self) -> None:
        status = self.shown()
        if status is None or status.state.over:
            return
        old = status.created and time.time() - status.created > CONFIRM_SECONDS
        if old and not self.session.dialogs.confirm(
            _("“{title}” has been running for {time}. Stop it?").format(
                title=status.title, time=qtbits.duration(time.time() - status.created))):
            return
        self._ask(lambda: self.session.jobs.cancel(status.folder))

    def _ask(self, action: Callable[[], Any]) -> None:
        """Tell the jobs, or say why it cannot be done; then look again."""
        self.session.attempt(action)
        self.session.poll()

    def resume(self) -> None:
        status = self.shown()
        if status is not None and status.state is JobState.DoneNotImported:
            self._ask(lambda: self.session.openResult(status.folder))
        elif status is not None:
            self._ask(lambda: self.session.jobs.resume(status.folder))

    def discard(self) -> None:
        status = self.shown()
        if status is not None:
            self._ask(lambda: self.session.jobs.discard(status.folder))

    def openFolder(self) -> None:
        status = self.shown()
        if status is not None:
            qtbits.open_folder(status.folder)

    def copyDiagnostics(self) -> str:
        """Versions, settings, error and the end of the log, to the clipboard."""
        status: Any = self.shown()
        text = "" if status is None else self.session.jobs.diagnostics(status.folder)
        slicer.app.clipboard().setText(text)
        self.session.say(_("Diagnostics copied. They hold no image data."))
        return text
