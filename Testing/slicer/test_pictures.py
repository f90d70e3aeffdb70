"""The pictures of the README show the panels as they are; ``make pictures`` makes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6", exc_type=ImportError)

import panel_digest
from PySide6.QtGui import QImage

RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
SCREENSHOTS = sorted((RESOURCES / "Screenshots").glob("*.png"))
WITH_PANELS = [path for path in SCREENSHOTS if QImage(str(path)).text("Panels")]


def test_some_pictures_show_panels() -> None:
    assert WITH_PANELS


@pytest.mark.parametrize("path", WITH_PANELS, ids=lambda path: path.name)
def test_panels_on_pictures_are_those_of_today(path: Path, desk: Any) -> None:
    assert QImage(str(path)).text("Panels") == panel_digest.digest(desk), (
        f"the panels read otherwise than on {path.name}; make it anew: make pictures")


def test_the_digest_follows_what_is_read(desk: Any) -> None:
    first = panel_digest.digest(desk)
    assert first == panel_digest.digest(desk)
    words = desk.ui.autoSearchButton.toolTip()
    desk.ui.autoSearchButton.setToolTip(words + ".")  # not on a picture
    assert first == panel_digest.digest(desk)
    desk.ui.modelComboBox.parentWidget().setEnabled(False)
    assert first != panel_digest.digest(desk)


@pytest.mark.parametrize("path", SCREENSHOTS, ids=lambda path: path.name)
def test_pictures_say_how_they_were_made(path: Path) -> None:
    assert "make.py" in QImage(str(path)).text("Command") or "autoreg register" in QImage(str(path)).text("Command")


def test_pictures_are_few_and_small() -> None:
    assert len(SCREENSHOTS) <= 4
    assert sum(path.stat().st_size for path in RESOURCES.rglob("*.png")) < 3_000_000
