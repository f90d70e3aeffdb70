"""What is read and written in job folders: the tail of the events, the child's variables, cleaning up, the estimate."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from jobs import tools
from jobs.tools import start, wait
from pipeline.world import World

from AutoRegLib.core.jobs import FolderMonitor, JobRequest, read_events, write_request
from AutoRegLib.core.networks import NETWORKS
from AutoRegSlicerLib.environment import Device, Environment, probing
from AutoRegSlicerLib.jobs import estimate, process
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState
from AutoRegSlicerLib.jobs.progress import MOST_POINTS, Digest
from AutoRegSlicerLib.jobs.tail import EventTail, log_tail

needs_posix = pytest.mark.skipif(not tools.posix, reason="the fake interpreter is a shell script")


def test_lines_are_read_once_and_only_when_complete(tmp_path: Path) -> None:
    tail, path = EventTail(tmp_path), tmp_path / "events.jsonl"
    assert tail.read() == []
    path.write_text('{"type": "a"}\n{"type": "b"}\n{"ty')
    assert [e["type"] for e in tail.read()] == ["a", "b"]
    assert tail.read() == []
    with open(path, "a") as stream:
        stream.write('pe": "c\u00e9"}\nnot json\n[1]\n{"type": "d"}\n')
    assert [e["type"] for e in tail.read()] == ["c\u00e9", "d"]


def test_a_half_line_of_a_killed_worker_is_cut_away(tmp_path: Path) -> None:
    tail = EventTail(tmp_path)
    monitor = FolderMonitor(tmp_path)
    monitor.event("one")
    with open(tmp_path / "events.jsonl", "a") as stream:
        stream.write('{"v": 1, "se')
    assert [e["type"] for e in tail.read()] == ["one"]
    FolderMonitor(tmp_path).event("two")  # the worker that resumes
    assert [(e.seq, e.type) for e in read_events(tmp_path)] == [(0, "one"), (1, "two")]
    assert [e["type"] for e in tail.read()] == ["two"]


def test_a_hundred_thousand_events_neither_stop_the_panel_nor_fill_the_memory(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    folder = jobs.create("search", "long")
    write_request(folder, JobRequest("search", {}))
    line = '{"v": 1, "seq": %d, "t": %f, "type": "metric", "name": "loss", "value": 0.5, "step": %d}\n'
    now = time.time()
    with open(folder / "events.jsonl", "w") as stream:
        stream.write(json.dumps({"v": 1, "seq": 0, "t": now, "type": "hello", "pid": os.getpid()}) + "\n")
        stream.writelines(line % (i, now, i) for i in range(1, 100_001))
    (folder / "log.txt").write_text("a line of the log\n" * 100_000)
    (folder / "lock").write_text(json.dumps({"pid": os.getpid(), "started": now, "host": os.uname().nodename}))
    job = jobs._job(folder)
    job.request = JobRequest("search", {})
    job.move(JobState.Running)
    polls = 0
    while polls == 0 or job.tail.behind:
        (status,) = jobs.poll()
        polls += 1
        assert status.state is JobState.Running  # not concluded before all was read
    assert polls > 3  # a little at a time
    assert status.metrics["loss"][-1] == (100_000, 0.5) and len(status.metrics["loss"]) <= MOST_POINTS
    assert len(status.logTail) <= 1 << 16


def test_the_log_ends_with_whole_lines(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes("é\n".encode() * 100)
    assert log_tail(tmp_path, most=8) == "é\né\n"
    assert log_tail(tmp_path / "absent") == ""


def test_interpreters_are_given_files_not_code(tmp_path: Path) -> None:
    """Launchers and Windows split and quote arguments by rules of their own."""
    for arguments in (process.command("python", ["run", "folder"]), ["python", str(probing.QUESTION)]):
        assert Path(arguments[1]).is_file() and not any(set(a) & set("\n\"';") for a in arguments)


@needs_posix
def test_the_variables_of_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/somewhere")
    before = dict(os.environ)
    jobs = Jobs(tmp_path, tools.fake_interpreter(tmp_path))
    found = []
    for device, gpu in (("cpu", None), ("auto", 1)):
        folder = jobs.create("evaluate", "x")
        jobs.submit(folder, JobRequest("evaluate", {"behaviour": "environment", "device": device}), gpu=gpu)
        wait(jobs, folder, JobState.Importing)
        found.append(json.loads((folder / "out" / "environment.json").read_text()))
        while jobs._busy():
            jobs.poll()
    assert [v.get("CUDA_VISIBLE_DEVICES") for v in found] == ["-1", "1"]
    for name, value in (("PYTHONUNBUFFERED", "1"), ("PYTHONIOENCODING", "utf-8"), ("PYTHONNOUSERSITE", "1")):
        assert found[0][name] == value
    assert "PYTHONHOME" not in found[0] and dict(os.environ) == before


@needs_posix
def test_cleaning_up_keeps_what_somebody_may_want(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, tools.fake_interpreter(tmp_path))
    made = []
    for _ in range(3):
        made.append(start(jobs, "quick"))
        wait(jobs, made[-1], JobState.Importing)
        while jobs._busy():
            jobs.poll()
    kept, gone, young = made
    for folder in (gone, young):
        jobs.markImported(folder)  # the results of the first are in no scene yet
    for folder in (kept, gone):
        os.utime(folder / "ui.json", (time.time() - 10 * 86400,) * 2)
    before = jobs.storageBytes()
    freed = jobs.cleanUp(days=7)
    assert freed > 0 and jobs.storageBytes() == before - freed
    assert not gone.exists() and kept.exists() and young.exists()


@needs_posix
def test_diagnostics_name_everything_but_the_images(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, tools.fake_interpreter(tmp_path))
    folder = start(jobs, "failing", code="memory", device="cpu")
    wait(jobs, folder, JobState.Failed)
    text = jobs.diagnostics(folder)
    for part in ("memory", "what went wrong", "launching", '"behaviour": "failing"', '"autoreg": "0"'):
        assert part in text


def test_curves_are_thinned_and_keep_their_ends() -> None:
    digest = Digest()
    digest.feed({"type": "hello", "t": 0.0, "pid": 1})
    for step in range(1, 10 * MOST_POINTS):
        digest.feed({"type": "metric", "t": 0.0, "name": "loss", "value": step, "step": step})
    points = digest.metrics["loss"]
    assert MOST_POINTS / 3 < len(points) <= MOST_POINTS
    assert points[0] == (1, 1) and points[-1][0] == 10 * MOST_POINTS - 1
    assert points == sorted(points)


def test_time_left_of_a_budget_of_minutes() -> None:
    digest = Digest(minutes=10.0)
    digest.feed({"type": "hello", "t": 100.0, "pid": 1})
    digest.feed({"type": "progress", "t": 220.0, "done": 1, "total": 10, "eta_s": 3.0})
    assert digest.eta == pytest.approx(480.0) and digest.secondsRunning == pytest.approx(120.0)
    digest.feed({"type": "hello", "t": 1000.0, "pid": 2})  # resumed: what was spent counts, the pause does not
    digest.feed({"type": "progress", "t": 1060.0, "done": 1, "total": 10, "eta_s": 3.0})
    assert digest.eta == pytest.approx(420.0)


def test_time_left_by_what_the_worker_reckons_with() -> None:
    digest = Digest()
    digest.feed({"type": "hello", "t": 100.0, "pid": 1})
    assert digest.eta is None
    digest.feed({"type": "estimate", "t": 110.0, "seconds": 200.0, "bytes": 3e9, "text": "x"})
    assert digest.eta == pytest.approx(190.0) and digest.expected == {"seconds": 200.0, "bytes": 3e9}
    digest.feed({"type": "stage", "t": 110.0, "name": "a", "index": 0, "count": 1})
    digest.feed({"type": "progress", "t": 150.0, "done": 500, "total": 1000})  # what was seen counts for more
    assert digest.eta == pytest.approx(50.0 * 0.475 / 0.525)


# the estimate


def test_the_estimate_follows_the_images_and_the_recipe(tmp_path: Path) -> None:
    world = World(tmp_path)
    request = JobRequest("register", {"model": "model", "fixed": "fixed.nii.gz", "moving": "moving.nii.gz"})
    small = estimate.estimate_memory(request, tmp_path)
    assert small.needed is not None and small.fits and "needs about" in small.text
    voxels = 16**3
    width = 8 / 48  # of the world's tiny network, but never below a quarter
    by_voxel = NETWORKS["autoreg"].bytes_by_voxel[0] * max(width, 0.25) + estimate.DELIVERY
    assert small.needed == pytest.approx(
        estimate.BASE + voxels * by_voxel, rel=1e-6
    )
    (tmp_path / "pairs.csv").write_text("fixed,moving\nfixed.nii.gz,moving.nii.gz\n")
    many = estimate.estimate_memory(JobRequest("batch", {"model": "model", "table": "pairs.csv"}), tmp_path)
    assert many.needed == small.needed  # one pair after the other
    scenario = JobRequest("search", {"scenario": str(world.scenario), "preset": "quick"})
    search = estimate.estimate_memory(scenario, tmp_path)
    assert search.needed is not None and search.needed > small.needed
    full = estimate.estimate_memory(request, tmp_path, free=1000)
    assert not full.fits and "free" in full.text
    gpu = Environment("ready", devices=(Device("A GPU", 123, 456),), memory=(789, 1000))
    jobs = Jobs(tmp_path / "work")
    assert jobs.estimate(request, tmp_path, gpu).free == 123
    on_cpu = JobRequest("register", {**request.arguments, "device": "cpu"})
    assert jobs.estimate(on_cpu, tmp_path, gpu).free == 789
    unknown = estimate.estimate_memory(JobRequest("register", {"model": "absent", "fixed": "x"}), tmp_path)
    assert unknown.needed is None and unknown.fits and unknown.text == ""


def test_working_voxels() -> None:
    assert estimate.working_voxels((10, 20, 30), (1.0, 1.0, 1.0), ()) == 6000
    assert estimate.working_voxels((10, 20, 30), (1.0, 1.0, 2.0), (2.0, 2.0, 2.0)) == 5 * 10 * 30
    assert estimate.working_voxels((10, 1, 30), (1.0, 5.0, 2.0), (2.0, 2.0)) == 5 * 30  # a slice is a picture
