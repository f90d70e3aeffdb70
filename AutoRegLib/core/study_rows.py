"""What a study compares: every row of the papers' tables as data, and the recipe that each of them means.

A row is trained once, whatever the number of tables it stands in. Which table of which paper a row belongs to stands in
the table's title; what is not there, and why, in docs/papers.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.presets import for_network
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_fields import with_field
from AutoRegLib.core.recipe_loss import with_own_loss


@dataclass(frozen=True)
class Row:
    """One way to come to a registration.

    ``fields``: (name, value) of recipe fields that it changes. ``method``: how it searches, or ``peer``: another
    program, trained by nobody here. ``start``: from the model given to the study: ``as is`` (nothing is trained),
    ``weights`` (its weights are trained on), ``found`` (its operators and loss weights are where it begins).
    """

    name: str
    words: str
    network: str = "autoreg"
    genotype: str = "conv3"  # the operator on every edge, or "random"
    similarity_mix: float | None = None  # None: the preset's
    searched: tuple[str, ...] = ()  # the upper variables whose stages run; none: no search
    method: Literal["gradient", "random", "peer"] = "gradient"
    start: Literal["", "as is", "weights", "found"] = ""
    fields: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Table:
    """One table of the papers: its title, and (label, row) line by line; the first line is the baseline."""

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
    Row("plain", "conv3 on every edge, LNCC at full scale alone: what a training without a search takes within one "
        "contrast", similarity_mix=1.0, fields=tuple((f"loss_weights.{name}", value) for name, value in (
            ("half_scale", 0.0), ("quarter_scale", 0.0), ("smoothness", 1.0)))),
    Row("ncc", "similarity LNCC alone, conv3 on every edge", similarity_mix=1.0),
    Row("mind", "similarity MIND-SSC alone, conv3 on every edge", similarity_mix=0.0),
    Row("mse", "squared differences alone, conv3 on every edge", similarity_mix=1.0,
        fields=(("objective.data_term", "mse"),)),
    Row("nmi", "normalised mutual information alone, conv3 on every edge", similarity_mix=1.0,
        fields=(("objective.data_term", "nmi"),)),
    # VM-2: its size is the one of Table VIII (1.146 MB)
    Row("voxelmorph2", "VoxelMorph's VM-2 with its own loss: LNCC and smoothness", network="voxelmorph2"),
    Row("voxelmorph2-loss-weights", "VM-2, its smoothness searched", network="voxelmorph2", searched=("lambda",)),
    Row("voxelmorph-diff", "VoxelMorph-diff with its own loss: squared differences and KL divergence",
        network="voxelmorph_diff"),
    Row("voxelmorph-diff-deterministic", "VoxelMorph-diff, not random, with LNCC and smoothness of the velocity",
        network="voxelmorph_diff_deterministic"),
    Row("multiprop", "MultiPropReg, its own loss", network="multiprop"),
    *(Row(f"multiprop-{name}", f"MultiPropReg, {words}", network="multiprop",
          fields=((f"network.{field}", value),)) for name, words, field, value in (
        ("images", "an image pyramid in place of learned features", "propagation.pyramid", "images"),
        ("matching-1", "one matching layer", "propagation.matching_layers", 1),
        ("matching-6", "six matching layers", "propagation.matching_layers", 6),
        ("context-0", "no regularization network", "propagation.context_layers", 0),
        ("context-1", "one regularization layer", "propagation.context_layers", 1),
        ("context-6", "six regularization layers", "propagation.context_layers", 6),
        ("scales-2", "two scales", "propagation.scales", 2),
        ("scales-4", "four scales", "propagation.scales", 4),
        ("no-integration", "fields that are not integrated", "squarings", 0),
    )),
    *(Row(f"multiprop-{name}", f"MultiPropReg, pairs as they lie, {words}", network="multiprop",
          fields=(("preprocessing.affine", "none"), ("network.affine_first", first)))
      for name, words, first in (("unaligned", "aligned by nothing", False),
                                 ("affine", "the affine sub-network in front of it, trained with it", True))),
    Row("multiprop-loss-weights", "MultiPropReg, its loss weights searched", network="multiprop", searched=("lambda",)),
    Row("applied", "the start model as it is, nothing trained", start="as is"),
    Row("fine-tuned", "the start model's weights trained on", start="weights"),
    Row("retrained", "trained from random weights with the start model's operators and loss weights", start="found"),
    *(Row(f"from-{name}", f"as retrained, {words} searched from there", start="found", searched=searched)
      for name, words, searched in (
        ("features", "the feature cells", ("feature",)), ("deformation", "the deformation cells", ("deformation",)),
        ("loss-weights", "the loss weights", ("lambda",)), ("all", "everything", _WHOLE),
    )),
    Row("ants-syn", "ANTs SyN: CC, step 0.25, Gaussian (9, 0.2), 3 scales of 201 iterations", method="peer"),
    Row("niftyreg", "NiftyReg: local correlation, 1,500 iterations", method="peer"),
    Row("greedy", "Greedy: local correlation of 2 voxels, 3 scales of 100, 50 and 10 iterations", method="peer"),
    Row("elastix", "elastix: B-spline of 16 voxels, Mattes mutual information, 4 x 500 iterations", method="peer"),
    Row("convexadam", "convexAdam with MIND, its defaults", method="peer"),
    Row("fireants", "FireANTs greedy, half resolution", method="peer"),
)}
# a network that no row trains gets one: a new network is compared without being named here
OTHER = {name.replace("_", "-"): Row(name.replace("_", "-"), f"{facts.title}; its own loss where it has one",
                                     network=name)
         for name, facts in NETWORKS.items() if name not in {row.network for row in ROWS.values()}}
ROWS |= OTHER
ROWS |= {row.name: row for row in (
    Row("metareg-no-penalty", "the network of meta-regularization, its filter free of the penalty", network="metareg",
        fields=(("objective.filter_symmetry", 0.0), ("objective.filter_trace", 0.0))),
    Row("metareg-no-filter", "the network of meta-regularization without its filter", network="metareg",
        fields=(("network.filter.width", 0),)),
)}
PEERS = tuple(name for name, row in ROWS.items() if row.method == "peer")

#: the tables by the name that ``--rows`` takes
TABLES: dict[str, Table] = {
    "cost": Table("Cost of searching (AutoReg, Table I)", (
        ("training alone", "manual-medium"), ("search and training", "autoreg"),
        ("random search and training", "random-search"),
    ), costs=True),
    "ablation": Table("What each searched part is worth, from default operators (after AutoReg, Table II)", (
        ("weights only", "manual-medium"), ("+ feature cells", "features"), ("+ deformation cells", "deformation"),
        ("+ loss weights", "loss-weights"), ("+ both cells", "architecture"), ("+ all", "autoreg"),
    )),
    "manual": Table("Searched against chosen architectures (AutoReg, Table III)", (
        ("Manual-Medium", "manual-medium"), ("Manual-Small", "manual-small"), ("Manual-Large", "manual-large"),
        ("random genotype", "random-genotype"), ("searched, default loss weights", "architecture"),
        ("searched whole", "autoreg"),
    )),
    "similarity": Table("Similarities (AutoReg, Table IV; multi-modal: MultiPropReg, Table 10)", (
        ("unified, default loss weights", "manual-medium"), ("LNCC", "ncc"), ("MIND-SSC", "mind"),
        ("MSE", "mse"), ("NMI", "nmi"), ("unified, searched loss weights", "loss-weights"),
    )),
    "voxelmorph": Table("The search applied to VoxelMorph (AutoReg, Table V)", (
        ("VM-2", "voxelmorph2"), ("VM-2, searched smoothness", "voxelmorph2-loss-weights"),
    )),
    "networks": Table("Methods (AutoReg, Tables VI to IX; MultiPropReg, Tables 5 to 7, 9 and 10; VoxelMorph, Table 1; "
                      "meta-regularization, Tables 1 to 4)", (
        ("ANTs SyN", "ants-syn"), ("NiftyReg", "niftyreg"), ("elastix", "elastix"), ("convexAdam", "convexadam"),
        ("FireANTs", "fireants"), ("Greedy", "greedy"), ("VM-2", "voxelmorph2"), ("VM-diff", "voxelmorph-diff"),
        ("VM-diff, not random", "voxelmorph-diff-deterministic"),
        *((NETWORKS[row.network].title, name) for name, row in OTHER.items()),
        ("MultiPropReg", "multiprop"), ("AutoReg, LNCC at full scale", "plain"),
        ("Manual-Medium", "manual-medium"), ("AutoReg", "autoreg"),
    ), costs=True),
    "transfer": Table("From a model of another scenario (AutoReg, Table II; VoxelMorph, Table 2)", (
        ("applied as it is", "applied"), ("weights trained anew", "retrained"), ("weights fine-tuned", "fine-tuned"),
        ("+ feature cells", "from-features"), ("+ deformation cells", "from-deformation"),
        ("+ loss weights", "from-loss-weights"), ("+ all", "from-all"),
    )),
    "propagation": Table("Parts of MultiPropReg (MultiPropReg, Tables 2 to 4)", (
        ("MultiPropReg", "multiprop"), ("image pyramid", "multiprop-images"),
        ("1 matching layer", "multiprop-matching-1"), ("6 matching layers", "multiprop-matching-6"),
        ("no regularization network", "multiprop-context-0"), ("1 regularization layer", "multiprop-context-1"),
        ("6 regularization layers", "multiprop-context-6"), ("2 scales", "multiprop-scales-2"),
        ("4 scales", "multiprop-scales-4"), ("without integration", "multiprop-no-integration"),
        ("loss weights searched", "multiprop-loss-weights"),
    )),
    "affine": Table("The affine sub-network, on pairs that nothing has aligned (MultiPropReg, Table 8)", (
        ("without", "multiprop-unaligned"), ("with", "multiprop-affine"),
    )),
    "filter": Table("What the learnt filter is worth (meta-regularization, Table 5)", (
        ("without the penalty", "metareg-no-penalty"), ("without the filter", "metareg-no-filter"),
        ("meta-regularization", "metareg"),
    )),
    "random": Table("Gradients against random search in equal time", (
        ("random search", "random-search"), ("not searched", "manual-medium"), ("random genotype", "random-genotype"),
        ("AutoReg", "autoreg"),
    ), costs=True),
}


def choose_rows(names: Sequence[str], *, start: bool = True, peers: Sequence[str] = PEERS) -> tuple[Row, ...]:
    """The rows named, by their own names, those of tables, or ``all``; each once, in running order.

    ``start``: there is a model to start from; ``peers``: the other programs at hand. Rows of a table, or of ``all``,
    that lack theirs are left out; one that is named itself is an error. Raises InputError.
    """
    def possible(row: Row) -> bool:
        return (start or not row.start) and (row.method != "peer" or row.name in peers)

    chosen: set[str] = set()
    for name in names:
        if name == "all":
            chosen |= {row.name for row in ROWS.values() if possible(row)}
        elif name in TABLES:
            chosen |= {row for _, row in TABLES[name].lines if possible(ROWS[row])}
        elif name in ROWS:
            if not possible(ROWS[name]):
                raise InputError(f"row '{name}' lacks what it needs", got=name, expected=(
                    "a model to start from" if ROWS[name].start
                    else "the program, named in a file of peers, for images of so many dimensions"),
                    remedy="give --start" if ROWS[name].start else "give --peers")
            chosen.add(name)
        else:
            raise InputError(f"no row or table '{name}'", expected=", ".join(["all", *TABLES, *ROWS]), got=name)
    if not chosen:
        raise InputError("no rows to study", expected=", ".join(["all", *TABLES, *ROWS]),
                         remedy="'transfer' needs --start, other programs need --peers")
    return tuple(row for row in ROWS.values() if row.name in chosen)


def row_recipe(start: Recipe, row: Row, seed: int, model: Recipe | None = None) -> Recipe:
    """The start recipe made into what the row trains, or searches from, with this seed.

    ``model``: the recipe of the model that a row with a ``start`` begins from; its network and loss, this scenario's
    grid and budget. Raises InputError (no model, another dimension).
    """
    kept = [
        (stage, share) for stage, share in zip(start.search.stages, start.search.shares, strict=True)
        if stage.upper in row.searched
    ]
    search = replace(start.search, stages=tuple(s for s, _ in kept), shares=tuple(s for _, s in kept))
    if row.start:
        if model is None or model.spatial_dims != start.spatial_dims:
            raise InputError("no model to start from", expected=f"a {start.spatial_dims}-D model", remedy="--start",
                             got="none" if model is None else f"a {model.spatial_dims}-D model")
        return replace(for_network(start, model.network.name), network=model.network, genotype=model.genotype,
                       loss_weights=model.loss_weights, search=search, seed=seed,
                       objective=replace(model.objective, label_weight=start.objective.label_weight))
    if row.genotype == "random":
        genotype = Genotype.random(Random(f"{seed}/genotype"))
    else:
        genotype = Genotype.uniform(row.genotype)
    weights = start.loss_weights
    if row.similarity_mix is not None:
        weights = replace(weights, similarity_mix=row.similarity_mix)
    recipe = replace(for_network(start, row.network), genotype=genotype, loss_weights=weights, search=search, seed=seed)
    for name, value in row.fields:  # what they say of the loss weights counts, and what they say beyond the loss
        recipe = with_field(recipe, name, value)
    recipe = with_own_loss(recipe)
    for name, value in row.fields:
        recipe = with_field(recipe, name, value)
    return recipe
