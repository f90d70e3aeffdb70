"""Whether a process exists, and whether it is the one that was meant."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from AutoRegLib.core.processes import birth_time, process_lives


def test_this_process_lives() -> None:
    assert process_lives(os.getpid()) and process_lives(os.getpid(), known_since=time.time())
    assert not process_lives(0) and not process_lives(-1)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no birth times by file")
def test_a_process_born_later_is_another_one() -> None:
    began = time.time()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            born = birth_time(child.pid)
            assert born is not None and abs(born - began) < 2.0
            assert process_lives(child.pid, known_since=time.time())
            assert not process_lives(child.pid, known_since=began - 3600.0)
        finally:
            child.kill()
    assert not process_lives(child.pid) and birth_time(child.pid) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system shows no states by file")
def test_one_that_ended_but_was_not_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        until = time.monotonic() + 30
        while process_lives(child.pid) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(child.pid, 0)  # its number is still there
        assert not process_lives(child.pid)
    finally:
        child.wait()
