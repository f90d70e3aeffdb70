"""What stands around and upon the views: Slicer's bars, orientation letters, ruler, color bars, captions. Qt only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QImage, QLinearGradient, QPainter, QPen

BAR = 20  # height of the colored bar over a view
GAP = 3
CAPTION = 64
BACKGROUND, BETWEEN, TEXT, FAINT = QColor("#f0f0f0"), QColor("#9a9a9a"), QColor("#1a1a1a"), QColor("#555555")
#: color of the bar, its letter, what it shows, letters at left, right, top, bottom
VIEWS = {
    "Red": ("#f34a33", "R", "Axial", "RLAP"), "Yellow": ("#edd54c", "Y", "Sagittal", "APSI"),
    "Green": ("#6eb04b", "G", "Coronal", "RLSI"), "3D": ("#7481c7", "1", "3-D", ""),
}


class Canvas:
    """A picture that is painted from the top left corner; sizes in pixels."""

    def __init__(self, width: int, height: int, background: QColor = BACKGROUND) -> None:
        self.image = QImage(width, height, QImage.Format.Format_RGB888)
        self.image.fill(background)
        self.painter = QPainter(self.image)
        self.painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.TextAntialiasing)

    def text(
        self, x: float, y: float, words: str, *, size: int = 13, bold: bool = False, color: QColor = TEXT,
        outline: bool = False, align: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft,
    ) -> None:
        """Words whose middle line is at ``y``; ``outline``: dark around them, to be read on any image."""
        font = QFont("DejaVu Sans")
        font.setPixelSize(size)
        font.setBold(bold)
        self.painter.setFont(font)
        left = x - {Qt.AlignmentFlag.AlignLeft: 0, Qt.AlignmentFlag.AlignHCenter: 600,
                    Qt.AlignmentFlag.AlignRight: 1200}[align]
        box = QRectF(left, y - size, 1200, 2 * size)
        flags = align | Qt.AlignmentFlag.AlignVCenter
        if outline:
            self.painter.setPen(QColor(0, 0, 0, 200))
            for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                self.painter.drawText(box.translated(dx, dy), flags, words)
        self.painter.setPen(color)
        self.painter.drawText(box, flags, words)

    def picture(self, x: float, y: float, pixels: np.ndarray) -> None:
        """An array (height, width, 3) uint8."""
        pixels = np.ascontiguousarray(pixels)
        height, width, _ = pixels.shape
        self.painter.drawImage(QPointF(x, y), QImage(pixels.data, width, height, 3 * width,
                                                     QImage.Format.Format_RGB888))

    def save(self, path: Path, notes: dict[str, str]) -> None:
        """Write the PNG with ``notes`` as text chunks."""
        self.painter.end()
        for key, text in notes.items():
            self.image.setText(key, text)
        if not self.image.save(str(path)):
            raise OSError(f"cannot write {path}")


def side(size: int) -> tuple[int, int]:
    """Width and height of four views of ``size`` pixels."""
    return 2 * size + GAP, 2 * (size + BAR) + GAP


def four_up(
    canvas: Canvas, x: int, y: int, views: dict[str, np.ndarray], *, millimeters: float, offsets: dict[str, str],
    corners: dict[str, list[str]],
) -> None:
    """The views in Slicer's layout; ``millimeters``: of a pixel.

    ``offsets``: what is written in each bar; ``corners``: what is shown, line by line.
    """
    for number, (name, pixels) in enumerate(views.items()):
        size = pixels.shape[0]
        left, top = x + (number % 2) * (size + GAP), y + (number // 2) * (size + BAR + GAP)
        color, letter, words, letters = VIEWS[name]
        canvas.painter.fillRect(QRectF(left, top, size, BAR), QColor(color))
        canvas.text(left + 7, top + BAR / 2, letter, size=12, bold=True)
        canvas.text(left + 26, top + BAR / 2, words, size=12)
        canvas.text(left + size - 7, top + BAR / 2, offsets.get(name, ""), size=12, align=Qt.AlignmentFlag.AlignRight)
        canvas.picture(left, top + BAR, pixels)
        for line, shown in enumerate(corners.get(name, ())):
            canvas.text(left + 7, top + BAR + 12 + 15 * line, shown, size=11, color=QColor("#ffe9a8"), outline=True)
        _letters(canvas, left, top + BAR, size, letters)
        if name != "3D":
            _ruler(canvas, left, top + BAR, size, millimeters)


def _letters(canvas: Canvas, left: float, top: float, size: int, letters: str) -> None:
    places = ((10, size / 2), (size - 10, size / 2), (size / 2, 12), (size / 2, size - 12))
    for letter, (x, y) in zip(letters, places, strict=False):
        canvas.text(left + x, top + y, letter, size=15, bold=True, color=QColor("#ffd54a"), outline=True,
                    align=Qt.AlignmentFlag.AlignHCenter)


def _ruler(canvas: Canvas, left: float, top: float, size: int, millimeters: float) -> None:
    """Five centimeters."""
    long = 50 / millimeters
    x, y = left + size - long - 12, top + size - 12
    canvas.painter.setPen(QPen(QColor("white"), 1.5))
    for a, b in (((x, y), (x + long, y)), ((x, y - 4), (x, y + 4)), ((x + long, y - 4), (x + long, y + 4))):
        canvas.painter.drawLine(QPointF(*a), QPointF(*b))
    canvas.text(x + long / 2, y - 10, "5 cm", size=11, color=QColor("white"), outline=True,
                align=Qt.AlignmentFlag.AlignHCenter)


def color_bar(
    canvas: Canvas, x: float, y: float, width: float, colors: np.ndarray, ticks: Sequence[tuple[float, str]],
    title: str, *, dark: bool = False,
) -> None:
    """A horizontal bar of ``colors`` (n, 3); ``ticks``: place from 0 to 1 and its words."""
    ink = TEXT if dark else QColor("white")
    gradient = QLinearGradient(x, y, x + width, y)
    for place, color in zip(np.linspace(0, 1, len(colors)), colors, strict=True):
        gradient.setColorAt(float(place), QColor.fromRgbF(*(float(v) for v in color)))
    canvas.painter.fillRect(QRectF(x, y, width, 9), gradient)
    canvas.painter.setPen(QPen(ink, 1))
    canvas.painter.drawRect(QRectF(x, y, width, 9))
    canvas.text(x + width / 2, y - 11, title, size=11, color=ink, outline=not dark, align=Qt.AlignmentFlag.AlignHCenter)
    for place, words in ticks:
        canvas.text(x + place * width, y + 19, words, size=11, color=ink, outline=not dark,
                    align=Qt.AlignmentFlag.AlignHCenter)
