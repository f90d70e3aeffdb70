"""A line when Slicer starts: what became of the jobs that ran on after it was closed. Reads small files only."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.jobs import lock_holder
from AutoRegSlicerLib.jobs import process, record
from AutoRegSlicerLib.jobs.state import ALIVE, JobState

MOST_FOLDERS = 50  # the newest; older ones are looked at when the module is opened
UNSEEN = {state.value for state in (*ALIVE, JobState.Queued, JobState.Importing)}


def line(workspace: Path) -> str:
    """What there is to say of jobs whose end nobody has seen; empty where there is nothing. Changes nothing."""
    running, done, stopped = [], [], []
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
            running.append(known.title)
        elif known.state == JobState.Importing.value or record.worker_state(folder).get("state") == "done":
            done.append(known.title)
        else:
            stopped.append(known.title)
    said = [text.format(titles=", ".join(f"“{title}”" for title in titles)) for titles, text in (
        (done, _("done: {titles}")), (running, _("still running: {titles}")), (stopped, _("interrupted: {titles}")),
    ) if titles]
    return _("AutoReg, {what}. Open AutoReg to go on.").format(what="; ".join(said)) if said else ""
