"""Registration from scripts: one pair of nodes, or a table of files, through the same jobs as the panels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import AutoRegError, CancelledError, InputError
from AutoRegLib.core.jobs import JobRequest
from AutoRegLib.core.pair_table import FIGURES, GUIDE_FIGURES, SUMMARY, read_pair_table
from AutoRegLib.core.tables import read_table
from AutoRegSlicerLib import settings
from AutoRegSlicerLib.registration.checks import checkRegistration, require
from AutoRegSlicerLib.registration.exports import exportRegistration, finish
from AutoRegSlicerLib.registration.results import importRegistration
from AutoRegSlicerLib.registration.sequences import FrameByFrame, frameInputs, frameOutputs, frames
from AutoRegSlicerLib.scene.values import Node, RegistrationInputs, RegistrationOutputs, RegistrationResult
from AutoRegSlicerLib.wording import counted

_POLL_SECONDS = 0.1


def registerVolumes(
    fixedVolume: Node, movingVolume: Node, model: str, *, outputs: RegistrationOutputs | None = None,
    jobs: Any = None, wait: bool = True, timeoutSeconds: float | None = None,
    onStatus: Callable[[Any], None] | None = None, **more: Any,
) -> RegistrationResult | Path:
    """Register two volume nodes in a background process and import the result: the door for scripts.

    ``model``: a bundle's folder or name, or "none" (with ``refine="auto"``: no training is needed). ``more``: the
    other fields of :class:`RegistrationInputs` (segmentations, landmarks, masks, guides, roi, initialTransform, affine,
    refine, similarity, deliver, inverse, device). ``outputs``: default is transform, warped volume and Jacobian map,
    and warped labels when there is a moving segmentation. ``jobs``: a ``jobs_ui.Jobs``; by default one in Slicer's
    own job folder. ``wait`` False returns the job folder at once: call ``importRegistration(scene, folder)`` when it is
    done. ``onStatus(JobStatus)`` is called while waiting.

    Raises InputError (a check fails), CancelledError, AutoRegError (the job failed; it says why and what to do).

    Example, in Slicer's Python console::

        from AutoRegSlicerLib.logic import registerVolumes
        result = registerVolumes(fixed, moving, "/data/models/brain", movingSegmentation=labels)
        print(result.transform.GetName(), result.report["folds"])
    """
    inputs = RegistrationInputs(fixedVolume, movingVolume, str(model), **more)
    outputs = outputs or RegistrationOutputs(createSegmentation=inputs.movingSegmentation is not None,
                                             createInverse=inputs.inverse)
    scene = fixedVolume.GetScene()
    require(checkRegistration(scene, inputs, outputs))
    jobs = jobs or defaultJobs()
    folder = jobs.create("register", f"{movingVolume.GetName()} to {fixedVolume.GetName()}")
    _submit(jobs, folder, lambda folder: exportRegistration(inputs, folder, outputs))
    if not wait:
        return folder
    waitFor(jobs, folder, timeoutSeconds=timeoutSeconds, onStatus=onStatus)
    result = importRegistration(scene, folder, inputs, outputs)
    jobs.markImported(folder)
    return result


def registerSequence(
    fixedVolume: Node, movingSequence: Node, model: str, *, outputs: RegistrationOutputs | None = None,
    jobs: Any = None, timeoutSeconds: float | None = None, onStatus: Callable[[Any], None] | None = None, **more: Any,
) -> dict[str, Node]:
    """Register every frame of a sequence of volumes onto one volume, one job each.

    Returns the sequences of results by kind: "volume" and "transform", as ``outputs`` asks (default: both), with the
    index values of the moving one. The other arguments are those of :func:`registerVolumes`; ``timeoutSeconds`` is for
    each frame. Raises as it does, at the first frame that fails; the sequences then hold the frames before it.
    """
    scene, found = fixedVolume.GetScene(), frames(movingSequence)
    inputs = frameInputs(RegistrationInputs(fixedVolume, None, str(model), **more), found[0][1] if found else None)
    outputs = frameOutputs(outputs or RegistrationOutputs())
    require(checkRegistration(scene, inputs, outputs))
    jobs = jobs or defaultJobs()
    work = FrameByFrame(scene, movingSequence, inputs, outputs)
    for number in range(len(found)):
        folder = jobs.create("register", f"{movingSequence.GetName()} {number + 1} to {fixedVolume.GetName()}")
        _submit(jobs, folder, lambda folder, number=number: finish(work.exportSteps(number, folder)))
        waitFor(jobs, folder, timeoutSeconds=timeoutSeconds, onStatus=onStatus)
        finish(work.importSteps(number, folder))
        jobs.markImported(folder)
    work.playTogether()
    return work.made


def _submit(jobs: Any, folder: Path, prepare: Callable[[Path], JobRequest]) -> None:
    """Export into the job's folder and start it; what goes wrong before is noted on the job."""
    try:
        request = prepare(folder)
    except AutoRegError as problem:
        jobs.fail(folder, problem.code, str(problem), problem.remedy)
        raise
    jobs.submit(folder, request)


