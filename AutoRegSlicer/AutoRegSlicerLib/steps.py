"""Work cut into steps, between which the window lives: generators that yield often and return their result."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

Steps = Generator[str, None, Any]

#: voxels that are worked on in one step: some 30 ms through a warp, on one core
AT_ONCE = 2**18


def finish(steps: Steps) -> Any:
    """Run the steps to the end; what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def slabs(size: tuple[int, int, int]) -> Iterator[slice]:
    """Slices of the last axis of a lattice (nx, ny, nz), each of about ``AT_ONCE`` voxels."""
    thickness = max(1, AT_ONCE // (size[0] * size[1]))
    for start in range(0, size[2], thickness):
        yield slice(start, min(start + thickness, size[2]))
