"""What the panels share: the scene, the jobs, the parameters, the models; and how work is cut into small steps.

No panel knows another one: each registers here what it does with the results of its kind of job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import slicer.util
from slicer.i18n import tr as _

from AutoRegLib.core.errors import AutoRegError
from AutoRegSlicerLib.jobs.jobs import JobRequest, Jobs, JobState, JobStatus
from AutoRegSlicerLib.panels import bundles, qtbits
from AutoRegSlicerLib.scene.previews import Previews

Steps = Generator[Any, None, Any]


class Session:
    """One per widget. ``parameters`` is the wrapped parameter node, None while there is none (scene closing)."""

    def __init__(self, ui: Any, scene: Any, jobs: Jobs, dialogs: qtbits.Dialogs) -> None:
        self.ui, self.scene, self.jobs, self.dialogs = ui, scene, jobs, dialogs
        self.parameters: Any = None
        self.previews = Previews(scene)
        self.away: set[str] = set()  # why nothing of ours is shown at present: another module, saving
        self.environment: Any = None  # of AutoRegSlicerLib.environment; None: not known yet
        self.settingUp = ""  # why nothing can start while packages are installed
        self.setUp: Callable[[], Any] = lambda: None  # starts the installation
        self.panels: list[Any] = []
        self.statuses: list[JobStatus] = []  # of the last poll
        self.models: list[bundles.Bundle] = []
        self.modelProblems: list[str] = []
        self.showTables: Callable[[tuple[Any, Any]], Any] = lambda tables: None  # of structures and of landmarks
        self.showResult: Callable[[], Any] = lambda: None  # of a registration, in the slice views
        self.importers: dict[str, Callable[[JobStatus], Any]] = {}  # verb: take the results
        self.ours: set[Path] = set()  # jobs whose inputs are in this scene
        self._taking: set[Path] = set()
        self._waiting = False

    # ---- what is shown for a moment

    def leave(self, reason: str) -> None:
        """Previews and comparisons are taken off the scene, as long as there is a reason."""
        self.previews.rest(reason)
        if not self.away:
            self._each("putAway")
        self.away.add(reason)

    def comeBack(self, reason: str) -> None:
        """The reason is gone; after the last one everything is shown again."""
        self.previews.resume(reason)
        if self.away == {reason}:
            self.away.clear()
            self._each("showAgain")
        self.away.discard(reason)

    def _each(self, name: str) -> None:
        for panel in self.panels:
            if hasattr(panel, name):
                getattr(panel, name)()

    # ---- telling

    def changed(self) -> None:
        """Something the panels depend on changed: each looks again, once, when the present events are done."""
        if not self._waiting:
            self._waiting = True
            qtbits.soon(self.refresh)

    def refresh(self) -> None:
        """Every panel looks again now."""
        self._waiting = False
        for panel in self.panels:
            panel.refresh()

    def say(self, text: str) -> None:
        """One line in the status bar."""
        slicer.util.showStatusMessage(text, 5000)

    def attempt(self, action: Callable[[], Any]) -> bool:
        """Do it; when it cannot be done, say why in the status bar. Returns whether it was done."""
        try:
            action()
        except AutoRegError as problem:
            _code, text, hint = describe(problem)
            self.say(f"{text} {hint}".strip())
            return False
        return True

    def attemptAt(self, label: Any, action: Callable[[], Any]) -> None:
        """Do it; when it cannot be done, say why in the label, which is empty otherwise."""
        try:
            action()
        except Exception as problem:
            self.explain(label, problem)
        else:
            qtbits.show(label, "")

    def explain(self, label: Any, problem: Exception) -> None:
        """A failure and the next step, in a label."""
        _code, text, hint = describe(problem)
        qtbits.show(label, f"{text} {hint}".strip())

    def modelsChanged(self) -> None:
        """Read the model folders again."""
        self.models, self.modelProblems = bundles.list_bundles()
        self.changed()

    # ---- what stands against starting a job

    def obstacles(self) -> list[str]:
        """Reasons why no job of any kind can start, in words."""
        if self.environment is None:
            return [self.settingUp or _("Still looking for PyTorch and a GPU.")]
        if not self.environment.ready:
            return [_("PyTorch is not ready: choose “Set up…” at the top.")]
        if self.parameters is not None and self.environment.lacks(self.parameters.device.value):
            return [_("“{device}” is chosen, but there is none: choose another under Register, Advanced, Compute on."
                      ).format(device=self.parameters.device.label())]
        if any(status.state is JobState.Queued for status in self.statuses):
            return [_("A job is waiting already: wait until it has started, or cancel it below.")]
        return []

    def busy(self) -> bool:
        """Whether a job runs, so that a new one would wait."""
        return any(status.state.alive or status.state is JobState.Preparing for status in self.statuses)

    def status(self, folder: Path | None) -> JobStatus | None:
        """What the last poll knew of a job."""
        return next((status for status in self.statuses if status.folder == folder), None)

    # ---- jobs

    def launch(self, verb: str, title: str, prepare: Callable[[Path], Steps | JobRequest]) -> Path:
        """Make a job: ``prepare`` exports into its folder (step by step, if it is a generator), then it starts."""
        folder = self.jobs.create(verb, title)
        self.ours.add(folder)
        self.poll()

        def submit(request: JobRequest) -> None:
            estimate = self.jobs.estimate(request, folder, self.environment)
            if not estimate.fits:
                self.say(estimate.text)
            self.jobs.submit(folder, request)
            self.poll()

        def refused(problem: Exception) -> None:
            code, text, hint = describe(problem)
            self.jobs.fail(folder, code, text, hint)
            self.poll()

        self.run(lambda: prepare(folder), submit, refused)
        return folder

    def run(
        self, work: Callable[[], Steps | Any], done: Callable[[Any], Any], failed: Callable[[Exception], Any]
    ) -> None:
        """Do ``work`` without freezing the window: a generator advances one step each time Qt is idle.

        Meanwhile nothing is previewed: what is computed with, or written, is what the nodes are.
        """
        self.previews.rest(work)

        def guarded(action: Callable[[], Any]) -> None:
            try:
                action()
            except Exception as problem:
                logging.debug("AutoReg: %s", problem, exc_info=not isinstance(problem, AutoRegError))
                self.previews.resume(work)
                failed(problem)

        def finish(result: Any) -> None:
            self.previews.resume(work)
            done(result)

        def advance(steps: Steps) -> None:
            try:
                next(steps)
            except StopIteration as end:
                finish(end.value)
            else:
                qtbits.soon(lambda: guarded(lambda: advance(steps)))

        def begin() -> None:
            result = work()
            if isinstance(result, Generator):
                advance(result)
            else:
                finish(result)

        qtbits.soon(lambda: guarded(begin))

    def poll(self) -> None:
        """Look at the jobs, take what is ready, tell the panels. Called by a timer."""
        self.statuses = self.jobs.poll()
        if qtbits.saving():
            self.leave("saving")
        elif qtbits.modal() is None:  # what saving asks stands over its dialog
            self.comeBack("saving")
        if not self._occupied():
            for status in self.statuses:
                if status.state is JobState.Importing and status.folder not in self._taking:
                    self._take(status)
        for panel in self.panels:
            if hasattr(panel, "follow"):
                panel.follow(self.statuses)
        self.changed()

    def _occupied(self) -> bool:
        """Whether the scene is being loaded or closed, or a dialog waits for an answer: results wait as well."""
        return bool(self.scene.IsBatchProcessing()) or qtbits.modal() is not None

    def _take(self, status: JobStatus) -> None:
        """Results are complete: bring them into the scene, or keep them until the user asks for them."""
        take = self.importers.get(status.verb)
        if take is None:
            self.jobs.markImported(status.folder)
        elif status.folder in self.ours or status.verb in ("search", "train"):
            self._taking.add(status.folder)
            self.run(lambda: take(status), lambda _result: self._taken(status), lambda p: self._lost(status, p))
        else:
            self.jobs.setAside(status.folder)

    def _taken(self, status: JobStatus) -> None:
        self._taking.discard(status.folder)
        self.jobs.markImported(status.folder)
        self.say(_("{title}: done.").format(title=status.title))
        if status.verb == "register" and self.parameters is not None and not self.parameters.keepJobFiles:
            self.jobs.discard(status.folder, delete=True)
        self.poll()

    def _lost(self, status: JobStatus, problem: Exception) -> None:
        """The result could not be taken: it stays on the disk and can be opened again."""
        self._taking.discard(status.folder)
        self.ours.discard(status.folder)
        self.jobs.setAside(status.folder)
        self.say(_("{title}: the result could not be loaded. {why}").format(
            title=status.title, why=describe(problem)[1]))
        self.poll()

    def openResult(self, folder: Path) -> None:
        """Take results that were set aside into this scene."""
        self.ours.add(folder)
        self.jobs.takeUp(folder)
        self.poll()

    def sceneClosed(self) -> None:
        """Jobs go on; their results are offered instead of loaded, since their inputs are gone."""
        self.ours.clear()
        self.previews.clear()


def describe(problem: Exception) -> tuple[str, str, str]:
    """Code, sentence and next step of any failure, in words."""
    if isinstance(problem, AutoRegError):
        return problem.code, sentence(problem), problem.remedy
    return "error", f"{type(problem).__name__}: {problem}", _("Copy the diagnostics and report this.")


def sentence(problem: AutoRegError) -> str:
    """What was wrong and what was found, without the remedy."""
    what = problem.what[:1].upper() + problem.what[1:].rstrip(".")
    return f"{what} ({problem.got})." if problem.got is not None else f"{what}."
