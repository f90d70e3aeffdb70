"""Forward time and peak memory of networks, each measured in a fresh process; cost against volume size.

``python -m benchmarks.networks --work DIR [--environments CACHE] [--recipe recipe.json] [--resume]`` writes
``networks.csv`` and ``networks.md`` to ``--results``. Inputs are random: the cost does not depend on the images.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.environments import TORCH, Needs, environment
from benchmarks.measure import ROOT, run_process
from benchmarks.tables import RESULTS, Row, cached, conditions, markdown, spread, write_tables

FORWARD = Path(__file__).parent / "peers" / "forward.py"
REFERENCE = "voxelmorph2"
NETWORKS = {
    "autoreg/conv3": "AutoReg, all conv3",
    "autoreg/sep3": "AutoReg, all sep3 (light)",
    "autoreg-wide/conv3": "AutoReg in the paper's widths, all conv3",
    "voxelmorph1": "VoxelMorph-1 (this library)",
    REFERENCE: "VoxelMorph-2 (this library)",
    "voxelmorph_diff": "VoxelMorph-diff (this library)",
    "voxelmorph/VxmPairwise": "voxelmorph package, VxmPairwise",
    "monai/VoxelMorph": "MONAI VoxelMorph",
    "monai/LocalNet": "MONAI LocalNet (field alone)",
}
NEEDS = {"voxelmorph": Needs(("voxelmorph",), before=(TORCH,)), "monai": Needs(("monai",), before=(TORCH,))}
SCALED = "autoreg/conv3"  # the network of the table of cost against size
SIZES = (64, 96, 128, 192, 256)
FLAT = 0.25  # how far a voxel's cost may stray from the median over sizes


def forward(
    network: str, size: Sequence[int], *, work: Path, recipe: Path | None, environments: Path | None, install: bool,
    threads: int, repeats: int, timeout: float,
) -> Row:
    """One network at one size. Raises: NotInstalledError, RunFailedError."""
    owner = network.split("/")[0] if "/" in network else ""
    peer = owner in NEEDS
    python = environment(owner, NEEDS[owner], cache=environments, install=install) if peer else Path(sys.executable)
    log = work / "logs" / f"{network.replace('/', '-')}-{'x'.join(map(str, size))}.txt"
    run_process(
        [python, FORWARD, "--network", network, "--size", *map(str, size), "--threads", str(threads), "--repeats",
         str(repeats), *(["--recipe", str(recipe)] if recipe else [])],
        log=log, threads=threads, ours=not peer, timeout=timeout)
    found = json.loads(log.read_text().splitlines()[-1])
    voxels = math.prod(size)
    seconds = {name: spread(found[name]) for name in ("wall", "cpu")}
    return {
        "parameters": found["parameters"],
        **{f"{name}_s_{part}": value for name, parts in seconds.items() for part, value in parts.items()},
        "peak_gb": found["peak_bytes"] / 1e9, "cpu_ns_a_voxel": 1e9 * seconds["cpu"]["median"] / voxels,
        "bytes_a_voxel": found["added_bytes"] / voxels, "torch": found["torch"],
    }


def with_ratios(rows: Sequence[Row], reference: str) -> list[Row]:
    """Each network's time and memory as multiples of the reference network's."""
    base = next((row for row in rows if row["network"] == reference and "error" not in row), None)
    if base is None:
        return list(rows)
    return [row if "error" in row else {
        **row, "time_of_VM-2": row["cpu_s_median"] / base["cpu_s_median"],
        "memory_of_VM-2": row["peak_gb"] / base["peak_gb"]} for row in rows]


def flatness(rows: Sequence[Row]) -> str:
    """Whether a voxel costs the same whatever the volume's size."""
    done = [row for row in rows if "error" not in row]
    if len(done) < 2:
        return "not measured\n"
    text = ""
    for name, title in (("cpu_ns_a_voxel", "time"), ("bytes_a_voxel", "memory")):
        values = [row[name] for row in done]
        centre = median(values)
        if centre <= 0:  # so small a pass fits in what the process already held
            text += f"- {title} a voxel: too little to measure\n"
            continue
        stray = max(abs(value / centre - 1) for value in values)
        text += f"- {title} a voxel strays by at most {100 * stray:.0f} % from its median over the sizes: "
        text += f"**{'flat' if stray <= FLAT else 'not flat'}** within {100 * FLAT:.0f} %\n"
    return text


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="rows and logs")
    parser.add_argument("--environments", type=Path, help="folder of the peers' virtual environments")
    parser.add_argument("--no-install", action="store_true", help="make no environments")
    parser.add_argument("--size", type=int, nargs=3, default=[160, 192, 224])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="cubes of cost against size")
    parser.add_argument("--recipe", type=Path, help="recipe.json of a search, measured beside the others")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="of one network")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--note", default="")
    return parser


def main(argv: Sequence[str] | None = None) -> list[Row]:
    given = arguments().parse_args(argv)
    recipe = given.recipe and given.recipe.resolve()
    titles = {name: NETWORKS[name] for name in given.networks}
    titles |= {"autoreg/recipe": "AutoReg, genotype of --recipe"} if recipe else {}

    def row(network: str, size: Sequence[int]) -> Row:
        shape = "x".join(map(str, size))
        return cached(
            given.work.resolve(), f"{network.replace('/', '-')}-{shape}-{given.threads}",
            lambda: forward(network, size, work=given.work.resolve(), environments=given.environments, recipe=recipe,
                            install=not given.no_install, threads=given.threads, repeats=given.repeats,
                            timeout=given.timeout),
            resume=given.resume,
            names={"network": network, "title": titles.get(network, NETWORKS[SCALED]), "size": shape})

    rows = with_ratios([row(network, given.size) for network in titles], REFERENCE)
    cubes = [row(SCALED, [side] * 3) for side in given.sizes]
    text = "# Networks\n\nForward passes without gradients on random inputs, each network in a fresh process. "
    text += "Ratios of processor seconds and of peak memory, to VoxelMorph-2.\n\n"
    text += markdown([{k: v for k, v in one.items() if k != "network"} for one in rows])
    text += f"\n## Cost against volume size: {NETWORKS[SCALED]}\n\n"
    text += markdown([{k: v for k, v in one.items() if k != "network"} for one in cubes]) + "\n" + flatness(cubes)
    text += "\n## Conditions\n\n" + conditions(threads=given.threads, note=given.note,
                                                command="python -m benchmarks.networks")
    write_tables(given.results, "networks", [*rows, *cubes], text)
    return [*rows, *cubes]


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
