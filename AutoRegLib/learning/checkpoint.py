"""Resumable state, and nothing else: written whole or not at all, read without running code from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import write_whole


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values in one step. Raises DiskError."""
    write_whole(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: str | Path, *, identity: str) -> dict[str, Any]:
    """The state in ``path``, which must have been written for the same ``identity``. Raises InputError."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"nothing to resume in {path.parent}", expected=path.name, remedy="start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise InputError(
            f"the checkpoint {path} cannot be read", got=type(problem).__name__, remedy="start without --resume"
        ) from None
    if state.get("identity") != identity:
        raise InputError(
            f"the checkpoint {path} belongs to other settings", expected=identity, got=state.get("identity"),
            remedy="resume with the recipe, scenario and seed it was started with, or use a new --output",
        )
    return state
