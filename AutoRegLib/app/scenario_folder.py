"""``autoreg scenario``: a scenario.json from a folder, and in words what was understood of it."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.layouts import Found, divide, find_cases
from AutoRegLib.core.scenario import Case, Scenario, read_scenario, write_scenario

_SPLITS = ("train", "val", "test")
_LOOKED_AT = 5  # label maps whose values name the structures where nothing else does


def make_scenario(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Write the scenario; return it as plain values and in lines. Raises InputError, DiskError.

    ``options``: those of the command line (:mod:`AutoRegLib.app.options`).
    """
    folder = Path(options.folder)
    output = Path(options.output) if options.output else folder / "scenario.json"
    if output.exists() and not options.overwrite:
        raise InputError(f"{output} exists", expected="a new file",
                         remedy="choose a new --output, or replace it with --overwrite")
    found = find_cases(folder, images=options.images, labels=options.labels, modality=options.modality,
                       subject=options.subject)
    shares = tuple(options.shares)
    cases = divide(found.cases, shares=shares, seed=options.seed)  # type: ignore[arg-type]
    scenario = Scenario(
        name=options.name or folder.resolve().name, spatial_dims=_dimensions(cases), cases=cases, atlas=options.atlas,
        pairing="atlas" if options.atlas else options.pairing, structures=found.structures or _values(cases),
    )
    pairs = {split: len(scenario.pairs_of(split)) for split in _SPLITS if scenario.split(split)}  # type: ignore[arg-type]
    write_scenario(output, replace(scenario, cases=tuple(_relative(case, output) for case in cases)))
    read_scenario(output)  # what is written is what will be read
    facts = {
        "output": str(output), "layout": found.layout, "name": scenario.name, "spatial_dims": scenario.spatial_dims,
        "pairing": scenario.pairing, "cases": len(cases), "subjects": len({case.subject for case in cases}),
        "with_labels": sum(case.labels is not None for case in cases),
        "structures": {str(code): name for code, name in scenario.structures.items()},
        "splits": dict(Counter(case.split for case in cases)), "pairs": pairs, "notes": list(found.notes),
    }
    return facts, _lines(facts, found, cases)


def _dimensions(cases: tuple[Case, ...]) -> int:
    """2 or 3, the same for all images. Raises InputError."""
    from AutoRegLib.imaging.files import read_geometry

    dims = {case.id: read_geometry(case.image).dims for case in cases}
    common = Counter(dims.values()).most_common(1)[0][0]
    others = [name for name, count in dims.items() if count != common]
    if others:
        raise InputError("images of different dimensions", expected=f"{common}-D as most",
                         got=", ".join(others[:5]), remedy="leave these cases out of the folder or pattern")
    return common


def _values(cases: tuple[Case, ...]) -> dict[int, str]:
    """The values of the first label maps, which nothing names."""
    import numpy as np

    from AutoRegLib.imaging.files import read_volume

    paths = [case.labels for case in cases if case.labels is not None][:_LOOKED_AT]
    found = [np.unique(read_volume(path, "labels").array).tolist() for path in paths]
    values = sorted({int(value) for labels in found for value in labels if value > 0})
    return {value: f"structure {value}" for value in values}


def _relative(case: Case, output: Path) -> Case:
    """The case with paths relative to the scenario's folder, with forward slashes; absolute on another drive."""
    def path(name: str | None) -> str | None:
        if name is None:
            return None
        try:
            return Path(os.path.relpath(name, output.resolve().parent)).as_posix()
        except ValueError:
            return name

    return replace(case, image=path(case.image) or "", labels=path(case.labels), mask=path(case.mask))


def _lines(facts: dict[str, Any], found: Found, cases: tuple[Case, ...]) -> list[str]:
    """What was understood, for a person."""
    structures = ", ".join(f"{code} {name}" for code, name in facts["structures"].items()) or "none"
    lines = [
        f"layout       {facts['layout']}",
        f"cases        {facts['cases']} of {facts['subjects']} subjects, {facts['spatial_dims']}-D, "
        f"{facts['with_labels']} with labels",
        f"structures   {structures}",
        f"pairing      {facts['pairing']}",
    ]
    for split in _SPLITS:
        members = [case.id for case in cases if case.split == split]
        if members:
            shown = ", ".join(members[:4]) + (", ..." if len(members) > 4 else "")
            lines.append(f"{split:12s} {len(members)} cases, {facts['pairs'][split]} pairs: {shown}")
    if not any(case.split == "test" for case in cases):
        lines.append("test         none: too few subjects, or not asked for; evaluate with --split val")
    first = cases[0]
    lines.append(f"for example  {first.id}: {first.image}" + (f" with {first.labels}" if first.labels else ""))
    return [*lines, *(f"note         {text}" for text in found.notes), f"written      {facts['output']}"]
