"""All benchmarks by one command: ``python -m benchmarks.run --scenario S.json ... --environments CACHE --work DIR``.

Writes ``operations``, ``networks``, ``pairs`` and ``startup``, each as .csv and .md, to ``--results``. Stopped
halfway it goes on with ``--resume``: rows that ``--work`` has are kept, failed ones are tried again. A peer that
cannot be installed, or fails, is a row that says so. ``--quick`` tries everything at sizes that say nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, RunFailedError, run_process
from benchmarks.tables import RESULTS

PARTS = ("startup", "networks", "pairs", "operations")
_HOURS = 12 * 3600.0


def commands(given: argparse.Namespace, scenarios: Sequence[Path]) -> dict[str, list[str]]:
    """The options of every part's own command line."""
    work, quick = given.work.resolve(), given.quick
    peers = ["--environments", str(given.environments.resolve())] if given.environments else []
    install = ["--no-install"] if given.no_install else []
    common = ["--results", str(given.results.resolve()), "--note", given.note]
    threads = ["--threads", str(given.threads)]
    resume = ["--resume"] if given.resume else []
    recipe = ["--recipe", str(given.recipe.resolve())] if given.recipe else []
    bundle = ["--bundle", str(given.bundle.resolve())] if given.bundle else []
    small = {
        "startup": ["--repeats", "1"],
        "networks": ["--size", "16", "16", "16", "--sizes", "16", "20", "--repeats", "1", "--networks",
                     "autoreg/conv3", "voxelmorph2", "voxelmorph/VxmPairwise"],
        "pairs": ["--limit", "1", "--quick"],
        "operations": ["--size", "12", "16", "12", "--repeats", "1", "--window", "3"],
    } if quick else {}
    return {
        "startup": ["--work", str(work), *common, *small.get("startup", [])],
        "networks": ["--work", str(work / "networks"), *peers, *install, *threads, *resume, *recipe, *common,
                     *small.get("networks", [])],
        "pairs": ["--scenario", *map(str, scenarios), "--work", str(work / "pairs"), *peers, *install, *threads,
                  *resume, *bundle, *common, *small.get("pairs", []),
                  *(["--methods", *given.methods] if given.methods else [])],
        "operations": ["--cpu-time", *peers, *threads, *common, *small.get("operations", [])],
    }


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=Path, nargs="+", help="whose test pairs are registered")
    parser.add_argument("--work", type=Path, required=True, help="rows, outputs and logs")
    parser.add_argument("--environments", type=Path, help="folder of the peers' virtual environments")
    parser.add_argument("--no-install", action="store_true", help="make no environments")
    parser.add_argument("--recipe", type=Path, help="recipe.json of a search, measured beside the other networks")
    parser.add_argument("--bundle", type=Path, help="a model of `autoreg train` (default: half a minute's training)")
    parser.add_argument("--methods", nargs="+", help="of the pairs (default all)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--quick", action="store_true", help="sizes of seconds; without --scenario on made images")
    parser.add_argument("--note", default="", help="said under every table: how busy the machine was")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Each part in its own process; its output is passed on. Returns how many parts failed."""
    given = arguments().parse_args(argv)
    work: Path = given.work.resolve()
    scenarios = [path.resolve() for path in given.scenario or []]
    if not scenarios and given.quick:
        run_process([sys.executable, "-m", "benchmarks.phantom", "--output", work / "phantom"],
                    log=work / "phantom.txt", threads=given.threads, ours=True)
        scenarios = [work / "phantom" / "scenario.json"]
    failed = 0
    for part, options in commands(given, scenarios).items():
        if part not in given.only or (part == "pairs" and not scenarios):
            continue
        command = [sys.executable, "-m", f"benchmarks.{part}", *options]
        print(f"{part}: {shlex.join(['python', *command[1:]])}", flush=True)
        try:
            run_process(command, log=None, threads=given.threads, ours=True, timeout=_HOURS, folder=ROOT)
        except RunFailedError as problem:
            failed += 1
            print(f"  {part}: {problem}", flush=True)
    return failed


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(min(main(), 1))
