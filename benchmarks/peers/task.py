"""What a peer is asked, and the clock around its registration; standard library only."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """Register ``moving`` onto ``fixed``, carry its labels along by the peer's own tool.

    ``output`` receives ``warped_labels.nii.gz`` and ``displacement.nrrd`` (mm, LPS, on the fixed grid; of the
    deformable part at least). ``affine``: with the peer's own affine alignment, if it has one. ``paper``: at the
    settings of the papers, where they name any.
    """

    fixed: str
    moving: str
    moving_labels: str
    output: Path
    affine: bool
    threads: int
    quick: bool
    paper: bool = False

    @property
    def labels_file(self) -> str:
        return str(self.output / "warped_labels.nii.gz")

    @property
    def displacement_file(self) -> str:
        return str(self.output / "displacement.nrrd")


def read_task() -> Task:
    """The command line that all peers share."""
    parser = argparse.ArgumentParser()
    for name in ("--fixed", "--moving", "--moving-labels", "--output"):
        parser.add_argument(name, required=True)
    parser.add_argument("--affine", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few iterations: does it run at all?")
    parser.add_argument("--paper", action="store_true", help="at the papers' settings")
    given = parser.parse_args()
    return Task(given.fixed, given.moving, given.moving_labels, Path(given.output), given.affine, given.threads,
                given.quick, given.paper)


@contextmanager
def timed(task: Task) -> Iterator[None]:
    """Write how long the body took to ``seconds.json``: the registration without reading and writing."""
    wall, cpu = time.perf_counter(), _processor_seconds()
    yield
    taken = {"registration_wall_s": time.perf_counter() - wall, "registration_cpu_s": _processor_seconds() - cpu}
    (task.output / "seconds.json").write_text(json.dumps(taken))


def _processor_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
