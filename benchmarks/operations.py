"""The cost of the operations that training spends its time in, against what one would write without them.

``python -m benchmarks.operations [--size 160 192 224] [--threads 1] [--repeats 5]`` prints one table:
forward plus backward, median with least and largest, and how many times longer the peer takes. All
methods of a row are timed in turn within one run. Seconds are wall clock; ``--cpu-time`` counts the
process's own processor time instead, which other programs on the machine disturb less. ``--results``
writes the table as ``operations.csv`` and ``operations.md``. convexAdam is imported from its environment
in ``--environments``, on our torch.

The floor of a row is the time that moving its numbers once at the machine's copy bandwidth, or its
multiply-adds at the machine's matrix rate, would take, whichever is longer; both rates are measured here.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from AutoRegLib.core.genotype import OPERATORS as CANDIDATES
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.resample import resize_image
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import identity_grid, warp
from AutoRegLib.imaging.align import affine_align
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.losses.diffusion import diffusion
from AutoRegLib.losses.lncc import lncc_loss
from AutoRegLib.losses.mind import mind_loss
from AutoRegLib.networks.operators import CONSTRUCTORS
from benchmarks.tables import Row, conditions, markdown, spread, write_tables

Run = Callable[[], Any]
_CHANNELS = 16  # of the features, and of a candidate operator's input and output


class Method(NamedTuple):
    """One way to compute a row; ``inputs`` receive gradients, without any the run is forward alone.

    ``repeats`` caps the runs of slow ones. ``traffic``: numbers of 4 bytes that any way to compute this reads
    and writes at least; ``products``: its multiply-adds. Both are of the forward and the backward pass.
    """

    name: str
    run: Run
    inputs: list[Tensor]
    repeats: int | None = None
    traffic: float = 0.0
    products: float = 0.0


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
        losses = importlib.import_module("monai.losses")
    except ImportError:
        return None
    result: Callable[[Tensor, Tensor], Tensor] = losses.LocalNormalizedCrossCorrelationLoss(dims, window)
    return result


def convex_adam_mind(environments: Path | None) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The same loss on convexAdam's own descriptor, where its environment is there."""
    folders = sorted((environments / "convexadam").glob("lib/python*/site-packages")) if environments else []
    sys.path.extend(map(str, folders))  # at the end: all that we have ourselves stays ours
    try:
        descriptor = importlib.import_module("convexAdam.convex_adam_utils").MINDSSC
    except ImportError:
        return None
    return lambda a, b: (descriptor(a, 2, 2, device="cpu") - descriptor(b, 2, 2, device="cpu")).square().mean()


def torch_determinant(displacement: Tensor) -> Tensor:
    """The Jacobian determinant by torch's own differences and determinant."""
    dims = displacement.shape[1]
    columns = torch.stack(torch.gradient(displacement, dim=list(range(2, 2 + dims))), -1)
    return torch.linalg.det(columns.movedim(1, -2) + torch.eye(dims))


