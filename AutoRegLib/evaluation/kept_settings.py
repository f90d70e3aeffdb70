"""What all runs of a study or a sweep have in common, kept beside them, so that a resumed one is the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import read_json, write_json


def keep_or_check(
    path: Path, wanted: Mapping[str, tuple[Any, str]], *, schema: str, resume: bool, more: Mapping[str, Any]
) -> None:
    """Write the settings to ``path``, or check that those there are the same.

    ``wanted``: value of each setting, and what it is called; ``more``: what is written for people alone.
    Raises InputError (nothing to resume, other settings), DiskError.
    """
    if not resume:
        write_json(path, {**{name: value for name, (value, _) in wanted.items()}, **more}, schema=schema)
        return
    if not path.is_file():
        raise InputError(f"nothing to resume in {path.parent}", expected=path.name, remedy="start without --resume")
    found = read_json(path, schema=schema)
    for name, (value, text) in wanted.items():
        if found.get(name) != value:
            raise InputError(
                f"the {path.stem} in {path.parent} was started with other settings: {text}", expected=found.get(name),
                got=value, remedy="repeat the settings it was started with, or use a new --output",
            )
