"""The job folder from request to result, run as Slicer runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pipeline.scenes import make_scenario

from AutoRegLib.app import worker
from AutoRegLib.app.cli import main
from AutoRegLib.core.jobs import JobEvent, JobRequest, Monitor, read_events, write_request, write_state
from AutoRegLib.core.locks import process_mark
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.files import read_volume, write_displacement, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
GRID = Geometry((8, 9, 7), (2.0, 1.0, 3.0), (5.0, -3.0, 2.0), tuple(np.eye(3).ravel().tolist()))


@pytest.fixture
def apply_job(tmp_path: Path) -> Path:
    """A job that moves an image by exactly one voxel; its paths are relative to the folder."""
    folder = tmp_path / "job with spaces and é"
    write_request(folder, JobRequest("apply", {
        "transform": "in/t.nrrd", "reference": "in/f.nrrd", "input": "in/x.nrrd", "output": "out/y.nrrd",
        "device": "cpu",
    }))
    image = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    for name in ("f", "x"):
        write_volume(Volume(image, GRID, "intensity"), folder / "in" / f"{name}.nrrd")
    vectors = np.zeros((*GRID.shape, 3), np.float32)
    vectors[..., 0] = 2.0  # mm: one voxel along x
    write_displacement(DisplacementField(vectors, GRID), folder / "in" / "t.nrrd")
    return folder


def kinds(folder: Path) -> list[str]:
    return [event.type for event in read_events(folder)]


def last(folder: Path, kind: str) -> JobEvent:
    return [event for event in read_events(folder) if event.type == kind][-1]


def state(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "state.json").read_text()))


def test_a_job_from_request_to_result(apply_job: Path) -> None:
    assert worker.run_job(apply_job) == 0
    moved = read_volume(apply_job / "out" / "y.nrrd", "intensity").array
    original = read_volume(apply_job / "in" / "x.nrrd", "intensity").array
    assert np.abs(moved[..., :-1] - original[..., 1:]).max() < 1e-5
    events = read_events(apply_job)
    assert [e.seq for e in events] == list(range(len(events)))
    assert events[0].type == "hello" and events[0].payload["pid"] == os.getpid()
    assert events[-1].type == "done" and "output" in events[-1].payload["summary"]
    assert state(apply_job)["state"] == "done"
    assert not (apply_job / "lock").exists()
    assert (apply_job / "log.txt").read_text()


def test_running_again_goes_on_numbering_and_replaces_its_own_results(apply_job: Path) -> None:
    assert worker.run_job(apply_job) == 0
    count = len(read_events(apply_job))
    (apply_job / "out" / "y.nrrd").unlink()
    assert worker.run_job(apply_job) == 0
    assert [e.seq for e in read_events(apply_job)] == list(range(2 * count))


def test_a_failing_job_says_why(apply_job: Path) -> None:
    (apply_job / "in" / "x.nrrd").unlink()
    assert worker.run_job(apply_job) == 2
    error = last(apply_job, "error").payload
    assert error["code"] == "input" and "x.nrrd" in error["text"] and error["hint"]
    assert state(apply_job)["state"] == "failed" and state(apply_job)["exit_code"] == 2
    assert "Traceback" in (apply_job / "log.txt").read_text()
    assert kinds(apply_job)[-1] == "error"


@pytest.mark.parametrize(
    ("problem", "code", "exit_code", "final"),
    [
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), "memory", 5, "failed"),
        (MemoryError(), "memory", 5, "failed"),
        (KeyboardInterrupt(), "cancelled", 3, "cancelled"),
        (OSError(28, "No space left on device"), "disk", 7, "failed"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "environment", 4, "failed"),
        (ZeroDivisionError("division by zero"), "error", 70, "failed"),
    ],
)
def test_every_failure_has_its_code(
    apply_job: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException, code: str, exit_code: int, final: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(worker, "perform", fail)
    assert worker.run_job(apply_job) == exit_code
    assert last(apply_job, "error").payload["code"] == code
    assert state(apply_job)["state"] == final


def test_cancel_in_the_control_file(apply_job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def patient(request: JobRequest, *, monitor: Monitor) -> dict[str, object]:
        from AutoRegLib.core.errors import CancelledError

        (apply_job / "control").write_text("cancel")
        for _ in range(100):
            if monitor.wish() == "cancel":
                raise CancelledError("stopped by the user")
            time.sleep(0.02)
        return {}

    monkeypatch.setattr(worker, "perform", patient)
    assert worker.run_job(apply_job) == 3
    assert state(apply_job)["state"] == "cancelled"


def test_heartbeats_during_a_long_step(apply_job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.02)

    def long(request: JobRequest, *, monitor: Monitor) -> dict[str, object]:
        deadline = time.monotonic() + 10
        while kinds(apply_job).count("heartbeat") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        return {}

    monkeypatch.setattr(worker, "perform", long)
    assert worker.run_job(apply_job) == 0
    assert kinds(apply_job).count("heartbeat") >= 3
    assert [e.seq for e in read_events(apply_job)] == list(range(len(kinds(apply_job))))


def test_a_running_job_is_not_started_twice(apply_job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (apply_job / "lock").write_text(json.dumps(process_mark(sleeper.pid)))
        assert main(["run", str(apply_job)]) == 2
        assert "already running" in capsys.readouterr().err
    finally:
        sleeper.kill()
        sleeper.wait()
    assert main(["run", str(apply_job)]) == 0  # the lock of a dead process does not count


def test_a_folder_without_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path)]) == 2
    assert "job.json" in capsys.readouterr().err


def test_unknown_argument_in_a_job(tmp_path: Path) -> None:
    write_request(tmp_path / "j", JobRequest("register", {"model": "m", "fixd": "f"}))
    assert worker.run_job(tmp_path / "j") == 2
    text = last(tmp_path / "j", "error").payload["text"]
    assert "fixd" in text and "did you mean 'fixed'" in text


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_sigterm_cancels_a_process(tmp_path: Path) -> None:
    """A search killed politely leaves a valid state and a checkpoint or nothing, never half a result."""
    scenario = make_scenario(tmp_path / "data")
    job = tmp_path / "job"
    write_request(job, JobRequest("search", {"scenario": str(scenario), "minutes": 5.0, "device": "cpu", "threads": 1}))
    write_state(job, "preparing")
    process = subprocess.Popen([sys.executable, "-m", "AutoRegLib", "run", str(job)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while "progress" not in kinds(job) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 3
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert state(job)["state"] == "cancelled"
    assert not (job / "out" / "recipe.json").exists()
    assert not (job / "lock").exists()
