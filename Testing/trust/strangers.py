"""What tests of strangers' files share: a small recipe, and limits of time and memory."""

from __future__ import annotations

import dataclasses
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from AutoRegLib.core.recipe import Recipe

SMALL = dataclasses.replace(Recipe(), network=dataclasses.replace(Recipe().network, features=(2, 2), decoder=(2, 2, 2)))


@contextmanager
def limited(seconds: int = 10, megabytes: int = 400) -> Iterator[None]:
    """What is done within is interrupted after some seconds of processor time, or twelve times as many of the clock
    (something that waits needs no processor), and may not make the process grow.
    """
    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"still busy after {seconds} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    former = {kind: signal.signal(kind, late) for kind in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, seconds)  # a busy machine is not the program's fault
    signal.alarm(12 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for kind, handler in former.items():
            signal.signal(kind, handler)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    assert grown < megabytes, f"{grown:.0f} MB"
