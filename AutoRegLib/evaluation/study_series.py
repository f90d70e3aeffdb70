"""The same study on several scenarios, and one report over all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.measures import MEASURES
from AutoRegLib.core.names import file_stem
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import make_folder, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.core.study_rows import ROWS
from AutoRegLib.evaluation.kept_settings import keep_or_check
from AutoRegLib.evaluation.study import read_results, study
from AutoRegLib.evaluation.study_page import page_of
from AutoRegLib.evaluation.study_report import over_seeds
from AutoRegLib.imaging.files import read_volume

SCHEMA = "autoreg-study-series/1"
_SHOWN = ("dice", "tre_mm", "hd95_mm", "lncc", "folds_mean", "positive_jacobian", "jacobian_min_mean", "seconds")


def study_series(
    scenarios: Sequence[tuple[Recipe, Scenario]], *, output: str | Path, resume: bool = False,
    monitor: Monitor | None = None, **options: Any,
) -> dict[str, Any]:
    """:func:`study` of each scenario in a folder of its name; ``study.md`` and ``study.html`` over all of them.

    ``options``: those of :func:`study`. Raises what it raises, InputError also for two scenarios of one name.
    """
    monitor = monitor or Monitor()
    names = [folder_of(scenario) for _, scenario in scenarios]
    if len(set(names)) < len(names):
        raise InputError("two scenarios of one name", expected="different names", got=", ".join(names),
                         remedy="correct \"name\" in one of the files")
    output = make_folder(output)
    keep_or_check(output / "study.json", {}, schema=SCHEMA, resume=resume, more={"scenarios": names})
    found: dict[str, dict[str, Any]] = {}
    for number, ((recipe, scenario), name) in enumerate(zip(scenarios, names, strict=True)):
        monitor.event("stage", name=f"scenario {scenario.name}", index=number, count=len(names))
        again = resume and (output / name / "study.json").is_file()
        found[name] = study(recipe, scenario, output=output / name, resume=again, monitor=monitor, **options)
        text = series_text({n: read_results(output / n) for n in found})
        write_text(output / "study.md", text)
        write_text(output / "study.html", page_of(output, _with_parts(output, text, list(found)), title="Study"))
        if monitor.wish():
            break
    totals = {key: sum(part[key] for part in found.values()) for key in ("runs", "failed", "left")}
    return {"output": str(output), "report": str(output / "study.html"), "scenarios": len(found), **totals,
            "device": options.get("device", "cpu")}


def folder_of(scenario: Scenario) -> str:
    """The folder of a scenario's study."""
    return file_stem(scenario.name, "scenario")


def series_text(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A table for each measure: rows down, scenarios across (AutoReg, Tables VI, VII and IX; MultiPropReg, 5 to 7)."""
    lines = ["# Study of " + ", ".join(results), "", "Means over seeds (± standard deviation over seeds, where there "
             "are several). What each row is, significance and pictures stand in each scenario's own part.", ""]
    done = {name: [r for r in runs if r["status"] == "done"] for name, runs in results.items()}
    rows = [row for row in ROWS if any(r["row"] == row for runs in done.values() for r in runs)]
    for key in _SHOWN:
        form = MEASURES.get(key) or replace(MEASURES[key.removesuffix("_mean")], key=key, form="{:.3g}")
        table = []
        for row in rows:
            values = [over_seeds([r for r in runs if r["row"] == row], key) for runs in done.values()]
            table.append([row, *("" if v is None else form.text(v[0]) + (
                "" if v[1] is None else f" ± {form.text(v[1])}") for v in values)])
        if any(cell for line in table for cell in line[1:]):
            title = form.title + (", mean of a pair" if key.endswith("_mean") else "")
            head = ["", *done]
            lines += [f"## {title}", "", *("| " + " | ".join(cells) + " |" for cells in (
                head, ["---"] * len(head), *table)), ""]
    return "\n".join(lines)


def _with_parts(output: Path, text: str, names: Sequence[str]) -> str:
    """The text over all, then every scenario's own, its pictures named from here."""
    parts = [text]
    for name in names:
        own = (output / name / "study.md").read_text(encoding="utf-8")
        parts.append(re.sub(r"\]\((figures/)", rf"]({name}/\1", own))
    return "\n".join(parts)


def with_large_structures(scenario: Scenario, *, least: int) -> Scenario:
    """The scenario with only those structures that have ``least`` voxels or more in every labelled test case.

    Reference: VoxelMorph paper, section V.A.3 (100 voxels). Raises InputError (no such structure, no labels).
    """
    counts: dict[int, list[int]] = {}
    labelled = [case for case in scenario.cases if case.labels and (case.split == "test" or case.id == scenario.atlas)]
    for case in labelled:
        values, found = np.unique(read_volume(str(case.labels), "labels").array, return_counts=True)
        for value, count in zip(values.tolist(), found.tolist(), strict=True):
            counts.setdefault(int(value), []).append(count)
    large = {value for value, sizes in counts.items()
             if value and len(sizes) == len(labelled) and min(sizes) >= least}
    kept = {value: scenario.structures.get(value, str(value)) for value in sorted(large)
            if not scenario.structures or value in scenario.structures}
    if not kept:
        raise InputError(f"no structure has {least} voxels in every test case of '{scenario.name}'",
                         remedy="lower --least-voxels")
    return replace(scenario, structures=kept)
