"""The networks, one row each: what is known of them without torch. Who builds them stands in ``networks.registry``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkFacts:
    """``searchable``: it has a space of architectures to search. ``bytes_by_voxel``: main memory by voxel of the
    working grid at the default widths, for registering and for training one pair: peaks of processes on a CPU at 40 to
    96 voxels a side, rounded up; they scatter by a third. ``coarse``: how many
    coarser scales its answer has at most, which a loss can compare; ``random``: it draws its features, which a loss can
    hold to their prior.
    """

    title: str
    searchable: bool = False
    bytes_by_voxel: tuple[int, int] = (220, 900)
    coarse: int = 0
    random: bool = False


NETWORKS: dict[str, NetworkFacts] = {
    "autoreg": NetworkFacts("AutoReg, two scales, searched operators", True, (200, 900), coarse=2),
    "multiprop": NetworkFacts("MultiPropReg, two to four scales, random features", coarse=4, random=True),
    "voxelmorph1": NetworkFacts("VoxelMorph-1", bytes_by_voxel=(220, 500)),
    "voxelmorph2": NetworkFacts("VoxelMorph-2"),
    "voxelmorph_diff": NetworkFacts("diffeomorphic VoxelMorph"),
}


def network_names(*, searchable: bool = False) -> tuple[str, ...]:
    """The names of all networks, or of those that have an architecture to search."""
    return tuple(name for name, facts in NETWORKS.items() if facts.searchable or not searchable)
