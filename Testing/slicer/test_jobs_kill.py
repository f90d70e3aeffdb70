"""Real searches whose application or worker is killed: nothing is lost, and the result stays the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import tools
from jobs.tools import exists, wait
from pipeline.scenes import make_scenario

from AutoRegLib.core.jobs import JobRequest, read_events
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState, JobStatus

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not tools.posix, reason="processes are watched through /proc")


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> JobRequest:
    """A search in two dimensions that takes some seconds and depends on nothing but its seed."""
    scenario = make_scenario(tmp_path_factory.mktemp("data with é"), (16, 16))
    return JobRequest("search", {"scenario": str(scenario), "preset": "quick", "device": "cpu", "threads": 1})


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real worker, its presets made small."""
    return tools.fake_interpreter(tmp_path_factory.mktemp("bin"), script="small_worker.py")


@pytest.fixture(scope="module")
def uninterrupted(
    request_: JobRequest, interpreter: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[list[str]]]:
    """What the search finds when left alone, run as a job."""
    jobs = Jobs(tmp_path_factory.mktemp("whole"), interpreter)
    folder = jobs.create("search", "whole")
    jobs.submit(folder, request_)
    status = wait(jobs, folder, JobState.Importing, seconds=300)
    assert status.secondsRunning > 0.5, "too short to be interrupted"
    return result(folder)


def result(folder: Path) -> tuple[str, list[list[str]]]:
    """The recipe and the history without its clock."""
    rows = [line.split(",") for line in (folder / "out" / "history.csv").read_text().splitlines()]
    clock = rows[0].index("seconds")
    return (folder / "out" / "recipe.json").read_text(), [row[:clock] + row[clock + 1 :] for row in rows]


def points(status: JobStatus) -> int:
    """How often the search has told its loss: every fourth step of sixteen in each stage."""
    return len(status.metrics.get("lower_loss", ()))


def test_worker_killed_resumed_same_result(
    request_: JobRequest, interpreter: Path, uninterrupted: tuple[str, list[list[str]]], tmp_path: Path
) -> None:
    jobs = Jobs(tmp_path, interpreter)
    folder = jobs.create("search", "cut")
    jobs.submit(folder, request_)
    wait(jobs, folder, JobState.Running, also=lambda s: points(s) >= 2)
    # a cancellation keeps a checkpoint (as every minute does); the kill then comes after it
    pid = tools.worker_pid(jobs, folder)
    jobs.cancel(folder)
    cancelled = wait(jobs, folder, JobState.Cancelled)
    assert cancelled.nextStep == "resume" and (folder / "out" / "checkpoint.pt").is_file()
    while exists(pid):
        jobs.poll()
        time.sleep(0.02)
    jobs.resume(folder)
    wait(jobs, folder, JobState.Running, also=lambda s: points(s) > points(cancelled) + 1)
    os.kill(tools.worker_pid(jobs, folder), signal.SIGKILL)
    interrupted = wait(jobs, folder, JobState.Interrupted)
    assert interrupted.nextStep == "resume" and "last checkpoint" in interrupted.message
    jobs.resume(folder)
    done = wait(jobs, folder, JobState.Importing, seconds=300)
    assert result(folder) == uninterrupted
    steps = [step for step, _ in done.metrics["lower_loss"]]
    assert steps == sorted(set(steps))  # what was computed twice is drawn once
    jobs.markImported(folder)


HOST = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from AutoRegLib.core.jobs import JobRequest
from AutoRegSlicerLib.jobs.jobs import Jobs
import json
jobs = Jobs(sys.argv[3], sys.argv[5])
folder = jobs.create("search", "of a host that dies")
jobs.submit(folder, JobRequest("search", json.loads(sys.argv[4])))
while True:
    jobs.poll()
    time.sleep(0.05)
"""


def test_application_killed_attached_again_same_result(
    request_: JobRequest, interpreter: Path, uninterrupted: tuple[str, list[list[str]]], tmp_path: Path
) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(ROOT), str(ROOT / "AutoRegSlicer"), str(tmp_path),
         json.dumps(request_.arguments), str(interpreter)]
    )
    try:
        until = time.monotonic() + 120
        while not (locks := list(tmp_path.glob("jobs/*/lock"))) and time.monotonic() < until:
            time.sleep(0.02)
        pid = int(json.loads(locks[0].read_text())["pid"])
        while not any(e.type == "metric" for e in read_events(locks[0].parent)) and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        host.kill()
        host.wait()
    assert exists(pid), "the worker outlives the application"
    jobs = Jobs(tmp_path, interpreter)
    (status,) = jobs.attachExisting()
    assert status.state is JobState.Running and status.title == "of a host that dies" and status.metrics
    done = wait(jobs, status.folder, JobState.Importing, seconds=300)
    assert done.fraction == 1.0 and result(status.folder) == uninterrupted
    jobs.markImported(status.folder)
