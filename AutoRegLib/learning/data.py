"""Scenario to tensors: every case prepared once on one grid, pairs drawn by pure functions of the step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.bridge import labels_to_tensor, to_tensor
from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe, ValidationObjective
from AutoRegLib.core.scenario import Case, Scenario, Split
from AutoRegLib.fields.resample import downsample
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.align import itk_threads
from AutoRegLib.imaging.alignment_cache import cached_alignment
from AutoRegLib.imaging.displacement import transform_points
from AutoRegLib.imaging.files import read_points, read_volume
from AutoRegLib.imaging.geometry import Geometry, apply, working_grid
from AutoRegLib.imaging.preprocess import to_grid
from AutoRegLib.imaging.volume import resample
from AutoRegLib.learning.augmentation import random_moves
from AutoRegLib.learning.determinism import generator
from AutoRegLib.registration.pair import read_labels


@dataclass(frozen=True)
class Batch:
    """Pairs on one grid; images ``(B, 1, *spatial)`` float32, labels the same shape or None."""

    moving: Tensor
    fixed: Tensor
    labels: tuple[Tensor, Tensor] | None = None  # (moving, fixed)
    landmarks: tuple[tuple[Tensor, Tensor], ...] | None = None  # per pair (moving, fixed), each (points, d) voxels

    def moved(self, for_moving: Tensor, for_fixed: Tensor) -> Batch:
        """The pairs under displacements (voxels, pull-back) of their own; landmarks are left behind."""
        here, there = for_fixed.to(self.fixed), for_moving.to(self.fixed)
        labels = self.labels
        if labels is not None:
            labels = (
                warp(labels[0].float(), there, mode="nearest").to(labels[0].dtype),
                warp(labels[1].float(), here, mode="nearest").to(labels[1].dtype),
            )
        return Batch(warp(self.moving, there), warp(self.fixed, here), labels)


@dataclass(frozen=True)
class Dataset:
    """All prepared cases of some splits on one grid, and the pairs of each split (moving id, fixed id)."""

    grid: Geometry
    images: dict[str, Tensor]  # (1, 1, *spatial) float32
    labels: dict[str, Tensor]  # (1, 1, *spatial) int16 or int32; cases without labels are absent
    pairs: dict[str, tuple[tuple[str, str], ...]]
    structures: tuple[int, ...]
    device: str = "cpu"
    landmarks: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # case -> name -> (d,) voxels, axes (z, y, x)

    def labelled_pairs(self, split: str) -> tuple[tuple[str, str], ...]:
        """Pairs of a split in which both cases have labels."""
        return tuple(p for p in self.pairs[split] if p[0] in self.labels and p[1] in self.labels)

    def marked_pairs(self, split: str) -> tuple[tuple[str, str], ...]:
        """Pairs of a split in which both cases have landmarks of the same name."""
        return tuple(p for p in self.pairs[split] if self._common(p))

    def pairs_for(self, split: str, validation: str) -> tuple[tuple[str, str], ...]:
        """The pairs of a split that a validation objective (see :func:`choose_validation`) can be computed on."""
        chosen = {"segmentation": self.labelled_pairs, "landmarks": self.marked_pairs}.get(validation)
        return self.pairs[split] if chosen is None else chosen(split)

    def _common(self, pair: tuple[str, str]) -> list[str]:
        return sorted(self.landmarks.get(pair[0], {}).keys() & self.landmarks.get(pair[1], {}).keys())

    def _points(self, pair: tuple[str, str], side: int) -> Tensor:
        return torch.stack([self.landmarks[pair[side]][name] for name in self._common(pair)]).to(self.device)

    def batch(self, pairs: Sequence[tuple[str, str]]) -> Batch:
        """Stack pairs; labels only where every case has them."""
        images = [torch.cat([self.images[pair[side]] for pair in pairs]).to(self.device) for side in (0, 1)]
        labels = None
        if all(name in self.labels for pair in pairs for name in pair):
            moving, fixed = (torch.cat([self.labels[p[side]] for p in pairs]).to(self.device) for side in (0, 1))
            labels = (moving, fixed)
        landmarks = None
        if self.landmarks and all(self._common(pair) for pair in pairs):
            landmarks = tuple((self._points(pair, 0), self._points(pair, 1)) for pair in pairs)
        return Batch(images[0], images[1], labels, landmarks)

    def draw(
        self, split: str, *, size: int, seed: int, stream: str, step: int, augment: float = 0.0,
        elastic: float = 0.0, validation: str = "",
    ) -> Batch:
        """The random batch of one step, moved as :func:`AutoRegLib.learning.augmentation.random_moves` says with these
        strengths; ``validation``: only pairs it suits.
        """
        pairs = self.pairs_for(split, validation)
        rng = generator(seed, stream, step)
        batch = self.batch([pairs[rng.randrange(len(pairs))] for _ in range(size)])
        if augment == 0.0 and elastic == 0.0:
            return batch
        shape, count = batch.fixed.shape[2:], len(batch.fixed)
        return batch.moved(*random_moves(rng, shape, count, affine=augment, elastic=elastic))

    def sample(self, split: str, count: int, *, seed: int = 0) -> tuple[tuple[str, str], ...]:
        """A fixed set of at most ``count`` pairs to validate on; those with labels, else landmarks, where there are."""
        pairs = self.pairs_for(split, choose_validation(self, split))
        return pairs if len(pairs) <= count else tuple(Random(seed).sample(pairs, count))


def choose_validation(dataset: Dataset, split: str = "val") -> ValidationObjective:
    """The validation objective that the data of a split allow: labels before landmarks before the images alone."""
    if dataset.labelled_pairs(split) and dataset.structures:
        return "segmentation"
    return "landmarks" if dataset.marked_pairs(split) else "unsupervised"


def prepare(
    scenario: Scenario, recipe: Recipe, splits: Sequence[Split], *, device: str = "cpu", monitor: Monitor | None = None
) -> Dataset:
    """Read, align, resample and scale every case of ``splits`` onto the grid of one reference case.

    Unit: the working spacing of the recipe (mm). Raises InputError (files, labels on another grid, no pairs),
    CancelledError.
    """
    monitor = monitor or Monitor()
    cases = [c for c in scenario.cases if c.split in splits or c.id == scenario.atlas]
    pairs: dict[str, tuple[tuple[str, str], ...]] = {
        split: tuple((p.moving.id, p.fixed.id) for p in scenario.pairs_of(split)) for split in splits
    }
    reference_case = choose_reference(scenario)
    reference = read_volume(reference_case.image, "intensity")
    check_dimensions(scenario, reference_case, reference.geometry)
    spacing = recipe.preprocessing.spacing or reference.geometry.spacing
    grid = working_grid(reference.geometry, spacing=spacing, multiple=4)
    align = recipe.preprocessing.affine == "auto"
    monitor.event("stage", name="prepare data", index=0, count=1)

    def one(case: Case) -> tuple[str, Tensor, Tensor | None, dict[str, Tensor]]:
        image = read_volume(case.image, "intensity")
        transform = None
        if align and case.id != reference_case.id:
            transform = cached_alignment(reference, image, (reference_case.image, case.image))
        prepared = to_tensor(to_grid(image, grid, transform, modality=case.modality))
        labels = None
        if case.labels is not None:
            there = read_labels(case.labels, image, role=f"labels of case '{case.id}'", image_role="image")
            labels = labels_to_tensor(resample(there, grid, transform))
        return case.id, prepared, labels, _on_grid(case, grid, transform)

    images: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    landmarks: dict[str, dict[str, Tensor]] = {}
    # SimpleITK releases the interpreter while it registers: plain threads, no worker processes. One ITK thread
    # each, set here for all of them: the alignment sets it too, but globally, and its sums must not depend on it.
    with itk_threads(1), ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        for done, (name, image, label, points) in enumerate(pool.map(one, cases), start=1):
            images[name] = image
            if points:
                landmarks[name] = points
            if label is not None:
                labels[name] = label
            monitor.event("progress", done=done, total=len(cases))
            if monitor.wish() == "cancel":
                pool.shutdown(cancel_futures=True)
                raise CancelledError("stopped while preparing the data")
    structures = tuple(sorted(scenario.structures)) or tuple(
        sorted({int(v) for label in labels.values() for v in label.unique()} - {0})
    )
    return Dataset(grid, images, labels, pairs, structures, device, landmarks)


def _on_grid(case: Case, grid: Geometry, transform: Any) -> dict[str, Tensor]:
    """A case's landmarks on the grid its image was brought to, where it has any. Unit: voxels, axes (z, y, x)."""
    if case.landmarks is None:
        return {}
    names, points = read_points(case.landmarks)
    if points.shape[1] < grid.dims:
        raise InputError(f"the landmarks of case '{case.id}' are {points.shape[1]}-D", expected=f"{grid.dims}-D points",
                         got=case.landmarks, remedy="add the missing coordinate")
    points = points[:, : grid.dims]
    if transform is not None:  # it maps the grid to the image; the points go the other way
        points = transform_points(transform.GetInverse(), points)
    voxels = apply(grid.physical_to_index, points)[:, ::-1]
    return {name: torch.tensor(point.copy(), dtype=torch.float32) for name, point in zip(names, voxels, strict=True)}


