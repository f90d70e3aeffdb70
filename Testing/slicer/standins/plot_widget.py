"""A stand-in for qMRMLPlotWidget: draws the chart node of its view node with plain lines and markers."""

from __future__ import annotations

import math
from typing import Any

import slicer
import vtk
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QWidget

LEFT, RIGHT, TOP, BOTTOM = 48, 172, 22, 34  # margins around the axes, pixels


class qMRMLPlotWidget(QWidget):
    """Shows the chart that the plot view node names."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = self._view = None
        self._controller = QWidget(self)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view = node
        if node is not None:
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.update())
        self.update()

    def plotController(self) -> QWidget:
        return self._controller

    def mrmlPlotViewNode(self) -> Any:
        return self._view

    def curves(self) -> list[tuple[str, list[tuple[float, float]], Any]]:
        """(name, points, series node) of every series of the chart."""
        chart = self._view.GetPlotChartNode() if self._view is not None else None
        found = []
        for index in range(chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0):
            series = chart.GetNthPlotSeriesNode(index)
            table = series.GetTableNode().GetTable()
            xs, ys = (table.GetColumnByName(n) for n in (series.GetXColumnName(), series.GetYColumnName()))
            if ys is None:
                continue
            count = ys.GetNumberOfTuples()
            x = [xs.GetVariantValue(i).ToDouble() if xs is not None else float(i) for i in range(count)]
            points = [(a, ys.GetVariantValue(i).ToDouble()) for i, a in enumerate(x)]
            found.append((series.GetName(), [p for p in points if all(map(math.isfinite, p))], series))
        return found

    def paintEvent(self, event: object) -> None:
        area = QRectF(LEFT, TOP, self.width() - LEFT - RIGHT, self.height() - TOP - BOTTOM)
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.fillRect(self.rect(), Qt.GlobalColor.white)
            painter.setPen(QColor("#444"))
            painter.drawRect(area)
            curves = [curve for curve in self.curves() if curve[1]]
            chart = self._view.GetPlotChartNode() if self._view is not None else None
            if not curves or chart is None:
                painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "Nothing to plot yet")
                return
            painter.drawText(QRectF(0, 2, self.width(), TOP), Qt.AlignmentFlag.AlignCenter, chart.GetTitle() or "")
            painter.drawText(area.adjusted(0, area.height() + 14, 0, 32), Qt.AlignmentFlag.AlignHCenter,
                             chart.GetXAxisTitle() or "")
            _draw(painter, area, curves)


def _draw(painter: QPainter, area: QRectF, curves: list[tuple[str, list[tuple[float, float]], Any]]) -> None:
    """Axes numbers, curves and legend."""
    points = [p for _, curve, _ in curves for p in curve]
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points, strict=True))
    x1, y1 = x1 if x1 > x0 else x0 + 1, y1 if y1 > y0 else y0 + 1

    def place(x: float, y: float) -> QPointF:
        return QPointF(area.left() + area.width() * (x - x0) / (x1 - x0),
                       area.bottom() - area.height() * (y - y0) / (y1 - y0))

    for x, flag in ((x0, Qt.AlignmentFlag.AlignLeft), (x1, Qt.AlignmentFlag.AlignRight)):
        painter.drawText(area.adjusted(0, area.height() + 2, 0, 20), flag, f"{x:.3g}")
    for y, top in ((y1, area.top() - 6), (y0, area.bottom() - 10)):
        painter.drawText(QRectF(0, top, LEFT - 4, 16), Qt.AlignmentFlag.AlignRight, f"{y:.3g}")
    for row, (name, curve, series) in enumerate(curves):
        color = QColor.fromRgbF(*series.GetColor())
        painter.setPen(QPen(color, 2))
        placed = [place(*p) for p in curve]
        if series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter and series.GetLineStyle() in (
            slicer.vtkMRMLPlotSeriesNode.LineStyleNone,
        ):
            for p in placed:
                painter.drawEllipse(p, 3, 3)
        else:
            painter.drawPolyline(placed)
        y = area.top() + 8 + 16 * row
        painter.drawLine(QPointF(area.right() + 8, y), QPointF(area.right() + 22, y))
        painter.setPen(QColor("#222"))
        painter.drawText(QPointF(area.right() + 26, y + 4), name[:24])
