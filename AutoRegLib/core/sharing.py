"""What may leave the house: reports that name files only, cases and landmarks by number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from AutoRegLib.core.scenario import Scenario

#: a path with a folder in it, as systems write them; not a fraction, a unit or an address in the network
_PATH = re.compile(r"(?<![\w:/\\.])(?:~|\.{1,2}|[A-Za-z]:)?(?:[/\\][^/\\\s:*?\"'<>|,;()]+)+[/\\]?")


def without_paths(value: Any, known: Iterable[str | Path] = ()) -> Any:
    """The same plain JSON value with file names in the place of paths. ``known``: paths that may hold blanks."""
    paths = sorted({str(path) for path in known} | {str(Path(path).resolve()) for path in known}, key=len, reverse=True)

    def clean(text: str) -> str:
        for path in paths:
            text = text.replace(path, Path(path).name)
        return _PATH.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], text)

    def walk(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {clean(key) if isinstance(key, str) else key: walk(item) for key, item in part.items()}
        if isinstance(part, (list, tuple)):
            return [walk(item) for item in part]
        return clean(part) if isinstance(part, str) else part

    return walk(value)


def by_number(scenario: Scenario) -> Scenario:
    """The scenario with its cases and subjects called by their place in it, counted from 1."""
    width = len(str(len(scenario.cases)))
    cases = {case.id: f"case{place:0{width}d}" for place, case in enumerate(scenario.cases, start=1)}
    subjects = {name: f"subject{place:0{width}d}"
                for place, name in enumerate(dict.fromkeys(case.subject for case in scenario.cases), start=1)}
    return replace(
        scenario, atlas=None if scenario.atlas is None else cases[scenario.atlas],
        cases=tuple(replace(case, id=cases[case.id], subject=subjects[case.subject]) for case in scenario.cases),
        pairs=tuple(replace(pair, fixed=cases[pair.fixed], moving=cases[pair.moving]) for pair in scenario.pairs))
