"""Sums over boxes of voxels at a cost independent of the box: the workhorse of LNCC and MIND.

An image is laid out as one long vector whose rows, slices and ends are separated by ``radius`` zeros. A
shift along any axis is then a shift of the vector that runs into zeros at every border, and a window of w
voxels takes about log2(w) additions of contiguous memory per axis (x[i] + x[i+1], then that sum with itself
shifted by 2, by 4, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError

Buffers = tuple[Tensor, list[Tensor]]
_SMALL, _TOGETHER = 1 << 17, 3  # numbers of a volume that is small; so many of them are summed in one pass


@dataclass(frozen=True)
class BoxLayout:
    """Where the voxels of a volume stand in the padded vector.

    The vector is [margin zeros][core: voxels and separating zeros][margin zeros]. Every vector here carries
    any number of leading dimensions.
    """

    shape: tuple[int, ...]
    window: int

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise InputError("The window has no centre voxel", expected="an odd number", got=self.window)

    @property
    def radius(self) -> int:
        return self.window // 2

    @property
    def strides(self) -> list[int]:
        strides = [1]
        for size in reversed(self.shape[1:]):
            strides.insert(0, strides[0] * (size + self.radius))
        return strides

    @property
    def margin(self) -> int:
        return self.radius * sum(self.strides)

    @property
    def core(self) -> int:
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    def zeros(self, like: Tensor, *leading: int) -> Tensor:
        """An empty padded vector (*leading, margin + core + margin)."""
        return like.new_zeros(*leading, self.core + 2 * self.margin)

    def inner(self, padded: Tensor) -> Tensor:
        """The core of a padded vector, a view."""
        return padded.narrow(-1, self.margin, self.core)

    def voxels(self, core: Tensor) -> Tensor:
        """The voxels within a core, a view (*leading, *shape)."""
        offset = core.storage_offset()
        return core.as_strided((*core.shape[:-1], *self.shape), (*core.stride()[:-1], *self.strides), offset)

    def counts(self, like: Tensor) -> Tensor:
        """Voxels of the image inside each window, (*shape): smaller at the border."""
        total = like.new_ones(())
        for size in self.shape:
            index = torch.arange(size, device=like.device)
            inside = index.clamp(max=self.radius) + index.flip(0).clamp(max=self.radius) + 1
            total = total[..., None] * inside.to(like.dtype)
        return total

    def each(
        self, like: Tensor, rows: int, *fills: Callable[[Tensor], object], kept: Buffers | None = None
    ) -> Iterator[Tensor]:
        """The window sums (rows, core) of what every ``fill`` writes into a core, one after the other.

        A sum lasts until the next one is asked for; ``kept``: see :meth:`buffers`.
        """
        padded, work = kept or self.buffers(like, rows)
        together = len(padded) // rows
        for first in range(0, len(fills), together):
            part = fills[first:first + together]
            used = padded[:len(part) * rows]
            for fill, core in zip(part, self.inner(used).split(rows), strict=True):
                fill(core)
            yield from self.sums(used, [one[:len(used)] for one in work]).split(rows)

    def buffers(self, like: Tensor, rows: int) -> Buffers:
        """What :meth:`each` computes in; of a small volume, where calls cost more than sums, for several at once."""
        together = _TOGETHER if rows * self.core <= _SMALL else 1
        padded = self.zeros(like, together * rows)
        return padded, [torch.empty_like(padded) for _ in range(3)]

    def sums(self, padded: Tensor, work: Sequence[Tensor] = ()) -> Tensor:
        """Window sums (*leading, core) of a padded vector; between the voxels they mean nothing.

        ``work`` is three vectors of the same size to compute in; the result is a view of one of them.
        """
        buffers = list(work) or [torch.empty_like(padded) for _ in range(3)]
        total, owner = padded, -1
        for stride in reversed(self.strides):
            source, source_owner, length = total, owner, 1
            # the window's bits after the leading one: double the window, then add one voxel where the bit is set
            for bit in bin(self.window)[3:]:
                shift = length * stride
                owner = next(number for number in range(3) if number not in (owner, source_owner))
                size = total.shape[-1] - shift
                out = buffers[owner].narrow(-1, 0, size)
                total = torch.add(total.narrow(-1, 0, size), total.narrow(-1, shift, size), out=out)
                length *= 2
                if bit == "1":
                    size = total.shape[-1] - stride
                    total = total.narrow(-1, 0, size).add_(source.narrow(-1, length * stride, size))
                    length += 1
        return total


class _BoxSum(torch.autograd.Function):
    """The box sum is its own transpose, so it is its own gradient to any order."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, window: int) -> Tensor:
        ctx.window = window
        layout = BoxLayout(tuple(image.shape[2:]), window)
        padded = layout.zeros(image, *image.shape[:2])
        layout.voxels(layout.inner(padded)).copy_(image)
        return layout.voxels(layout.sums(padded)).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _BoxSum.apply(grads[0], ctx.window), None


def box_sum(image: Tensor, window: int) -> Tensor:
    """The sum over the box of ``window`` voxels per axis around every voxel; zero beyond the border.

    Shape: (B, C, *spatial) -> the same.
    Raises: InputError if the window is even or not positive.
    """
    result: Tensor = _BoxSum.apply(image, window)
    return result
