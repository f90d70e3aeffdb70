"""A sequence, frame by frame: one job after the other, until the last one or until the user stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus
from AutoRegSlicerLib.panels.session import Session
from AutoRegSlicerLib.registration.sequences import FrameByFrame
from AutoRegSlicerLib.wording import counted


class FrameJobs:
    """The jobs of a sequence. Finished frames stay, whatever becomes of the others."""

    def __init__(self, session: Session, work: FrameByFrame) -> None:
        self.session, self.work = session, work
        self.number = -1  # of the frame that is registered now
        self.folder: Path | None = None
        self.done: list[dict[str, Any]] = []  # reports
        self.failed: list[int] = []
        self.over = self._starting = False
        self.follow()

    @property
    def count(self) -> int:
        return len(self.work.frames)

    def owns(self, folder: Path) -> bool:
        return folder == self.folder

    def follow(self) -> None:
        """The next frame, when the present one is over and a job can start."""
        if self.over or self._starting:
            return
        if self.folder is not None:
            status = self.session.status(self.folder)  # None: its files are not kept
            if status is not None and not status.state.over:
                return
            if status is not None and status.state is JobState.Cancelled:
                self.over = True
                return
            if len(self.done) + len(self.failed) <= self.number:
                self.failed.append(self.number)
        if self.number + 1 >= self.count:
            self.over = True
        elif not self.session.obstacles():
            self._start(self.number + 1)

    def _start(self, number: int) -> None:
        self.number, self._starting = number, True  # launching looks at the jobs, and would be asked to follow
        title = _("{moving} to {fixed}, frame {number} of {count}").format(
            **self.work.names, number=number + 1, count=self.count)
        self.folder = self.session.launch("register", title, lambda folder: self.work.exportSteps(number, folder))
        self._starting = False

    def take(self, status: JobStatus) -> Any:
        """Bring a finished frame into the sequences, step by step."""
        result = yield from self.work.importSteps(self.number, status.folder)
        self.done.append(result.report)
        self.work.playTogether()
        return result

    def cancel(self) -> None:
        """No further frame; the present one is stopped."""
        self.over = True
        status = self.session.status(self.folder)
        if status is not None and not status.state.over:
            self.session.jobs.cancel(self.folder)

    def text(self) -> str:
        """Where it stands, in a line."""
        if not self.over:
            return _("Frame {number} of {count}; finished frames are in the scene already.").format(
                number=self.number + 1, count=self.count)
        parts = [counted(self.count, _("{done} of {n} frame registered; play it with the Sequences module."),
                         _("{done} of {n} frames registered; play them with the Sequences module."),
                         done=len(self.done))]
        if self.failed:
            parts.append(_("Failed: {frames}; see their jobs below.").format(
                frames=", ".join(str(number + 1) for number in self.failed)))
        folded = sum(1 for report in self.done if report.get("folds"))
        if self.done:
            parts.append(_("No folds.") if not folded else _("Folds in {count} of them.").format(count=folded))
        return " ".join(parts)
