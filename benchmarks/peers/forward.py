"""Forward passes of one network in a process of its own: seconds and peak memory, as one JSON line.

Run by the network's own Python: by ours for AutoReg's networks, by a peer's environment for the peer's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import time
from collections.abc import Sequence
from typing import Any

import torch


def ours(kind: str, recipe_file: str, size: Sequence[int]) -> Any:
    """``autoreg/OPERATOR`` in the presets' widths or ``autoreg-wide/OPERATOR`` in the paper's, ``autoreg/recipe``, or a
    registered network; memory is kept as `autoreg` does.
    """
    from AutoRegLib.core.genotype import Genotype
    from AutoRegLib.core.memory import keep_freed_memory
    from AutoRegLib.core.presets import NARROW
    from AutoRegLib.core.recipe import Network, Recipe, read_recipe
    from AutoRegLib.networks.registry import build_network

    keep_freed_memory()
    name, _, operator = kind.partition("/")
    if operator == "recipe":
        return build_network(read_recipe(recipe_file))
    genotype = Genotype.uniform(operator) if operator else None
    network = NARROW if name == "autoreg" else Network(name=name.removesuffix("-wide"))
    return build_network(Recipe(spatial_dims=len(size), network=network, genotype=genotype))


def original_voxelmorph(kind: str, recipe_file: str, size: Sequence[int]) -> Any:
    """The PyTorch network of the ``voxelmorph`` package, with its own defaults."""
    import voxelmorph as vxm

    return vxm.nn.models.VxmPairwise(
        ndim=len(size), source_channels=1, target_channels=1, nb_features=[16, 32, 32, 32, 32])


def monai(kind: str, recipe_file: str, size: Sequence[int]) -> Any:
    """MONAI's ``VoxelMorph`` (field and warp) or its ``LocalNet`` (field alone, as it comes)."""
    nets = importlib.import_module("monai.networks.nets")
    if kind == "monai/VoxelMorph":
        return nets.VoxelMorph(spatial_dims=len(size))
    return _Joined(nets.LocalNet(
        spatial_dims=len(size), in_channels=2, out_channels=len(size), num_channel_initial=16,
        extract_levels=(0, 1, 2, 3), out_activation=None, out_kernel_initializer="zeros"))


class _Joined(torch.nn.Module):
    """A network of one input, given both images as channels."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> Any:
        return self.network(torch.cat([moving, fixed], 1))


def peak_bytes() -> int:
    """The most this process ever held. Not getrusage's figure: that counts what its parent held, too."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", required=True)
    parser.add_argument("--recipe", default="")
    parser.add_argument("--size", type=int, nargs="+", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    build = {"voxelmorph": original_voxelmorph, "monai": monai}.get(given.network.split("/")[0], ours)
    network = build(given.network, given.recipe, given.size).eval()
    moving, fixed = (torch.rand(1, 1, *given.size) for _ in range(2))
    wall, cpu = [], []
    with torch.inference_mode():
        # what the first pass loads and sets up belongs to the program, not to the volume
        network(*(torch.rand(1, 1, *[min(32, side) for side in given.size]) for _ in range(2)))
        before = peak_bytes()
        for _ in range(given.repeats):
            began = time.perf_counter(), time.process_time()
            network(moving, fixed)
            wall.append(time.perf_counter() - began[0])
            cpu.append(time.process_time() - began[1])
    print(json.dumps({
        "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad), "wall": wall, "cpu": cpu,
        "peak_bytes": peak_bytes(), "added_bytes": peak_bytes() - before, "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
