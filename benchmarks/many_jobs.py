"""Many jobs through the job folders of the Slicer module: one after the other, and by several clients at once.

``python -m benchmarks.many_jobs --work DIR --sequence 1000`` carries a table of points so often, each a job of its own,
and prints the client's memory, open files and children every hundred jobs; the results must be right and nothing may be
left. ``--clients 8 --registrations 500`` has processes that share one workspace register pairs of images and compares
every result with that of its pair alone. Workers are forks of a process that has loaded the library, so that starting
Python does not hide the rest; all else is what the module does. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.kill_anywhere import in_child, load, looked_at
from benchmarks.measure import ROOT

sys.path.append(str(ROOT / "AutoRegSlicer"))
PATIENCE = 300.0  # seconds of one job


class Forked:
    """A worker in a fork, with what the module asks of a child process."""

    def __init__(self, folder: str) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                os.setsid()
                from AutoRegLib.app.worker import run_job

                code = run_job(folder)
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode


def fork_workers() -> None:
    """From now on the module's jobs run in forks."""
    from AutoRegSlicerLib.jobs import process

    def start(arguments: Sequence[str], variables: Mapping[str, str], *, cwd: Path, log: Path) -> Any:
        child: Any = Forked(arguments[-1])
        process._children.append(child)
        return child

    process.start = start  # type: ignore[assignment]


def run_through(jobs: Any, verb: str, arguments: dict[str, Any]) -> Path:
    """One job from its folder to its results; polled as a timer would. Raises RuntimeError."""
    from AutoRegLib.core.jobs import JobRequest
    from AutoRegSlicerLib.jobs.state import JobState

    folder = Path(jobs.create(verb, "one of many"))
    jobs.submit(folder, JobRequest(verb, arguments))
    until = time.monotonic() + PATIENCE
    while True:
        jobs.poll()
        status = jobs.status(folder)
        if status.state is JobState.Importing:
            jobs.markImported(folder)
            return folder
        if status.state.over or time.monotonic() > until:
            raise RuntimeError(f"{folder}: {status.state}: {status.message}")
        time.sleep(0.05)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children() -> int:
    """Processes whose parent is this one, and those of ended workers that are nobody's."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        count += int(fields[1]) == os.getpid()
    return count


def sequence(work: Path, count: int) -> None:
    """``count`` tables of points carried one after the other in one session of a client."""
    from AutoRegSlicerLib.jobs.jobs import Jobs

    shutil.rmtree(work / "sequence", ignore_errors=True)
    jobs = Jobs(work / "sequence", sys.executable)
    (work / "points.csv").write_text("name,x,y,z\na,1.5,2.5,3.5\n")
    (work / "shift.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 1 0 0 0 1 0 0 0 1 10 0 0\nFixedParameters: 0 0 0\n")
    arguments = {"transform": str(work / "shift.tfm"), "input": str(work / "points.csv"), "kind": "points",
                 "output": "out/moved.csv"}
    expected = ""
    began = time.monotonic()
    for number in range(1, count + 1):
        folder = run_through(jobs, "apply", arguments)
        text = (folder / "out" / "moved.csv").read_text()
        expected = expected or text
        if text != expected or (folder / "lock").exists() or list(folder.rglob(".*")):
            raise SystemExit(f"job {number}: {folder} is not as the others")
        if number % 100 == 0 or number == 1:
            poll = time.process_time()
            jobs.poll()
            poll = time.process_time() - poll
            print(f"{number} jobs: {resident() / 1e6:.1f} MB, {len(os.listdir('/proc/self/fd'))} files open, "
                  f"{children()} children, a poll {1000 * poll:.1f} ms, {time.monotonic() - began:.0f} s", flush=True)


def client(workspace: Path, number: int, count: int, pairs: list[dict[str, Any]], work: Path) -> int:
    """Register pairs one after the other; the results say which pair they are of."""
    from AutoRegSlicerLib.jobs.jobs import Jobs

    jobs, done = Jobs(workspace, sys.executable), []
    jobs.attachExisting()  # as the module does when it is opened
    for turn in range(count):
        pair = (number + turn) % len(pairs)
        try:
            folder = run_through(jobs, "register", pairs[pair])
            done.append([str(folder), pair])
        except Exception as problem:
            done.append([str(problem), -1])
        (work / f"client-{number}.json").write_text(json.dumps(done))
    return 0


def crowd(work: Path, clients: int, registrations: int) -> None:
    """Several clients on one workspace, all at once."""
    from benchmarks.phantom import write_phantom

    shutil.rmtree(work / "crowd", ignore_errors=True)

    def data() -> int:
        write_phantom(work / "pairs", side=16)
        return 0

    in_child(data)
    files = [str(work / "pairs" / f"image{n}.nii.gz") for n in range(4)]
    pairs = [{"fixed": a, "moving": b, "model": "none", "refine": 1, "device": "cpu", "threads": 1}
             for a in files for b in files if a != b]
    alone = []
    for number, pair in enumerate(pairs):
        from benchmarks.kill_anywhere import job, run_once

        folder = job(work / "crowd" / "alone" / str(number), "register", pair)
        in_child(lambda: run_once(folder))  # noqa: B023
        alone.append(looked_at(folder, work))
    each = -(-registrations // clients)
    began = time.monotonic()
    pids = []
    for number in range(clients):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = client(work / "crowd" / "workspace", number, each, pairs, work)
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    done = [entry for number in range(clients) for entry in json.loads((work / f"client-{number}.json").read_text())]
    lost = [text for text, pair in done if pair < 0]
    mixed = [folder for folder, pair in done if pair >= 0 and looked_at(Path(folder), work) != alone[pair]]
    folders = {folder for folder, pair in done if pair >= 0}
    print(f"{clients} clients (exit {set(codes)}), {len(done)} registrations in {time.monotonic() - began:.0f} s, "
          f"{len(lost)} lost, {len(mixed)} unlike their pair alone, "
          f"{len(done) - len(lost) - len(folders)} in another's folder; "
          f"{len({json.dumps(found) for found in alone})} different pairs")
    print("\n".join([*lost, *mixed][:20]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sequence", type=int, default=0)
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--registrations", type=int, default=500)
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    load()
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    fork_workers()
    if given.sequence:
        sequence(work, given.sequence)
    if given.clients:
        crowd(work, given.clients, given.registrations)


if __name__ == "__main__":
    main()
