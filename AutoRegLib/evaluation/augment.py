"""Labelled images made from one: deformations drawn from a model's random features, or at random as a control."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.bundle import ModelBundle, table_text
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.folds import folded
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.records import make_folder, write_json, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.evaluation.spectra import inside_share, power_spectrum, spectrum_rows
from AutoRegLib.fields.fold_repair import repair_folds
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.files import write_volume
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.learning.data import Dataset, prepare

Fields = Literal["features", "random"]
SMOOTH = 4.0  # voxels at half resolution: of the random velocities
TRAINING = 32  # deformations of training images, at most, that samples are compared with


def choose_atlas(scenario: Scenario, name: str | None) -> str:
    """The case that is deformed: the one named, the scenario's atlas, or the first labelled training case.

    Raises InputError (no such case, no labels).
    """
    labelled = [case.id for case in scenario.cases if case.labels and case.split == "train"]
    chosen = name or scenario.atlas or next(iter(labelled), None)
    if chosen is None or scenario.case(chosen).labels is None:
        raise InputError("no labelled case to deform", expected="a case with labels", got=chosen,
                         remedy="name one with --atlas, or add labels to the scenario")
    if scenario.case(chosen).split != "train" and chosen != scenario.atlas:
        raise InputError(f"case '{chosen}' is of the split '{scenario.case(chosen).split}'",
                         expected="a training case: what is made from it is trained with", remedy="choose another")
    return chosen


def network_field(model: ModelBundle, moving: Tensor, fixed: Tensor, *, draw: int | None = None) -> Tensor:
    """The model's displacement without a fold; with ``draw`` its features are drawn, anew for every number.

    Shape: images (1, 1, *spatial) to (1, d, *spatial). Unit: voxels.
    """
    network: Any = model.network
    own = None if draw is None else network.seed
    try:
        if draw is not None:
            network.seed = draw
            network.train()
        with torch.inference_mode():
            answer = network(moving, fixed)
            if answer.velocity is None or not bool(folded(jacobian_determinant(answer.displacement)).any()):
                return answer.displacement  # type: ignore[no-any-return]
            return repair_folds(answer.velocity, answer.displacement.shape[2:],
                          squarings=model.recipe.network.squarings)[1]
    finally:
        if draw is not None:
            network.seed = own
        network.eval()


def random_field(shape: tuple[int, ...], *, size: float, seed: int) -> Tensor:
    """The control: a smooth random velocity, integrated, whose displacement has the root mean square ``size``.

    White noise at half resolution under a Gaussian of :data:`SMOOTH` voxels, scaled until it has the size, and less
    where it would fold. Shape: (1, d, *shape). Unit: voxels.
    """
    noise = torch.randn(1, len(shape), *(max(2, n // 2) for n in shape), generator=torch.Generator().manual_seed(seed))
    velocity = gaussian(noise, SMOOTH)
    # a velocity's displacement is a little smaller than itself: three looks suffice for a per cent
    for _ in range(3):
        field = resize_displacement(exponentiate(velocity), shape)
        velocity = velocity * (size / max(root_mean_square(field), 1e-9))
    field = resize_displacement(exponentiate(velocity), shape)
    while bool(folded(jacobian_determinant(field)).any()):
        velocity = 0.9 * velocity
        field = resize_displacement(exponentiate(velocity), shape)
    return field


def root_mean_square(field: Tensor) -> float:
    """Length of the vectors, over the grid. Shape: (1, d, *spatial). Unit: voxels."""
    return math.sqrt(float(field.square().sum(1).mean()))


def sampler(
    model: ModelBundle, dataset: Dataset, atlas: str, *, fields: Fields, size: float, seed: int
) -> Callable[[int], Tensor]:
    """Number to the deformation of the atlas: towards a training image that is drawn, its features drawn too; or
    random, of the size given. Raises InputError (a model without random features).
    """
    if fields == "features" and not NETWORKS[model.recipe.network.name].random:
        raise InputError(f"the network '{model.recipe.network.name}' draws no features",
                         expected="a model of 'multiprop'", remedy="train one, or ask for --fields random")
    targets = sorted(name for name in dataset.images if name != atlas)

    def sample(number: int) -> Tensor:
        if fields == "random":
            return random_field(tuple(dataset.grid.shape), size=size, seed=1_000_003 * seed + number)
        target = Random(f"{seed}/augment/{number}").choice(targets)
        return network_field(model, dataset.images[atlas], dataset.images[target], draw=1_000_003 * seed + number)

    return sample


def augment(
    model: ModelBundle, scenario: Scenario, *, output: str | Path, atlas: str | None = None, count: int = 200,
    fields: Fields = "features", seed: int = 0, device: str = "cpu", monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Deform one labelled training case ``count`` times and write image and label map of each.

    Images lie on the model's working grid, with the intensities that the network sees. ``augment.csv``: folds, smallest
    determinant and size of each; ``figures/spectrum``: their spectra beside those of the training deformations, the
    model's answers for the atlas onto training images. ``fields``: from random features, or ``random`` smooth ones of
    the size of the training deformations.

    Reference: docs/method.md, section 2.1. Raises InputError, DiskError, CancelledError.
    """
    monitor = monitor or Monitor()
    name = choose_atlas(scenario, atlas)
    dataset = prepare(scenario, model.recipe, ("train",), device=device, monitor=monitor)
    others = sorted(n for n in dataset.images if n != name)
    if not others:
        raise InputError("no training image to deform towards", remedy="add training cases")
    output = make_folder(output)
    folder = make_folder(output / "pairs")
    known = [network_field(model, dataset.images[name], dataset.images[other])
             for other in Random(f"{seed}/training").sample(others, min(TRAINING, len(others)))]
    size = sum(map(root_mean_square, known)) / len(known)
    sample = sampler(model, dataset, name, fields=fields, size=size, seed=seed)
    monitor.event("stage", name="deform the atlas", index=0, count=1)
    rows, drawn = [], []
    for number in range(count):
        if monitor.wish() == "cancel":
            raise CancelledError("stopped while deforming the atlas")
        field = sample(number)
        image, labels = deformed(dataset, name, field)
        write_volume(Volume(image[0, 0].cpu().numpy(), dataset.grid, "intensity"), folder / f"{number:04d}.nii.gz")
        write_volume(Volume(labels[0, 0].cpu().numpy(), dataset.grid, "labels"), folder / f"{number:04d}_labels.nii.gz")
        determinant = jacobian_determinant(field)
        rows.append({"number": number, "folds": int(folded(determinant).sum()),
                     "jacobian_min": float(determinant.min()), "root_mean_square": root_mean_square(field)})
        drawn.append(power_spectrum(field))
        monitor.event("progress", done=number + 1, total=count)
    spectra = {"training": np.stack([power_spectrum(field) for field in known]), "samples": np.stack(drawn)}
    share = inside_share(spectra["samples"], spectra["training"])
    write_text(output / "augment.csv", table_text(rows))
    summary = {"output": str(output), "atlas": name, "count": count, "fields": fields,
               "folds": sum(row["folds"] for row in rows), "jacobian_min": min(row["jacobian_min"] for row in rows),
               "spectrum_inside": share, "root_mean_square": sum(r["root_mean_square"] for r in rows) / count,
               "training_root_mean_square": size, "model": model.path.name, "seed": seed, "device": device}
    _draw(output, spectra, monitor)
    write_json(output / "augment.json", summary)
    for role, file in (("table", "augment.csv"), ("summary", "augment.json")):
        monitor.event("artifact", role=role, path=str(output / file))
    return summary


def deformed(dataset: Dataset, name: str, field: Tensor) -> tuple[Tensor, Tensor]:
    """Image and labels of a case under a field, on the working grid."""
    labels = dataset.labels[name]
    return (warp(dataset.images[name], field), warp(labels.float(), field, mode="nearest").to(labels.dtype))


def _draw(output: Path, spectra: dict[str, np.ndarray], monitor: Monitor) -> None:
    """The figure of the spectra, and its table. Raises DiskError."""
    folder = make_folder(output / "figures")
    write_text(folder / "spectrum.csv", table_text(spectrum_rows(spectra)))

    def draw() -> None:
        from AutoRegLib.evaluation.spectra_figure import spectrum_figure

        spectrum_figure(folder / "spectrum.png", spectra)

    if problem := attempted(draw, "figure"):
        monitor.event("warning", code="figures", text=problem)
