"""Whether files of results are whole, and what they say apart from clocks and places."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

#: parts of names whose values differ from run to run
VOLATILE = ("second", "peak", "memory", "finished", "output", "path", "folder", "model", "began", "created", "sec",
            "pid", "seconds_by_step", "speed", "found_seconds", "start_seconds")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _lines(path: Path) -> Any:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def _table(path: Path) -> Any:
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("rows of different length")
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def _image(path: Path) -> Any:
    image = sitk.ReadImage(str(path))
    return [image.GetSpacing(), image.GetOrigin(), hashlib.sha256(sitk.GetArrayFromImage(image).tobytes()).hexdigest()]


def _transform(path: Path) -> Any:
    return list(sitk.ReadTransform(str(path)).GetParameters())


def _weights(path: Path) -> Any:
    from safetensors.numpy import load_file

    return {name: hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest() for name, v in load_file(path).items()}


def _checkpoint(path: Path) -> Any:
    import torch

    return sorted(torch.load(path, weights_only=True))


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json, ".jsonl": _lines, ".csv": _table, ".nrrd": _image, ".nii.gz": _image, ".tfm": _transform,
    ".safetensors": _weights, ".pt": _checkpoint, ".md": lambda path: path.read_text(encoding="utf-8"),
}


def _reader(path: Path) -> Callable[[Path], Any] | None:
    return next((reader for suffix, reader in READERS.items() if path.name.endswith(suffix)), None)


def broken(folder: Path) -> list[str]:
    """A line for each file under its final name that its reader refuses; hidden ones are not final."""
    found = []
    for path in sorted(folder.rglob("*")):
        reader = _reader(path)
        if not path.is_file() or path.name.startswith(".") or reader is None:
            continue
        try:
            reader(path)
        except Exception as problem:
            found.append(f"{path.relative_to(folder)}: {type(problem).__name__} {problem}"[:200])
    return found


def fingerprint(folder: Path) -> dict[str, str]:
    """A hash of what each file says, by its name in ``folder``; cards are prose about seconds and only counted."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        reader = _reader(path)
        said = None if reader is None or path.suffix == ".md" else _lasting(reader(path))
        found[str(path.relative_to(folder))] = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if not any(word in key for word in VOLATILE)}
    if isinstance(value, (list, tuple)):
        return [_lasting(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):  # where the job lies
        return Path(value).name
    return None if isinstance(value, float) and math.isnan(value) else value
