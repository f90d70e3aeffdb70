"""A workspace with many jobs, and a cache that several processes use at once."""

from __future__ import annotations

import builtins
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import SimpleITK as sitk
from lattices import OBLIQUE, smooth_image

from AutoRegLib.core.bundle_folder import list_bundles
from AutoRegLib.core.jobs import JobRequest, write_request
from AutoRegLib.imaging import align, alignment_cache
from AutoRegLib.imaging.align import Alignment
from AutoRegLib.imaging.files import write_volume
from AutoRegSlicerLib.jobs import job as one_job
from AutoRegSlicerLib.jobs import record
from AutoRegSlicerLib.jobs.jobs import Jobs, JobState
from benchmarks.slow_folder import make_models, slow


def finished(jobs: Path, number: int) -> None:
    folder = jobs / f"20260101-{number:06d}-apply-00000000"
    write_request(folder, JobRequest("apply", {"transform": "t", "input": "x", "output": "out/x.csv"}))
    record.write_record(folder, record.Record("apply", f"job {number}", float(number), state="done"))
    (folder / "events.jsonl").write_text('{"type": "done", "t": 1.0, "summary": {}}\n' * 50)


def test_three_hundred_finished_jobs_are_listed_and_cost_a_poll_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        finished(tmp_path / "jobs", number)
    (tmp_path / "jobs" / "20260101-000007-apply-00000000" / "ui.json").write_text("{")  # one that cannot be read
    jobs = Jobs(tmp_path, sys.executable)
    assert jobs.attachExisting() == []
    titles = [status.title for status in jobs.history()]
    assert len(titles) == 299 and titles[0] == "job 299" and titles[-1] == "job 0"

    def looked(path: Any, *rest: Any, **more: Any) -> Any:
        raise AssertionError(f"{path} was opened")

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", looked)
        assert jobs.poll() == []


def test_what_is_done_is_read_once_and_forgotten_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        finished(tmp_path / "jobs", number)
    jobs = Jobs(tmp_path, sys.executable)
    jobs.attachExisting()
    first = jobs.history()
    assert [status.title for status in first] == [f"job {number}" for number in reversed(range(20))]
    with slow(tmp_path, 0.0) as asked:
        assert jobs.history() == first
    assert 0 < len(asked) < 5, "each job was asked for again"
    shutil.rmtree(first[3].folder)
    finished(tmp_path / "jobs", 20)
    assert [status.title for status in jobs.history()] == ["job 20", *(s.title for s in first if s is not first[3])]


def test_models_are_asked_for_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path))
    make_models(tmp_path, 3)
    with slow(tmp_path, 0.0) as asked:
        models, problems = list_bundles()
    assert len(models) == 3 and not problems
    assert len(asked) < 25 * len(models) + 3


def test_a_poll_goes_through_the_jobs_no_oftener_when_there_are_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for number in range(20):
        finished(tmp_path / "jobs", number)
    whole = Jobs._busy
    for some in (2, 20):
        jobs, calls = Jobs(tmp_path, sys.executable), []
        for folder in record.job_folders(tmp_path / "jobs")[:some]:
            jobs.status(folder)
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "_busy", lambda self, calls=calls: calls.append(1) or whole(self))
            assert len(jobs.poll()) == some
        counts.append(len(calls))
    assert 0 < counts[0] == counts[1]


def test_the_end_of_a_job_is_put_together_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(tmp_path / "jobs", 1)
    jobs = Jobs(tmp_path, sys.executable)
    (folder,) = record.job_folders(tmp_path / "jobs")
    first = jobs.status(folder)
    assert first.state is JobState.Done and first.title == "job 1"
    monkeypatch.setattr(one_job, "log_tail", lambda *_, **__: pytest.fail("the log was read again"))
    assert jobs.poll() == [first] and jobs.status(folder) is first
    jobs.setAside(folder)
    monkeypatch.undo()
    assert jobs.status(folder).state is JobState.DoneNotImported


@pytest.mark.parametrize("left", ["nothing", "damaged", "a folder in its place"])
def test_a_cache_that_eight_use_at_once(left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment_cache, "cache_folder", lambda: tmp_path / "cache")
    image = smooth_image(OBLIQUE)
    write_volume(image, tmp_path / "a.nrrd")
    files = (str(tmp_path / "a.nrrd"),) * 2
    together = Barrier(8)
    known = sitk.AffineTransform(3)
    known.SetTranslation((1.0, 2.0, 3.0))

    def found(*_: Any, **__: Any) -> Alignment:
        together.wait(60)  # all of them miss, and all of them write
        return Alignment(known, 0.0, 1.0)

    monkeypatch.setattr(align, "affine_align", found)
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda _: alignment_cache.cached_alignment(image, image, files), range(8)))
    (entry,) = (tmp_path / "cache" / "alignments").iterdir()
    json.loads(entry.read_text())
    if left == "damaged":
        entry.write_bytes(entry.read_bytes()[:20])
    elif left == "a folder in its place":
        entry.unlink()
        entry.mkdir()
    with ThreadPoolExecutor(8) as pool:
        second = list(pool.map(lambda _: alignment_cache.cached_alignment(image, image, files), range(8)))
    assert {tuple(t.GetParameters()) for t in (*first, *second)} == {tuple(known.GetParameters())}
    assert not together.broken
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]
