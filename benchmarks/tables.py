"""Rows of figures that survive an interruption, and the CSV and Markdown made of them."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import NotInstalledError
from benchmarks.measure import ROOT, RunFailedError

RESULTS = ROOT / "benchmarks" / "results"

Row = dict[str, Any]


def cached(folder: Path, key: str, make: Callable[[], Row], *, resume: bool, names: Mapping[str, Any]) -> Row:
    """The row of ``key``: read where ``resume`` finds it, else made, kept and announced.

    A method that is missing or fails becomes a row with ``error``, tried again by the next run.
    """
    file = folder / "rows" / f"{key}.json"
    if resume and file.is_file():
        print(f"  {key}: kept", flush=True)
        return dict(json.loads(file.read_text()))
    print(f"  {key} ...", end="", flush=True)
    try:
        row = {**names, **make(), "commit": commit()}
    except (RunFailedError, NotInstalledError) as problem:
        row = {**names, "error": str(problem)}
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(row, indent=1))
        partial.replace(file)
    print(" " + (row.get("error") or brief(row)), flush=True)
    return row


def brief(row: Mapping[str, Any]) -> str:
    """The figures of a row on one line."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in row.items() if isinstance(value, (int, float)))


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and largest of repeats."""
    taken = sorted(values)
    return {"median": median(taken), "least": taken[0], "largest": taken[-1]}


def columns_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def csv_text(rows: Sequence[Row]) -> str:
    """All rows with all columns; a figure that is not there is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    names = list(columns) if columns is not None else columns_of(rows)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_shown(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value).replace("|", "/").replace("\n", " ")


def write_tables(folder: Path, name: str, rows: Sequence[Row], text: str) -> None:
    """``name.csv`` with every figure, ``name.md`` with the account of them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(csv_text(rows))
    (folder / f"{name}.md").write_text(text)


def save(name: str, rows: Sequence[Row], *, title: str, summary: str, threads: int = 1) -> None:
    """One table under ``results/`` with its title, what it shows in words, and the conditions of this command."""
    given = ["/".join(Path(a).parts[-2:]) if "/" in a else a for a in sys.argv[1:]]  # no folders of this machine
    command = " ".join([f"python -m benchmarks.{Path(sys.argv[0]).stem}", *given])
    text = f"# {title}\n\n{summary}\n\n{markdown(rows)}\n{conditions(threads=threads, command=command)}"
    write_tables(RESULTS, name, rows, text)


def conditions(*, threads: int, note: str = "", command: str = "") -> str:
    """On what the figures were measured. No date, no machine name: figures are compared by hardware and versions."""
    lines = [
        f"- processor: {_processor()}, {os.cpu_count()} logical cores, of which this run may use "
        f"{len(os.sched_getaffinity(0))}; {_memory_gib():.0f} GiB of memory; {platform.system()} {platform.machine()}",
        f"- Python {platform.python_version()}; {threads} thread(s) for every method",
        f"- table written at commit {commit()}; a row that was kept has its own",
    ]
    lines += [f"- command: `{command}`"] if command else []
    lines += [f"- {note}"] if note else []
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def commit() -> str:
    """The commit of this working tree, and whether the measured code differs from it."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", "AutoRegLib", "benchmarks/*.py", "benchmarks/peers")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")
