"""Makes the pictures of the README anew.

    python Resources/pictures/make.py --keep FOLDER

Everything on them is real: the anatomy, Slicer's own views (off screen), the forms, the registrations, the search. Only
the widgets are the stand-ins of Testing/slicer, and look plainer than in Slicer. Takes some minutes on a CPU; with
``--keep`` what was registered, searched and trained lies in FOLDER and is used again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(ROOT / "Testing" / "slicer"), str(ROOT / "AutoRegSlicer"), str(ROOT)]
TARGET = ROOT / "Resources" / "Screenshots"
PICTURES = ("before-after", "window", "panels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="where what was computed is kept from run to run")
    parser.add_argument("--only", choices=PICTURES, nargs="+", default=PICTURES)
    options = parser.parse_args()
    from PySide6.QtWidgets import QApplication

    application = QApplication(sys.argv[:1])  # before anything is drawn
    with tempfile.TemporaryDirectory(prefix="pictures-") as scratch:
        draw(options.keep or Path(scratch), set(options.only))
    application.quit()


def draw(folder: Path, wanted: set[str]) -> None:
    """Make what the pictures need, in ``folder``, and draw them."""
    import before_after
    import other_tabs
    import pair
    import window

    pair.build(folder / "pair")
    if "before-after" in wanted:
        before_after.draw(folder / "pair", TARGET / "before-after.png")
    if wanted & {"window", "panels"}:
        with tempfile.TemporaryDirectory(prefix="panels-") as empty:
            notes = {"Command": "python Resources/pictures/make.py", "Panels": panelsDigest(Path(empty))}
            if "window" in wanted:
                window.draw(folder / "pair", folder / "window", TARGET / "window.png", notes)
            if "panels" in wanted:
                other_tabs.draw(folder / "search", TARGET / "panels.png", notes)


def panelsDigest(folder: Path) -> str:
    """What a test compares with the panels of the day."""
    import panel_digest
    import panels
    import scenes

    with panels.opened(scenes.newScene(), folder) as desk:
        return panel_digest.digest(desk)


if __name__ == "__main__":
    main()
