"""One job: its record, its events and its process, and from these its state."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.jobs import JobRequest, clear_lock, lock_holder, read_request, write_state
from AutoRegLib.core.locks import process_mark
from AutoRegLib.core.verbs import VERBS
from AutoRegSlicerLib.jobs import process, record
from AutoRegSlicerLib.jobs.messages import message
from AutoRegSlicerLib.jobs.progress import Digest
from AutoRegSlicerLib.jobs.state import OVER, Failure, JobState, JobStatus
from AutoRegSlicerLib.jobs.tail import EventTail, log_tail

HELLO_SECONDS = 60.0
STALL_SECONDS = 60.0
#: after the wish in ``control``: ask the system, then insist; nothing is left 12 s after the click
TERMINATE_SECONDS, KILL_SECONDS = 6.0, 9.0
LEAVE_SECONDS = 10.0  # how long a process may take to go after its last event
KILLED = (-9, 137)  # as the system tells of a child, and as a launcher passes it on
LATEST_STATES = (JobState.Done, JobState.DoneNotImported, JobState.Importing)


class Job:
    """Follows one folder. All times of waiting are monotonic; nothing here waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = record.read_record(folder)
        if self.record.state not in {state.value for state in JobState}:
            raise InputError(f"{folder} is in a state that is not known here", got=self.record.state,
                             remedy="open it with the version of AutoReg that wrote it")
        self.state = JobState(self.record.state)
        self.request: JobRequest | None = None
        if (folder / "job.json").is_file():
            self.request = read_request(folder)
        minutes = self.request.arguments.get("minutes") if self.request else None
        self.tail, self.digest = EventTail(folder), Digest(minutes)
        self.child: subprocess.Popen[bytes] | None = None
        self.failure = Failure(**self.record.failure) if self.record.failure else None
        self.launched = time.monotonic()
        self.cancelAt: float | None = None
        self.endedAt: float | None = None
        self._terminated = False
        self._told: tuple[tuple[Any, ...], JobStatus] | None = None
        self._swept = False  # whether what the child left behind was ended

    # what happens to it

    def move(self, state: JobState, **changes: Any) -> None:
        """Take the state, write it down. A full disk or a deleted folder must not stop the application's timer."""
        self.state = state
        try:
            self.record = record.moved(self.folder, self.record, state, **changes)
        except DiskError as problem:
            self.record = replace(self.record, state=state.value, **changes)
            record.log.warning("%s: %s", self.folder.name, problem)

    def fail(self, code: str, text: str, hint: str = "") -> None:
        """Failed for a reason the worker did not tell itself."""
        self.failure = Failure(code, text, hint)
        self.move(JobState.Failed, failure={"code": code, "text": text, "hint": hint})

    def launch(self, interpreter: str, variables: Mapping[str, str]) -> None:
        """Start the process. A start that fails, or a job that another process runs, is a failure of the job."""
        assert self.request is not None
        if not clear_lock(self.folder):
            holder = lock_holder(self.folder) or {}
            self.fail("busy", f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown machine')}",
                      f"wait for it; if it is certain that it ended, delete {self.folder / 'lock'}")
            return
        try:
            (self.folder / "control").unlink(missing_ok=True)
        except OSError as problem:
            self.fail("disk", f"{self.folder}: {problem.strerror}", "make the folder writable")
            return
        self.digest.restart()
        self.failure, self.cancelAt, self.endedAt = None, None, None
        self._terminated = self._swept = False
        variables = process.child_environment(
            variables, device=str(self.request.arguments.get("device", "auto")), gpu=self.record.gpu
        )
        arguments = process.command(interpreter, ["run", str(self.folder.resolve())])
        try:
            self.child = process.start(arguments, variables, cwd=self.folder, log=self.folder / "log.txt")
        except Exception as problem:
            self.fail("launch", str(problem), getattr(problem, "remedy", ""))
            return
        self.launched = time.monotonic()
        self.move(JobState.Launching, process=process_mark(self.child.pid), failure={})

    def wish(self, word: str) -> None:
        """Tell the worker through ``control``; where that cannot be written, a cancellation goes on by force."""
        with contextlib.suppress(OSError):
            (self.folder / "control").write_text(word, encoding="utf-8")

    def cancel(self) -> None:
        """Cancel from any state; what has no process is cancelled at once."""
        if self.state in (JobState.Queued, JobState.Preparing, JobState.Interrupted):
            self.move(JobState.Cancelled)
        elif self.state.alive and self.cancelAt is None:
            self.cancelAt = time.monotonic()
            self.wish("cancel")
            self.move(JobState.Cancelling)

    def finish(self) -> None:
        """Stop and keep the best. Raises InputError where there is nothing like it."""
        if not VERBS[self.record.verb].finishable:
            raise InputError(f"a job of kind '{self.record.verb}' cannot be finished early",
                             expected=", ".join(name for name, verb in VERBS.items() if verb.finishable),
                             remedy="cancel it")
        if self.state in (JobState.Running, JobState.Stalled, JobState.Launching):
            self.wish("finish")
            self.move(JobState.Finishing)

    # what is seen of it

    def attach(self) -> None:
        """Take up a job that an earlier session started: read all of its events, then conclude."""
        for event in self.tail.read():
            self.digest.feed(event, fresh=False)
        if self.state is JobState.Importing:
            self.move(JobState.DoneNotImported)
        elif self.state is JobState.Preparing:
            self.move(JobState.Cancelled)  # the export ended with the application: there is no request
        elif self.state is JobState.Queued:
            self.move(JobState.Interrupted)
        elif self.state.alive:
            control = self.folder / "control"
            if control.is_file() and control.read_text(encoding="utf-8", errors="replace").strip() == "cancel":
                self.cancelAt = time.monotonic()
            self._conclude(process_lives=self.lives())
            if self.state is JobState.Importing:
                self.move(JobState.DoneNotImported)

    def lives(self) -> bool:
        """Whether a process of this job exists: the worker, or the launcher that starts it."""
        if self.child is not None and self.child.poll() is None:
            return True
        holder = lock_holder(self.folder)
        if process.elsewhere(holder):
            return self.digest.silence < 2 * STALL_SECONDS  # a workspace on a shared disk: only its events tell
        if process.marked_lives(holder) or (self.child is None and process.marked_lives(self.record.process)):
            return True
        if self.child is not None and not self._swept:
            self._swept = True
            process.sweep(self.child.pid)
        return False

    def poll(self, *, seconds: float) -> None:
        """Read what is new for at most ``seconds`` and take the state that follows."""
        if self.state is JobState.Preparing or (self.state in (JobState.Queued, *OVER) and not self.lingers):
            return
        lives = self.lives()  # before reading: what a process said before it ended is then read for certain
        for event in self.tail.read(seconds=seconds):
            self.digest.feed(event)
        if self.tail.behind:
            return
        if self.state.alive:
            self._conclude(process_lives=lives)
        if not self.state.alive:
            self.see_off(lives)

    def _conclude(self, *, process_lives: bool) -> None:
        """The transitions of a job that has, or just had, a process."""
        digest = self.digest
        if digest.summary is not None:
            lost = [a["path"] for a in digest.artifacts if not (self.folder / a["path"]).exists()]
            if lost:
                self.fail("result", f"missing: {', '.join(Path(path).name for path in lost)}")
            else:  # done before the cancellation was seen: complete results are kept, but not pressed on the user
                self.move(JobState.Importing if self.cancelAt is None else JobState.DoneNotImported)
        elif digest.error is not None and digest.error.code == "cancelled":
            self.move(JobState.Cancelled)
        elif digest.error is not None:
            self.failure = digest.error
            failure = {"code": self.failure.code, "text": self.failure.text, "hint": self.failure.hint}
            self.move(JobState.Failed, failure=failure)
        elif not process_lives:
            self._gone()
        elif self.cancelAt is not None:
            self._press(time.monotonic() - self.cancelAt)
        elif digest.pid is None:
            if time.monotonic() - self.launched > HELLO_SECONDS:
                self._end(force=True)
                self.fail("no-hello", self._last_line(), "look at the log; choose another interpreter")
        elif self.state is not JobState.Finishing:
            self.move(JobState.Stalled if digest.silence > STALL_SECONDS else JobState.Running)

    def _gone(self) -> None:
        """The process ended without a word about how."""
        clear_lock(self.folder)
        if self.cancelAt is not None:
            with contextlib.suppress(DiskError):
                write_state(self.folder, "cancelled", exit_code=3, code="cancelled", text="ended by force")
            self.move(JobState.Cancelled)
        elif self.digest.pid is None and self.child is not None and self.child.returncode not in (None, 0):
            code = {5: "memory", 7: "disk"}.get(self.child.returncode, "launch")  # on a full disk it can say no more
            self.fail(code, self._last_line(), "look at the log; set up the environment again")
        else:
            self.move(JobState.Interrupted)

    def _press(self, waited: float) -> None:
        """A cancellation that takes long: SIGTERM, then the whole group by force."""
        if waited > KILL_SECONDS:
            self._end(force=True)
        elif waited > TERMINATE_SECONDS and not self._terminated:
            self._terminated = True
            self._end(force=False)
        if self.state is not JobState.Cancelling:
            self.move(JobState.Cancelling)

    def _end(self, *, force: bool) -> None:
        holder = lock_holder(self.folder)
        process.end(holder, force=force)
        if force or holder is None:  # a launcher that is ended politely would leave the worker alone
            process.end(self.record.process, force=force)

    @property
    def lingers(self) -> bool:
        """Whether a process that said its last word still has to be seen off."""
        return self.endedAt is not None or (self.child is not None and self.child.returncode is None)

    def see_off(self, lives: bool) -> None:
        """A worker that said its last word gets some seconds to go; its memory is free only then."""
        if not lives:
            self.endedAt = None
        elif self.endedAt is None:
            self.endedAt = time.monotonic()
        elif time.monotonic() - self.endedAt > LEAVE_SECONDS or self.cancelAt is not None:
            self._end(force=True)

    def _last_line(self) -> str:
        lines = [line for line in log_tail(self.folder).splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else "it left no message"

    def status(self, *, with_log: bool = True) -> JobStatus:
        """What the panels show. Of a job that is over it is put together once: a poll asks for all of a session's."""
        key = (self.state, with_log, len(self.record.transitions), self.tail.damaged, self.digest.heard)
        if self._told is None or self._told[0] != key or self.state not in OVER or self.lingers:
            self._told = key, self._status(with_log=with_log)
        return self._told[1]

    def _status(self, *, with_log: bool) -> JobStatus:
        digest, device = self.digest, self.digest.device
        line, step = message(
            self.state, self.failure, stage=digest.stage.name, device=device, folder=self.folder,
            waited=not self.record.process, verb=self.record.verb,
            killed=self.child is not None and self.child.returncode in KILLED,
        )
        done = self.state in LATEST_STATES
        return JobStatus(
            folder=self.folder, verb=self.record.verb, title=self.record.title, state=self.state, stage=digest.stage,
            fraction=1.0 if done else digest.fraction, stageFraction=1.0 if done else digest.stageFraction,
            etaSeconds=digest.eta if self.state in (JobState.Running, JobState.Finishing) else None,
            memory=digest.memory, expected=dict(digest.expected), device=device,
            metrics={name: list(v) for name, v in digest.metrics.items()},
            stages=tuple(digest.stages), trials=tuple(digest.trials), artifacts=tuple(digest.artifacts),
            warnings=(*digest.warnings, *self.tail.warnings()), error=self.failure,
            summary=dict(digest.summary or {}), message=line, nextStep=step,
            logTail=log_tail(self.folder) if with_log else "", created=self.record.created,
            secondsRunning=digest.secondsRunning,
        )
