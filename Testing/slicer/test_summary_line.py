"""The line under a registration: what speaks against a result is said first, and red is not called done."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

SAID = "one image may be flipped."
REPORT = {"seconds": 12.0, "folds": 0, "lncc": 0.5}


@pytest.mark.parametrize(("verdict", "begin", "done"), [
    ("red", f"Do not use this result: {SAID}", False), ("amber", f"Look before you use it: {SAID}", True),
    ("green", "Done in", True)])
def test_the_verdict_leads(desk: Any, verdict: str, begin: str, done: bool) -> None:
    from AutoRegSlicerLib.panels.summary import summarize

    reasons = [] if verdict == "green" else [{"check": "mirrored", "light": verdict, "text": SAID}]
    line = summarize({**REPORT, "fit": {"verdict": verdict, "reasons": reasons}})
    assert line.startswith(begin) and ("Done in" in line) == done and "No folds." in line
