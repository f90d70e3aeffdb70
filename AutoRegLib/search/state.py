"""Where a search stands: everything that its next step needs, written and read as one record."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.search.bilevel import Tensors


@dataclass
class SearchState:
    """The state between two steps. ``part`` counts the stages, the finals come after the last.

    ``found``: the upper variable that each finished stage ended at. ``trained``: the weights that the stages before
    left, each name's last. ``used``: seconds of the whole search. ``seconds``: budget of the running part (None: its
    steps). ``inside``: the running part's own state, None where it has not begun. As plain values, ``costs``: of the
    candidates, ``start``: the recipe with the loss that refining chose. ``skipped``: names of the stages that the time
    is too short for; ``budget``: seconds of the whole search without theirs.
    """

    part: int = 0
    found: list[Tensors] = field(default_factory=list)
    trained: Tensors = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    used: float = 0.0
    seconds: float | None = None
    inside: dict[str, Any] | None = None
    costs: Any = None
    start: Any = None
    skipped: list[str] = field(default_factory=list)
    budget: float | None = None

    def save(self, path: Path, *, identity: str) -> None:
        """Write it in one step, marked with what it belongs to. Raises DiskError."""
        save_checkpoint(path, {"identity": identity, **{f.name: getattr(self, f.name) for f in fields(self)}})

    @classmethod
    def load(cls, path: Path, *, identity: str) -> SearchState:
        """The state in ``path``, which must have been written for the same ``identity``. Raises InputError."""
        saved = load_checkpoint(path, identity=identity)
        return cls(**{f.name: saved[f.name] for f in fields(cls)})

    def next_part(self, trained: Tensors | None = None) -> None:
        """The running part is over."""
        self.part, self.seconds, self.inside = self.part + 1, None, None
        self.trained = {**self.trained, **(trained or {})}
