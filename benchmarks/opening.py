"""What opening files costs beside SimpleITK alone: ``python -m benchmarks.opening fixed.nii.gz moving.nii.gz``.

The two images, as they are and as 32-bit floats, written in each format, each file alone in a folder; opened in turn by
``read_volume`` and by ``ReadImage`` and ``GetArrayFromImage``. Prints a table of ratios of medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from AutoRegLib.imaging.files import read_volume

# suffix, compressed
FORMATS = {"nii": (".nii", False), "nii.gz": (".nii.gz", True), "nrrd raw": (".nrrd", False),
           "nrrd gzip": (".nrrd", True), "mha raw": (".mha", False), "mha zlib": (".mha", True)}


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Of the processor, and of the wall."""
    start, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - start, time.perf_counter() - wall


def plain(path: Path) -> np.ndarray:
    """The file as SimpleITK alone opens it."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def measured(paths: list[Path], repeats: int) -> tuple[list[float], list[float]]:
    """Medians of opening all files: processor and wall, by SimpleITK and by us, alternating."""
    both: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for path in paths:  # once for the caches
        assert np.array_equal(plain(path), read_volume(path, "intensity").array)
    for _ in range(repeats):
        both[0].append(seconds(lambda: [plain(path) for path in paths]))
        both[1].append(seconds(lambda: [read_volume(path, "intensity") for path in paths]))
    theirs, ours = ([statistics.median(column) for column in zip(*rows, strict=True)] for rows in both)
    return theirs, ours


def main() -> None:
    """Write the files, open them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    images = [sitk.ReadImage(str(path)) for path in arguments.images]
    print("| format | voxels | SimpleITK alone, ms | ours, ms | ratio, processor | ratio, wall |")
    print("|---|---|---|---|---|---|")
    for cast in (None, sitk.sitkFloat32):
        for name, (suffix, packed) in FORMATS.items():
            with tempfile.TemporaryDirectory() as folder:
                paths = []
                for number, image in enumerate(images):
                    image = sitk.Cast(image, cast) if cast else image[:]
                    for key in image.GetMetaDataKeys():
                        image.EraseMetaData(key)
                    paths.append(Path(folder) / f"{number}" / f"image{suffix}")
                    paths[-1].parent.mkdir()
                    sitk.WriteImage(image, str(paths[-1]), packed)
                theirs, ours = measured(paths, arguments.repeats)
            print(f"| {name} | {image.GetPixelIDTypeAsString()} | {1e3 * theirs[0]:.1f} | {1e3 * ours[0]:.1f} | "
                  f"{ours[0] / theirs[0]:.2f} | {ours[1] / theirs[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
