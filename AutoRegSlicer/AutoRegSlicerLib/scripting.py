"""Registration from scripts: one pair of nodes, or a table of files, through the same jobs as the panels."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import AutoRegError, CancelledError, InputError
from AutoRegLib.core.jobs import JobRequest
from AutoRegLib.core.records import make_folder, write_text
from AutoRegSlicerLib import settings
from AutoRegSlicerLib.checks import checkRegistration, require
from AutoRegSlicerLib.exports import exportRegistration
from AutoRegSlicerLib.results import importRegistration, readReport
from AutoRegSlicerLib.values import Node, RegistrationInputs, RegistrationOutputs, RegistrationResult

_POLL_SECONDS = 0.1
_FILES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks", "fixed_mask",
          "moving_mask", "initial_transform")
SUMMARY = ("name", "state", "dice_before", "dice", "hd95_mm", "tre_before_mm", "tre_mm", "folds", "seconds", "error",
           "folder")


def registerVolumes(
    fixedVolume: Node, movingVolume: Node, model: str, *, outputs: RegistrationOutputs | None = None,
    jobs: Any = None, wait: bool = True, timeoutSeconds: float | None = None,
    onStatus: Callable[[Any], None] | None = None, **more: Any,
) -> RegistrationResult | Path:
    """Register two volume nodes in a background process and import the result: the door for scripts.

    ``model``: a bundle's folder or name, or "none" (with ``refine="auto"``: no training is needed). ``more``: the
    other fields of :class:`RegistrationInputs` (segmentations, landmarks, masks, initialTransform, affine, refine,
    similarity, inverse, device). ``outputs``: default is transform, warped volume and Jacobian map, and warped
    labels when there is a moving segmentation. ``jobs``: a ``jobs_ui.Jobs``; by default one in Slicer's own job
    folder. ``wait`` False returns the job folder at once: call ``importRegistration(scene, folder)`` when it is
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
    try:
        request = exportRegistration(inputs, folder, outputs)
    except AutoRegError as problem:
        jobs.fail(folder, problem.code, str(problem), problem.remedy)
        raise
    jobs.submit(folder, request)
    if not wait:
        return folder
    waitFor(jobs, folder, timeoutSeconds=timeoutSeconds, onStatus=onStatus)
    result = importRegistration(scene, folder, inputs, outputs)
    jobs.markImported(folder)
    return result


def registerCases(
    table: str | Path, model: str, output: str | Path, *, jobs: Any = None, device: str = "auto",
    onStatus: Callable[[Any], None] | None = None, **arguments: Any,
) -> list[dict[str, Any]]:
    """Register every line of a CSV table, one folder each below ``output``; a line that fails does not stop the rest.

    Columns fixed, moving; optional name, fixed_labels, moving_labels, fixed_landmarks, moving_landmarks,
    fixed_mask, moving_mask, initial_transform; paths relative to the table. ``arguments``: further options of
    ``autoreg register`` (affine, refine, inverse, ...). Returns, and writes as ``output/summary.csv``, per line
    what ``SUMMARY`` names. Raises InputError (the table), DiskError, CancelledError when a job is cancelled.
    """
    lines = _readTable(Path(table))
    output = make_folder(output)
    jobs = jobs or defaultJobs()
    rows = []
    for name, files in lines:
        row: dict[str, Any] = {"name": name, "folder": str(output / name)}
        try:
            folder = jobs.create("register", name)
            jobs.submit(folder, JobRequest("register", {
                "model": str(model), **files, "output": str(output / name), "device": device, **arguments}))
            waitFor(jobs, folder, onStatus=onStatus)
            jobs.markImported(folder)
            row |= {"state": "done", **_figures(readReport(output / name))}
        except CancelledError:
            raise
        except AutoRegError as problem:
            row |= {"state": "failed", "error": str(problem)}
        rows.append(row)
        _writeSummary(rows, output / "summary.csv")
    return rows


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
    from AutoRegSlicerLib.jobs_ui import Jobs

    return Jobs(settings.defaultWorkspace() / "scripts", settings.read(settings.PYTHON) or None)


def _breathe() -> None:
    """Wait a little; the application goes on drawing meanwhile."""
    app = settings.application()
    if hasattr(app, "processEvents"):
        app.processEvents()
    time.sleep(_POLL_SECONDS)


def _states() -> Any:
    from AutoRegSlicerLib.jobs_ui import JobState

    return JobState


def _readTable(table: Path) -> list[tuple[str, dict[str, str]]]:
    try:
        lines = list(csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"cannot read the table {table}", expected="a CSV file", got=problem,
                         remedy="check the path") from None
    if not lines or not {"fixed", "moving"} <= set(lines[0]):
        raise InputError(f"{table} is not a table of pairs", expected="columns fixed, moving and a line per pair",
                         got=", ".join(lines[0]) if lines else "no lines", remedy="add the header line")
    result: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(lines, start=1):
        name = (line.get("name") or "").strip() or f"pair{number:03d}"
        if any(name == other for other, _ in result) or name != Path(name).name:
            raise InputError(f"line {number} of {table}: the name '{name}' is used twice or is no folder name",
                             expected="one short name per line", remedy="change the name")
        named = {key: (line.get(key) or "").strip() for key in _FILES}
        files = {key: str((table.parent / text).resolve()) for key, text in named.items() if text}
        result.append((name, files))
    return result


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    figures = {key: report[key] for key in ("hd95_mm", "tre_before_mm", "tre_mm", "folds", "seconds") if key in report}
    for key in ("dice_before", "dice"):
        if "mean" in report.get(key, {}):
            figures[key] = report[key]["mean"]
    return figures


def _writeSummary(rows: list[dict[str, Any]], path: Path) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, SUMMARY, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())
