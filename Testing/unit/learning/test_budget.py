"""What a budget of time is counted in."""

from __future__ import annotations

import pytest

from AutoRegLib.learning.budget import TIMERS, Clock


def test_processor_time_is_counted_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that computes for others half of the time, a budget of processor time is half spent."""
    now = {"wall": 100.0, "processor": 7.0}
    for name in now:
        monkeypatch.setitem(TIMERS, name, lambda name=name: now[name])
    clocks = {name: Clock(1, seconds=20.0, used=2.0, timer=name) for name in now}
    now |= {"wall": 108.0, "processor": 11.0}
    assert {name: clock.used for name, clock in clocks.items()} == {"wall": 10.0, "processor": 6.0}
    assert {name: clock.progress for name, clock in clocks.items()} == {"wall": 0.5, "processor": 0.3}
    assert not clocks["processor"].over
    now["processor"] = 25.5
    assert clocks["processor"].over and not clocks["wall"].over
