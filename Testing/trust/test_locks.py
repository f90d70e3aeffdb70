"""A folder belongs to one process at a time, whatever was left behind there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from AutoRegLib.app import worker
from AutoRegLib.app.outputs import LOCK, claim_output, release_outputs
from AutoRegLib.core import locks
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import JobRequest, Monitor, read_events, take_lock, write_request
from AutoRegLib.core.locks import OLD_SECONDS, holder_of, process_mark

ROOT = Path(__file__).resolve().parents[2]
#: waits for the start, takes, tells, and holds until it is told to end
RIVAL = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from AutoRegLib.core.errors import AutoRegError
from AutoRegLib.core.jobs import Monitor, take_lock
from AutoRegLib.app.outputs import claim_output
folder = Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
try:
    if sys.argv[3] == "job":
        take_lock(folder)
    else:
        claim_output(folder, (), overwrite=False, monitor=Monitor())
    print("mine", flush=True)
except AutoRegError as problem:
    print(problem.what, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("left", ["nothing", "dead", "damaged"])
@pytest.mark.parametrize("kind", ["job", "output"])
def test_of_eight_processes_that_start_together_one_gets_the_folder(kind: str, left: str, tmp_path: Path) -> None:
    lock = tmp_path / ("lock" if kind == "job" else LOCK)
    rivals = [subprocess.Popen([sys.executable, "-c", RIVAL, str(ROOT), str(tmp_path), kind], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)]
    try:
        for rival in rivals:
            assert rival.stdout.readline() == "ready\n"  # type: ignore[union-attr]
        if left == "dead":
            gone = subprocess.Popen([sys.executable, "-c", ""])
            gone.wait()
            lock.write_text(json.dumps(process_mark(gone.pid)))
        elif left == "damaged":
            lock.write_bytes(b"\x00{[")
            os.utime(lock, (0, 0))
        for rival in rivals:
            rival.stdin.write("go\n")  # type: ignore[union-attr]
            rival.stdin.flush()  # type: ignore[union-attr]
        said = [rival.stdout.readline().strip() for rival in rivals]  # type: ignore[union-attr]
        assert said.count("mine") == 1, said
        assert all("already running" in text or "being taken" in text for text in said if text != "mine")
        holder: Any = holder_of(lock)
        assert holder["pid"] == rivals[said.index("mine")].pid
        assert [p.name for p in tmp_path.iterdir()] == [lock.name]
    finally:
        for rival in rivals:
            rival.communicate("end\n")


@pytest.mark.parametrize(("changes", "free"), [
    ({"host": "another-machine"}, False), ({"boot": "of yesterday"}, True),
    ({"started": 1.0, "birth": None}, True), ({"birth": 1}, True),
    ({}, False),
    ({"started": 1.0}, False),  # the clock was set since: its birth in the system's own ticks counts

])
def test_who_holds_a_lock(changes: dict[str, Any], free: bool, tmp_path: Path) -> None:
    parent = {**process_mark(os.getppid()), **changes}
    (tmp_path / "lock").write_text(json.dumps(parent))
    if free:
        take_lock(tmp_path)
        holder: Any = holder_of(tmp_path / "lock")
        assert holder["pid"] == os.getpid()
    else:
        with pytest.raises(InputError, match=changes.get("host", str(os.getppid()))):
            take_lock(tmp_path)
        assert json.loads((tmp_path / "lock").read_text()) == parent


def test_a_lock_of_this_moment_that_names_nobody_is_respected(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    with pytest.raises(InputError, match="being taken"):
        take_lock(tmp_path)
    os.utime(tmp_path / "lock", (0, os.stat(tmp_path).st_mtime - OLD_SECONDS - 1))
    take_lock(tmp_path)


def test_a_claimed_folder_is_let_go(tmp_path: Path) -> None:
    claim_output(tmp_path / "o", (), overwrite=False, monitor=Monitor())
    claim_output(tmp_path / "o", (), overwrite=False, monitor=Monitor())  # ours already
    release_outputs()
    assert not list((tmp_path / "o").iterdir())
    (tmp_path / "o" / "a.json").write_text("{}")
    with pytest.raises(InputError, match="another run"):
        claim_output(tmp_path / "o", ("a.json",), overwrite=False, monitor=Monitor())
    release_outputs()


@pytest.mark.parametrize("damage", [
    {"events.jsonl": b"\x00\xff{[[\n" + b"[" * 100_000 + b"\n{\"half"}, {"state.json": b"[" * 100_000},
    {"lock": b"\x00" * 50}, {"job.json": b"{"}, {"job.json": b"[" * 100_000}, {"control": b"\xff\xfe"},
])
def test_damaged_files_of_a_job_end_no_work(damage: dict[str, bytes], tmp_path: Path) -> None:
    write_request(tmp_path / "j", JobRequest("apply", {"transform": "none", "input": "none", "output": "out/x.csv"}))
    for name, data in damage.items():
        (tmp_path / "j" / name).write_bytes(data)
        os.utime(tmp_path / "j" / name, (0, 0))
    assert worker.run_job(tmp_path / "j") == 2
    state = json.loads((tmp_path / "j" / "state.json").read_text())
    assert state["state"] == "failed" and state["exit_code"] == 2
    assert read_events(tmp_path / "j")[-1].type == "error"
    assert not (tmp_path / "j" / "lock").exists()


def test_a_lock_that_was_taken_meanwhile_is_not_even_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two saw the same dead mark; the slower one finds the quicker one's, and leaves it in its place throughout."""
    lock = tmp_path / "lock"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = process_mark(gone.pid)
    lock.write_text(json.dumps(process_mark()))
    with monkeypatch.context() as watched:
        watched.setattr(os, "rename", lambda *_: pytest.fail("the lock was taken away"))
        locks._remove(lock, dead)
    assert (holder_of(lock) or {})["pid"] == os.getpid()
    lock.write_text(json.dumps(dead))
    locks._remove(lock, dead)
    assert not lock.exists()


def test_locks_of_a_killed_batch_go_from_its_pairs_and_living_ones_stay(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    mark = process_mark(gone.pid)
    gone.wait()
    for name, holder in (("dead", mark), ("living", process_mark(os.getppid()))):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).write_text(json.dumps(holder))
    claim_output(tmp_path, (), overwrite=False, monitor=Monitor())
    assert [path.parent.name for path in sorted(tmp_path.glob(f"*/{LOCK}"))] == ["living"]
    release_outputs()
    assert not (tmp_path / LOCK).exists()
