"""Affine alignment before the network: Mattes mutual information, coarse to fine, the same bits every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.align_evidence import START_UNCOVERED, contradicted, edge_agreement, implausible
from AutoRegLib.imaging.geometry import Geometry, apply
from AutoRegLib.imaging.pyramid import pyramid_of
from AutoRegLib.imaging.thin_stack import STILL, in_plane, stack_axes, thin_axis, turned, turned_back
from AutoRegLib.imaging.volume import Volume, array_to_image, to_sitk

Images = tuple[sitk.Image, sitk.Image]
Level = Literal["none", "centre", "rigid", "similarity", "affine"]
_LEVELS = get_args(Level)

#: raised with every change to this module, to ``preprocess`` or to ``volume.resample`` that moves an alignment, since
#: alignments are remembered under this number
METHOD_VERSION = 5

_SAMPLES = 6_000  # points per metric value; 4,000 aligned a brain worse
_BINS = 32
_STEPS = 100
_FIRST_STEP = 0.5  # voxels of the level
_LAST_STEP = 0.005  # 0.01 left twice the error of known motions, 0.02 four times
_ROUGH_LAST_STEP = 0.02  # where another stage follows
_SCALE_LIMITS = (0.5, 2.0)  # of an alignment that was asked for by its name
_HELD_OUT = 7919  # added to the seed: points other than those that the optimization looked at
_OVERLAP = 0.25  # mutual information of a sliver is high by chance


@dataclass(frozen=True, eq=False)
class Alignment:
    """A linear alignment and how far it can be trusted.

    Unit/Direction: ``transform`` maps fixed points to moving points, mm LPS. ``metric_before`` (headers as
    they are) and ``metric_after`` are mutual information, higher is better; 0 where images hardly overlap.
    """

    transform: sitk.AffineTransform
    metric_before: float
    metric_after: float
    warnings: tuple[str, ...] = ()
    level: Level = "none"  # what was asked for; "none": the headers as they are
    kept: str = "headers"  # or centres, shift, rigid, similarity, affine
    reason: str = ""
    before: tuple[tuple[str, sitk.AffineTransform], ...] = ()  # the stages that it passed, headers first


def affine_align(
    fixed: Volume, moving: Volume, *, level: Level = "affine", guarded: bool = True,
    fixed_mask: np.ndarray | None = None, moving_mask: np.ndarray | None = None, seed: int = 0,
    threads: int | None = None,
) -> Alignment:
    """Align two images linearly, robustly and repeatably.

    Starts from the best of: headers as they are, geometric centres, centres of mass; then rigid, then affine (or
    "similarity": rigid with one scale), each over a pyramid of resolutions. A stage is kept only on evidence, else the
    one before stands: mutual information rises on voxels that it was not made from, the edges of both images agree no
    less, scales stay between 0.65 and 1.5, and no large part of the fixed image loses its partner. An affine that is
    not kept is followed by a try of one scale. ``guarded`` False: a stage needs only to raise mutual information and
    to stay within scales of 0.5 to 2. What was dropped is a warning.

    Only points inside both masks (bool, each on its image's grid) count in the metric. Levels of the pyramid are
    smoothed: give images that were ``continued`` beyond their masks, else what lies outside bleeds in.

    ``threads`` is 1 if not given: with several, ITK adds up in the order they finish, and the bits differ
    between runs. The number is SimpleITK's global one during the call (its per-filter setting does not reach
    the metric).

    Direction: the transform maps fixed points to moving points.
    Raises: InputError when the images differ in dimension, or do not overlap and ``level`` is "none".
    Reference: Mattes et al., IEEE TMI 22 (2003).
    """
    dims = fixed.geometry.dims
    if moving.geometry.dims != dims:
        raise InputError("images of different dimension", expected=f"a {dims}-D moving image",
                         got=f"{moving.geometry.dims}-D", remedy="register images of the same dimension")
    if level not in _LEVELS:
        raise InputError("level of the alignment", expected=", ".join(_LEVELS), got=level)
    if level == "none" and fixed.geometry.overlap_fraction(moving.geometry) == 0:
        raise InputError("the images do not overlap", expected="headers in one space",
                         got=f"fixed {_box(fixed.geometry)}, moving {_box(moving.geometry)}",
                         remedy="align them first, or let the alignment start from their centres")
    # In units of the field of view's radius a change of the matrix moves voxels as far as one of the translation.
    # In mm, ITK's step, a length over all parameters, throws the scales once the translation has converged.
    thin = thin_axis(fixed.geometry, moving.geometry)
    axes = None if thin is None else stack_axes(fixed.geometry, thin)
    if axes is not None:
        fixed, moving = turned(fixed, axes), turned(moving, axes)
    radius = 0.5 * float(np.mean(np.array(fixed.geometry.size) * np.array(fixed.geometry.spacing)))
    fixed, moving = _in_units(fixed, radius), _in_units(moving, radius)
    pyramid = pyramid_of(fixed, moving)
    sampling = _Sampling(fixed, moving, fixed_mask, moving_mask, seed, still=axes is not None)
    with itk_threads(threads or 1):
        found = _align(fixed, moving, pyramid, radius, level=level, guarded=guarded, sampling=sampling)
    if axes is None:
        return found
    return replace(found, transform=turned_back(found.transform, axes),
                   before=tuple((name, turned_back(stage, axes)) for name, stage in found.before))


class _Sampling:
    """Where the metric looks: inside both masks, at points that ``seed`` moves off the lattice; and whether the last
    axis stands ``still``.
    """

    def __init__(
        self, fixed: Volume, moving: Volume, fixed_mask: np.ndarray | None, moving_mask: np.ndarray | None, seed: int,
        *, still: bool,
    ) -> None:
        self.fixed_mask, self.moving_mask, self.seed, self.still = fixed_mask, moving_mask, seed, still
        self.part = 1.0 if fixed_mask is None else float(fixed_mask.mean())
        self.masks = _mask_image(fixed_mask, fixed), _mask_image(moving_mask, moving)

    def held_out(self) -> _Sampling:
        """The same, at other points."""
        other = copy(self)
        other.seed = self.seed + _HELD_OUT
        return other

    def method(self, fixed: sitk.Image) -> sitk.ImageRegistrationMethod:
        """The metric on a level of the pyramid, whose fixed image is given."""
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetInterpolator(sitk.sitkLinear)
        # differences where they are asked for: ITK's filter takes all voxels, smooths, and refuses fewer than four
        method.MetricUseFixedImageGradientFilterOff()
        method.MetricUseMovingImageGradientFilterOff()
        share = _SAMPLES / (fixed.GetNumberOfPixels() * self.part)
        if share < 1:
            method.SetMetricSamplingStrategy(method.REGULAR)
            method.SetMetricSamplingPercentage(share, self.seed + 1)  # ITK takes 0 for "by the clock"
        for mask, place in zip(self.masks, (method.SetMetricFixedMask, method.SetMetricMovingMask), strict=True):
            if mask is not None:
                place(mask)
        return method


def _align(
    fixed: Volume, moving: Volume, pyramid: Sequence[tuple[Volume, Volume]], radius: float, *, level: Level,
    guarded: bool, sampling: _Sampling,
) -> Alignment:
    levels = [(to_sitk(first), to_sitk(second)) for first, second in pyramid]
    metric = _Metric(*levels[-1], sampling.held_out())
    starts = _starts(fixed, moving, sampling)
    before = metric(starts[0])
    if level == "none":
        return Alignment(sitk.AffineTransform(fixed.geometry.dims), before, before, reason="not asked for")

    warnings: list[str] = []
    kept, reason = "headers", "nothing else was better"
    overlap = fixed.geometry.overlap_fraction(moving.geometry)
    if overlap <= _OVERLAP * fixed.geometry.overlap_fraction(moving.geometry, starts[1]):
        warnings.append("the headers place the images apart; their centres were used instead")
        before, starts, kept = 0.0, starts[1:], "centres"
    transform, best = starts[0], before if kept == "headers" else metric(starts[0])
    passed = [(kept, starts[0])] if kept == "centres" else [(kept, starts[0]), ("centres", starts[1])]
    edges = levels[max(len(levels) - 2, 0)]
    agreed: dict[sitk.AffineTransform, float] = {}

    def problem(found: sitk.AffineTransform, value: float) -> str:
        if not guarded:
            return _problem(found, transform, fixed.geometry, moving.geometry)
        wrong = implausible(found, transform, fixed.geometry, moving.geometry)
        if wrong or value <= best:
            return wrong
        for one in (transform, found):
            if one not in agreed:
                agreed[one] = edge_agreement(*edges, one, sampling.masks)
        return contradicted(agreed[transform], agreed[found])

    pool = _begun(*levels[0], starts, polish=level != "centre", sampling=sampling)
    if guarded:
        pool = [start for start in pool if start is starts[0] or not implausible(
            start, starts[0], fixed.geometry, moving.geometry, uncovered=START_UNCOVERED)]
    start = max(pool, key=_Metric(*levels[0], sampling))
    value = metric(start)
    if value > best and not problem(start, value):
        transform, best, kept = start, value, "centres" if level == "centre" else "rigid"
        reason = "mutual information rises, edges agree"
        passed.append((kept, transform))
    stages: list[str] = ["rigid", level] if level in ("similarity", "affine") else ["rigid"] * (level == "rigid")
    while stages:
        stage = stages.pop(0)
        last = stage == level
        found = _optimise(levels if last else levels[:-1] or levels, transform, stage=stage,
                          last_step=_LAST_STEP if last else _ROUGH_LAST_STEP, sampling=sampling)
        value = metric(found)
        wrong = problem(found, value)
        if not wrong and value > best:
            transform, best, kept = found, value, stage
            passed.append((kept, transform))
            reason = "mutual information rises on voxels left out, edges agree"
        elif wrong and stage != "rigid":
            warnings.append(f"the {stage} alignment was dropped: {wrong}")
            if stage == "affine" and guarded:
                stages.append("similarity")
    return Alignment(_affine(transform, scale=radius), before, best, tuple(warnings), level, kept, reason, tuple(
        (name, _affine(stage, scale=radius)) for name, stage in passed if stage is not transform))


def _mask_image(mask: np.ndarray | None, volume: Volume) -> sitk.Image | None:
    return None if mask is None else array_to_image(mask.astype(np.uint8), volume.geometry)


class _Metric:
    """The mutual information of two images under a transform; 0 where they do not overlap."""

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, sampling: _Sampling) -> None:
        self.method = sampling.method(fixed)
        self.images = (fixed, moving)

    def __call__(self, transform: sitk.Transform) -> float:
        self.method.SetInitialTransform(transform)
        try:
            return -float(self.method.MetricEvaluate(*self.images))
        except RuntimeError:  # ITK: all samples map outside the moving image
            return 0.0


def _optimise(
    levels: list[Images], start: sitk.AffineTransform, *, stage: str, last_step: float, sampling: _Sampling,
) -> sitk.AffineTransform:
    """One stage, coarse to fine, from ``start``; ``last_step`` in voxels of the level."""
    dims = start.GetDimension()
    transform: sitk.Transform = start
    if stage == "similarity":
        alike = sitk.Similarity3DTransform() if dims == 3 else sitk.Similarity2DTransform()
        alike.SetCenter(start.GetCenter())
        alike.SetMatrix(start.GetMatrix())
        alike.SetTranslation(start.GetTranslation())
        transform = alike
    elif stage == "rigid":
        rigid = sitk.Euler3DTransform() if dims == 3 else sitk.Euler2DTransform()
        rigid.SetCenter(start.GetCenter())
        rigid.SetMatrix(start.GetMatrix())
        rigid.SetTranslation(start.GetTranslation())
        transform = rigid
    else:
        transform = sitk.AffineTransform(start)
    for fixed, moving in levels:
        voxel = max(fixed.GetSpacing())
        method = sampling.method(fixed)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=_FIRST_STEP * voxel, minStep=last_step * voxel, numberOfIterations=_STEPS,
            relaxationFactor=0.5, gradientMagnitudeTolerance=1e-8)
        method.SetOptimizerScalesFromPhysicalShift()
        if sampling.still:
            method.SetOptimizerWeights(STILL[stage])
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(fixed, moving)
        except RuntimeError:  # ITK: the images were driven apart; the caller measures what is left
            break
    return in_plane(_affine(transform), start) if sampling.still else _affine(transform)


def _starts(fixed: Volume, moving: Volume, sampling: _Sampling) -> list[sitk.AffineTransform]:
    """Headers as they are, geometric centres, centres of mass: shifts about a centre to turn around."""
    ours, theirs = fixed.geometry.centre, moving.geometry.centre
    masses = (_mass(fixed, sampling.fixed_mask), _mass(moving, sampling.moving_mask))
    starts = []
    for centre, target in ((ours, ours), (ours, theirs), masses):
        start = sitk.AffineTransform(fixed.geometry.dims)
        start.SetCenter(centre.tolist())
        start.SetTranslation((target - centre).tolist())
        starts.append(start)
    if sampling.still and fixed.geometry.overlap_fraction(moving.geometry) > 0:
        return [in_plane(start, starts[0]) for start in starts]
    return starts


def _begun(
    fixed: sitk.Image, moving: sitk.Image, starts: list[sitk.AffineTransform], *,
    polish: bool, sampling: _Sampling,
) -> list[sitk.AffineTransform]:
    """The starts; ``polish`` adds each aligned rigidly on a coarse pair, as the best start is not the best end."""
    if not polish:
        return list(starts)
    return [*starts, *(_optimise([(fixed, moving)], start, stage="rigid", last_step=_ROUGH_LAST_STEP, sampling=sampling)
                       for start in starts)]


def _problem(found: sitk.AffineTransform, start: sitk.AffineTransform, fixed: Geometry, moving: Geometry) -> str:
    """Why an alignment is not plausible; empty when it is."""
    scales = np.linalg.svd(np.array(found.GetMatrix()).reshape(fixed.dims, fixed.dims), compute_uv=False)
    low, high = _SCALE_LIMITS
    if scales.min() < low or scales.max() > high or not np.isfinite(scales).all():
        return f"it scales by {scales.min():.2f} to {scales.max():.2f}, plausible is {low} to {high}"
    overlap = fixed.overlap_fraction(moving, found)
    if overlap < _OVERLAP * fixed.overlap_fraction(moving, start):
        return f"it leaves only {100 * overlap:.0f} % of the fixed image covered"
    return ""


def _mass(volume: Volume, mask: np.ndarray | None) -> np.ndarray:
    """Centre of mass, inside the mask where there is one. Unit: mm LPS."""
    weight = volume.array.astype(np.float64) * (1 if mask is None else mask)
    total = weight.sum()
    if total <= 0:
        return volume.geometry.centre
    axes = [(weight.sum(axis=tuple(j for j in range(weight.ndim) if j != i)) @ np.arange(n)) / total
            for i, n in enumerate(weight.shape)]
    return apply(volume.geometry.index_to_physical, np.array(axes[::-1]))


@contextmanager
def itk_threads(count: int) -> Iterator[None]:
    """SimpleITK with ``count`` threads, and as before afterwards."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _in_units(volume: Volume, unit: float) -> Volume:
    """The volume with ``unit`` mm as the unit of length."""
    geometry = volume.geometry
    spacing, origin = np.array(geometry.spacing) / unit, np.array(geometry.origin) / unit
    return replace(volume, geometry=replace(geometry, spacing=tuple(spacing), origin=tuple(origin)))


def _affine(transform: Any, *, scale: float = 1.0) -> sitk.AffineTransform:
    """Any linear transform with a centre as an affine one, lengths multiplied by ``scale``."""
    affine = sitk.AffineTransform(transform.GetDimension())
    affine.SetCenter([scale * value for value in transform.GetCenter()])
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation([scale * value for value in transform.GetTranslation()])
    return affine


def _box(geometry: Geometry) -> str:
    low, high = geometry.bounding_box
    return " x ".join(f"{a:.0f}..{b:.0f}" for a, b in zip(low, high, strict=True)) + " mm"
