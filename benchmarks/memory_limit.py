"""Whether ``--memory`` holds: the peak of whole processes that register a large pair below a limit.

``python -m benchmarks.memory_limit scenario.json --side 200 --limit 1.5 2.5 [--work DIR] [-- OPTIONS]``: the first two
cases with labels, resampled to so many voxels a side at 16 bits, registered within each limit (GB); ``OPTIONS`` go to
``autoreg register``. Prints the peak, the grid that was compared on, and the seconds; the last line is the least limit
that is taken at all, as the refusal of a smaller one states it. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import SimpleITK as sitk

from AutoRegLib.core.scenario import read_scenario


def resampled(path: str, side: int, target: Path, *, labels: bool) -> None:
    """An image with so many voxels along each axis and the same field of view, 16 bits."""
    image = sitk.ReadImage(path)
    spacing = [size * step / side for size, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    sitk.WriteImage(sitk.Resample(
        image, [side] * 3, sitk.Transform(), sitk.sitkNearestNeighbor if labels else sitk.sitkLinear, image.GetOrigin(),
        spacing, image.GetDirection(), 0, sitk.sitkInt16), str(target), False)


def peak_of(command: list[str]) -> tuple[int, float, str]:
    """Exit code, most memory of a process (GB), and what it said."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return process.returncode, usage.ru_maxrss * unit / 1e9, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario")
    parser.add_argument("--side", type=int, default=200)
    parser.add_argument("--limit", type=float, nargs="+", default=[1.5, 2.5])
    parser.add_argument("--work", type=Path, default=Path("memory"))
    given, options = parser.parse_known_args()
    options = [one for one in options if one != "--"]
    work = given.work / str(given.side)
    work.mkdir(parents=True, exist_ok=True)
    files, labelled = {}, [case for case in read_scenario(given.scenario).cases if case.labels]
    for role, case in zip(("fixed", "moving"), labelled, strict=False):
        for kind, path in (("", case.image), ("_labels", case.labels)):
            files[role + kind] = work / f"{role}{kind}.nii"
            if path is not None and not files[role + kind].exists():
                resampled(path, given.side, files[role + kind], labels=bool(kind))
    options = options if "--model" in options else ["--model", "none", *options]

    def command(limit: float) -> list[str]:
        labels = [text for role in ("fixed", "moving") for text in (f"--{role}-labels", str(files[f"{role}_labels"]))]
        return [sys.executable, "-m", "AutoRegLib", "register", str(files["fixed"]), str(files["moving"]), *labels,
                "--refine", "2", "--threads", "1", "--memory", f"{limit:g}", "--output", str(work / "out"),
                "--overwrite", "--quiet", *options]

    for limit in given.limit:
        began = time.time()
        code, peak, said = peak_of(command(limit))
        report = json.loads((work / "out" / "report.json").read_text()) if code == 0 else {}
        grid = next((text for text in report.get("warnings", []) if "stay below" in text), "the images' own grid")
        print(f"{given.side} cubed, limit {limit:g} GB: exit {code}, peak {peak:.2f} GB, {time.time() - began:.0f} s; "
              f"{grid if code == 0 else said.strip()[:200]}", flush=True)
    least = re.search(r"--memory ([\d.]+) or more", peak_of(command(0.1))[2])
    print(f"the least that is taken: {least[1] if least else 'not told'} GB")


if __name__ == "__main__":
    main()
