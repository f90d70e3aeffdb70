"""Register a table of pairs one after the other: a folder for each, one table that says how each went."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from AutoRegLib.bundle import table_text
from AutoRegLib.core.errors import AutoRegError, CancelledError, InputError
from AutoRegLib.core.failures import explain
from AutoRegLib.core.jobs import Monitor, Wish
from AutoRegLib.core.pair_table import FIGURES, GUIDE_FIGURES, GUIDES, SUMMARY, PairLine
from AutoRegLib.core.records import digest, make_folder, read_json, write_json, write_text
from AutoRegLib.core.sharing import without_paths
from AutoRegLib.core.strict_json import read_object

SCHEMA, SETTINGS = "autoreg-batch/1", "batch.json"


class PairMonitor(Monitor):
    """The batch's monitor as one pair sees it: warnings bear its name, and ``finish`` lets it come to its end."""

    def __init__(self, outer: Monitor, name: str) -> None:
        self._outer, self._name = outer, name

    def event(self, type: str, **payload: Any) -> None:
        if type == "warning":
            self._outer.event(type, **{**payload, "text": f"{self._name}: {payload.get('text', '')}"})

    def wish(self) -> Wish:
        return "cancel" if self._outer.wish() == "cancel" else ""


def run_batch(
    pairs: Sequence[PairLine], register: Callable[[PairLine, Path, Monitor], Any], *, output: Path,
    settings: Mapping[str, Any], resume: bool, overwrite: bool, share: bool = False, monitor: Monitor,
) -> dict[str, Any]:
    """Call ``register(pair, folder, monitor)`` for every pair and keep ``summary.csv`` up to date.

    Folders are named after the pairs; one that holds something else is left alone, unless ``overwrite``, and its pair
    fails. A pair that fails does not stop the rest; with ``resume`` finished pairs are kept. ``settings``: what the
    results depend on; only a batch with the same ones is resumed. ``finish`` stops after the present pair, ``cancel``
    within it; finished pairs are kept both times. ``share``: the summary names files only.

    Returns the counts. Raises InputError (another batch's folder), DiskError, CancelledError, and the first pair's
    problem when every pair failed.
    """
    mark = digest({"pairs": [(pair.name, pair.files) for pair in pairs], **settings})
    path = output / SETTINGS
    known = _known(path, monitor) if resume else None
    resume = known is not None
    if known not in (None, mark):
        raise InputError(f"{output} holds another batch", expected="the same table, model and options",
                         remedy="choose another folder, or the former table and options")
    write_json(path, {"identity": mark, "settings": dict(settings), "pairs": len(pairs)}, schema=SCHEMA)
    rows = [{"name": pair.name, "state": "waiting", **_images(pair)} for pair in pairs]
    problems: list[AutoRegError] = []
    began, registered = time.monotonic(), 0
    guides = GUIDE_FIGURES if any(role in pair.files for pair in pairs for role in GUIDES) else ()
    columns = ("name", "state", "fit", *FIGURES, *guides, "error", "fixed", "moving")
    monitor.event("stage", name="register pairs", index=0, count=1)

    def write() -> None:
        told = [{name: row.get(name) for name in columns} for row in rows]
        given: list[str | Path] = [output, *(file for pair in pairs for file in pair.files.values())]
        write_text(output / SUMMARY, table_text(without_paths(told, given) if share else told))

    for number, (pair, row) in enumerate(zip(pairs, rows, strict=True)):
        folder = output / pair.name
        report = _finished(folder) if resume else None
        if report is not None:
            row |= {"state": "done", **figures(report)}
            continue
        wish = monitor.wish()
        if wish == "cancel":
            write()
            raise CancelledError(f"stopped after {number} of {len(pairs)} pairs")
        if wish == "finish":
            break
        row["state"] = "running"
        write()
        try:
            row |= {"state": "done", **figures(register(
                pair, _claimed(folder, mark, overwrite=overwrite), PairMonitor(monitor, pair.name)))}
        except Exception as problem:
            reason = explain(problem)
            row |= {"state": "cancelled" if isinstance(reason, CancelledError) else "failed", "error": str(reason)}
            write()
            if isinstance(reason, CancelledError):
                raise CancelledError(f"stopped after {number} of {len(pairs)} pairs") from None
            problems.append(reason)
            monitor.event("warning", code="pair-failed", text=f"{pair.name}: {reason}")
        registered += 1
        write()
        monitor.event("progress", done=number + 1, total=len(pairs),
                      eta_s=(time.monotonic() - began) / registered * (len(pairs) - number - 1))
    write()
    done = sum(row["state"] == "done" for row in rows)
    if problems and not done:
        raise problems[0]
    monitor.event("artifact", role="table", path=str(output / SUMMARY))
    return {"output": str(output), "pairs": len(pairs), "done": done, "failed": len(problems),
            "waiting": len(pairs) - done - len(problems)}


def _known(path: Path, monitor: Monitor) -> str | None:
    """The mark of the batch in this folder; None where there is none, or none that can be read any more."""
    if not path.is_file():
        return None
    try:
        return str(read_json(path, schema=SCHEMA).get("identity"))
    except InputError as problem:
        monitor.event("warning", code="damaged", text=f"{problem.what}: every pair is registered again.")
        return None


def _finished(folder: Path) -> dict[str, Any] | None:
    """The report of a pair that is done; one that cannot be read any more is made again."""
    try:
        return read_object(folder / "report.json")
    except InputError:
        return None


def _claimed(folder: Path, mark: str, *, overwrite: bool) -> Path:
    """The pair's folder, marked as this batch's. Raises InputError when it holds what is not."""
    ours = (folder / SETTINGS).is_file() and read_json(folder / SETTINGS, schema=SCHEMA).get("identity") == mark
    if folder.exists() and not ours and not overwrite and any(folder.iterdir()):
        raise InputError(f"{folder} holds something else", expected="a new or empty folder",
                         remedy="choose another output folder, or another name for the pair")
    write_json(make_folder(folder) / SETTINGS, {"identity": mark}, schema=SCHEMA)
    return folder


def figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the summary says of a report; what was not measured has no key."""
    values = {key: report[key] for key in FIGURES if key in report}
    fit = {"fit": report["fit"]["verdict"]} if "fit" in report else {}
    if "guide_landmarks" in report:
        fit |= {key: report["guide_landmarks"][key.removeprefix("guides_")] for key in GUIDE_FIGURES}
    return fit | {key: value["mean"] if isinstance(value, Mapping) else value for key, value in values.items()
            if not isinstance(value, Mapping) or "mean" in value}


def _images(pair: PairLine) -> dict[str, str]:
    return {role: pair.files[role] for role in ("fixed", "moving")}
