"""The networks, one row each: what is known of them without torch. Who builds them stands in ``networks.registry``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkFacts:
    """``searchable``: it has a space of architectures to search. ``bytes_by_voxel``: main memory by voxel of the
    working grid at the default widths, for registering and for training one pair: peaks of processes on a CPU at 40 to
    96 voxels a side, rounded up; they scatter by a third. ``coarse``: how many
    coarser scales its answer has at most, which a loss can compare; ``random``: it draws its features or its velocity,
    which a loss can hold to their prior. ``needs``: what it is at its best with, a sentence.
    """

    title: str
    searchable: bool = False
    bytes_by_voxel: tuple[int, int] = (220, 900)
    coarse: int = 0
    random: bool = False
    needs: str = "Images of any contrast."


_ONE_SCALE = "Images of one contrast on one scale of brightness: its loss is their mean squared difference."
NETWORKS: dict[str, NetworkFacts] = {
    "autoreg": NetworkFacts("AutoReg, two scales, searched operators", True, (200, 900), coarse=2),
    "multiprop": NetworkFacts("MultiPropReg, two to four scales, random features", coarse=4, random=True),
    "voxelmorph1": NetworkFacts("VoxelMorph-1", bytes_by_voxel=(220, 500)),
    "voxelmorph1_half": NetworkFacts("VoxelMorph-1 with its field at half the resolution", bytes_by_voxel=(220, 500)),
    "voxelmorph2": NetworkFacts("VoxelMorph-2"),
    "voxelmorph_diff": NetworkFacts("VoxelMorph-diff, a random velocity", random=True, needs=_ONE_SCALE),
    "voxelmorph_diff_deterministic": NetworkFacts("VoxelMorph-diff with a velocity that is not random"),
    "metareg": NetworkFacts("U-Net whose field a learnt filter smooths (meta-regularization)", needs=_ONE_SCALE),
    "dirnet": NetworkFacts("DIRNet, a spline between control points", bytes_by_voxel=(220, 500), needs=_ONE_SCALE),
    "fcn": NetworkFacts("FCN-SS, an hourglass compared at three scales", coarse=2, needs=_ONE_SCALE),
}


def network_names(*, searchable: bool = False) -> tuple[str, ...]:
    """The names of all networks, or of those that have an architecture to search."""
    return tuple(name for name, facts in NETWORKS.items() if facts.searchable or not searchable)
