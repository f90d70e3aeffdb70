"""Everything needed to train a network, as one small file: what a search writes and a training reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import CELLS, Genotype
from AutoRegLib.core.networks import NETWORKS, NetworkFacts
from AutoRegLib.core.records import from_plain, read_json, within, write_json

SCHEMA = "autoreg-recipe/1"


def _weight(default: float, title: str, *, free: Literal["log", "logit"] = "log", coarse: int = 0,
            random: bool = False) -> Any:
    """A searched weight. ``free``: what its unconstrained form is, which also says its range (0 and more, or 0 to 1);
    ``coarse``: how many coarser scales it takes to have a meaning; ``random``: it takes random features.
    """
    return field(default=default, metadata={"title": title, "free": free, "coarse": coarse, "random": random})


@dataclass(frozen=True)
class LossWeights:
    """lambda (docs/method.md, section 1.3), constrained values; the start is that of the authors' release.

    The one place that names the searched weights: a new one is a field here and a term of
    :data:`AutoRegLib.losses.objective.TERMS`.
    """

    similarity_mix: float = _weight(0.5, "LNCC share", free="logit")  # lambda_1: 1 = LNCC alone, 0 = MIND-SSC alone
    smoothness: float = _weight(1.5, "smoothness")  # lambda_2
    half_scale: float = _weight(0.32, "half scale", coarse=1)  # lambda_3
    quarter_scale: float = _weight(0.08, "quarter scale", coarse=2)  # lambda_4
    # of MultiPropReg (docs/method.md, section 2); 0: not computed. The last three count each scale by its weight above
    eighth_scale: float = _weight(0.0, "eighth scale", coarse=3)
    sixteenth_scale: float = _weight(0.0, "sixteenth scale", coarse=4)
    kl: float = _weight(0.0, "KL divergence", random=True)
    scale_smoothness: float = _weight(0.0, "smoothness of the scales", coarse=1)
    scale_folds: float = _weight(0.0, "folds of the scales", coarse=1)

    def __post_init__(self) -> None:
        for name, facts in WEIGHTS.items():
            value, share = getattr(self, name), facts["free"] == "logit"
            if not 0.0 <= value <= (1.0 if share else math.inf):
                raise InputError(f"loss weight {name} is {'out of range' if share else 'negative'}",
                                 expected="0 to 1" if share else ">= 0", got=value)

    def at_full_scale(self) -> LossWeights:
        """The same without coarser scales and what is random, neither of which a refined answer has."""
        return replace(self, **{name: 0.0 for name, facts in WEIGHTS.items() if facts["coarse"] or facts["random"]})

    def on_one_similarity(self) -> LossWeights:
        """The same with the similarity that the mix favors alone; the other is then not computed at all."""
        return replace(self, similarity_mix=float(self.similarity_mix >= 0.5))

    def words(self) -> str:
        """The weights in words, but for the mix of similarities."""
        return ", ".join(f"{facts['title']} {getattr(self, name):.3g}" for name, facts in WEIGHTS.items()
                         if name == "smoothness" or (facts["free"] != "logit" and getattr(self, name) > 0.0))


#: name of every searched weight -> its facts (see :func:`_weight`)
WEIGHTS: dict[str, Mapping[str, Any]] = {f.name: f.metadata for f in fields(LossWeights)}


@dataclass(frozen=True)
class Objective:
    """The parts of the loss that are chosen, not searched."""

    data_term: Literal["lncc", "mse", "nmi", "local_nmi"] = "lncc"  # what similarity_mix mixes with MIND
    windows: tuple[int, int, int] = within((9, 7, 5), 1, 99)  # of LNCC and local NMI at scales 1, 1/2, 1/4 (voxels)
    mind: tuple[int, int] = within((2, 2), 1, 9)  # radius of MIND's patches, and how far apart they are (voxels)
    regularise: Literal["displacement", "velocity"] = "displacement"
    # voxels that the similarity is the mean over: without a background of one least value, where there is one
    counted: Literal["all", "foreground"] = "all"
    fold_weight: float = within(10.0, 0, 1e9)  # of mean(relu(-det J)) in the training; like LNCC a mean over voxels
    label_weight: float = within(0.0, 0, 1e9)  # auxiliary soft Dice on training labels; 0 = labels unused in training
    filter_symmetry: float = within(1.0, 0, 1e9)  # of a learnt filter's distance to its mirror images (rho_1)
    filter_trace: float = within(1e-3, 0, 1e9)  # of the sum over its diagonals, which is to be large (rho_2)
    filter_group: Literal["transpose", "reflections"] = "transpose"  # which mirror images
    upper_fold_weight: float = within(10.0, 0, 1e9)  # in L_seg: Dice alone always asks for less smoothness


@dataclass(frozen=True)
class Propagation:
    """MultiPropReg's parts and sizes (docs/method.md, section 2)."""

    scales: Literal[2, 3, 4] = 3  # 1/2, 1/4 ...
    pyramid: Literal["features", "images"] = "features"  # images: averaged, in place of learned features
    matching_layers: Literal[1, 3, 6] = 3
    context_layers: Literal[0, 1, 3, 6] = 3  # 0: no regularization network
    channels: int = within(16, 1, 4096)  # before the features of a scale
    latents: int = within(8, 1, 4096)  # features of a scale
    matching: int = within(20, 1, 4096)  # channels within a matching network
    context: int = within(16, 1, 4096)  # channels within a regularization network


