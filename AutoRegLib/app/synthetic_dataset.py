"""A dataset with known truth: one labelled brain, bent by known random diffeomorphisms, as images and as maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.bridge import displacement_to_field, field_to_displacement
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, resample

#: smoothness (Gaussian sigma) and size (root mean square of each velocity component) of the two levels, mm
LEVELS = ((28.0, 2.8), (12.0, 0.8))


@dataclass(frozen=True, eq=False)
class Subject:
    """One synthetic person. ``to_template`` maps its points to the template's; it is invertible."""

    image: Volume
    labels: Volume
    to_template: DisplacementField


@dataclass(frozen=True, eq=False)
class Template:
    """What is bent: an image, and for every structure the fraction of each voxel that it fills."""

    image: Volume
    fractions: Mapping[int, Volume]


def make_template(image: Volume, labels: Volume, groups: Mapping[int, int], *, spacing: float) -> Template:
    """Smooth the image and each structure for sampling at ``spacing`` (mm), once for all subjects.

    ``groups`` maps label values to the structures they are counted to; values left out are background.
    """
    def on(geometry: Geometry, volume: Volume) -> Volume:
        factor = max(spacing / 2 / geometry.spacing[0], 1.0)
        steps = tuple(s * factor for s in geometry.spacing)
        size = tuple(max(1, int(n / factor)) for n in geometry.size)
        coarse = Geometry(size, steps, geometry.origin, geometry.direction)
        return resample(volume, coarse, antialias=True)

    fractions = {}
    for structure in sorted(set(groups.values())):
        values = [value for value, group in groups.items() if group == structure]
        part = np.isin(labels.array, values)
        if part.any():
            fractions[structure] = on(labels.geometry, Volume(part.astype(np.float32), labels.geometry, "intensity"))
    return Template(on(image.geometry, image), fractions)


def make_subject(template: Template, grid: Geometry, *, seed: int) -> Subject:
    """A person on ``grid`` (axes along LPS): the template bent, with its own contrast, bias field and noise.

    Unit: displacements in mm. Direction: ``image(x) = template(to_template(x))``.
    """
    rng = torch.Generator().manual_seed(seed)
    to_template = displacement_to_field(exponentiate(random_velocity(grid, rng)), grid)
    image = resample(template.image, grid, to_template.to_transform()).array
    return Subject(
        Volume(_acquired(image, grid, rng), grid, "intensity"), _labelled(template, grid, to_template), to_template
    )


def truth_between(fixed: DisplacementField, moving: DisplacementField) -> DisplacementField:
    """The true displacement of a pair from the two subjects' maps to the template, on their common grid.

    The moving point y belongs to the fixed point x when both have the same place in the template:
    ``y + moving(y) = x + fixed(x)``, solved by fixed point for ``y = x + u(x)``.

    Direction: pull-back, fixed points to moving points. Unit: mm LPS.
    """
    first, second = (field_to_displacement(field) for field in (fixed, moving))
    found = first - second
    for _ in range(100):
        following = first - warp(second, found)
        change = float((following - found).abs().max())
        found = following
        if change < 1e-3:  # voxels
            break
    return displacement_to_field(found, fixed.geometry)


def random_velocity(grid: Geometry, rng: torch.Generator) -> Tensor:
    """A stationary velocity smooth on two levels that fades towards the border of the grid.

    Shape: (1, d, *spatial). Unit: voxels per unit time.
    """
    shape, spacing = grid.shape, grid.spacing[::-1]
    velocity = torch.zeros(1, grid.dims, *shape)
    for sigma, size in LEVELS:
        for axis in range(grid.dims):
            velocity[0, axis] += smooth_noise(shape, [sigma / s for s in spacing], rng) * (size / spacing[axis])
    for axis, (count, step) in enumerate(zip(shape, spacing, strict=True)):
        distance = (torch.minimum(torch.arange(count), torch.arange(count).flip(0)) * step / 15.0).clamp_max(1.0)
        fade = (0.5 - 0.5 * torch.cos(math.pi * distance)).view([-1 if i == axis else 1 for i in range(len(shape))])
        velocity *= fade
    return velocity


def smooth_noise(shape: Sequence[int], sigma: Sequence[float], rng: torch.Generator) -> Tensor:
    """White noise behind a Gaussian filter (voxels), scaled to mean 0 and standard deviation 1."""
    spectrum = torch.fft.fftn(torch.randn(*shape, generator=rng))
    for axis, (count, width) in enumerate(zip(shape, sigma, strict=True)):
        gain = torch.exp(-2.0 * (math.pi * width * torch.fft.fftfreq(count)) ** 2)
        spectrum = spectrum * gain.view([-1 if i == axis else 1 for i in range(len(shape))])
    noise = torch.fft.ifftn(spectrum).real
    noise = noise - noise.mean()
    return noise / noise.std()


def _acquired(image: np.ndarray, grid: Geometry, rng: torch.Generator) -> np.ndarray:
    """The bent template as another scanner might have seen it: monotone contrast change, bias field, noise."""
    gamma = 0.75 + 0.6 * float(torch.rand(1, generator=rng))
    high = max(float(np.percentile(image[image > 0], 99.8)), 1e-6)
    tone = np.clip(image / high, 0.0, 1.2) ** gamma
    bias = smooth_noise(grid.shape, [60.0 / s for s in grid.spacing[::-1]], rng).numpy()
    noise = torch.randn(*grid.shape, generator=rng).numpy()
    brain = tone > 0.02  # outside a stripped skull there is nothing, not even noise
    seen = tone * np.exp(0.08 * bias) + 0.015 * noise
    return (1000.0 * np.where(brain, np.maximum(seen, 0.0), 0.0)).astype(np.float32)


def _labelled(template: Template, grid: Geometry, field: DisplacementField) -> Volume:
    """Per voxel the structure that fills most of it, or background."""
    transform = field.to_transform()
    best = np.zeros(grid.shape, np.float32)
    total = np.zeros(grid.shape, np.float32)
    labels = np.zeros(grid.shape, np.uint8)
    for structure, fraction in template.fractions.items():
        here = resample(fraction, grid, transform).array
        labels[here > best] = structure
        best = np.maximum(best, here)
        total += here
    labels[1.0 - total > best] = 0
    return Volume(labels, grid, "labels")
