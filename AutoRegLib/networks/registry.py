"""Who builds each network of ``core.networks``: the second of the two extension points (the first: operators)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.networks import NETWORKS, network_names
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.networks.affine import AffineFirst
from AutoRegLib.networks.autoreg import AutoRegNet
from AutoRegLib.networks.baselines import DirNet, FcnSs
from AutoRegLib.networks.cells import Edge
from AutoRegLib.networks.filtered import Filtered
from AutoRegLib.networks.multiprop import MultiProp
from AutoRegLib.networks.voxelmorph import VARIANTS, VoxelMorph


def _autoreg(recipe: Recipe, searched: Sequence[str]) -> nn.Module:
    genotype = recipe.genotype or Genotype()
    return AutoRegNet(recipe.spatial_dims, config=recipe.network, genotype=genotype, searched=searched)


def _voxelmorph(recipe: Recipe, searched: Sequence[str]) -> nn.Module:
    return VoxelMorph(
        recipe.spatial_dims, recipe.network.name, squarings=recipe.network.squarings, seed=recipe.seed)


def _multiprop(recipe: Recipe, searched: Sequence[str]) -> nn.Module:
    return MultiProp(recipe.spatial_dims, config=recipe.network, seed=recipe.seed)


BUILDERS: dict[str, Callable[[Recipe, Sequence[str]], nn.Module]] = {
    "autoreg": _autoreg,
    "multiprop": _multiprop,
    **dict.fromkeys(VARIANTS, _voxelmorph),
    "dirnet": lambda recipe, searched: DirNet(recipe.spatial_dims),
    "fcn": lambda recipe, searched: FcnSs(recipe.spatial_dims),
}


def build_network(
    recipe: Recipe, *, searched: Sequence[str] = (), recompute: bool = False, seed: int | None = None
) -> nn.Module:
    """The recipe's network, with the filter behind and the affine map in front of it that the recipe asks for.

    Freshly initialised (by ``seed``, leaving the global generator as it was).

    ``searched`` names the cells whose edges hold all candidates, ``recompute`` spares their memory.
    Raises InputError on an unknown name.
    """
    name = recipe.network.name
    if name not in BUILDERS:
        raise InputError(f"unknown network '{name}'", expected=", ".join(BUILDERS), got=name)
    if searched and not NETWORKS[name].searchable:
        raise InputError(f"network '{name}' has no architecture to search",
                         expected=", ".join(network_names(searchable=True)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed if seed is None else seed)
        network = BUILDERS[name](recipe, searched)
        parts, dims = recipe.network, recipe.spatial_dims
        if parts.filter.width:
            network = Filtered(network, dims, parts.filter, squarings=parts.squarings)
        if parts.affine_first:
            network = AffineFirst(network, dims)
    for module in network.modules():
        if isinstance(module, Edge):
            module.recompute = recompute
    return network


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
