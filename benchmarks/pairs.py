"""The same pairs registered by AutoReg and by its peers, files in and files out, each in a fresh process.

``python -m benchmarks.pairs --scenario S.json --environments CACHE --work DIR [--resume]`` registers the test
pairs and writes ``pairs.csv`` and ``pairs.md`` to ``--results``. Environments of the peers are made when they
are first needed (``--no-install``: only those that are there). ``--resume`` keeps the rows that ``--work`` has.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from AutoRegLib.core.scenario import Pair, read_scenario
from benchmarks import summaries
from benchmarks.environments import environment, versions
from benchmarks.measure import ROOT, run_process
from benchmarks.methods import METHODS, Method
from benchmarks.tables import RESULTS, Row, cached, conditions, markdown, write_tables

PEERS = Path(__file__).parent / "peers"
#: steps of AutoReg's report that are the registration, as the peers' clocks understand it
_REGISTRATION = ("align", "prepare", "network", "refine", "compose")


@dataclass(frozen=True)
class Settings:
    """What holds for every row of one run."""

    work: Path
    environments: Path | None
    bundle: Path | None
    train_on: Path
    install: bool
    threads: int
    timeout: float
    quick: bool


def run_pair(name: str, pair: Pair, structures: Sequence[int], settings: Settings) -> Row:
    """Register one pair by one method and score the files it leaves.

    Raises: NotInstalledError, RunFailedError.
    """
    method = METHODS[name]
    folder = settings.work / "outputs" / f"{name}-{pair.fixed.id}-{pair.moving.id}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ours = not method.script
    command = _our_command(method, pair, folder, settings) if ours else _peer_command(
        method, pair, folder, settings)
    usage = run_process(command, log=folder / "log.txt", threads=settings.threads, ours=ours,
                        timeout=settings.timeout, folder=folder)
    row: Row = _our_seconds(folder, usage.cpu / usage.wall) if ours else json.loads(
        (folder / "seconds.json").read_text())
    row |= {"process_wall_s": usage.wall, "process_cpu_s": usage.cpu, "peak_gb": usage.peak / 1e9}
    row |= _scored(pair, folder, structures, ours=ours)
    row["versions"] = _versions(method, Path(command[0]))
    for large in [*folder.glob("*.nrrd"), *folder.glob("ants_*")]:
        large.unlink()
    return row


def _our_command(method: Method, pair: Pair, folder: Path, settings: Settings) -> list[str]:
    options = [str(settings.bundle or make_bundle(settings)) if option == "{bundle}" else option
               for option in method.options]
    return [
        sys.executable, "-m", "AutoRegLib", "register", "--fixed", pair.fixed.image, "--moving", pair.moving.image,
        "--fixed-labels", str(pair.fixed.labels), "--moving-labels", str(pair.moving.labels), "--output", str(folder),
        "--threads", str(settings.threads), "--device", "cpu", "--overwrite", "--quiet", *options,
    ]


def _peer_command(method: Method, pair: Pair, folder: Path, settings: Settings) -> list[str]:
    python = environment(method.environment, method.needs, cache=settings.environments,
                         install=settings.install)
    options = [*(["--affine"] if method.affine else []), *(["--quick"] if settings.quick else [])]
    return [
        str(python), str(PEERS / method.script), "--fixed", pair.fixed.image, "--moving", pair.moving.image,
        "--moving-labels", str(pair.moving.labels), "--output", str(folder), "--threads", str(settings.threads),
        *options,
    ]


def _our_seconds(folder: Path, share: float) -> Row:
    """The registration's part of our report. It has clock time alone: ``share`` is the process's part of a core."""
    steps = json.loads((folder / "report.json").read_text())["seconds_by_step"]
    wall = sum(seconds for step, seconds in steps.items() if step in _REGISTRATION)
    own = {f"{step}_cpu_s": steps[step] * share for step in ("align", "network", "refine") if step in steps}
    return {"registration_wall_s": wall, "registration_cpu_s": wall * share, **own}


def _scored(pair: Pair, folder: Path, structures: Sequence[int], *, ours: bool) -> Row:
    command: list[str | Path] = [
        sys.executable, "-m", "benchmarks.score", "--fixed-labels", str(pair.fixed.labels), "--moving-labels",
        str(pair.moving.labels), "--warped-labels", folder / "warped_labels.nii.gz", "--field",
        folder / ("transform.nrrd" if ours else "displacement.nrrd"), "--structures", *map(str, structures),
    ]
    log = folder / "score.txt"
    run_process(command, log=log, threads=1, ours=True, folder=folder)
    return dict(json.loads(log.read_text().splitlines()[-1]))


def _versions(method: Method, python: Path) -> str:
    packages = method.packages or ("torch", "SimpleITK")
    return ", ".join(f"{name} {version}" for name, version in versions(python, packages).items())


def make_bundle(settings: Settings) -> Path:
    """A model trained for half a minute: the time of its network does not depend on more. Raises: RunFailedError."""
    bundle = settings.work / "bundle"
    if not (bundle / "recipe.json").is_file():
        run_process([sys.executable, "-m", "benchmarks.quick_bundle", "--scenario", settings.train_on, "--output",
                     bundle],
                    log=settings.work / "bundle.txt", threads=settings.threads, ours=True, timeout=settings.timeout)
    return bundle


def measure(
    scenarios: Sequence[Path], settings: Settings, *, names: Sequence[str], limit: int | None, resume: bool,
    split: str = "test",
) -> list[Row]:
    """All rows: methods by pairs; a pair is finished before the next one begins."""
    rows = []
    for path in scenarios:
        scenario = read_scenario(path)
        for pair in scenario.pairs_of("test" if split == "test" else "val", limit=limit):
            for name in names:
                rows.append(cached(
                    settings.work, f"{name}-{scenario.name.replace(' ', '-')}-{pair.fixed.id}-{pair.moving.id}",
                    lambda name=name, pair=pair, scenario=scenario: run_pair(  # type: ignore[misc]
                        name, pair, tuple(scenario.structures), settings),
                    resume=resume, names={
                        "scenario": scenario.name, "method": METHODS[name].title, "fixed": pair.fixed.id,
                        "moving": pair.moving.id}))
    return rows


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=Path, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True, help="rows, outputs and logs")
    parser.add_argument("--environments", type=Path, help="folder of the peers' virtual environments")
    parser.add_argument("--no-install", action="store_true", help="make no environments")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--bundle", type=Path, help="a model of `autoreg train` (default: half a minute's training)")
    parser.add_argument("--limit", type=int, help="pairs per scenario")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--timeout", type=float, default=3600, metavar="S", help="of one registration")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few iterations of the peers: do they run?")
    parser.add_argument("--note", default="", help="said under the table: how busy the machine was")
    return parser


def main(argv: Sequence[str] | None = None) -> list[Row]:
    given = arguments().parse_args(argv)
    work = given.work.resolve()
    settings = Settings(
        work, given.environments, given.bundle and given.bundle.resolve(), given.scenario[0].resolve(),
        not given.no_install, given.threads, given.timeout, given.quick)
    rows = measure([path.resolve() for path in given.scenario], settings, names=given.methods, limit=given.limit,
                   resume=given.resume)
    text = "# Pairs\n\nEach row is a fresh process from image files to files. Registration: without reading and "
    text += "writing, by the tool's own calls.\nDice: mean of the scenario's structures. Folds: voxels with a "
    text += "determinant of 0 or less, of the fixed grid.\n\n" + summaries.summary(rows) + "\n"
    text += "## What must hold\n\n" + summaries.lines(rows) + "\n## Every pair\n\n" + markdown(rows)
    text += "\n## Conditions\n\n"
    text += conditions(threads=given.threads, note=given.note, command="python -m benchmarks.pairs") + _notes()
    write_tables(given.results, "pairs", rows, text)
    print(summaries.lines(rows), flush=True)
    return rows


def _notes() -> str:
    return (
        "- the pairs are affinely aligned already; rows with an affine do it all the same, as the tool does by itself\n"
        "- registration CPU seconds of AutoReg: its clock seconds times the process's share of a core\n"
        "- the network's model is trained for half a minute: its time counts, its Dice does not; it runs on the full "
        "1 mm grid\n"
    )


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
