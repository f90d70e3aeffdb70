"""How long the Slicer half holds the window when its folders lie on a disk that answers slowly.

``python -m benchmarks.slow_folder --delay 0.2 [--jobs 300] [--models 20]``: a workspace of finished jobs and one that
runs, and a folder of models; every stat, listing, opening and reading of a file in them takes ``--delay`` seconds more.
Prints for each thing that the module does in the window's thread: how often it asked the disk, and the seconds it took.
"""

from __future__ import annotations

import argparse
import builtins
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def slow(folder: Path, delay: float) -> Iterator[list[str]]:
    """Every question to the disk about what lies in ``folder`` takes ``delay`` seconds; which they were."""
    asked: list[str] = []
    place = str(folder)

    def late(name: str, real: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            path = arguments[0] if arguments else "."
            if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(place):
                asked.extend([name] * times)
                time.sleep(times * delay)
            return real(*arguments, **options)

        return call

    kept = {(module, name): getattr(module, name) for module, names in (
        (os, ("stat", "lstat", "listdir", "scandir", "open", "replace", "mkdir", "unlink", "link")),
        (io, ("open",)), (builtins, ("open",))) for name in names}
    for (module, name), real in kept.items():
        setattr(module, name, late(name, real, 2 if module is not os else 1))  # opened and read
    try:
        yield asked
    finally:
        for (module, name), real in kept.items():
            setattr(module, name, real)


def make_jobs(jobs: Path, count: int) -> None:
    """Finished jobs, and one that runs (in this process, as far as its lock tells)."""
    from AutoRegLib.core.jobs import JobRequest, write_request
    from AutoRegLib.core.locks import process_mark
    from AutoRegSlicerLib.jobs import record

    for number in range(count + 1):
        folder, runs = jobs / f"20260101-{number:06d}-apply-00000000", number == count
        write_request(folder, JobRequest("apply", {"transform": "t", "input": "x", "output": "out/x.csv"}))
        record.write_record(folder, record.Record("apply", f"job {number}", float(number),
                                                  state="running" if runs else "done"))
        said = {"type": "hello", "t": time.time(), "pid": os.getpid()} if runs else {"type": "done", "t": 1.0,
                                                                                     "summary": {}}
        (folder / "events.jsonl").write_text(json.dumps(said) + "\n")
        if runs:
            (folder / "lock").write_text(json.dumps(process_mark()))


def make_models(folder: Path, count: int) -> None:
    """One untrained model under many names."""
    from AutoRegLib.bundle import save_bundle
    from AutoRegLib.core.recipe import Recipe
    from AutoRegLib.networks.registry import build_network

    recipe = Recipe(spatial_dims=2)
    save_bundle(folder / "m0", recipe=recipe, state=build_network(recipe).state_dict(), metrics={}, history=[],
                provenance={})
    for number in range(1, count):
        shutil.copytree(folder / "m0", folder / f"m{number}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--models", type=int, default=20)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "AutoRegSlicer"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        os.environ["AUTOREG_MODELS"] = str(work / "models")
        make_models(work / "models", given.models)
        make_jobs(work / "jobs", given.jobs)
        from AutoRegLib.core.bundle_folder import list_bundles
        from AutoRegSlicerLib.jobs.jobs import Jobs

        jobs: Any = None

        def opened() -> None:
            nonlocal jobs
            jobs = Jobs(work, sys.executable)
            jobs.attachExisting()

        for words, action in (
            ("the module is opened: jobs", opened), ("a poll, one job running", lambda: jobs.poll()),
            ("the list of jobs", lambda: jobs.history()), ("the list of jobs again", lambda: jobs.history()),
            ("the list of models", list_bundles), ("bytes of the jobs", lambda: jobs.storageBytes()),
        ):
            with slow(work, given.delay) as asked:
                began = time.perf_counter()
                action()
                spent = time.perf_counter() - began
            print(f"{words}: {len(asked)} questions, {spent:.2f} s", flush=True)


if __name__ == "__main__":
    main()
