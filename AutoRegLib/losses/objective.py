"""L_reg and L_seg: the objectives of training and search, and the free form of their weights.

Reference: docs/method.md, section 1.3; AutoReg paper, Eq. 4 to 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import WEIGHTS, LossWeights, Objective
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.fields.resample import downsample
from AutoRegLib.fields.warp import sample_at, warp
from AutoRegLib.losses.dice import one_hot, soft_dice
from AutoRegLib.losses.diffusion import diffusion
from AutoRegLib.losses.field_filter import filter_penalty
from AutoRegLib.losses.folding import fold_penalty
from AutoRegLib.losses.foreground import foreground
from AutoRegLib.losses.kl import kl_divergence, velocity_spread
from AutoRegLib.losses.lncc import lncc_loss
from AutoRegLib.losses.mind import mind_loss
from AutoRegLib.losses.mse import mse_loss
from AutoRegLib.losses.nmi import nmi_loss

Weights = Mapping[str, Tensor | float]
Landmarks = Sequence[tuple[Tensor, Tensor]]  # per pair (moving, fixed), each (points, d) voxels, axes (z, y, x)
Labels = tuple[Tensor, Tensor]  # (moving, fixed), each (B, 1, *spatial) integers
_SMALLEST = 1e-4  # a weight of zero has no logarithm; below this it does nothing anyway


def to_free(weights: LossWeights) -> dict[str, Tensor]:
    """Unconstrained lambda: logit of a share, logarithm of the others, so that every step is relative."""
    free = {}
    for name, facts in WEIGHTS.items():
        value = max(getattr(weights, name), _SMALLEST)
        if facts["free"] == "logit":
            value = min(value, 1.0 - _SMALLEST)
            value /= 1.0 - value
        free[name] = torch.tensor(math.log(value))
    return free


def to_constrained(free: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lambda as the loss uses it, differentiable: sigmoid for a share, exponential for the others."""
    return {n: torch.sigmoid(v) if WEIGHTS[n]["free"] == "logit" else torch.exp(v) for n, v in free.items()}


def whole_weight(weights: Weights) -> Any:
    """What all terms weigh together; that of the similarity at full scale is 1. A number, or a scalar tensor."""
    return 1.0 + sum(value for name, value in weights.items() if WEIGHTS[name]["free"] != "logit")


def to_record(free: Mapping[str, Tensor]) -> LossWeights:
    """The constrained values as a record."""
    return LossWeights(**{name: float(value) for name, value in to_constrained(free).items()})


def as_weights(record: LossWeights) -> Weights:
    """A record as plain numbers: parts of weight exactly 0 are then not computed at all."""
    return asdict(record)


#: what compares two images beside MIND, by its name in the recipe: of (fixed, warped, window in voxels, mask)
DATA_TERMS: dict[str, Callable[[Tensor, Tensor, int, Tensor | None], Tensor]] = {
    "lncc": lambda fixed, warped, window, mask: lncc_loss(fixed, warped, window=window, mask=mask),
    "mse": lambda fixed, warped, window, mask: mse_loss(fixed, warped, mask=mask),
    "nmi": lambda fixed, warped, window, mask: nmi_loss(fixed, warped, mask=mask),
    "local_nmi": lambda fixed, warped, window, mask: nmi_loss(fixed, warped, bins=16, block=window, mask=mask),
}


def similarity(
    warped: Tensor, fixed: Tensor, *, mix: Tensor | float, window: int, mask: Tensor | None = None,
    data_term: str = "lncc", mind: tuple[int, int] = (2, 2),
) -> Tensor:
    """``mix * data term + (1 - mix) * MIND``; a part whose plain-number weight is 0 is skipped. Shape: scalar.

    ``mask``: weights (B or 1, 1, *spatial) of the mean over voxels, in both parts. ``data_term``: LNCC, or another one
    of :data:`DATA_TERMS`; ``mind``: radius and dilation of MIND (voxels).
    """
    total = fixed.new_zeros(())
    if not isinstance(mix, float) or mix > 0.0:
        total = total + mix * DATA_TERMS[data_term](fixed, warped, window, mask)
    if not isinstance(mix, float) or mix < 1.0:
        total = total + (1.0 - mix) * mind_loss(warped, fixed, radius=mind[0], dilation=mind[1], mask=mask)
    return total


@dataclass(frozen=True, eq=False)
class Compared:
    """What the terms of the loss see: the answer, its images ``(B, 1, *spatial)``, all weights."""

    prediction: Prediction
    moving: Tensor
    fixed: Tensor
    weights: Weights
    objective: Objective


