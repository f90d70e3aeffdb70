"""Which voxels of an image show something: those that a loss should be the mean over."""

from __future__ import annotations

from torch import Tensor

_BACKGROUND = 0.2  # of the voxels with one and the same least value: less is a dark spot, not a background


def foreground(image: Tensor) -> Tensor | None:
    """1 where the image is above its least value, where at least a fifth has that value; 1 everywhere else.

    A skull-stripped or padded image has such a background. Its voxels agree whatever the field does: counted in a mean,
    they only make the similarity weigh less beside the smoothness. None where no image of the batch has one.

    Shape: (B, 1, *spatial), as the result.
    By hand: of 0 0 3 4 5 6 the last four are foreground; of 1 2 3 4 5 6 all.
    """
    least = image.amin(dim=tuple(range(1, image.dim())), keepdim=True)
    above = image > least
    share = 1.0 - above.float().mean(dim=tuple(range(1, image.dim())), keepdim=True)
    counted = (share < _BACKGROUND) | (share == 1.0)
    if bool(counted.all()):
        return None
    return (above | counted).to(image.dtype)
