"""How long ``autoreg --help`` takes: fresh processes, clock and processor; and that it loads no torch.

``python -m benchmarks.startup [--repeats 10] --work DIR`` writes ``startup.csv`` and ``startup.md`` to ``--results``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, child_environment, run_process
from benchmarks.summaries import held
from benchmarks.tables import RESULTS, Row, conditions, markdown, spread, write_tables

LIMIT = 0.3  # seconds
_LOADED = "import sys\nfrom AutoRegLib.app.cli import main\nmain(['--help'])\nprint('torch' in sys.modules)"


def measure(repeats: int, work: Path) -> Row:
    """Median, least and largest of ``repeats`` starts, after one that warms the file cache."""
    command = [sys.executable, "-m", "AutoRegLib", "--help"]
    taken = [run_process(command, log=work / "help.txt", threads=1, ours=True) for _ in range(repeats + 1)][1:]
    loaded = subprocess.run([sys.executable, "-c", _LOADED], env=child_environment(1, ours=True), capture_output=True,
                            text=True, check=True).stdout.split()[-1] == "True"
    row: Row = {"command": "autoreg --help"}
    for name, values in (("clock_s", [one.wall for one in taken]), ("cpu_s", [one.cpu for one in taken])):
        row |= {f"{name}_{part}": value for part, value in spread(values).items()}
    return {**row, "loads_torch": loaded}


def summary(row: Row) -> str:
    by_processor, by_clock = (row[f"{name}_median"] < LIMIT and not row["loads_torch"] for name in ("cpu_s", "clock_s"))
    return (f"- `autoreg --help` in under {LIMIT} s without torch: {held(by_processor, by_clock)} "
            f"{row['clock_s_median']:.3f} s by the clock, {row['cpu_s_median']:.3f} s of processor\n")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--work", type=Path, required=True, help="logs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--note", default="")
    return parser


def main(argv: Sequence[str] | None = None) -> list[Row]:
    given = arguments().parse_args(argv)
    row = measure(given.repeats, given.work.resolve())
    text = f"# Start-up\n\n{markdown([row])}\n{summary(row)}\n## Conditions\n\n"
    write_tables(given.results, "startup", [row], text + conditions(threads=1, note=given.note,
                                                                    command="python -m benchmarks.startup"))
    print(summary(row), end="", flush=True)
    return [row]


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
