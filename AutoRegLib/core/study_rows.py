"""What a study compares: every row of the paper's tables as data, and the recipe that each of them means.

A row is trained once, whatever the number of tables it stands in. Reference: AutoReg paper, Tables I to VIII.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.recipe import Recipe, with_own_loss


@dataclass(frozen=True)
class Row:
    """One way to come to a trained network."""

    name: str
    words: str
    network: str = "autoreg"
    genotype: str = "conv3"  # the operator on every edge, or "random"
    similarity_mix: float | None = None  # None: the preset's
    searched: tuple[str, ...] = ()  # the upper variables whose stages run; none: no search
    method: Literal["gradient", "random"] = "gradient"


@dataclass(frozen=True)
class Table:
    """One table of the paper: its title, and (label, row) line by line; the first line is the baseline."""

    title: str
    lines: tuple[tuple[str, str], ...]
    costs: bool = False  # with seconds and memory of search and training


_WHOLE = ("feature", "deformation", "lambda")

#: every row by name, in the order in which they run
ROWS: dict[str, Row] = {row.name: row for row in (
    Row("manual-medium", "conv3 on every edge, default loss weights: where every search starts"),
    Row("autoreg", "architecture and loss weights searched", searched=_WHOLE),
    Row("random-search", "architecture and loss weights drawn at random, the best by successive halving in the time "
        "of the whole search", searched=_WHOLE, method="random"),
    Row("features", "only the feature cells searched", searched=("feature",)),
    Row("deformation", "only the deformation cells searched", searched=("deformation",)),
    Row("loss-weights", "only the loss weights searched, conv3 on every edge", searched=("lambda",)),
    Row("architecture", "both kinds of cells searched, default loss weights", searched=("feature", "deformation")),
    Row("manual-small", "conv1 on every edge, default loss weights", genotype="conv1"),
    # the only operator of the search space with seven taps is the dilated one
    Row("manual-large", "dil7 on every edge, default loss weights", genotype="dil7"),
    Row("random-genotype", "a random operator on every edge (drawn by the seed), default loss weights",
        genotype="random"),
    Row("ncc", "similarity LNCC alone, conv3 on every edge", similarity_mix=1.0),
    Row("mind", "similarity MIND-SSC alone, conv3 on every edge", similarity_mix=0.0),
    # VM-2: its size is the one of Table VIII (1.146 MB)
    Row("voxelmorph2", "VoxelMorph's VM-2 with its own loss: LNCC and smoothness", network="voxelmorph2"),
    Row("voxelmorph2-loss-weights", "VM-2, its smoothness searched", network="voxelmorph2", searched=("lambda",)),
    Row("voxelmorph-diff", "VoxelMorph-diff with its own loss: squared differences and KL divergence",
        network="voxelmorph_diff"),
    Row("voxelmorph-diff-deterministic", "VoxelMorph-diff, not random, with LNCC and smoothness of the velocity",
        network="voxelmorph_diff_deterministic"),
    Row("multiprop", "MultiPropReg, its own loss", network="multiprop"),
)}

#: the tables by the name that ``--rows`` takes
TABLES: dict[str, Table] = {
    "cost": Table("Cost of searching (Table I)", (
        ("training alone", "manual-medium"), ("search and training", "autoreg"),
        ("random search and training", "random-search"),
    ), costs=True),
    "ablation": Table("What each searched part is worth (Table II)", (
        ("weights only", "manual-medium"), ("+ feature cells", "features"), ("+ deformation cells", "deformation"),
        ("+ loss weights", "loss-weights"), ("+ both cells", "architecture"), ("+ all", "autoreg"),
    )),
    "manual": Table("Searched against chosen architectures (Table III)", (
        ("Manual-Medium", "manual-medium"), ("Manual-Small", "manual-small"), ("Manual-Large", "manual-large"),
        ("random genotype", "random-genotype"), ("searched, default loss weights", "architecture"),
        ("searched whole", "autoreg"),
    )),
    "similarity": Table("Similarities (Table IV)", (
        ("unified, default loss weights", "manual-medium"), ("LNCC", "ncc"), ("MIND-SSC", "mind"),
        ("unified, searched loss weights", "loss-weights"),
    )),
    "voxelmorph": Table("The search applied to VoxelMorph (Table V)", (
        ("VM-2", "voxelmorph2"), ("VM-2, searched smoothness", "voxelmorph2-loss-weights"),
    )),
    "networks": Table("Networks (Tables VI, VIII and IX)", (
        ("VM-2", "voxelmorph2"), ("VM-diff", "voxelmorph-diff"),
        ("VM-diff, not random", "voxelmorph-diff-deterministic"),
        ("MultiPropReg", "multiprop"), ("Manual-Medium", "manual-medium"),
        ("AutoReg", "autoreg"),
    )),
    "random": Table("Gradients against random search in equal time", (
        ("random search", "random-search"), ("not searched", "manual-medium"), ("random genotype", "random-genotype"),
        ("AutoReg", "autoreg"),
    ), costs=True),
}


def choose_rows(names: Sequence[str]) -> tuple[Row, ...]:
    """The rows named, by their own names, those of tables, or ``all``; each once, in running order.

    Raises InputError.
    """
    chosen: set[str] = set()
    for name in names:
        if name == "all":
            chosen |= set(ROWS)
        elif name in TABLES:
            chosen |= {row for _, row in TABLES[name].lines}
        elif name in ROWS:
            chosen.add(name)
        else:
            raise InputError(f"no row or table '{name}'", expected=", ".join(["all", *TABLES, *ROWS]), got=name)
    if not chosen:
        raise InputError("no rows to study", expected=", ".join(["all", *TABLES, *ROWS]))
    return tuple(row for row in ROWS.values() if row.name in chosen)


def row_recipe(start: Recipe, row: Row, seed: int) -> Recipe:
    """The start recipe made into what the row trains, or searches from, with this seed."""
    if row.genotype == "random":
        genotype = Genotype.random(Random(f"{seed}/genotype"))
    else:
        genotype = Genotype.uniform(row.genotype)
    weights = start.loss_weights
    if row.similarity_mix is not None:
        weights = replace(weights, similarity_mix=row.similarity_mix)
    kept = [
        (stage, share) for stage, share in zip(start.search.stages, start.search.shares, strict=True)
        if stage.upper in row.searched
    ]
    search = replace(start.search, stages=tuple(s for s, _ in kept), shares=tuple(s for _, s in kept))
    return with_own_loss(replace(
        start, network=replace(start.network, name=row.network), genotype=genotype, loss_weights=weights,
        search=search, seed=seed,
    ))
