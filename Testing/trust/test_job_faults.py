"""Clocks that jump, full disks, folders that vanish, processes that were killed: what a job does then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from AutoRegLib.app import worker
from AutoRegLib.app.outputs import LOCK, claim_output, release_outputs
from AutoRegLib.core import jobs as library_jobs
from AutoRegLib.core import locks, processes
from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.jobs import JobRequest, Monitor, read_events, take_lock, write_request
from AutoRegLib.core.leftovers import unfinished
from AutoRegLib.core.locks import process_mark
from AutoRegLib.core.records import write_text
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState

ROOT = Path(__file__).resolve().parents[2]
APPLY = JobRequest("apply", {"transform": "none", "input": "none", "output": "out/x.csv"})


def test_a_process_is_known_again_however_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    mark, real = process_mark(os.getppid()), time.time
    for jump in (-7200.0, 7200.0, 3e8):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert locks.mark_lives(mark)
        assert processes.process_lives(os.getppid(), birth=mark["birth"])
        assert not processes.process_lives(os.getppid(), birth=mark["birth"] + 1), "a later process of that number"


def test_a_lock_from_the_future_that_names_nobody_is_old(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    os.utime(tmp_path / "lock", (time.time() + 7200,) * 2)
    take_lock(tmp_path)


def test_what_is_somebody_elses_is_not_released(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for mark in (process_mark(os.getppid()), {**process_mark(), "host": "another-machine"}):
        lock.write_text(json.dumps(mark))
        locks.release(lock)
        assert not locks.clear(lock) and json.loads(lock.read_text()) == mark
    gone = subprocess.Popen([sys.executable, "-c", ""])
    lock.write_text(json.dumps(process_mark(gone.pid)))
    gone.wait()
    assert locks.clear(lock) and not lock.exists()


@pytest.mark.parametrize("changes", [{}, {"host": "another-machine"}])
def test_a_job_that_another_process_runs_is_not_started(changes: dict[str, Any], tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, sys.executable)
    folder = jobs.create("apply", "held")
    mark = {**process_mark(os.getppid()), **changes}
    (folder / "lock").write_text(json.dumps(mark))
    jobs.submit(folder, APPLY)
    status = jobs.status(folder)
    assert status.state is JobState.Failed and "Another process runs this job" in status.message
    assert json.loads((folder / "lock").read_text()) == mark


def test_looking_at_a_job_of_another_application_leaves_it_alone(tmp_path: Path) -> None:
    others = Jobs(tmp_path, sys.executable)
    folder = others.create("apply", "being prepared there")
    record = json.loads((folder / "ui.json").read_text())
    (folder / "ui.json").write_text(json.dumps({**record, "owner": process_mark(os.getppid())}))
    mine = Jobs(tmp_path, sys.executable)
    assert mine.attachExisting() == []
    assert [status.state for status in mine.history()] == [JobState.Preparing]
    assert mine.status(folder).state is JobState.Preparing
    assert json.loads((folder / "ui.json").read_text())["state"] == "preparing"


def test_damaged_event_lines_are_told(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, sys.executable)
    folder = jobs.create("apply", "damaged")
    write_request(folder, APPLY)
    (folder / "events.jsonl").write_bytes(
        b'{"type": "hello", "t": 1.0}\n\x00\x00\n{"type": 3}\n{"type": "done", "t": 2.0, "summary": {}}\n')
    record = json.loads((folder / "ui.json").read_text())
    (folder / "ui.json").write_text(json.dumps({**record, "state": "running"}))
    (status,) = Jobs(tmp_path, sys.executable).attachExisting()
    assert status.state is JobState.DoneNotImported
    assert "events.jsonl left out: 2" in dict(status.warnings)["damaged-events"]


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np, torch, SimpleITK as sitk
from safetensors.torch import save_file
from AutoRegLib.core.errors import DiskError
from AutoRegLib.core.records import write_whole
from AutoRegLib.imaging.files import write_displacement, write_volume
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
folder = Path(sys.argv[2])
grid = Geometry((40, 40, 40), (1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
noise = np.random.default_rng(0).normal(size=(40, 40, 40, 3)).astype(np.float32)
image, field = Volume(noise[..., 0], grid, "intensity"), DisplacementField(noise, grid)
writers = {
    "a.pt": lambda path: write_whole(path, lambda name: torch.save({"x": torch.from_numpy(noise)}, name)),
    "b.safetensors": lambda path: write_whole(path, lambda name: save_file({"x": torch.from_numpy(noise)}, name)),
    "c.nii.gz": lambda path: write_volume(image, path), "d.nrrd": lambda path: write_displacement(field, path),
    "e.txt": lambda path: write_whole(path, lambda name: Path(name).write_text("x" * 10**5)),
}
for name in writers:
    (folder / name).write_text("earlier")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for name, write in writers.items():
    try:
        write(folder / name)
        print(name, "was written")
    except DiskError as problem:
        print(name, problem.exit_code)
"""


