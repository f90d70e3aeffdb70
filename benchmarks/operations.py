"""The cost of the operations that training spends its time in, against what one would write without them.

``python benchmarks/operations.py [--size 160 192 224] [--threads 1] [--repeats 5]`` prints one table:
forward plus backward, median with least and largest, and how many times longer the peer takes. All
contenders of a row are timed in turn within one run. Seconds are wall clock; ``--cpu-time`` counts the
process's own processor time instead, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.fields import exponentiate, identity_grid, resize_image, warp
from AutoRegLib.losses import diffusion, lncc_loss, mind_loss

Run = Callable[[], Tensor]


class Contender(NamedTuple):
    """One way to compute a row; ``inputs`` receive gradients. ``repeats`` caps the runs of slow ones."""

    name: str
    run: Run
    inputs: list[Tensor]
    repeats: int | None = None


def dense_lncc_loss(fixed: Tensor, moving: Tensor, *, window: int, floor: float = 1e-3) -> Tensor:
    """LNCC as usually written: five convolutions with a dense kernel of ones."""
    kernel = torch.ones(1, 1, *[window] * (fixed.ndim - 2))
    convolve = F.conv3d if fixed.ndim == 5 else F.conv2d

    def mean(image: Tensor) -> Tensor:
        return convolve(image, kernel, padding=window // 2) / kernel.numel()

    mean_f, mean_m = mean(fixed), mean(moving)
    covariance = mean(fixed * moving) - mean_f * mean_m
    variance_f = (mean(fixed * fixed) - mean_f * mean_f).clamp_min(floor)
    variance_m = (mean(moving * moving) - mean_m * mean_m).clamp_min(floor)
    return 1 - (covariance * covariance / (variance_f * variance_m)).mean()


def grid_sample_warp(image: Tensor, displacement: Tensor) -> Tensor:
    """The warp by torch's own kernel."""
    shape = image.shape[2:]
    position = identity_grid(shape) + displacement
    axes = [2 * position[:, axis] / (size - 1) - 1 for axis, size in enumerate(shape)]
    return F.grid_sample(image, torch.stack(axes[::-1], -1), padding_mode="border", align_corners=True)


def grid_sample_exponentiate(velocity: Tensor) -> Tensor:
    displacement = velocity / 2**7
    for _ in range(7):
        displacement = displacement + grid_sample_warp(displacement, displacement)
    return displacement


def monai_lncc(dims: int, window: int) -> Callable[[Tensor, Tensor], Tensor] | None:
    try:
        from monai.losses import LocalNormalizedCrossCorrelationLoss
    except ImportError:
        return None
    return LocalNormalizedCrossCorrelationLoss(dims, window)


def rows(size: list[int], *, window: int, dense_repeats: int) -> dict[str, list[Contender]]:
    """What is measured: per row our operation first, then its peers."""
    generator = torch.Generator().manual_seed(0)
    dims = len(size)
    half = [(side + 1) // 2 for side in size]

    def smooth(channels: int, shape: list[int]) -> Tensor:
        return resize_image(torch.randn(1, channels, *[6] * dims, generator=generator), shape)

    fixed = smooth(1, size)
    moving = (fixed + 0.3 * smooth(1, size)).requires_grad_()
    displacement = (2 * smooth(dims, size)).requires_grad_()
    velocity = (2 * smooth(dims, half)).requires_grad_()
    features = smooth(16, half).requires_grad_()
    similar = [Contender("ours", lambda: lncc_loss(fixed, moving, window=window), [moving])]
    if dense_repeats:
        dense = Contender(
            "dense convolution",
            lambda: dense_lncc_loss(fixed, moving, window=window),
            [moving],
            dense_repeats,
        )
        similar.append(dense)
    peer = monai_lncc(dims, window)
    if peer is not None:
        similar.append(Contender("MONAI", lambda: peer(moving, fixed), [moving]))
    image = moving.detach()
    return {
        f"LNCC, window {window}": similar,
        "MIND-SSC loss": [Contender("ours", lambda: mind_loss(moving, fixed), [moving])],
        "diffusion": [Contender("ours", lambda: diffusion(displacement), [displacement])],
        "warp of an image": [
            Contender("ours", lambda: warp(image, displacement), [displacement]),
            Contender("grid_sample", lambda: grid_sample_warp(image, displacement), [displacement]),
        ],
        "warp of 16 features, half size": [
            Contender("ours", lambda: warp(features, velocity), [features, velocity]),
            Contender("grid_sample", lambda: grid_sample_warp(features, velocity), [features, velocity]),
        ],
        "exponentiate, half size": [
            Contender("ours", lambda: exponentiate(velocity), [velocity]),
            Contender("grid_sample", lambda: grid_sample_exponentiate(velocity), [velocity]),
        ],
    }


def seconds(contender: Contender, clock: Callable[[], float]) -> float:
    """One forward and backward pass."""
    begin = clock()
    result = contender.run()
    torch.autograd.grad(result, contender.inputs, torch.ones_like(result))
    return clock() - begin


def measure(contenders: list[Contender], repeats: int, clock: Callable[[], float]) -> list[list[float]]:
    """Times of each contender, taken in turn so that a busy moment hits all of them."""
    for contender in contenders:
        if contender.repeats is None:
            seconds(contender, clock)
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(repeats):
        for contender, taken in zip(contenders, times, strict=True):
            if contender.repeats is None or turn < contender.repeats:
                taken.append(seconds(contender, clock))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[160, 192, 224], help="voxels per axis, 2 or 3")
    parser.add_argument("--window", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dense-repeats", type=int, default=1, help="runs of the dense convolution, 0: none")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall clock")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    print(f"size {arguments.size}, {arguments.threads} thread(s), forward + backward, milliseconds")
    print(f"{'operation':32}{'by':20}{'median':>10}{'least':>10}{'largest':>10}{'times ours':>12}")
    table = rows(arguments.size, window=arguments.window, dense_repeats=arguments.dense_repeats)
    for name, contenders in table.items():
        if arguments.only.lower() not in name.lower():
            continue
        times = measure(contenders, arguments.repeats, clock)
        own = statistics.median(times[0])
        for contender, taken in zip(contenders, times, strict=True):
            median = statistics.median(taken)
            figures = "".join(f"{1000 * value:10.1f}" for value in (median, min(taken), max(taken)))
            print(f"{name:32}{contender.name:20}{figures}{median / own:12.2f}", flush=True)


if __name__ == "__main__":
    main()
