"""Results as files: a CSV for machines and a Markdown table that says how it was made."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import AutoRegLib
from AutoRegLib.bundle import table_text
from AutoRegLib.records import write_text

RESULTS = Path(__file__).parent / "results"


def cpu_name() -> str:
    """The processor's name as the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def conditions() -> str:
    """Command, hardware and versions behind a table, without the folders of this machine."""
    given = ["/".join(Path(a).parts[-2:]) if "/" in a else a for a in sys.argv[1:]]
    command = " ".join([f"python benchmarks/{Path(sys.argv[0]).name}", *given])
    return (
        f"`{command}`; {cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s); "
        f"AutoReg {AutoRegLib.__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}"
    )


def shown(value: Any) -> str:
    """A figure as a reader wants it: three significant digits, no less than its integer part."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def save(name: str, rows: Sequence[Mapping[str, Any]], *, title: str, verdict: str) -> None:
    """Write ``results/<name>.csv`` and ``.md``. ``verdict``: what the table shows, in words."""
    RESULTS.mkdir(exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [
        f"# {title}", "", verdict, "",
        "| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |",
        *("| " + " | ".join(shown(row.get(key, "")) for key in columns) + " |" for row in rows),
        "", f"Made by {conditions()}.", "",
    ]
    write_text(RESULTS / f"{name}.csv", table_text([dict(row) for row in rows]))
    write_text(RESULTS / f"{name}.md", "\n".join(lines))
