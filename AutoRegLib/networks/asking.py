"""Asking a network again: about what it left, on the moving image as its last answer warped it."""

from __future__ import annotations

from torch import Tensor, nn

from AutoRegLib.fields.fold_repair import repair_folds
from AutoRegLib.fields.prediction import Prediction, integrate_within
from AutoRegLib.fields.velocity import compose
from AutoRegLib.fields.warp import warp


def ask(network: nn.Module, moving: Tensor, fixed: Tensor, *, times: int, squarings: int) -> Prediction:
    """The network's answer; asked several times, its answers one after the other, composed.

    A network moves voxels less far than its loss wants (docs/results.md, asked again), and does no worse on a pair that
    is nearly registered. Each answer is mended or damped where the whole would fold, if it is a velocity. Several have
    no velocity together, but the ``inverse`` where each has one. ``squarings``: of the network's velocities.

    Shape: two images (B, 1, *spatial). Unit/Direction: voxels, pull-back.
    Reference: recursive cascades (Zhao et al., ICCV 2019), with one network for all of them.
    """
    answer: Prediction = network(moving, fixed)
    if times == 1:
        return answer
    whole, back = _after(answer, None, squarings)
    for _ in range(times - 1):
        whole, own = _after(network(warp(moving, whole), fixed), whole, squarings)
        back = None if back is None or own is None else compose(back, own)
    return Prediction(whole, None, inverse=back)


def _after(answer: Prediction, before: Tensor | None, squarings: int) -> tuple[Tensor, Tensor | None]:
    """The displacement of the answer's map, mended where it folds and after the one ``before``; the way back of the
    answer's own.
    """
    if answer.velocity is None:
        return answer.displacement if before is None else compose(answer.displacement, before), answer.inverse
    shape = answer.displacement.shape[2:]
    velocity, whole, _ = repair_folds(answer.velocity, shape, squarings=squarings, before=before)
    return whole, integrate_within(-velocity, shape, squarings=squarings)
