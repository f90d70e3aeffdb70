"""Stand-ins for the CTK widgets of the forms: same names, properties, setters and signals."""

from __future__ import annotations

from PySide6.QtCore import Property, QPointF, QRect, QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPolygonF
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSlider,
    QWidget,
)

HEADER = 24  # height of the title of a collapsible button, pixels


class ctkCollapsibleButton(QWidget):
    """A titled section that folds away; children keep their own visibility."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed, self._shown = "", False, []
        self.setContentsMargins(0, HEADER, 0, 0)

    def setText(self, text: str) -> None:
        self._text = text
        self.update()

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._fold()
        self.contentsCollapsed.emit(collapsed)

    def _fold(self) -> None:
        """Hide or show the children as the state says; called again when the form is complete."""
        children = [w for w in self.children() if isinstance(w, QWidget)]
        if self._collapsed:
            self._shown = [w for w in children if not w.isHidden()] or self._shown
            for widget in children:
                widget.hide()
            self.setMaximumHeight(HEADER)
        else:
            self.setMaximumHeight(16777215)
            for widget in self._shown:
                widget.show()

    def mousePressEvent(self, event: object) -> None:
        if event.position().y() < HEADER:
            self._setCollapsed(not self._collapsed)

    def paintEvent(self, event: object) -> None:
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.fillRect(QRect(0, 0, self.width(), HEADER - 4), self.palette().window().color().darker(115))
            x, y = 11.0, (HEADER - 4) / 2
            points = [(-3, -5), (4, 0), (-3, 5)] if self._collapsed else [(-5, -3), (5, -3), (0, 4)]
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self.palette().windowText())
            painter.drawPolygon(QPolygonF([QPointF(x + a, y + b) for a, b in points]))
            painter.setPen(self.palette().windowText().color())
            painter.drawText(QRect(24, 0, self.width() - 24, HEADER - 4), Qt.AlignmentFlag.AlignVCenter, self._text)

    text = Property(str, lambda self: self._text, setText)
    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)


class ctkCollapsibleGroupBox(QGroupBox):
    """A group box whose tick folds it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self.setCheckable(True)
        self.setFlat(True)
        self.toggled.connect(lambda on: self._setCollapsed(not on))

    def _setCollapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        self._fold()

    def _fold(self) -> None:
        for widget in self.children():
            if isinstance(widget, QWidget):
                widget.setVisible(not self._collapsed)
        self.setMaximumHeight(15 if self._collapsed else 16777215)

    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)


class ctkSliderWidget(QWidget):
    """A slider with a number beside it; ``value`` in real units."""

    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._slider.setRange(0, 1000)
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self._typed)

    def _slid(self, position: int) -> None:
        low, high = self._box.minimum(), self._box.maximum()
        self._box.setValue(low + (high - low) * position / 1000)

    def _typed(self, value: float) -> None:
        self._place()
        self.valueChanged.emit(value)

    def _place(self) -> None:
        span = self._box.maximum() - self._box.minimum()
        before = self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (self._box.value() - self._box.minimum()) / span) if span else 0)
        self._slider.blockSignals(before)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)
        self._place()

    def _setMinimum(self, value: float) -> None:
        self._box.setMinimum(value)
        self._place()

    def _setMaximum(self, value: float) -> None:
        self._box.setMaximum(value)
        self._place()

    value = Property(float, lambda self: self._box.value(), setValue)
    minimum = Property(float, lambda self: self._box.minimum(), _setMinimum)
    maximum = Property(float, lambda self: self._box.maximum(), _setMaximum)
    singleStep = Property(float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v))
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, v: self._box.setDecimals(v))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, v: self._box.setSuffix(v))


class _Span(QWidget):
    """The slider between the two numbers of a range."""

    def __init__(self, low: QDoubleSpinBox, high: QDoubleSpinBox) -> None:
        super().__init__()
        self._low, self._high = low, high

    def paintEvent(self, event: object) -> None:
        least, most = self._low.minimum(), self._low.maximum()
        room, middle = self.width() - 14, self.height() / 2
        ends = [7 + room * (box.value() - least) / (most - least or 1) for box in (self._low, self._high)]
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(self.palette().window().color().darker(140))
            painter.setBrush(self.palette().window().color().darker(115))
            painter.drawRoundedRect(QRectF(7, middle - 2.5, room, 5), 2, 2)
            painter.setBrush(self.palette().highlight())
            painter.drawRoundedRect(QRectF(ends[0], middle - 2.5, ends[1] - ends[0], 5), 2, 2)
            painter.setBrush(self.palette().base())
            for x in ends:
                painter.drawRoundedRect(QRectF(x - 6, middle - 7, 12, 14), 2, 2)


class ctkRangeWidget(QWidget):
    """Two numbers, the lower and the upper one, and a slider with two handles between them."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high = QDoubleSpinBox(), QDoubleSpinBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        span = _Span(self._low, self._high)
        for part, stretch in ((self._low, 0), (span, 1), (self._high, 0)):
            layout.addWidget(part, stretch)
        for box in (self._low, self._high):
            box.valueChanged.connect(lambda *_: self.valuesChanged.emit(self._low.value(), self._high.value()))
            box.valueChanged.connect(span.update)
        self._low.valueChanged.connect(self.minimumValueChanged)
        self._high.valueChanged.connect(self.maximumValueChanged)

    def setMinimumValue(self, value: float) -> None:
        self._low.setValue(value)

    def setMaximumValue(self, value: float) -> None:
        self._high.setValue(value)

    def setValues(self, low: float, high: float) -> None:
        self.setMinimumValue(low)
        self.setMaximumValue(high)

    def _limit(self, which: str, value: float) -> None:
        for box in (self._low, self._high):
            getattr(box, which)(value)

    minimumValue = Property(float, lambda self: self._low.value(), setMinimumValue)
    maximumValue = Property(float, lambda self: self._high.value(), setMaximumValue)
    minimum = Property(float, lambda self: self._low.minimum(), lambda self, v: self._limit("setMinimum", v))
    maximum = Property(float, lambda self: self._low.maximum(), lambda self, v: self._limit("setMaximum", v))
    singleStep = Property(float, lambda self: self._low.singleStep(), lambda self, v: self._limit("setSingleStep", v))


class ctkPathLineEdit(QWidget):
    """A path that can be typed or browsed for."""

    currentPathChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line, button = QLineEdit(), QPushButton("…")
        button.setMaximumWidth(28)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line, 1)
        layout.addWidget(button)
        self._line.textChanged.connect(self.currentPathChanged)
        button.clicked.connect(lambda: self.setCurrentPath(QFileDialog.getOpenFileName(self)[0]))

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    currentPath = Property(str, lambda self: self._line.text(), setCurrentPath)


class ctkDirectoryButton(QPushButton):
    """A button that shows a folder."""

    directoryChanged = Signal(str)

    def _setDirectory(self, folder: str) -> None:
        if folder != self.property("folder"):
            self.setProperty("folder", folder)
            self.setText(folder if len(folder) < 40 else "…" + folder[-38:])
            self.directoryChanged.emit(folder)

    directory = Property(str, lambda self: self.property("folder") or "", _setDirectory)


ALL = [
    ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkSliderWidget, ctkRangeWidget, ctkPathLineEdit, ctkDirectoryButton,
]