def _similarity_at(scale: int) -> Callable[[Compared], Tensor | None]:
    """The similarity at 1/2^scale: average-pooled images, that scale's own field; None where the answer has none."""

    def term(seen: Compared) -> Tensor | None:
        displacements = (seen.prediction.displacement, *seen.prediction.scales)
        if scale >= len(displacements):
            return None
        displacement, moving, fixed = displacements[scale], seen.moving, seen.fixed
        if scale > 0:
            moving, fixed = (_pooled(image, displacement, 2**scale) for image in (moving, fixed))
        windows = seen.objective.windows
        window = windows[scale] if scale < len(windows) else max(windows[-1] - 2, 3)
        mask = foreground(fixed) if seen.objective.counted == "foreground" else None
        return similarity(warp(moving, displacement), fixed, mix=seen.weights["similarity_mix"], window=window,
                          mask=mask, data_term=seen.objective.data_term, mind=seen.objective.mind)

    return term


def _smoothness(seen: Compared) -> Tensor:
    answer = seen.prediction.local or seen.prediction  # an affine part is no deformation
    if seen.objective.regularise == "displacement" or answer.velocity is None:
        return diffusion(answer.displacement)
    return diffusion(answer.velocity if answer.law is None else answer.law[0])


def _fields_at_scales(seen: Compared) -> Sequence[Tensor]:
    answer = seen.prediction.local or seen.prediction
    return answer.velocities or answer.scales


def _kl(seen: Compared) -> Tensor | None:
    """Of random features, at each scale; of a random velocity what its smoothness leaves out (see velocity_spread)."""
    law = seen.prediction.law
    if law is None:
        return _over_scales(lambda seen: seen.prediction.latents, lambda latent: kl_divergence(*latent))(seen)
    precision = 2.0 * seen.weights["smoothness"] / (law[1].shape[1] * seen.weights["kl"])
    return velocity_spread(law[1], precision=precision)


#: the weights of the comparisons at 1/2, 1/4 ...
SCALES = ("half_scale", "quarter_scale", "eighth_scale", "sixteenth_scale")


def _over_scales(
    parts: Callable[[Compared], Sequence[Any]], value: Callable[[Any], Tensor]
) -> Callable[[Compared], Tensor | None]:
    """The sum over coarser scales of a value, each times its scale's weight; None where there are none."""

    def term(seen: Compared) -> Tensor | None:
        total: Tensor | None = None
        for name, part in zip(SCALES, parts(seen), strict=False):
            weight = seen.weights.get(name, 0.0)
            if not isinstance(weight, float) or weight > 0.0:
                total = weight * value(part) + (0.0 if total is None else total)
        return total

    return term


#: the terms of L_reg by the name of their weight (a term without one weighs 1); None: the answer has nothing for it
TERMS: dict[str, Callable[[Compared], Tensor | None]] = {
    "similarity": _similarity_at(0),
    **{name: _similarity_at(scale) for scale, name in enumerate(SCALES, start=1)},
    "smoothness": _smoothness,
    "kl": _kl,
    "scale_smoothness": _over_scales(_fields_at_scales, diffusion),
    "scale_folds": _over_scales(lambda seen: seen.prediction.scales, fold_penalty),
}


def registration_loss(
    prediction: Prediction,
    moving: Tensor,
    fixed: Tensor,
    weights: Weights,
    *,
    objective: Objective,
    labels: Labels | None = None,
    structures: Sequence[int] = (),
) -> dict[str, Tensor]:
    """L_reg with its parts: every term of :data:`TERMS` times its weight (+ folds, filter, + labels where asked).

    A term whose weight is the plain number 0 is not computed.
    Shape: images ``(B, 1, *spatial)``; every returned value is a scalar tensor, ``total`` the loss.
    Raises: InputError for a network with more scales than there are weights.
    Reference: docs/method.md, section 1.3.
    """
    given, known = len(prediction.scales), len(SCALES)
    if given > known:
        raise InputError("the loss has no weight for every scale of the network", expected=f"{known} coarse scales",
                         got=f"{given} coarse scales", remedy="let the network return fewer scales")
    seen = Compared(prediction, moving, fixed, weights, objective)
    terms: dict[str, Tensor] = {}
    total = fixed.new_zeros(())
    for name, term in TERMS.items():
        weight = weights.get(name, 1.0)
        if isinstance(weight, float) and weight == 0.0:
            continue
        value = term(seen)
        if value is not None:
            terms[name] = value
            total = total + weight * value
    if objective.fold_weight > 0.0:
        terms["folds"] = fold_penalty(prediction.displacement)
        total = total + objective.fold_weight * terms["folds"]
    if prediction.filter is not None:
        terms["filter"] = filter_penalty(prediction.filter, objective)
        total = total + terms["filter"]
    if objective.label_weight > 0.0 and labels is not None:
        terms["labels"] = 1.0 - label_overlap(prediction, *labels, structures=structures)
        total = total + objective.label_weight * terms["labels"]
    terms["total"] = total
    return terms


