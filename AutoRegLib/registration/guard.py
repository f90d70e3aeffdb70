"""No result worse than its input: what was found is judged by measures that did not make it, and given back less
deformed where they speak against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.bridge import to_tensor
from AutoRegLib.fields.prediction import Prediction, integrate_within
from AutoRegLib.fields.resample import downsample
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.align import Alignment
from AutoRegLib.imaging.displacement import chain
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.preprocess import to_grid
from AutoRegLib.imaging.thin_stack import thin_axis
from AutoRegLib.imaging.transforms import translation
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.registration.agreement import AGREEMENTS, OWN, agreements
from AutoRegLib.registration.mirrored import mirror_gains
from AutoRegLib.registration.weak import WEAK, around, first_place, structural_shift

Scores = dict[str, float]  # by measure
#: what is kept of the alignment of such images
SHIFTED = "shift"
_RESEMBLE = "the images hardly resemble each other, so that no measure can be trusted"

_VOXELS = {2: 128**2, 3: 28**3}  # that are judged: finer ones are what a deformation fits to noise
_DARK = 0.02  # of the brightness: background, which mirrored images share
_MIRRORED = {2: 192**2, 3: 48**3}  # what tells a slab of a head from a mirrored one is finer
_UNMOVED = ("headers", "centres")  # alignments that need nothing to speak for them
_NOISE = 0.01  # of a measure: resampling once more moves it so much
_SHARES = (0.5, 0.25)  # of a velocity, tried before all of it is given up
_LITTLE, _FAR = 0.03, 0.03  # gained by the agreement of edges; of the field of view: what is doubtful


@dataclass(frozen=True)
class Verdict:
    """What is delivered of what was found.

    ``share`` of the deformation. ``reason``: why not all, in words. ``scores``: of headers, alignment and result, by
    measure of :mod:`AutoRegLib.registration.agreement`. ``look``, ``transform``: what was judged, and its alignment.
    """

    share: float = 1.0
    reason: str = ""
    scores: dict[str, Scores] = field(default_factory=dict)
    look: Look | None = None
    transform: Any = None

    @cached_property
    def mirrored(self) -> tuple[float, ...]:
        """How much better the aligned image fits than mirrored ones."""
        return () if self.look is None else self.look.mirrored(self.transform)

    @cached_property
    def chance(self) -> float:
        """The local correlation of images that show nothing in common."""
        return 0.0 if self.look is None else self.look.chance(self.transform)

    @property
    def words(self) -> tuple[str, ...]:
        """What to tell the user; nothing where all is delivered."""
        if self.share == 1.0:
            return ()
        what = f"only {100 * self.share:.0f} % of the deformation is delivered" if self.share else (
            "the deformation was left out and the alignment alone is delivered")
        return (f"{what}: {self.reason}",)


@dataclass(frozen=True, eq=False)
class Look:
    """A coarse look at a pair: what stages of its registration are judged on.

    ``grid``: the working grid, on whose coarse version all is compared. ``initial``: the user's transform, which
    every stage is followed by. Masks (bool) lie on their images' grids.
    """

    fixed: Volume
    moving: Volume
    grid: Geometry
    initial: Any = None
    fixed_mask: np.ndarray | None = None
    moving_mask: np.ndarray | None = None
    modalities: tuple[str, str] = ("", "")  # of the fixed and the moving image
    most: int = 0  # voxels of the coarse grid; 0: as many as stages are judged on

    @cached_property
    def factor(self) -> int:
        """The working grid's voxels along the side of a coarse one."""
        size, factor = self.grid.size, 1
        most = self.most or _VOXELS[len(size)]
        while math.prod(size) / factor ** len(size) > most and min(size) // (2 * factor) >= 4:
            factor *= 2
        return factor

    @cached_property
    def coarse(self) -> Geometry:
        """The coarse grid; its first voxel covers the first ones of the working grid."""
        return _coarser(self.grid, self.factor)

    @cached_property
    def _target(self) -> tuple[Tensor, Tensor]:
        image = to_grid(self._light(self.fixed), self.coarse, modality=self.modalities[0])
        if self.fixed_mask is None:
            return to_tensor(image), torch.ones(1, 1, *self.coarse.shape)
        mask = self._light(Volume(self.fixed_mask.astype(np.float32), self.fixed.geometry, "intensity"))
        return to_tensor(image), to_tensor(resample(mask, self.coarse, antialias=True))

    @cached_property
    def _source(self) -> tuple[Volume, Volume]:
        """The moving image and where it has data, on coarse voxels of its own axes."""
        image = self._light(self.moving)
        mask = np.ones(self.moving.array.shape, bool) if self.moving_mask is None else self.moving_mask
        seen = self._light(Volume(mask.astype(np.float32), self.moving.geometry, "intensity"))
        return to_grid(image, image.geometry, modality=self.modalities[1]), seen

    def _light(self, volume: Volume) -> Volume:
        """The volume averaged to voxels no coarser than the grid's: what follows is quick whatever its size."""
        factor = min(int(min(self.coarse.spacing) / max(volume.geometry.spacing) + 1e-6), max(volume.geometry.size))
        if factor < 2:
            return volume
        return Volume(_pooled(to_tensor(volume), factor)[0, 0].numpy(), _coarser(volume.geometry, factor), "intensity")

    @torch.inference_mode()
    def shifted(self) -> Any:
        """The alignment of images that hardly resemble each other: :func:`structural_shift` from where they lay."""
        start, (target, counted) = first_place(self.fixed.geometry, self.moving.geometry), self._target
        image, seen = self.placed(translation(start), on=around(self.coarse))
        shift = structural_shift(target, image, counted * (target > target.min() + _DARK), seen)
        step = self.coarse.index_to_physical[:-1, :-1] @ np.array(shift[::-1], dtype=float)
        return translation(start + step)

    def placed(self, *transforms: Any, on: Geometry | None = None) -> tuple[Tensor, Tensor]:
        """The moving image and where it has data, through a chain from fixed to moving points, on the coarse grid, or
        another one.
        """
        grid = on or self.coarse
        image, seen = self._source
        links = [one for one in (*transforms, self.initial) if one is not None]
        through = chain(*links) if links else None
        return to_tensor(resample(image, grid, through, outside=None)), to_tensor(resample(seen, grid, through))

    @torch.inference_mode()
    def chance(self, transform: Any) -> float:
        """The local correlation of images that lie half a field of view beside each other: that of no resemblance."""
        (image, _), (target, counted) = self.placed(transform), self._target
        rolled = [torch.roll(image, image.shape[axis] // 2, axis) for axis in range(2, image.ndim)]
        return fmean(AGREEMENTS["correlation"](target, other, counted) for other in rolled)

    def mirrored(self, transform: Any) -> tuple[float, ...]:
        """How much better the moving image fits in the fixed tissue than mirrored ones do, by :func:`mirror_gains`."""
        finer = replace(self, most=_MIRRORED[self.grid.dims])
        (image, seen), (target, counted) = finer.placed(transform), finer._target
        tissue = counted * (target > target.min() + _DARK)
        return tuple(mirror_gains(target, image, tissue if bool(tissue.any()) else counted, seen).values())

    @torch.inference_mode()
    def scores(self, *transforms: Any, displacement: Tensor | None = None) -> Scores:
        """Every measure, with the moving image through the transforms and, before them, a displacement of the working
        grid. Unit: voxels.
        """
        if displacement is None:
            place = tuple(own for transform in transforms if (own := _numbers(transform)))
            if place not in self._known:
                self._known[place] = self._agreements(*self.placed(*transforms))
            return self._known[place]
        image, seen = self.placed(*transforms)
        moved = _pooled(displacement.cpu(), self.factor) / self.factor
        return self._agreements(warp(image, moved), warp(seen, moved))

    def _agreements(self, image: Tensor, seen: Tensor) -> Scores:
        return agreements(self._target[0], image, self._target[1], seen)

    @cached_property
    def _known(self) -> dict[tuple[tuple[float, ...], ...], Scores]:
        """The scores of transforms that were looked at before: stages are judged more than once."""
        return {}


def _numbers(transform: Any) -> tuple[float, ...]:
    """What tells a linear transform from others; nothing for the identity."""
    own, dims = transform.GetParameters(), transform.GetDimension()
    still = own == (*np.eye(dims).flatten().tolist(), *[0.0] * dims)
    return () if still else (*own, *transform.GetFixedParameters())


def believed(look: Look, alignment: Alignment) -> Alignment:
    """The alignment, or the last stage before it that the measures do not say is worse than those before.

    Mutual information chose it and has no say. Against the images as they lay even a fall within noise is one.
    Images that hardly resemble each other are only shifted (:mod:`AutoRegLib.registration.weak`).
    """
    stages = [*alignment.before, (alignment.kept, alignment.transform)]
    scores = [look.scores(transform) for _, transform in stages]
    thin = thin_axis(look.fixed.geometry, look.moving.geometry) is not None  # self-similarity needs more slices
    if not thin and max(score["structure"] for score in scores) < WEAK:
        return replace(alignment, transform=look.shifted(), kept=SHIFTED, before=(), reason=_RESEMBLE, warnings=(
            f"{_RESEMBLE}: they are only shifted, near where they lay; look at the result, or give landmarks or an "
            "initial transform",))
    reason = ""
    for place in range(len(stages) - 1, 0, -1):
        found = [harm(score, scores[place], without="information", noise=0.0 if name in _UNMOVED else _NOISE)
                 for (name, _), score in zip(stages[:place], scores, strict=False)]
        worse = next((text for text in found if text), "")
        if not worse:
            break
        reason = reason or f"the {alignment.kept} alignment was dropped: {worse}"
    else:
        place = 0
    if not reason:
        return alignment
    kept, transform = stages[place]
    return replace(alignment, transform=transform, kept=kept, before=alignment.before[:place],
                   reason="what came after made the images agree less", warnings=(*alignment.warnings, reason))


def judged(
    look: Look, prediction: Prediction, transform: Any, *, similarity: str = "", squarings: int = 7,
) -> Verdict:
    """How much of a deformation after an alignment is delivered.

    It harms where the median of the relative changes of the measures, but for the one that ``similarity`` optimises,
    falls by more than noise, against the alignment or against the headers. Then half and a quarter of its velocity are
    tried; what harms still is left out.
    """
    own, scores = OWN.get(similarity, ""), {"headers": look.scores(), "alignment": look.scores(transform)}
    if not bool((prediction.displacement != 0).any()):
        return Verdict(1.0, "", scores | {"result": scores["alignment"]}, look, transform)
    first = ""
    for share in (1.0, *(_SHARES if prediction.velocity is not None else ())):
        part = partial(prediction, share, look.grid.shape, squarings=squarings)
        found = look.scores(transform, displacement=part.displacement)
        worse = [harm(scores[stage], found, without=own) for stage in ("alignment", "headers")]
        first = first or next((text for text in worse if text), "")
        if not any(worse):
            return Verdict(share, first, scores | {"result": found}, look, transform)
    return Verdict(0.0, first, scores | {"result": scores["alignment"]}, look, transform)


def doubtful(verdict: Verdict, displacement: Tensor) -> bool:
    """Whether the edges of both images agree hardly more though parts of one moved far, or nothing was found at all.

    What the moving image has lost is then often covered by what lies beside it: a ventricle that is empty at
    end-systole, filled from the other one. From the other side it is only drawn together.

    Shape: ``displacement`` (1, d, *working grid). Unit: voxels.
    """
    moved = float(displacement.norm(dim=1).amax())
    gained = change(verdict.scores["alignment"]["edges"], verdict.scores["result"]["edges"])
    return gained < _LITTLE and (moved == 0 or moved > _FAR * fmean(displacement.shape[2:]))


def better(look: Look, verdict: Verdict, other: Prediction, transform: Any, *, similarity: str = "") -> Verdict | None:
    """The verdict on another deformation of the pair where it is the better one, else None.

    Edges agree more after it, and most measures but for the optimised one speak for it against the alignment.
    """
    own, scores = OWN.get(similarity, ""), verdict.scores
    found = look.scores(transform, displacement=other.displacement)
    gained = median(change(value, found[name]) for name, value in scores["alignment"].items() if name != own)
    if found["edges"] <= scores["result"]["edges"] or gained <= 0 or harm(scores["headers"], found, without=own):
        return None
    return replace(verdict, share=1.0, reason="", scores=scores | {"result": found})


def harm(before: Mapping[str, float], after: Mapping[str, float], *, without: str = "", noise: float = _NOISE) -> str:
    """Why a stage is worse than the one before, in words; empty where it is not. ``without``: a biased measure;
    ``noise``: a fall that is none.
    """
    changes = {name: change(value, after[name]) for name, value in before.items() if name != without}
    if median(changes.values()) >= -noise:
        return ""
    return "the images agree less after it: " + ", ".join(
        f"{name} {before[name]:.3f} to {after[name]:.3f}" for name, value in changes.items() if value < -noise)


def change(before: float, after: float) -> float:
    """The relative change of a measure, between -1 and 1."""
    largest = max(abs(before), abs(after))
    return 0.0 if largest < 1e-9 or not math.isfinite(largest) else (after - before) / largest


def partial(prediction: Prediction, share: float, shape: tuple[int, ...], *, squarings: int) -> Prediction:
    """The deformation that a share of the velocity makes; of 0 none. ``shape``: of the working grid."""
    if share == 1.0:
        return prediction
    if prediction.velocity is None or share == 0.0:
        velocity = None if prediction.velocity is None else torch.zeros_like(prediction.velocity)
        return Prediction(share * prediction.displacement, velocity)
    velocity = share * prediction.velocity
    with torch.inference_mode():
        return Prediction(integrate_within(velocity, shape, squarings=squarings), velocity)


def _pooled(image: Tensor, factor: int) -> Tensor:
    """Means over blocks, the border repeated where the last ones reach beyond."""
    pads = [amount for size in reversed(image.shape[2:]) for amount in (0, -size % factor)]
    return downsample(F.pad(image, pads, mode="replicate") if any(pads) else image, factor)


def _coarser(grid: Geometry, factor: int) -> Geometry:
    """The grid whose voxels cover ``factor`` of this one's along every axis; the last ones may reach beyond it."""
    size = tuple(-(-own // factor) for own in grid.size)
    spacing = tuple(factor * own for own in grid.spacing)
    shift = grid.direction_matrix @ (np.array(grid.spacing) * (factor - 1) / 2)
    return Geometry(size, spacing, tuple((np.array(grid.origin) + shift).tolist()), grid.direction)
