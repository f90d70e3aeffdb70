"""A line when Slicer starts: what became of the jobs that ran on after it was closed. Reads small files only."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.jobs import lock_holder
from AutoRegSlicerLib.jobs import process, record
from AutoRegSlicerLib.jobs.state import ALIVE, JobState

MOST_FOLDERS = 50  # the newest; older ones are looked at when the module is opened
#: of a job whose end nobody saw; one that was being cancelled ended as its user wished
UNSEEN = {state.value for state in (*ALIVE, JobState.Queued, JobState.Importing) if state is not JobState.Cancelling}


def line(workspace: Path) -> str:
    """What there is to say of jobs whose end nobody has seen; empty where there is nothing. Changes nothing."""
    found: dict[str, list[str]] = {"done": [], "running": [], "failed": [], "interrupted": []}
    try:
        folders = record.job_folders(workspace / "jobs")[-MOST_FOLDERS:]
    except OSError:  # a disk that is not there, a folder of somebody else: said when the module is opened
        return ""
    for folder in folders:
        try:
            known = record.read_record(folder)
        except (AutoRegError, OSError):
            continue
        if known.state not in UNSEEN or process.marked_lives(known.owner):
            continue  # its end was seen, or another Slicer looks after it
        if process.marked_lives(lock_holder(folder)) or process.marked_lives(known.process):
            end = "running"
        elif known.state == JobState.Importing.value:
            end = "done"
        else:
            end = str(record.worker_state(folder).get("state"))
            end = end if end in ("done", "failed", "cancelled") else "interrupted"
        if end in found:
            found[end].append(f"“{known.title}”")
    texts = {"done": _("done: {titles}"), "running": _("still running: {titles}"), "failed": _("failed: {titles}"),
             "interrupted": _("interrupted: {titles}")}
    said = [texts[end].format(titles=", ".join(titles)) for end, titles in found.items() if titles]
    return _("AutoReg, {what}. Open AutoReg to go on.").format(what="; ".join(said)) if said else ""