@dataclass(frozen=True)
class FieldFilter:
    """A learnt filter that smooths the network's finest field (docs/method.md, section 3.1)."""

    width: int = within(0, 0, 99)  # voxels along each axis; 0: none
    form: Literal["free", "gram"] = "free"  # gram: U U^T, U upper triangular

    def __post_init__(self) -> None:
        if self.width and (self.width % 2 == 0 or self.width < 3):
            raise InputError("a filter of this width has no middle", expected="0, or an odd number from 3 on",
                             got=self.width)


@dataclass(frozen=True)
class Network:
    """Which registered network, and its sizes."""

    name: str = "autoreg"
    features: tuple[int, int] = within((16, 32), 1, 4096)  # channels at 1/2 and 1/4
    decoder: tuple[int, int, int] = within((48, 32, 16), 1, 4096)  # channels after each edge of a DeformationCell
    squarings: int = within(7, 0, 30)
    stride_on: Literal["first", "last"] = "first"  # which edge of a FeatureCell halves the grid
    shared_features: bool = True  # one set of feature weights for both images
    update: Literal["add", "compose", "replace"] = "add"  # how the 1/2 scale uses the 1/4 velocity
    # voxels around each within which the features of both images are correlated, at 1/2 and 1/4; 0: not at all
    correlation: tuple[int, int] = within((0, 0), 0, 4)
    passes: int = within(1, 1, 8)  # from coarse to fine, with the same weights, each from where the last one ended
    propagation: Propagation = Propagation()
    filter: FieldFilter = FieldFilter()
    affine_first: bool = False  # a small network in front finds an affine map, trained with the rest

    def __post_init__(self) -> None:
        if self.passes > 1 and self.update != "add":
            raise InputError("several passes need a velocity to add to", expected="update 'add'", got=self.update,
                             remedy="set network.passes to 1, or network.update to add")


@dataclass(frozen=True)
class Preprocessing:
    """How raw scanner volumes become what the network sees."""

    spacing: tuple[float, ...] = within((), 1e-6, 1e6)  # working grid, mm, LPS order (x, y, z)
    affine: Literal["auto", "none"] = "auto"  # align pairs affinely before the network
    modality: str = ""


#: what minutes are counted in; ``processor``: computing of this process, all threads together, whatever else runs
Timer = Literal["wall", "processor"]


@dataclass(frozen=True)
class Training:
    """The training loop's fields."""

    steps: int = within(20000, 0, 10**9)
    batch: int = within(2, 1, 4096)  # pairs a step; single small batches take a slow CPU path
    optimiser: Literal["adam", "muon"] = "adam"  # each has rates of its own: 1e-3, or 3e-2
    learning_rate: float = within(1e-3, 0, 1e3)
    final_rate: float = within(0.05, 0, 1)  # cosine decay to this fraction of the rate
    clip: float = within(1.0, 0, 1e9)  # gradient norm
    augment: float = within(0.02, 0, 1)  # standard deviation of random affine jitter, fraction of the field of view
    elastic: float = within(0.0, 0, 1e3)  # the same of random elastic moves of pair and images, voxels
    average: float = within(0.999, 0, 1)  # decay of the moving average of the weights, which is what is delivered
    validation_pairs: int = within(16, 0, 10**6)
    timer: Timer = "wall"  # of a budget in minutes, in searches too


#: what validates an upper variable; ``auto``: labels where there are any, else landmarks, else the images alone
ValidationObjective = Literal["auto", "registration", "segmentation", "landmarks", "unsupervised"]


@dataclass(frozen=True)
class Stage:
    """One row of the table of searches: which upper variable, by which validation objective, for how long.

    ``judge`` is the validation objective: recipe files, the option ``--judge`` and histories have had that key from the
    start, and keep it.
"""

    name: str
    upper: Literal["feature", "deformation", "lambda", "all"]
    judge: ValidationObjective
    steps: int = within(MISSING, 0, 10**9)
    upper_rate: float = within(MISSING, 0, 1e3)
    loss_rate: float | None = within(None, 0, 1e3)  # of loss weights searched beside operators; None: upper_rate
    recompute: bool = False  # compute the candidates' activations again in the backward pass: less memory, more time
    coarsen: int = within(1, 1, 64)  # the working grid of this stage is this much coarser
    inner_steps: int = within(1, 0, 1000)  # unrolled lower steps behind each upper gradient
    inner_rate: float | None = within(None, 0, 1e3)  # their size; None: the learning rate of the weights
    warmup: float = within(0.2, 0, 1)  # part of the stage before its upper variable moves
    spread: float = within(0.0, 0, 1e3)  # > 0: the weights learn to answer to upper variables moved by up to this much
    unrolled: bool = True  # add what unrolled training steps say; a stage with answering weights needs none
    warm: bool = False  # start from the weights of the stages before
    continues: bool = False  # the upper variable too goes on from where the stages before left it
    decay: bool = False  # let the upper rate fall to zero over the stage

    def __post_init__(self) -> None:
        # the answer is linear in single numbers; an architecture's logits are matrices
        if self.spread > 0.0 and self.upper != "lambda":
            raise InputError(f"stage '{self.name}' cannot have a spread", expected="0 for an architecture",
                             got=self.spread, remedy="set spread to 0, or search lambda in this stage")


