"""One line for the footer and the next step, for every state and every coded failure."""

from __future__ import annotations

from pathlib import Path

from AutoRegSlicerLib.jobs.state import Failure, JobState

#: state: (line, next step). A next step is a word that the panels turn into a button.
STATES: dict[JobState, tuple[str, str]] = {
    JobState.Idle: ("", ""),
    JobState.Preparing: ("Preparing the inputs", ""),
    JobState.Queued: ("Waiting for the running job to end", "cancel"),
    JobState.Launching: ("Starting", "cancel"),
    JobState.Running: ("Running", "cancel"),
    JobState.Stalled: ("No sign of life for over a minute, but the process exists: wait, or cancel", "wait"),
    JobState.Finishing: ("Stopping, the best so far is kept", "cancel"),
    JobState.Cancelling: ("Cancelling", ""),
    JobState.Importing: ("Loading the results", ""),
    JobState.DoneNotImported: ("Done; the results are not in this scene yet", "openResult"),
    JobState.Done: ("Done", ""),
    JobState.Failed: ("Failed", "showLog"),
    JobState.Cancelled: ("Cancelled", ""),
    JobState.Interrupted: ("The job was interrupted when its process ended", "resume"),
}

#: failure code: (what happened, in the user's words; next step)
FAILURES: dict[str, tuple[str, str]] = {
    "input": ("The inputs cannot be used", "checkInput"),
    "environment": ("Something needed is not installed", "setUp"),
    "device": ("The chosen device cannot be used", "useCpu"),
    "memory": ("Not enough memory", "useCpu"),
    "diverged": ("Training diverged (the loss is not finite); the last good checkpoint is kept", "useCheckpoint"),
    "disk": ("The disk is full or not writable", "freeDisk"),
    "busy": ("Another process runs this job", "showLog"),
    "launch": ("The computation could not be started", "setUp"),
    "no-hello": ("The computation did not answer within a minute of its start", "showLog"),
    "result": ("The computation ended, but its results are not there", "showLog"),
    "error": ("An unexpected error", "showLog"),
}


def message(
    state: JobState, failure: Failure | None, *, stage: str = "", device: str = "", folder: Path | None = None,
    waited: bool = False, verb: str = "", killed: bool = False,
) -> tuple[str, str]:
    """The line and the next step. ``waited``: the job had not begun when the application closed;
    ``killed``: the process was ended by force, and not by us."""
    line, step = STATES[state]
    if state is JobState.Failed and failure is not None:
        line, step = FAILURES.get(failure.code, FAILURES["error"])
        line = f"{line}: {failure.text}" if failure.text else line
        if failure.code == "memory" and device == "cpu":
            step = "showLog"  # it ran there already
        if failure.code == "diverged" and not has_checkpoint(folder):
            step = "showLog"
    elif state is JobState.Running and stage:
        line = stage[:1].upper() + stage[1:]
    elif state is JobState.Interrupted and waited:
        line = "The job was still waiting when the application closed"
    elif state is JobState.Interrupted:
        if verb in ("search", "train"):
            line += "; it can go on from its last checkpoint" if has_checkpoint(folder) else "; it begins again"
        if killed:
            line += " (the system ends processes like this when memory runs out)"
    elif state is JobState.Cancelled and has_checkpoint(folder):
        step = "resume"
    return line, step


def has_checkpoint(folder: Path | None) -> bool:
    """Whether a resumed job would go on instead of beginning again."""
    return folder is not None and (folder / "out" / "checkpoint.pt").is_file()