@pytest.mark.skipif(os.name == "nt", reason="files cannot be limited there")
def test_what_does_not_fit_on_the_disk_leaves_the_earlier_file(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", LIMITED, str(ROOT), str(tmp_path)], capture_output=True, text=True,
                          check=True)
    assert told.stdout.split() == ["a.pt", "7", "b.safetensors", "7", "c.nii.gz", "7", "d.nrrd", "7", "e.txt", "7"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"earlier"} and len(list(tmp_path.iterdir())) == 5


def test_a_full_log_ends_no_work(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    write_request(tmp_path / "j", APPLY)
    (tmp_path / "j" / "log.txt").symlink_to("/dev/full")
    assert worker.run_job(tmp_path / "j") == 2  # for its input, not for its log
    assert read_events(tmp_path / "j")[-1].type == "error"


def test_half_an_event_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = library_jobs.FolderMonitor(tmp_path)
    monitor.event("first")

    def full(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith("events.jsonl") and arguments == ("a",):
            with open(path, "a") as stream:
                stream.write('{"type": "seco')
            raise OSError(28, "No space left on device")
        return open(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(library_jobs, "open", full, raising=False)
        with pytest.raises(OSError, match="No space"):
            monitor.event("second")
    monitor.event("third")
    assert [event.type for event in read_events(tmp_path)] == ["first", "third"]


@pytest.mark.parametrize("what", ["vanishes", "is read-only"])
def test_a_folder_that_goes_away_during_the_work(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "is read-only" and os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    write_request(tmp_path / "j", APPLY)

    def work(request: JobRequest, *, monitor: Monitor) -> dict[str, Any]:
        if what == "vanishes":
            shutil.rmtree(tmp_path / "j")
        else:
            (tmp_path / "j" / "out").chmod(0o500)
        write_text(tmp_path / "j" / "out" / "x.csv", "x")
        return {}

    monkeypatch.setattr(worker, "perform", work)
    assert worker.run_job(tmp_path / "j") == DiskError("").exit_code
    assert what == "vanishes" or json.loads((tmp_path / "j" / "state.json").read_text())["exit_code"] == 7


def test_events_of_a_folder_that_vanished_are_a_matter_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_request(tmp_path / "j", APPLY)

    def work(request: JobRequest, *, monitor: Monitor) -> dict[str, Any]:
        shutil.rmtree(tmp_path / "j")
        monitor.event("progress", done=1, total=2)
        return {}

    monkeypatch.setattr(worker, "perform", work)
    assert worker.run_job(tmp_path / "j") == 7


def test_what_a_killed_process_left_half_written_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    of = unfinished("transform.nrrd").rpartition(".")[0]
    names = {"dead": f"{of}.{gone.pid}-abcdefgh.nrrd", "alive": f"{of}.{os.getppid()}-abcdefgh.nrrd",
             "elsewhere": f".transform.nrrd-00000000.{gone.pid}-abcdefgh.nrrd", "hidden": ".profile-2"}
    (tmp_path / "sub").mkdir()
    for name in names.values():
        (tmp_path / "sub" / name).write_text("")
    claim_output(tmp_path, (), overwrite=False, monitor=Monitor())
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {*names.values()} - {names["dead"]}
    assert (tmp_path / LOCK).exists()
    release_outputs()


def test_a_killed_writer_leaves_the_earlier_file_and_its_own_name(tmp_path: Path) -> None:
    code = ("import os, sys; sys.path.insert(0, sys.argv[1]); from AutoRegLib.core.records import write_whole\n"
            "write_whole(sys.argv[2], lambda name: (open(name, 'w').write('half'), os.kill(os.getpid(), 9)))")
    (tmp_path / "a.json").write_text("earlier")
    subprocess.run([sys.executable, "-c", code, str(ROOT), str(tmp_path / "a.json")], check=False)
    assert (tmp_path / "a.json").read_text() == "earlier" and len(list(tmp_path.iterdir())) == 2
    claim_output(tmp_path, (), overwrite=False, monitor=Monitor())
    release_outputs()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(InputError):
        claim_output(tmp_path, ("a.json",), overwrite=False, monitor=Monitor())
    release_outputs()