def training_cases(scenario: Scenario) -> tuple[Case, ...]:
    """The cases of the training split. Raises InputError if there are none."""
    cases = scenario.split("train")
    if not cases:
        raise InputError(
            f"scenario '{scenario.name}' has no training cases", expected="cases with split 'train'",
            got=f"{len(scenario.cases)} cases", remedy="move some into this split",
        )
    return cases


def check_dimensions(scenario: Scenario, case: Case, geometry: Geometry) -> None:
    """Raises InputError if the case's image has other dimensions than the scenario says."""
    if geometry.dims != scenario.spatial_dims:
        raise InputError(
            f"case '{case.id}' has other dimensions than the scenario", expected=scenario.spatial_dims,
            got=geometry.dims, remedy="correct spatial_dims",
        )


def choose_reference(scenario: Scenario) -> Case:
    """The case whose grid all others are brought to: the atlas, else a training image of median file size."""
    if scenario.atlas is not None:
        return scenario.case(scenario.atlas)
    train = sorted(training_cases(scenario), key=lambda c: (os.path.getsize(c.image), c.id))
    return train[len(train) // 2]


def coarser(batch: Batch, factor: int) -> Batch:
    """The batch on a grid ``factor`` times coarser: images averaged, labels picked."""
    if factor == 1:
        return batch
    sizes = [size // factor * factor for size in batch.fixed.shape[2:]]
    crop = (slice(None), slice(None), *(slice(0, size) for size in sizes))
    pick = (slice(None), slice(None), *(slice(factor // 2, size, factor) for size in sizes))
    labels = None if batch.labels is None else (batch.labels[0][pick], batch.labels[1][pick])
    landmarks = batch.landmarks
    if landmarks is not None:
        landmarks = tuple(tuple((p - (factor - 1) / 2) / factor for p in pair) for pair in landmarks)  # type: ignore[misc]
    return Batch(downsample(batch.moving[crop], factor), downsample(batch.fixed[crop], factor), labels, landmarks)