def registerCases(
    table: str | Path, model: str, output: str | Path, *, jobs: Any = None, device: str = "auto",
    onStatus: Callable[[Any], None] | None = None, **arguments: Any,
) -> list[dict[str, Any]]:
    """Register every line of a CSV table in one job, one folder each below ``output``; a line that fails does not stop
    the rest.

    Columns fixed, moving; optional name and the others of ``AutoRegLib.core.pair_table``; paths relative to the table.
    ``arguments``: further options of ``autoreg batch`` (affine, refine, inverse, resume, ...). Returns what
    ``output/summary.csv`` says of each line, with its folder.
    Raises InputError (the table; results of another batch in ``output``), DiskError, CancelledError.
    """
    pairs, folder = read_pair_table(table), Path(output)
    request = JobRequest("batch", {
        "table": str(Path(table).resolve()), "model": str(model), "output": str(folder.resolve()), "device": device,
        **arguments})
    jobs, others = jobs or defaultJobs(), (folder / SUMMARY).is_file()
    job = jobs.create("batch", counted(
        len(pairs), "{n} pair of {table}", "{n} pairs of {table}", table=Path(table).name))
    jobs.submit(job, request)
    try:
        waitFor(jobs, job, onStatus=onStatus)
        jobs.markImported(job)
    except CancelledError:
        raise
    except AutoRegError:
        if others or not any(row["state"] == "failed" for row in readSummary(folder)):
            raise  # else every pair failed, and the summary says why
    return readSummary(folder)


def readSummary(folder: Path) -> list[dict[str, Any]]:
    """The lines of the summary in the folder of a batch, figures as numbers; none where there is no such file."""
    try:
        lines = read_table(folder / SUMMARY, "the summary")
    except InputError:
        return []
    figures = (*FIGURES, *GUIDE_FIGURES)
    return [{key: _number(value) if key in figures else value for key, value in line.items() if value}
            | {"folder": str(folder / line["name"])} for line in lines if line.get("name")]


def _number(text: str) -> float:
    """A figure; what is none, in a damaged table, is not known."""
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return math.nan


def waitFor(
    jobs: Any, folder: str | Path, *, timeoutSeconds: float | None = None,
    onStatus: Callable[[Any], None] | None = None,
) -> Any:
    """Poll until the job's results wait to be taken; returns its last status.

    Raises CancelledError, AutoRegError (failed, interrupted, or not done in time; the job then goes on).
    """
    began, states = time.monotonic(), _states()
    while True:
        jobs.poll()
        status = jobs.status(folder)
        if onStatus is not None:
            onStatus(status)
        if status.state in (states.Importing, states.DoneNotImported, states.Done):
            return status
        if status.state is states.Cancelled:
            raise CancelledError("the registration was cancelled")
        if status.state in (states.Failed, states.Interrupted):
            error = status.error
            if error is None:
                raise AutoRegError("the registration was interrupted", remedy=f"see {Path(folder) / 'log.txt'}")
            problem = AutoRegError(error.text, remedy="" if error.hint in error.text else error.hint)
            problem.code = error.code
            raise problem
        if timeoutSeconds is not None and time.monotonic() - began > timeoutSeconds:
            raise AutoRegError(f"the registration did not end within {timeoutSeconds:g} s; it goes on",
                               remedy=f"import {folder} later")
        _breathe()


def defaultJobs() -> Any:
    """Jobs of scripts: a folder of their own below the panels' one, so that no result is imported twice.

    They run with the Python that was chosen in the panel.
    """
    from AutoRegSlicerLib.jobs.jobs import Jobs

    return Jobs(settings.defaultWorkspace() / "scripts", settings.read(settings.PYTHON) or None)


def _breathe() -> None:
    """Wait a little; the application goes on drawing meanwhile."""
    app = settings.application()
    if hasattr(app, "processEvents"):
        app.processEvents()
    time.sleep(_POLL_SECONDS)


def _states() -> Any:
    from AutoRegSlicerLib.jobs.jobs import JobState

    return JobState
