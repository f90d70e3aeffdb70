"""A list of installed models to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from AutoRegSlicerLib.panels import qtbits
from AutoRegSlicerLib.panels.bundles import Bundle


class StartModels:
    """A combo box whose first item is no model; the choice stays while its model stays in the list."""

    def __init__(self, combo: Any, nothing: str) -> None:
        self.combo, self.nothing = combo, nothing
        self.models: list[Bundle] = []
        qtbits.fill(combo, [nothing])

    def offer(self, models: Sequence[Bundle], tip: str, empty: str) -> None:
        """List these; ``empty`` says why there is none."""
        if [b.folder for b in models] != [b.folder for b in self.models]:
            before, self.models = self.chosen(), list(models)
            folders = [b.folder for b in models]
            current = folders.index(before.folder) + 1 if before and before.folder in folders else 0
            qtbits.fill(self.combo, [self.nothing, *(b.name for b in models)], current)
        qtbits.offer(self.combo, [] if models else [empty], tip)

    def chosen(self) -> Bundle | None:
        index = int(qtbits.read(self.combo, "currentIndex"))
        return self.models[index - 1] if 0 < index <= len(self.models) else None
