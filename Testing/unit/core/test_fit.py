"""The fit check's table: lights at their limits, the worst one leads, what was not measured says nothing."""

from __future__ import annotations

import math

import pytest

from AutoRegLib.core.fit import CHECKS, LIGHTS, MEANING, Check, fit_of


@pytest.mark.parametrize("check", CHECKS.values(), ids=str)
def test_every_check_is_green_on_its_good_side_and_worse_beyond_its_limits(check: Check) -> None:
    good = 0.0 if check.rising else 1.0
    assert check.light(good) == "green"
    far = 1e6 if check.rising else -1.0
    assert check.light(far) == ("red" if check.red is not None else "amber")
    if check.red is not None and check.amber is not None:
        assert (check.red > check.amber) == check.rising
        assert check.light((check.red + check.amber) / 2) == "amber"
    assert "{" not in check.said(0.5)


def test_not_a_number_is_red() -> None:
    assert CHECKS["inverse"].light(math.nan) == "red"


def test_the_worst_reason_leads_and_before_and_after_are_told_apart() -> None:
    found = fit_of({"apart": 1.0, "mirrored": -0.5, "folds": 0.0})
    assert (found["verdict"], found["before"], found["after"]) == ("red", "amber", "red")
    assert [reason["check"] for reason in found["reasons"]] == ["mirrored", "apart"]
    assert "flipped" in found["reasons"][0]["text"]
    assert fit_of({}) == {"verdict": "green", "before": "green", "after": "green", "reasons": [], "values": {}}


def test_every_light_has_its_meaning() -> None:
    assert set(MEANING) == set(LIGHTS)
