"""Every transition of a job's states, with a worker that behaves as told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs import tools
from jobs.tools import exists, start, wait

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import JobRequest
from AutoRegSlicerLib.jobs import job as job_module
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState

pytestmark = pytest.mark.skipif(not tools.posix, reason="processes are watched through /proc")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path / "work space é", tools.fake_interpreter(tmp_path))
    yield made
    for status in made.running():
        made.cancel(status.folder)
    until = time.monotonic() + 15
    while made.running() and time.monotonic() < until:
        made.poll()
        time.sleep(0.02)
    assert not made.running()


def test_from_preparing_to_done(jobs: Jobs) -> None:
    folder = jobs.create("search", "My search")
    assert (folder / "in").is_dir() and (folder / "out").is_dir()
    assert jobs.status(folder).state is JobState.Preparing
    assert jobs.submit(folder, JobRequest("search", {"behaviour": "quick"})) is JobState.Launching
    status = wait(jobs, folder, JobState.Importing)
    assert status.fraction == 1.0 and status.summary == {"answer": 42} and status.memory == (5, 10)
    assert status.title == "My search" and status.warnings == (("no-labels", "no labels"),)
    assert [Path(a["path"]).name for a in status.artifacts] == ["recipe.json"]
    # the second stage counts its steps from 0 again: the curve goes on where the first one ended
    assert status.metrics["loss"] == [(float(i), pytest.approx(1 / i)) for i in range(1, 7)]
    assert status.stages == (("prepare data", 0), ("stage 0", 0), ("stage 1", 3))
    jobs.markImported(folder)
    assert jobs.status(folder).state is JobState.Done
    assert [s.state for s in jobs.history()] == [JobState.Done]
    lines = json.loads((folder / "ui.json").read_text())["transitions"]
    path = [line.split(" ", 1)[1] for line in lines]
    assert path[0] == "preparing -> launching" and path[-1] == "importing -> done"


def test_the_fraction_never_goes_down_and_knows_the_stages(jobs: Jobs) -> None:
    from AutoRegSlicerLib.jobs.progress import Digest

    digest, seen = Digest(), []
    for kind, payload in (
        ("hello", {"pid": 1}), ("stage", {"name": "prepare data", "index": 0, "count": 1}),
        ("progress", {"done": 4, "total": 4}), ("stage", {"name": "a", "index": 0, "count": 2}),
        ("progress", {"done": 500, "total": 1000}), ("progress", {"done": 400, "total": 1000}),
        ("stage", {"name": "b", "index": 1, "count": 2}), ("progress", {"done": 1000, "total": 1000}),
        ("done", {"summary": {}}),
    ):
        digest.feed({"type": kind, "t": 1.0, **payload})
        seen.append(round(digest.fraction, 4))
    assert seen == [0.0, 0.0, 0.05, 0.05, 0.2875, 0.2875, 0.525, 1.0, 1.0]


def test_one_runs_one_waits_a_third_is_refused(jobs: Jobs) -> None:
    first = start(jobs, "obedient")
    second = start(jobs, "quick")
    assert jobs.status(second).state is JobState.Queued
    third = jobs.create("search", "third")
    with pytest.raises(InputError, match="waits already"):
        jobs.submit(third, JobRequest("search", {"behaviour": "quick"}))
    wait(jobs, first, JobState.Running)
    assert jobs.status(second).state is JobState.Queued and not (second / "events.jsonl").exists()
    jobs.finish(first)
    assert jobs.status(first).state is JobState.Finishing
    assert wait(jobs, first, JobState.Importing).summary == {"early": True}
    assert wait(jobs, second, JobState.Importing).summary == {"answer": 42}
    jobs.discard(third, delete=True)
    assert not third.exists()


def test_a_waiting_job_is_taken_off(jobs: Jobs) -> None:
    first, second = start(jobs, "obedient"), start(jobs, "quick")
    jobs.cancel(second)
    assert jobs.status(second).state is JobState.Cancelled
    wait(jobs, first, JobState.Running)
    jobs.cancel(first)
    wait(jobs, first, JobState.Cancelled)
    jobs.poll()
    assert jobs.status(second).state is JobState.Cancelled and not (second / "events.jsonl").exists()


def test_what_is_cancelled_while_it_is_prepared_does_not_start(jobs: Jobs) -> None:
    folder = jobs.create("search", "not wanted after all")
    jobs.cancel(folder)
    assert jobs.submit(folder, JobRequest("search", {"behaviour": "quick"})) is JobState.Cancelled
    jobs.poll()
    assert jobs.status(folder).state is JobState.Cancelled and not (folder / "events.jsonl").exists()
    assert jobs.resume(folder) is JobState.Launching
    wait(jobs, folder, JobState.Importing)


def test_a_registration_on_the_cpu_runs_beside_a_search(jobs: Jobs) -> None:
    search = start(jobs, "obedient")
    beside = start(jobs, "quick", "register", device="cpu")
    waiting = start(jobs, "quick", "register", device="auto")
    wait(jobs, beside, JobState.Importing)
    assert jobs.status(waiting).state is JobState.Queued
    assert wait(jobs, search, JobState.Running)


@pytest.mark.parametrize("attached", [False, True])
def test_cancel_leaves_no_process(jobs: Jobs, tmp_path: Path, attached: bool) -> None:
    """Even of a worker that hears nothing, has a child, and was started by a launcher as Slicer's Python is; by the
    application that started it, and by a later one."""
    jobs.setInterpreter(tools.fake_interpreter(tmp_path, launcher=True))
    folder = start(jobs, "stubborn")
    wait(jobs, folder, JobState.Running, also=lambda s: (folder / "out" / "child").exists())
    launcher = json.loads((folder / "ui.json").read_text())["process"]["pid"]
    pids = [launcher, tools.worker_pid(jobs, folder), int((folder / "out" / "child").read_text())]
    assert len(set(pids)) == 3 and all(map(exists, pids))
    if attached:
        jobs.detach()
        jobs.attachExisting()
    until = time.monotonic() + 60
    jobs.cancel(folder)
    assert jobs.status(folder).state is JobState.Cancelling
    while any(map(exists, pids)) and time.monotonic() < until:
        jobs.poll()
        time.sleep(0.5)  # as the widget's timer
    assert not any(map(exists, pids))
    wait(jobs, folder, JobState.Cancelled)
    assert json.loads((folder / "state.json").read_text())["state"] == "cancelled"
    assert not (folder / "lock").exists()


def test_stalled_and_running_again(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "STALL_SECONDS", 0.4)
    folder = start(jobs, "pausing")
    stalled = wait(jobs, folder, JobState.Stalled)
    assert stalled.nextStep == "wait" and "No sign of life" in stalled.message
    (folder / "out" / "go").touch()
    monkeypatch.setattr(job_module, "STALL_SECONDS", 60.0)
    wait(jobs, folder, JobState.Running)


def test_no_hello(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "HELLO_SECONDS", 0.3)
    folder = start(jobs, "mute")
    failed = wait(jobs, folder, JobState.Failed)
    assert failed.error is not None and failed.error.code == "no-hello"
    pid = json.loads((folder / "ui.json").read_text())["process"]["pid"]
    until = time.monotonic() + 5
    while exists(pid) and time.monotonic() < until:
        jobs.poll()
        time.sleep(0.02)
    assert not exists(pid)


def test_a_worker_that_cannot_start_says_its_last_line(jobs: Jobs, tmp_path: Path) -> None:
    folder = start(jobs, "crash")
    failed = wait(jobs, folder, JobState.Failed)
    assert failed.error is not None and failed.error.code == "launch" and "torch" in failed.message
    assert failed.nextStep == "setUp"
    jobs.setInterpreter(tmp_path / "absent")
    folder = start(jobs, "quick")
    failed = wait(jobs, folder, JobState.Failed)
    assert failed.error is not None and failed.error.code == "launch" and "absent" in failed.message


@pytest.mark.parametrize(
    ("code", "device", "step"),
    [
        ("input", "cpu", "checkInput"), ("environment", "cpu", "setUp"), ("memory", "cuda", "useCpu"),
        ("device", "", "useCpu"),
        ("memory", "cpu", "showLog"), ("diverged", "cpu", "showLog"), ("disk", "cpu", "freeDisk"),
        ("error", "cpu", "showLog"), ("a new one", "cpu", "showLog"),
    ],
)
def test_every_coded_failure_has_a_next_step(jobs: Jobs, code: str, device: str, step: str) -> None:
    failed = wait(jobs, start(jobs, "failing", code=code, device=device), JobState.Failed)
    assert failed.error is not None and (failed.error.code, failed.error.hint) == (code, "what to do")
    assert failed.nextStep == step and "what went wrong" in failed.message


def test_done_without_its_results_is_a_failure(jobs: Jobs) -> None:
    failed = wait(jobs, start(jobs, "lost", "register"), JobState.Failed)
    assert failed.error is not None and failed.error.code == "result" and "transform.nrrd" in failed.message


def test_killed_is_interrupted_then_resumed_or_discarded(jobs: Jobs) -> None:
    folder = start(jobs, "obedient")
    wait(jobs, folder, JobState.Running)
    with pytest.raises(InputError, match="cannot be resumed"):
        jobs.resume(folder)
    os.kill(tools.worker_pid(jobs, folder), 9)
    interrupted = wait(jobs, folder, JobState.Interrupted)
    assert interrupted.nextStep == "resume" and "begins again" in interrupted.message
    jobs.resume(folder)
    wait(jobs, folder, JobState.Running)
    jobs.finish(folder)
    assert wait(jobs, folder, JobState.Importing).summary == {"early": True}


def test_resumed_before_its_process_has_gone(jobs: Jobs) -> None:
    """A click that comes early waits for the old process; two never write into one folder."""
    folder = start(jobs, "lingering", code="internal")
    wait(jobs, folder, JobState.Failed)
    first = tools.worker_pid(jobs, folder)
    assert exists(first) and jobs.resume(folder) is JobState.Queued
    jobs.poll()
    assert jobs.status(folder).state is JobState.Queued and exists(first)
    (folder / "out" / "go").touch()
    assert wait(jobs, folder, JobState.Importing).summary == {"answer": 42}
    assert not exists(first)


def test_results_set_aside_are_offered_again(jobs: Jobs, tmp_path: Path) -> None:
    folder = start(jobs, "quick")
    with pytest.raises(InputError, match="no results"):
        jobs.markImported(folder)
    wait(jobs, folder, JobState.Importing)
    jobs.setAside(folder)
    later = Jobs(tmp_path / "work space é", jobs.interpreter)
    (status,) = later.attachExisting()
    assert status.state is JobState.DoneNotImported and status.nextStep == "openResult"
    assert status.summary == {"answer": 42} and status.metrics["loss"]
    later.takeUp(folder)
    later.markImported(folder)
    assert Jobs(tmp_path / "work space é", jobs.interpreter).attachExisting() == []


def test_the_number_of_a_dead_process_given_to_another_one(jobs: Jobs, tmp_path: Path) -> None:
    """After a restart of the computer the lock's number may be anybody's."""
    folder = start(jobs, "obedient")
    wait(jobs, folder, JobState.Running)
    os.kill(tools.worker_pid(jobs, folder), 9)
    wait(jobs, folder, JobState.Interrupted)
    record = json.loads((folder / "ui.json").read_text())
    mark = {"pid": os.getpid(), "started": 1e9, "host": os.uname().nodename}  # us, said to have lived in 2001
    (folder / "lock").write_text(json.dumps(mark))
    (folder / "ui.json").write_text(json.dumps({**record, "state": "running", "process": mark}))
    (status,) = Jobs(tmp_path / "work space é", jobs.interpreter).attachExisting()
    assert status.state is JobState.Interrupted


def test_a_job_waiting_when_the_application_closed(jobs: Jobs, tmp_path: Path) -> None:
    first, second = start(jobs, "obedient"), start(jobs, "quick")
    record = json.loads((second / "ui.json").read_text())
    record["owner"]["started"] = 1e9  # its application is gone
    (second / "ui.json").write_text(json.dumps(record))
    later = Jobs(tmp_path / "work space é", jobs.interpreter)
    states = {s.folder: s for s in later.attachExisting()}
    assert states[second].state is JobState.Interrupted and "waiting" in states[second].message
    assert states[first].state in (JobState.Launching, JobState.Running)


def test_what_another_application_looks_after_stays_its_own(jobs: Jobs) -> None:
    folder = start(jobs, "obedient")
    wait(jobs, folder, JobState.Running)
    jobs.detach()
    record = json.loads((folder / "ui.json").read_text())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        mark = {"pid": other.pid, "started": time.time(), "host": record["owner"]["host"]}
        (folder / "ui.json").write_text(json.dumps({**record, "owner": mark}))
        assert jobs.attachExisting() == []
        assert [s.folder for s in jobs.history()] == [folder]
        other.kill()
    (status,) = jobs.attachExisting()
    assert status.state is JobState.Running
    assert json.loads((folder / "ui.json").read_text())["owner"]["pid"] == os.getpid()


def test_preparing_may_fail(jobs: Jobs) -> None:
    folder = jobs.create("register", "x")
    jobs.fail(folder, "input", "Fixed and moving are the same volume.", "Choose another volume")
    status = jobs.status(folder)
    assert status.state is JobState.Failed and status.nextStep == "checkInput"
    assert "same volume" in status.message


def test_a_folder_that_is_no_job(jobs: Jobs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no job of this workspace"):
        jobs.status(tmp_path)
    folder = start(jobs, "quick", "register")
    wait(jobs, folder, JobState.Importing)
    with pytest.raises(InputError, match="submitted already"):
        jobs.submit(folder, JobRequest("register", {}))
    with pytest.raises(InputError, match="finished early"):
        jobs.finish(folder)


def test_a_deleted_folder_does_not_stop_the_timer(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "TERMINATE_SECONDS", 0.1)
    monkeypatch.setattr(job_module, "KILL_SECONDS", 0.3)
    folder = start(jobs, "stubborn")
    wait(jobs, folder, JobState.Running, also=lambda s: (folder / "out" / "child").exists())
    pids = [tools.worker_pid(jobs, folder), int((folder / "out" / "child").read_text())]
    shutil.rmtree(folder)
    (status,) = jobs.poll()
    assert status.state is JobState.Running
    jobs._jobs[folder.name].cancel()
    until = time.monotonic() + 5
    while jobs.running() and time.monotonic() < until:
        jobs.poll()
        time.sleep(0.02)
    assert jobs.poll()[0].state is JobState.Cancelled and not any(map(exists, pids))


def test_folders_that_cannot_be_read_are_left_alone(jobs: Jobs) -> None:
    for name, text in (("a", "{"), ("b", '{"schema": "autoreg-job-ui/2"}'), ("c", None)):
        folder = jobs.create("search", name)
        record = json.loads((folder / "ui.json").read_text())
        (folder / "ui.json").write_text(text or json.dumps({**record, "state": "dreaming"}))
    later = Jobs(jobs.folder.parent, jobs.interpreter)
    assert later.attachExisting() == [] and later.history() == []
    assert len(list(jobs.folder.iterdir())) == 3
