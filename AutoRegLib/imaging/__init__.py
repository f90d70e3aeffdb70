"""Images in patient space: numpy arrays and SimpleITK, mm and LPS; no torch."""

from __future__ import annotations
