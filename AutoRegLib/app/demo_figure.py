"""The demo's picture: two unseen subjects before and after registration, against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from AutoRegLib.app.synthetic_dataset import truth_between
from AutoRegLib.core.scenario import Case
from AutoRegLib.imaging.displacement import jacobian_determinant
from AutoRegLib.imaging.files import read_displacement, read_volume
from AutoRegLib.imaging.volume import resample
from AutoRegLib.registration.figure import report_figure
from AutoRegLib.registration.pair import RegisterOptions, read_pair
from AutoRegLib.registration.report import ResultVolumes


def demo_picture(
    path: str | Path, output: Path, fixed: Case, moving: Case, registered: Mapping[str, Any], report: Mapping[str, Any]
) -> None:
    """Draw the pair that was registered into ``output/pair``, and what all unseen pairs gave.

    ``registered``: the report of that pair; ``report``: of the demo. Raises DiskError.
    """
    result = output / "pair"
    pair = read_pair(fixed.image, moving.image,
                     RegisterOptions(fixed_labels=fixed.labels, moving_labels=moving.labels))
    found = read_displacement(result / "transform.nrrd")
    grid, own = pair.fixed.geometry, pair.moving_labels
    volumes = ResultVolumes(
        before=resample(pair.moving, grid), warped=read_volume(result / "warped.nii.gz", "intensity"),
        jacobian=jacobian_determinant(found),
        labels_before=None if own is None else resample(own, grid),
        warped_labels=None if own is None else read_volume(result / "warped_labels.nii.gz", "labels"),
    )
    truth = truth_between(*(read_displacement(output / "data" / "truth" / f"{case.id}_to_template.nrrd")
                            for case in (fixed, moving))).vectors
    brain = pair.fixed.array > 0
    measured = {
        **registered,
        "truth_error_mm_before": float(np.median(np.linalg.norm(truth[brain], axis=-1))),
        "truth_error_mm": float(np.median(np.linalg.norm((found.vectors - truth)[brain], axis=-1))),
    }
    arrow = "\N{RIGHTWARDS ARROW}"
    title = (f"{report['pairs']} pairs of unseen subjects: Dice {report['dice_before']['mean']:.2f} {arrow} "
             f"{report['dice']['mean']:.2f}, {report['truth_error_mm_before']:.1f} {arrow} "
             f"{report['truth_error_mm']:.1f} mm from the truth. One of them:")
    report_figure(path, pair, found, volumes, measured, names=report["structures"], title=title)
