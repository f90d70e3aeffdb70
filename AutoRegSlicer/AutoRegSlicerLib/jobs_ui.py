"""Background jobs of the module: one detached process and one folder a job. No Qt, no MRML, no torch.

A timer of the widget calls :meth:`Jobs.poll`; nothing here waits, and nothing runs in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from AutoRegLib.jobs import JobRequest
from AutoRegSlicerLib.jobs.estimate import MemoryEstimate
from AutoRegSlicerLib.jobs.state import Failure, JobState, JobStatus, Stage

__all__ = ["Failure", "JobRequest", "JobState", "JobStatus", "Jobs", "MemoryEstimate", "Stage"]


class Jobs:
    """The jobs in ``workspace/jobs``: at most one runs, one more may wait.

    A registration that was asked to run on the CPU may run beside a long job. ``interpreter``: the Python that
    computes (None: Slicer's own); ``environment``: the variables it starts from (None: this process's, cleaned).
    """

    def __init__(
        self, workspace: str | Path, interpreter: str | Path | None = None,
        environment: Mapping[str, str] | None = None, *, maximumQueued: int = 1,
    ) -> None:
        raise NotImplementedError

    def create(self, verb: str, title: str) -> Path:
        """A new job folder with ``in/`` and ``out/``, in state Preparing; export into it, then submit."""
        raise NotImplementedError

    def submit(self, folder: str | Path, request: JobRequest) -> JobState:
        """Write ``job.json`` and start the job, or let it wait: returns Launching or Queued.

        Raises InputError when a job waits already, the folder holds another request, or the interpreter is absent.
        """
        raise NotImplementedError

    def fail(self, folder: str | Path, code: str, text: str, hint: str = "") -> None:
        """Preparing went wrong (export refused, preflight): the job becomes Failed with this reason."""
        raise NotImplementedError

    def poll(self) -> list[JobStatus]:
        """What is new, oldest job first: jobs of this session and those attached. Reads only what was appended.

        Starts the waiting job when its turn comes and carries a cancellation through. Call it every 500 ms.
        A finished job is Importing until markImported or setAside is called.
        """
        raise NotImplementedError

    def status(self, folder: str | Path) -> JobStatus:
        """The state at the last poll. Raises InputError for a folder that is no job here."""
        raise NotImplementedError

    def cancel(self, folder: str | Path) -> None:
        """Ask the process to stop; polls end it by force within 12 s. A waiting job is simply taken off."""
        raise NotImplementedError

    def finish(self, folder: str | Path) -> None:
        """Search, training: stop now and keep the best."""
        raise NotImplementedError

    def resume(self, folder: str | Path) -> JobState:
        """Start an Interrupted, Failed or Cancelled job again; search and training go on from their checkpoint."""
        raise NotImplementedError

    def discard(self, folder: str | Path, *, delete: bool = False) -> None:
        """Give an Interrupted job up (Cancelled), and delete its folder if asked to."""
        raise NotImplementedError

    def markImported(self, folder: str | Path) -> None:
        """The results are in the scene (or need not be): Done."""
        raise NotImplementedError

    def setAside(self, folder: str | Path) -> None:
        """The results could not be taken now (scene closed): DoneNotImported, offered again after a restart."""
        raise NotImplementedError

    def takeUp(self, folder: str | Path) -> None:
        """The user opens results that were set aside: Importing again."""
        raise NotImplementedError

    def attachExisting(self) -> list[JobStatus]:
        """Find the jobs of earlier sessions: those still running, interrupted ones, results not yet imported."""
        raise NotImplementedError

    def history(self) -> list[JobStatus]:
        """Every job in the workspace, newest first, finished ones too."""
        raise NotImplementedError

    def running(self) -> list[JobStatus]:
        """The jobs that have a process."""
        raise NotImplementedError

    def cleanUp(self, days: float = 7.0) -> int:
        """Delete finished jobs older than ``days``; returns the bytes freed. Results not imported stay."""
        raise NotImplementedError

    def storageBytes(self) -> int:
        """Bytes in the job folders."""
        raise NotImplementedError

    def estimate(self, request: JobRequest, folder: str | Path | None = None) -> MemoryEstimate:
        """What the request will need, from its recipe and the sizes of its images."""
        raise NotImplementedError

    def diagnostics(self, folder: str | Path) -> str:
        """Text for a report: request, versions, states, the error and the end of the log; no image data."""
        raise NotImplementedError

    def setInterpreter(self, interpreter: str | Path | None, environment: Mapping[str, str] | None = None) -> None:
        """Use another Python for jobs started from now on (None: Slicer's own)."""
        raise NotImplementedError