def candidates(features: Tensor) -> list[Method]:
    """Every operator of the search space on the same features, the 3-wide convolution first."""
    dims, voxels = features.ndim - 2, math.prod(features.shape[2:])
    result = []
    for name in sorted(CANDIDATES, key=lambda name: name != "conv3"):
        torch.manual_seed(0)
        operator: nn.Module = CONSTRUCTORS[name](dims, _CHANNELS, _CHANNELS, 1)
        weights = [module.weight for module in operator.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
        result.append(Method(
            name, lambda operator=operator: operator(features), [features, *operator.parameters()],  # type: ignore[misc]
            traffic=5.0 * features.numel(), products=3.0 * voxels * sum(weight.numel() for weight in weights)))
    return result


def alignment(fixed: Tensor) -> Method:
    """The affine alignment of an image to itself, moved by some voxels: forward alone."""
    array = fixed[0, 0].detach().numpy()
    dims = array.ndim
    geometry = Geometry(tuple(array.shape[::-1]), (1.0,) * dims, (0.0,) * dims, tuple(np.eye(dims).ravel().tolist()))
    still = Volume(array, geometry, "intensity")
    moved = Volume(np.roll(array, 3, axis=tuple(range(dims))), geometry, "intensity")
    return Method("ours", lambda: affine_align(still, moved), [], traffic=2.0 * array.size)


def machine_rates(repeats: int, clock: Callable[[], float]) -> tuple[float, float]:
    """The best bandwidth of copying and the best rate of a matrix product. Unit: bytes/s, multiply-adds/s."""
    source, target = torch.rand(2**26), torch.empty(2**26)
    side = 2048
    left, right = torch.rand(side, side), torch.rand(side, side)

    def best(run: Run) -> float:
        taken = []
        for _ in range(repeats + 1):
            begin = clock()
            run()
            taken.append(clock() - begin)
        return max(min(taken), 1e-9)

    return 2 * 4 * source.numel() / best(lambda: target.copy_(source)), side**3 / best(lambda: left @ right)


def rows(
    size: list[int], *, window: int, dense_repeats: int, environments: Path | None = None
) -> dict[str, list[Method]]:
    """What is measured: per row our operation first, then its peers.

    The traffic of a loss of two images is five times an image: both read, both read again, one gradient
    written. Other rows count in the same way; scratch space counts nothing.
    """
    generator = torch.Generator().manual_seed(0)
    dims = len(size)
    half = [(side + 1) // 2 for side in size]

    def smooth(channels: int, shape: list[int]) -> Tensor:
        return resize_image(torch.randn(1, channels, *[6] * dims, generator=generator), shape)

    fixed = smooth(1, size)
    moving = (fixed + 0.3 * smooth(1, size)).requires_grad_()
    displacement = (2 * smooth(dims, size)).requires_grad_()
    velocity = (2 * smooth(dims, half)).requires_grad_()
    features = smooth(_CHANNELS, half).requires_grad_()
    image_size, half_size = float(fixed.numel()), float(math.prod(half))
    pair = 5 * image_size
    similar = [Method("ours", lambda: lncc_loss(fixed, moving, window=window), [moving], traffic=pair)]
    if dense_repeats:
        dense = Method(
            "dense convolution",
            lambda: dense_lncc_loss(fixed, moving, window=window),
            [moving],
            dense_repeats,
        )
        similar.append(dense)
    peer = monai_lncc(dims, window)
    if peer is not None:
        similar.append(Method("MONAI", lambda: peer(moving, fixed), [moving]))
    structure = [Method("ours", lambda: mind_loss(moving, fixed), [moving], traffic=pair)]
    convex_adam = convex_adam_mind(environments) if dims == 3 else None
    if convex_adam is not None:
        structure.append(Method("convexAdam", lambda: convex_adam(moving, fixed), [moving]))
    image = moving.detach()
    return {
        f"LNCC, window {window}": similar,
        "MIND-SSC loss": structure,
        "diffusion": [
            Method("ours", lambda: diffusion(displacement), [displacement], traffic=3 * dims * image_size)],
        "Jacobian determinant": [
            Method("ours", lambda: jacobian_determinant(displacement), [displacement],
                      traffic=(3 * dims + 2) * image_size),
            Method("torch.gradient and det", lambda: torch_determinant(displacement), [displacement]),
        ],
        "warp of an image": [
            Method("ours", lambda: warp(image, displacement), [displacement],
                      traffic=(3 * dims + 4) * image_size),
            Method("grid_sample", lambda: grid_sample_warp(image, displacement), [displacement]),
        ],
        "warp of 16 features, half size": [
            Method("ours", lambda: warp(features, velocity), [features, velocity],
                      traffic=(3 * dims + 5 * _CHANNELS) * half_size),
            Method("grid_sample", lambda: grid_sample_warp(features, velocity), [features, velocity]),
        ],
        "exponentiate, half size": [
            Method("ours", lambda: exponentiate(velocity), [velocity],
                      traffic=5 * dims * half_size),
            Method("grid_sample", lambda: grid_sample_exponentiate(velocity), [velocity]),
        ],
        f"candidate operator, {_CHANNELS} to {_CHANNELS}, half size": candidates(features),
        "affine alignment, forward alone": [alignment(fixed)],
    }


def seconds(method: Method, clock: Callable[[], float]) -> float:
    """One forward and, where there are inputs to differentiate for, backward pass."""
    begin = clock()
    result = method.run()
    if method.inputs:
        torch.autograd.grad(result, method.inputs, torch.ones_like(result))
    return clock() - begin


def measure(methods: list[Method], repeats: int, clock: Callable[[], float]) -> list[list[float]]:
    """Times of each method, taken in turn so that a busy moment hits all of them."""
    for method in methods:
        if method.repeats is None:
            seconds(method, clock)
    times: list[list[float]] = [[] for _ in methods]
    for turn in range(repeats):
        for method, taken in zip(methods, times, strict=True):
            if method.repeats is None or turn < method.repeats:
                taken.append(seconds(method, clock))
    return times


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[160, 192, 224], help="voxels per axis, 2 or 3")
    parser.add_argument("--window", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dense-repeats", type=int, default=1, help="runs of the dense convolution, 0: none")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall clock")
    parser.add_argument("--environments", type=Path, help="folder of the peers' virtual environments")
    parser.add_argument("--results", type=Path, help="folder for operations.csv and operations.md")
    parser.add_argument("--note", default="")
    return parser


def timed(given: argparse.Namespace, clock: Callable[[], float]) -> list[Row]:
    """The rows asked for, printed as they come."""
    bandwidth, rate = machine_rates(given.repeats, clock)
    print(f"size {given.size}, {given.threads} thread(s), forward + backward, milliseconds; copies at "
          f"{bandwidth / 1e9:.1f} GB/s, {rate / 1e9:.1f} G multiply-adds/s")
    print(f"{'operation':40}{'by':24}{'median':>10}{'least':>10}{'largest':>10}{'times ours':>12}{'floor':>10}")
    table = rows(given.size, window=given.window, dense_repeats=given.dense_repeats, environments=given.environments)
    result = []
    for name, methods in table.items():
        if given.only.lower() not in name.lower():
            continue
        times = measure(methods, given.repeats, clock)
        own = statistics.median(times[0])
        for method, taken in zip(methods, times, strict=True):
            row: Row = {"operation": name, "by": method.name}
            row |= {f"{part} ms": 1000 * value for part, value in spread(taken).items()}
            row["times ours"] = row["median ms"] / (1000 * own)
            floor = 1000 * max(4 * method.traffic / bandwidth, method.products / rate)
            row |= {"floor ms": floor, "times floor": row["median ms"] / floor} if floor else {}
            result.append(row)
            figures = "".join(f"{row[part]:10.1f}" for part in ("median ms", "least ms", "largest ms"))
            figures += f"{row['times ours']:12.2f}" + (f"{floor:10.1f}" if floor else f"{'-':>10}")
            print(f"{name:40}{method.name:24}{figures}", flush=True)
    result.append({"operation": "copy, GB/s", "by": "torch", "median ms": bandwidth / 1e9})
    result.append({"operation": "matrix product, G multiply-adds/s", "by": "torch", "median ms": rate / 1e9})
    return result


def main(argv: list[str] | None = None) -> list[Row]:
    given = arguments().parse_args(argv)
    torch.set_num_threads(given.threads)
    result = timed(given, time.process_time if given.cpu_time else time.perf_counter)
    if given.results is not None:
        kind, shape = "processor" if given.cpu_time else "clock", "x".join(map(str, given.size))
        text = f"# Operations\n\nForward plus backward at {shape}, milliseconds of the {kind}. "
        text += "All methods of a row are timed in turn.\nFloor: the least numbers to move at the copy bandwidth, "
        text += "or the multiply-adds at the matrix rate; the two rates are the last rows.\n\n" + markdown(result)
        text += f"\n## Conditions\n\n- torch {torch.__version__}\n"
        write_tables(given.results, "operations", result, text + conditions(
            threads=given.threads, note=given.note, command="python -m benchmarks.operations"))
    return result


if __name__ == "__main__":
    main()