@dataclass(frozen=True)
class Search:
    """The search's fields; the stages are data, not code."""

    stages: tuple[Stage, ...] = (
        Stage("feature architecture", "feature", "registration", 400, 3e-2, coarsen=2, warmup=0.5),
        Stage("deformation architecture", "deformation", "registration", 400, 3e-2, coarsen=2, warmup=0.5),
        Stage("loss weights", "lambda", "auto", 400, 5e-2, warmup=0.3, spread=3.0, unrolled=False, warm=True,
              decay=True),
    )
    shares: tuple[float, ...] = within((0.15, 0.25, 0.20), 0, 1)  # of the time budget, per stage
    finalists: int = within(6, 1, 1000)  # trained side by side at the end, the start among them; 1: no trial
    final_steps: int = within(300, 0, 10**9)  # of each finalist in each round
    final_pairs: int = within(32, 1, 10**6)  # validation pairs that score the finalists
    refined_pairs: int = within(48, 0, 10**6)  # labelled, refined to choose the start's loss; 0: none
    refined_share: float = within(0.4, 0, 1)  # of the time budget, at most; of the time of the steps, about
    finals_share: float = within(0.40, 0, 1)  # of the time budget
    second_order: bool = True
    epsilon: Literal["normalised", "rate"] = "normalised"  # 0.01/||g|| (DARTS) or the learning rate (paper)
    batch: int = within(2, 1, 4096)
    learning_rate: float = within(1e-3, 0, 1e3)
    clip: float = within(1.0, 0, 1e9)
    speed_weight: float = within(0.0, 0, 1e9)  # in an architecture's validation objective, of the cost (1 = all conv3)
    max_seconds: float | None = within(None, 0, 1e9)  # of the found network's pass over one pair on this device
    stable_checks: int = within(10, 0, 10**9)  # a stage ends when its upper variable stood still for so many checks
    check_every: int = within(20, 1, 10**9)
    tolerance: float = within(1e-3, 0, 1e3)  # how little counts as standing still (of a candidate, relative lambda)


@dataclass(frozen=True)
class Recipe:
    """Network, genotype, loss weights, objective, preprocessing, training: everything needed to train."""

    spatial_dims: int = within(3, 2, 3)
    structures: dict[int, str] = field(default_factory=dict)
    network: Network = Network()
    genotype: Genotype | None = Genotype()
    loss_weights: LossWeights = LossWeights()
    objective: Objective = Objective()
    preprocessing: Preprocessing = Preprocessing()
    training: Training = Training()
    search: Search = Search()
    seed: int = within(0, 0, 2**63)


def bytes_by_voxel(recipe: Recipe) -> tuple[float, float]:
    """Main memory by voxel of the working grid that its network takes: registering, training."""
    width = max(sum(recipe.network.features) / sum(Network().features), 0.25)
    facts = NETWORKS.get(recipe.network.name, NetworkFacts(recipe.network.name))
    registering, training = facts.bytes_by_voxel
    return registering * width, training * width


def network_differences(ours: Recipe, other: Recipe) -> list[str]:
    """In what two recipes' networks differ, as "features: (8, 16) instead of (16, 32)"; none: the weights fit."""
    found = {"spatial dimensions": (ours.spatial_dims, other.spatial_dims), "network": (
        ours.network.name, other.network.name)}
    found |= {f.name: (getattr(ours.network, f.name), getattr(other.network, f.name)) for f in fields(Network)
              if f.name != "name"}
    here, there = ours.genotype or Genotype(), other.genotype or Genotype()
    if ours.network.name == "autoreg":  # the others have no operators to choose
        found |= {f"operators of {cell}": (here.cell(cell), there.cell(cell)) for cell in CELLS}
    return [f"{name}: {theirs} instead of {own}" for name, (own, theirs) in found.items() if own != theirs]


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a JSON file (or in ``recipe.json`` of a folder). Raises InputError."""
    path = recipe_file(path)
    return from_plain(Recipe, read_json(path, schema=SCHEMA), where=str(path))


def recipe_file(path: str | Path) -> Path:
    """The file itself, or that of a search's or a model's folder."""
    return Path(path) / "recipe.json" if Path(path).is_dir() else Path(path)


def write_recipe(path: str | Path, recipe: Recipe) -> None:
    """Write the recipe in one step. Raises DiskError."""
    write_json(path, recipe, schema=SCHEMA)
