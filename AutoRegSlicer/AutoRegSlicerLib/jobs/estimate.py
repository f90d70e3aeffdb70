"""How much memory a job will need, before it starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryEstimate:
    """``needed`` and ``free`` in bytes (None: unknown); ``text`` for the panel, e.g. "needs about 9.1 GB"."""

    needed: int | None = None
    free: int | None = None
    text: str = ""

    @property
    def fits(self) -> bool:
        """False only when both are known and it will not fit."""
        return self.needed is None or self.free is None or self.needed <= self.free
