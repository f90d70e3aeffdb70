"""ANTs by antspyx: SyN with the default preset (affine, then deformable), or its deformable stage alone.

The papers' settings: cross-correlation, step 0.25, Gaussian smoothing (9, 0.2), three scales of 201 iterations.
"""

from typing import Any

import ants
from task import read_task, timed

task = read_task()
fixed, moving, labels = (ants.image_read(name) for name in (task.fixed, task.moving, task.moving_labels))
settings: dict[str, Any] = {"reg_iterations": (2, 0, 0)} if task.quick else {}
if task.paper:
    settings = {"syn_metric": "CC", "syn_sampling": 4, "grad_step": 0.25, "flow_sigma": 9, "total_sigma": 0.2,
                "reg_iterations": (201, 201, 201), **settings}
with timed(task):
    found = ants.registration(
        fixed, moving, type_of_transform="SyN" if task.affine else "SyNOnly", outprefix=f"{task.output}/ants_",
        initial_transform=None if task.affine else "Identity", **settings,
    )
warped = ants.apply_transforms(fixed, labels, found["fwdtransforms"], interpolator="nearestNeighbor")
ants.image_write(warped, task.labels_file)
field = next(name for name in found["fwdtransforms"] if name.endswith("Warp.nii.gz"))
ants.image_write(ants.image_read(field), task.displacement_file)
