"""What all networks share: the check at their door, padding to their multiple, the velocity head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from AutoRegLib.core.errors import InputError
from AutoRegLib.networks.operators import convolution

#: cell name -> weights (edges, candidates) of a searched cell
Mixture = Mapping[str, Tensor]


def check_pair(moving: Tensor, fixed: Tensor, dims: int) -> None:
    """Both images ``(B, 1, *spatial)`` on one grid. Raises InputError."""
    if moving.shape != fixed.shape or moving.dim() != dims + 2:
        raise InputError(
            "the network needs two images on one grid", expected=f"two tensors (B, 1, {dims} axes) of one shape",
            got=f"moving {tuple(moving.shape)}, fixed {tuple(fixed.shape)}", remedy="resample both to one grid first",
        )


def standardise(image: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over each image; a constant image becomes 0.

    The loss does not see a linear change of intensities, so the network need not either. It also removes the
    common brightness that otherwise hides the anatomy from randomly initialised features: on hippocampus crops the
    first 120 steps then lower 1 - LNCC from 0.61 to 0.47 instead of 0.60 (seed 0).

    Shape: ``(B, 1, *spatial)``, as the result.
    """
    axes = tuple(range(1, image.dim()))
    centred = image - image.mean(axes, keepdim=True)
    # torch.std takes four times as long, the norm's sum of a whole volume is off in the fourth digit
    deviation = centred.square().mean(axes, keepdim=True).sqrt()
    return centred / deviation.clamp_min(1e-6)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last voxels so that every spatial size divides; shape ``(B, C, *spatial)``."""
    sizes = image.shape[2:]
    missing = [(-size) % multiple for size in sizes]
    if not any(missing):
        return image
    pads = [amount for size in reversed(missing) for amount in (0, size)]
    return functional.pad(image, pads, mode="replicate")


def crop_to(field: Tensor, shape: Sequence[int]) -> Tensor:
    """The first ``shape`` voxels of each axis: undoes :func:`pad_to_multiple`."""
    return field[(slice(None), slice(None), *(slice(0, size) for size in shape))]


def velocity_head(dims: int, inputs: int) -> nn.Module:
    """3-wide convolution to ``dims`` components, near zero at the start: an untrained network is the identity."""
    head = convolution(dims, inputs, dims, 3, padding=1)
    nn.init.normal_(head.weight, std=1e-5)  # type: ignore[arg-type]
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    return head


def chance(images: Tensor, seed: int) -> torch.Generator:
    """What a network draws with for these images: the same for the same images and seed, whatever was drawn before."""
    sums = images.detach().double().pow(3).flatten(2).sum(2).flatten().cpu()
    mixed = int(sums.view(torch.int64).remainder(2**31).sum()) + 1_000_003 * seed
    return torch.Generator().manual_seed(mixed % 2**63)


def noise_of(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal values in the shape, type and place of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
