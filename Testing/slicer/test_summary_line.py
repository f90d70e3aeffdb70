"""The line under a registration: what speaks against a result is said first, and red is not called done."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

from AutoRegSlicerLib.panels.summary import summarize

REPORT = {"seconds": 12.0, "folds": 0, "lncc": 0.5}


@pytest.mark.parametrize(("verdict", "begin", "done"), [
    ("red", "Do not use this result: one image may be flipped.", False),
    ("amber", "Look before you use it: one image may be flipped.", True), ("green", "Done in", True)])
def test_the_verdict_leads(verdict: str, begin: str, done: bool) -> None:
    reasons = [] if verdict == "green" else [{"check": "mirrored", "light": verdict, "text": "one image may be flipped."}]
    fit: dict[str, Any] = {"verdict": verdict, "reasons": reasons}
    line = summarize({**REPORT, "fit": fit})
    assert line.startswith(begin) and ("Done in" in line) == done and "No folds." in line