def segmentation_loss(
    prediction: Prediction, labels: Labels, *, objective: Objective, structures: Sequence[int]
) -> Tensor:
    """L_seg: soft Dice over foreground structures, plus the fold term that Dice alone lacks. Shape: scalar."""
    loss = 1.0 - label_overlap(prediction, *labels, structures=structures)
    if objective.upper_fold_weight > 0.0:
        loss = loss + objective.upper_fold_weight * fold_penalty(prediction.displacement)
    return loss


def landmark_loss(
    prediction: Prediction, landmarks: Landmarks, *, objective: Objective, spacing: Sequence[float]
) -> Tensor:
    """Mean distance of the mapped fixed landmarks to the moving ones, plus the fold term of L_seg. Shape: scalar.

    ``spacing``: of the voxels along the axes (z, y, x). Unit: mm.
    """
    loss = landmark_error(prediction, landmarks, spacing=spacing)
    if objective.upper_fold_weight > 0.0:
        loss = loss + objective.upper_fold_weight * fold_penalty(prediction.displacement)
    return loss


def landmark_error(prediction: Prediction, landmarks: Landmarks, *, spacing: Sequence[float]) -> Tensor:
    """The target registration error, mean over pairs of the mean over their points. Shape: scalar. Unit: mm."""
    field, total = prediction.displacement, prediction.displacement.new_zeros(())
    for i, (moving, fixed) in enumerate(landmarks):
        moved = sample_at(field[i : i + 1], fixed[None].to(field))[0].T
        error = (fixed.to(field) + moved - moving.to(field)) * field.new_tensor(spacing)
        total = total + (error.square().sum(dim=1) + 1e-12).sqrt().mean() / len(landmarks)
    return total


def unsupervised_loss(
    prediction: Prediction, moving: Tensor, fixed: Tensor, weights: Weights, *, objective: Objective
) -> Tensor:
    """The label-free validation objective: the registration loss at fixed weights, plus the fold term. Shape: scalar.

    It does not depend on the lambda under search but through the network's answer.
    Reference: MultiPropReg paper, Eq. 12 and 14.
    """
    loss = registration_loss(prediction, moving, fixed, weights, objective=objective)["total"]
    return loss + objective.upper_fold_weight * fold_penalty(prediction.displacement)


def label_overlap(prediction: Prediction, moving: Tensor, fixed: Tensor, *, structures: Sequence[int]) -> Tensor:
    """Soft Dice of the linearly warped one-hot moving labels with the fixed ones. Shape: scalar."""
    wanted = tuple(structures)
    warped = warp(one_hot(moving, wanted), prediction.displacement, padding="zeros")
    return soft_dice(warped, one_hot(fixed, wanted))


def label_dice(prediction: Prediction, moving: Tensor, fixed: Tensor, *, structures: Sequence[int]) -> Tensor:
    """Dice of the moving labels, each voxel taking its nearest one's, with the fixed ones. Shape: scalar.

    What validation uses, where no gradient is wanted: the linear warp of :func:`label_overlap` blurs every structure
    that moves at all, so on thin tissues standing still looks best.
    """
    wanted = tuple(structures)
    warped = warp(moving, prediction.displacement, mode="nearest", padding="zeros")
    return soft_dice(one_hot(warped, wanted), one_hot(fixed, wanted))


def _pooled(image: Tensor, displacement: Tensor, factor: int) -> Tensor:
    """The image at the scale of ``displacement``: padded like the network's input, then average-pooled."""
    shape = [size * factor for size in displacement.shape[2:]]
    missing = [want - have for want, have in zip(shape, image.shape[2:], strict=True)]
    if any(missing):
        pads = [amount for size in reversed(missing) for amount in (0, size)]
        image = torch.nn.functional.pad(image, pads, mode="replicate")
    return downsample(image, factor)
