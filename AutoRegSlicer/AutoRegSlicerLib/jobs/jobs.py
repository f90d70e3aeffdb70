"""Background jobs of the module: one detached process and one folder a job. No Qt, no MRML, no torch.

A timer of the widget calls :meth:`Jobs.poll`; nothing here waits, and nothing runs in a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from AutoRegLib.core.errors import AutoRegError, InputError
from AutoRegLib.core.jobs import JobRequest, read_request, write_request
from AutoRegLib.core.locks import process_mark
from AutoRegLib.core.records import make_folder
from AutoRegSlicerLib.environment import cleanEnvironment, slicerInterpreter
from AutoRegSlicerLib.environment.probing import Environment
from AutoRegSlicerLib.jobs import process, record
from AutoRegSlicerLib.jobs.estimate import MemoryEstimate, estimate_memory
from AutoRegSlicerLib.jobs.job import Job
from AutoRegSlicerLib.jobs.state import Failure, JobState, JobStatus, Stage
from AutoRegSlicerLib.jobs.tail import log_tail

__all__ = ["Failure", "JobRequest", "JobState", "JobStatus", "Jobs", "MemoryEstimate", "Stage"]

#: what one poll may spend on reading events, over all jobs (seconds)
POLL_SECONDS = 0.008
RESUMABLE = (JobState.Interrupted, JobState.Failed, JobState.Cancelled)
QUICK_VERBS = ("register", "apply")


class Jobs:
    """The jobs in ``workspace/jobs``: at most one runs, one more may wait.

    A registration that was asked to run on the CPU may run beside a long job. ``interpreter``: the Python that
    computes (None: Slicer's own); ``environment``: the variables it starts from (None: this process's, cleaned).
    """

    def __init__(
        self, workspace: str | Path, interpreter: str | Path | None = None,
        environment: Mapping[str, str] | None = None, *, maximumQueued: int = 1,
    ) -> None:
        self.folder = make_folder(Path(workspace) / "jobs")
        self.maximumQueued = maximumQueued
        self._jobs: dict[str, Job] = {}
        self._done: dict[str, JobStatus] = {}  # what is done stays so: read once, for disks that answer slowly
        self.setInterpreter(interpreter, environment)

    def setInterpreter(self, interpreter: str | Path | None, environment: Mapping[str, str] | None = None) -> None:
        """Use another Python for jobs started from now on (None: Slicer's own)."""
        self.interpreter = str(interpreter) if interpreter else slicerInterpreter()
        given = cleanEnvironment(interpreter) if environment is None else environment
        self.environment = dict(given)

    def create(self, verb: str, title: str) -> Path:
        """A new job folder with ``in/`` and ``out/``, in state Preparing; export into it, then submit."""
        folder = record.new_folder(self.folder, verb, title, process_mark())
        self._jobs[folder.name] = Job(folder)
        return folder

    def submit(self, folder: str | Path, request: JobRequest, *, gpu: int | None = None) -> JobState:
        """Write ``job.json`` and start the job, or let it wait: returns Launching or Queued (Failed: see status).

        A job that was cancelled while its inputs were written stays Cancelled; it can be resumed.
        ``gpu``: use this one only. Raises InputError when as many jobs wait as may, or the folder holds a job.
        """
        job = self._job(folder)
        if job.request is not None:
            raise InputError(f"{job.folder} was submitted already", remedy="create a new job, or resume this one")
        if request.verb != job.record.verb:
            raise InputError("the request is of another kind than its folder", expected=job.record.verb,
                             got=request.verb)
        if job.state is not JobState.Cancelled:
            self._check_queue(request)
        write_request(job.folder, request)
        job.request = read_request(job.folder)
        job.digest.minutes = request.arguments.get("minutes")
        job.move(job.state, gpu=gpu)
        return job.state if job.state is JobState.Cancelled else self._start_or_queue(job)

    def fail(self, folder: str | Path, code: str, text: str, hint: str = "") -> None:
        """Preparing went wrong (export refused, preflight): the job becomes Failed with this reason."""
        self._job(folder).fail(code, text, hint)

    def poll(self) -> list[JobStatus]:
        """What is new, oldest job first: jobs of this session and those attached. Reads only what was appended.

        Starts the waiting job when its turn comes and carries a cancellation through. Call it every 500 ms.
        A finished job is Importing until markImported or setAside is called.
        """
        seconds = POLL_SECONDS / max(len(self._busy()), 1)
        for job in self._jobs.values():
            job.poll(seconds=seconds)
        self._start_waiting()
        process.reap()
        return self._statuses()

    def status(self, folder: str | Path) -> JobStatus:
        """The state at the last poll. Raises InputError for a folder that is no job here."""
        return self._job(folder).status()

    def cancel(self, folder: str | Path) -> None:
        """Ask the process to stop; polls end it by force within 12 s. A waiting job is simply taken off."""
        self._job(folder).cancel()

    def finish(self, folder: str | Path) -> None:
        """Search, training, evaluation: stop now and keep the best. Raises InputError for other jobs."""
        self._job(folder).finish()

    def resume(self, folder: str | Path) -> JobState:
        """Start an Interrupted, Failed or Cancelled job again; search and training go on from their checkpoint.

        While its last process is still ending the job is Queued; a poll starts it once that process is gone.
        Raises InputError in other states, without a request, or when as many jobs wait as may.
        """
        job = self._job(folder)
        if job.state not in RESUMABLE or job.request is None:
            raise InputError("this job cannot be resumed", expected=", ".join(s.value for s in RESUMABLE),
                             got=job.state.value, remedy="start a new one")
        job.see_off(job.lives())
        self._check_queue(job.request)
        return self._start_or_queue(job)

    def discard(self, folder: str | Path, *, delete: bool = False) -> None:
        """Give a job without a process up (Interrupted becomes Cancelled); ``delete`` removes its folder.

        Raises InputError while its process lives.
        """
        job = self._job(folder)
        if job.state.alive:
            raise InputError("the job is running", got=job.state.value, remedy="cancel it first")
        if job.state in (JobState.Interrupted, JobState.Queued, JobState.Preparing):
            job.move(JobState.Cancelled)
        if delete:
            shutil.rmtree(job.folder, ignore_errors=True)
            self._jobs.pop(job.folder.name, None)

    def markImported(self, folder: str | Path) -> None:
        """The results are in the scene (or need not be): Done. Raises InputError when there are none."""
        self._results(folder, JobState.Done)

    def setAside(self, folder: str | Path) -> None:
        """The results could not be taken now (scene closed): DoneNotImported, offered again after a restart."""
        self._results(folder, JobState.DoneNotImported)

    def takeUp(self, folder: str | Path) -> None:
        """The user opens results again: Importing."""
        self._results(folder, JobState.Importing)

    def attachExisting(self) -> list[JobStatus]:
        """Find the jobs of earlier sessions: those still running, interrupted ones, results not yet imported.

        What another application started and still looks after stays its own.
        """
        for folder in record.job_folders(self.folder, known=self._jobs.keys() | self._done.keys()):
            if folder.name in self._jobs or folder.name in self._done:
                continue
            with contextlib.suppress(AutoRegError):  # a folder that cannot be read is not ours to clear
                job = Job(folder)
                self._remember(job)
                if job.state in (JobState.Done, JobState.Cancelled, JobState.Failed):
                    continue
                if _of_another(job):
                    continue
                job.attach()
                job.move(job.state, owner=process_mark())
                self._jobs[folder.name] = job
        self._jobs = dict(sorted(self._jobs.items()))
        return self._statuses()

    def history(self) -> list[JobStatus]:
        """Every job in the workspace, newest first, finished ones too; those that ended come without curves.

        One that is done is read once.
        """
        found = []
        for folder in reversed(record.job_folders(self.folder, known=self._jobs.keys() | self._done.keys())):
            with contextlib.suppress(AutoRegError):
                job = self._jobs.get(folder.name)
                if job is None and folder.name not in self._done:
                    self._remember(job := Job(folder))
                found.append(self._done[folder.name] if job is None else job.status(with_log=False))
        return found

    def running(self) -> list[JobStatus]:
        """The jobs that have a process."""
        return [job.status(with_log=False) for job in self._jobs.values() if job.state.alive]

    def stop(self) -> None:
        """Tell every job that is not over to stop. Does not wait: the processes end by themselves within seconds."""
        for job in self._jobs.values():
            if not job.state.over:
                job.cancel()

    def cleanUp(self, days: float = 7.0) -> int:
        """Delete jobs that ended more than ``days`` ago; returns the bytes freed.

        Results not imported and interrupted jobs stay.
        """
        freed = 0
        for status in self.history():
            at = status.folder / "ui.json"
            old = at.is_file() and time.time() - at.stat().st_mtime > days * 86400.0
            if old and status.state in (JobState.Done, JobState.Failed, JobState.Cancelled):
                freed += record.folder_bytes(status.folder)
                shutil.rmtree(status.folder, ignore_errors=True)
                self._jobs.pop(status.folder.name, None)
        return freed

    def storageBytes(self) -> int:
        """Bytes in the job folders."""
        return record.folder_bytes(self.folder)

    def estimate(
        self, request: JobRequest, folder: str | Path | None = None, environment: Environment | None = None
    ) -> MemoryEstimate:
        """What the request will need, from its recipe and the sizes of its images; unknown parts stay None.

        ``folder``: where the request's relative paths start; ``environment``: an answer of ``probe``, for what is free
        on the device that the request asks for.
        """
        free = None
        if environment is not None:
            onGpu = environment.devices and request.arguments.get("device", "auto") != "cpu"
            free = environment.devices[0].free if onGpu else environment.memory[0]
        return estimate_memory(request, Path(folder) if folder is not None else self.folder, free=free or None)

    def diagnostics(self, folder: str | Path) -> str:
        """Text for a report: request, versions, states, the error and the end of the log; no image data."""
        job = self._job(folder)
        status = job.status(with_log=False)
        request = {} if job.request is None else {"verb": job.request.verb, "arguments": job.request.arguments}
        parts = {
            "job": job.folder.name, "state": status.state.value, "message": status.message, "request": request,
            "versions": job.digest.versions, "device": status.device, "stage": status.stage.name,
            "seconds": round(status.secondsRunning, 1), "transitions": list(job.record.transitions),
            "warnings": list(status.warnings), "error": vars(status.error) if status.error else None,
        }
        return json.dumps(parts, indent=1, ensure_ascii=False) + "\n\n" + log_tail(job.folder, most=8192)

    def detach(self) -> None:
        """Forget the processes without ending them: they go on alone, as when the application closes."""
        self._jobs.clear()

    # inside

    def _job(self, folder: str | Path) -> Job:
        path = record.checked_folder(self.folder, folder)
        if path.name not in self._jobs:  # from the history
            job = Job(path)
            if _of_another(job):
                return job  # looked at, not taken up: its state is for the application that looks after it
            self._jobs[path.name] = job
            job.attach()
            self._jobs = dict(sorted(self._jobs.items()))
        return self._jobs[path.name]

    def _remember(self, job: Job) -> None:
        if job.state is JobState.Done:
            self._done[job.folder.name] = job.status(with_log=False)

    def _statuses(self) -> list[JobStatus]:
        return [job.status() for job in self._jobs.values()]

    def _busy(self) -> list[Job]:
        """Jobs whose process exists, also when it said its last word."""
        return [job for job in self._jobs.values() if job.state.alive or job.lingers]

    def _results(self, folder: str | Path, state: JobState) -> None:
        job = self._job(folder)
        if job.state not in (JobState.Importing, JobState.DoneNotImported, JobState.Done):
            raise InputError("the job has no results", expected="a job that is done", got=job.state.value,
                             remedy="wait for it to end")
        job.move(state)

    def _check_queue(self, request: JobRequest) -> None:
        if self._blocked(request) and len(self._waiting()) >= self.maximumQueued:
            raise InputError("a job runs and another one waits already", expected=f"{self.maximumQueued} waiting",
                             remedy="wait for them to end, or cancel one")

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state is JobState.Queued]

    def _blocked(self, request: JobRequest) -> bool:
        """Whether the request has to wait: one long job and one quick one on the CPU may run at a time."""
        return any(job.request is not None and is_quick(job.request) == is_quick(request) for job in self._busy())

    def _start_or_queue(self, job: Job) -> JobState:
        assert job.request is not None
        ahead = any(is_quick(other.request) == is_quick(job.request) for other in self._waiting() if other.request)
        if ahead or self._blocked(job.request):
            job.move(JobState.Queued, owner=process_mark())
        else:
            job.launch(self.interpreter, self.environment)
        return job.state

    def _start_waiting(self) -> None:
        for job in self._waiting():
            if job.request is not None and not self._blocked(job.request):
                job.launch(self.interpreter, self.environment)


def _of_another(job: Job) -> bool:
    """Whether another application looks after the job."""
    owner = job.record.owner
    return process.marked_lives(owner) and owner.get("pid") != os.getpid()


def is_quick(request: JobRequest) -> bool:
    """A registration on the CPU: it may run beside a search, which keeps the GPU."""
    return request.verb in QUICK_VERBS and request.arguments.get("device") == "cpu"
