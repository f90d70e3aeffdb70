"""How long the handlers of the panels hold the window, at the size of real volumes.

    python Testing/slicer/measure_handlers.py 160 256

For each size: a pair with labels and landmarks, 24 label maps in the scene, a registration on the CPU, all ways of
looking at it, metrics, copies, cases. Prints the longest call of each handler and of each step that runs when Qt is
idle, processor and wall time, the slowest first. The figures are of this machine and of the stand-ins for Slicer's
widgets: drawing is not in them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "AutoRegSlicer"), str(HERE.parents[1])]

import numpy as np  # noqa: E402 - the paths come first
import scenes  # noqa: E402
import story  # noqa: E402
from standins import fixtures  # noqa: E402

LABEL_MAPS, MILLISECONDS = 24, 5.0  # quicker handlers are not worth a line


def fill(desk: Any, size: int) -> None:
    """The pair, and label maps that share one image."""
    on = scenes.lattice((size,) * 3, (1.0,) * 3)
    coarse = scenes.lattice((size // 4,) * 3, (4.0,) * 3)
    image = scenes.blobs(scenes.positions(coarse)).astype(np.int16).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    drawn = scenes.labels(scenes.positions(coarse)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    points = scenes.CENTER + np.random.default_rng(1).uniform(-9, 9, (6, 3))
    for role, shift in (("fixed", 0), ("moving", 2)):
        nodes = {"Volume": scenes.addVolume(desk.scene, role, on, np.roll(image, shift, 0)),
                 "Segmentation": scenes.addSegmentation(desk.scene, f"{role} labels", on, np.roll(drawn, shift, 0)),
                 "Landmarks": scenes.addPoints(desk.scene, f"{role} points", points + shift)}
        for kind, node in nodes.items():
            setattr(desk.parameters, f"{role}{kind}", node)
    first = scenes.addVolume(desk.scene, "case 00 labels", on, drawn, labelMap=True)
    for number in range(LABEL_MAPS):
        volume = desk.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"case {number:02d}")
        labels = first if number == 0 else desk.scene.AddNewNodeByClass(
            "vtkMRMLLabelMapVolumeNode", f"case {number:02d} labels")
        for node, source in ((volume, desk.parameters.fixedVolume), (labels, first)):
            node.CopyOrientation(source)
            node.SetAndObserveImageData(source.GetImageData())
    desk.settle()


def watch_steps(desk: Any) -> None:
    """Time the steps of long work one by one, each under what it worked at."""
    run = desk.session.run

    def steps(work: Generator[Any, None, Any], place: str) -> Generator[Any, None, Any]:
        result: Any = None

        def advance() -> Any:
            nonlocal result
            try:
                return str(next(work))
            except StopIteration as end:
                result = end.value
                return None

        number = 0
        while True:
            number += 1
            did = desk.stopwatch.timed(advance, f"{place}, step {number}")()
            if did is None:
                return result
            yield did

    def begin(work: Any) -> Any:
        result = work()
        return steps(result, result.__qualname__) if isinstance(result, Generator) else result

    desk.session.run = lambda work, done, failed: run(lambda: begin(work), done, failed)


def measure(size: int, folder: Path) -> list[tuple[str, int, float, float]]:
    """(handler, calls, longest processor time, longest wall time), seconds; the slowest first."""
    os.environ["AUTOREG_MODELS"] = str(folder / "models")
    scenes.tinyBundle(folder / "models" / "tiny")
    desk = fixtures.make_desk(scenes.newScene(), folder)
    watch_steps(desk)
    fill(desk, size)
    story.apply(desk, 600)
    story.evaluate(desk, folder)
    story.show(desk, "trainTab")
    desk.ui.addFromSceneButton.click()
    desk.ui.checkDataButton.click()
    desk.wait(lambda: "cases" in desk.ui.datasetSummaryLabel.text(), 60)
    for tab in ("registerTab", "modelsTab", "evaluateTab"):
        story.show(desk, tab)
        desk.session.poll()
        desk.settle()
    desk.widget.exit()
    desk.widget.enter()
    desk.settle()
    desk.widget.cleanup()
    found = [(name, len(calls), max(c[1] for c in calls), max(c[0] for c in calls))
             for name, calls in desk.stopwatch.calls.items() if not name.startswith("Stopwatch")]
    return sorted(found, key=lambda row: -row[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[160, 256], help="voxels along each axis")
    for size in parser.parse_args().sizes:
        with tempfile.TemporaryDirectory(prefix="handlers-") as folder:
            rows = measure(size, Path(folder))
        print(f"\n{size} x {size} x {size}: handler, calls, longest call in ms (processor, wall)")
        for name, calls, cpu, wall in rows:
            if 1000 * cpu >= MILLISECONDS:
                print(f"{name:70s} {calls:5d} {1000 * cpu:8.1f} {1000 * wall:8.1f}", flush=True)
    os._exit(0)  # the scenes' objects are not taken apart in an order that VTK likes


if __name__ == "__main__":
    main()
