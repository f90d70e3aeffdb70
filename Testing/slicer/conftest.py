"""The real MRML runtime for the tests in this folder; without it they are skipped, never run on something else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in (HERE, ROOT / "AutoRegSlicer", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def whyNoSlicer() -> str:
    """Import the real ``slicer``; empty, or why it cannot be.

    That package takes in every folder of its name on the path and imports all that lies there: this folder must be
    hidden meanwhile, or all tests would be run by an import, and without slicer-core the folder would pass for it.
    """
    path = list(sys.path)
    sys.path[:] = [entry for entry in path if Path(entry or ".").resolve() != HERE.parent]
    try:
        from slicer import vtkMRMLScene  # noqa: F401
    except ImportError as problem:
        return f"tests of the scene are skipped, slicer-core is not installed: {problem}"
    finally:
        sys.path[:] = path
    return ""


WITHOUT_SLICER = whyNoSlicer()


def pytest_report_header() -> str:
    """Says why nothing of this folder runs, when nothing does."""
    return f"Testing/slicer: {WITHOUT_SLICER or 'slicer-core is there'}"


if not WITHOUT_SLICER:
    import scenes

    @pytest.fixture
    def scene() -> Iterator[Any]:
        """An empty scene with Slicer's color nodes."""
        made = scenes.newScene()
        yield made
        made.Clear(True)

    @pytest.fixture(scope="session")
    def tinyModel(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A bundle whose random weights move points by millimeters."""
        return scenes.tinyBundle(tmp_path_factory.mktemp("models") / "tiny")

    with contextlib.suppress(ImportError):  # without PySide6 there is no widget to test
        from standins.fixtures import *  # noqa: F403
