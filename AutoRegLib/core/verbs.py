"""The verbs, one row each: what may be asked of them, what they leave behind, how they stop and go on.

Command line, worker, job folder and the Slicer module read this table. A field of a verb's record is an option of the
command line (``--moving-labels`` is ``moving_labels``) with its default and its help. A new verb is a record and a row
here, and a function in :data:`AutoRegLib.app.perform.HANDLERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from AutoRegLib.core.geodesic_verbs import FitArguments, PredictArguments, SampleArguments, TrainPredictorArguments
from AutoRegLib.core.options import (
    Affine,
    Common,
    Deliver,
    Moved,
    Preset,
    Refine,
    Similarity,
    Split,
    Transformation,
    affine_option,
    compress_option,
    deliver_option,
    guide_option,
    label_weight_option,
    limit_option,
    memory_option,
    minutes_option,
    model_option,
    option,
    preserve_volume_option,
    preset_option,
    refine_option,
    resume_option,
    scenario_option,
    seed_option,
    share_option,
    similarity_option,
    smoothness_option,
    spacing_option,
    transformation_option,
)
from AutoRegLib.core.pair_table import PAIR_FILES
from AutoRegLib.core.study_rows import ROWS
from AutoRegLib.core.study_verbs import (
    AugmentArguments,
    FuseArguments,
    StudyArguments,
    SweepArguments,
    SynthesiseArguments,
)

Level = tuple[int | None, float]  # most pairs a step (None: as asked), part of the working grid's voxels


@dataclass(frozen=True, kw_only=True)
class DemoArguments(Common):
    output: str = option("folder for everything the demo makes", metavar="DIR")
    minutes: float = option("for search and training together (default 10)", 10.0, metavar="M", above=0)
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class SearchArguments(Common):
    scenario: str = scenario_option(position=True)
    output: str = option("folder for recipe.json, genotype.json, history.csv, figures/", metavar="DIR")
    preset: Preset = preset_option()
    spacing: float | None = spacing_option()
    label_weight: float = label_weight_option()
    minutes: float | None = minutes_option("time budget instead of the preset's steps")
    network: str = option("a network of 'autoreg info' (default autoreg)", "autoreg", metavar="NAME")
    judge: Literal["auto", "labels", "landmarks", "images"] = option(
        "validation objective of the loss weights (default auto: labels where there are any, else landmarks)", "auto")
    max_seconds: float | None = option("the most a pass over one pair may take on this device", None, metavar="S",
                                       above=0)
    speed_weight: float = option("how much speed counts while operators are chosen (default 0)", 0.0, metavar="W",
                                 least=0)
    start: str | None = option(
        "a model of the same network: its operators and loss weights are what the search starts from and has to beat "
        "(default: conv3 and the papers' loss weights)", None, metavar="MODEL", model=True)
    resume: bool = resume_option()
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class TrainArguments(Common):
    recipe: str = option("recipe.json of a search (or its folder)", metavar="RECIPE", position=True, file=True)
    scenario: str = scenario_option(position=False)
    output: str = option("folder of the new model", metavar="BUNDLE")
    minutes: float | None = minutes_option("time budget instead of the recipe's steps")
    start: str | None = option("a model with the recipe's network, whose weights the training starts from (default: "
                               "random weights)", None, metavar="MODEL", model=True)
    resume: bool = resume_option()
    seed: int | None = seed_option("default: the recipe's", None)


@dataclass(frozen=True, kw_only=True)
class RegisterArguments(Moved):
    model: str = model_option(" (default auto: the installed model that fits these images, else none)", "auto")
    fixed: str = option("image that stays (NIfTI, NRRD, MetaImage, PNG)", metavar="FIXED", position="or named",
                        file=True)
    moving: str = option("image that is moved onto it", metavar="MOVING", position="or named", file=True)
    output: str = option("folder for transform, warped images and report", metavar="DIR")
    moving_labels: str | None = option("label map of the moving image, carried along", None, metavar="FILE", file=True)
    fixed_labels: str | None = option("label map of the fixed image, for Dice, HD95", None, metavar="FILE", file=True)
    fixed_landmarks: str | None = option("points in the fixed image (.csv in LPS mm, .fcsv, .mrk.json)", None,
                                         metavar="FILE", file=True)
    moving_landmarks: str | None = option("the corresponding points in the moving image", None, metavar="FILE",
                                          file=True)
    fixed_mask: str | None = option("the only voxels of the fixed image that count in affine and refinement; reported "
                                    "on as well", None, metavar="FILE", file=True)
    moving_mask: str | None = option("the only voxels of the moving image that count in affine and refinement", None,
                                     metavar="FILE", file=True)
    initial_transform: str | None = option("transform to start from, fixed to moving points", None, metavar="FILE",
                                           file=True)
    guide_landmarks: tuple[str, ...] | None = guide_option()
    affine: Affine = affine_option()
    refine: Refine | None = refine_option()
    similarity: Similarity = similarity_option()
    smoothness: float = smoothness_option()
    preserve_volume: float = preserve_volume_option()
    deliver: Deliver = deliver_option()
    inverse: bool = option("also write inverse_transform.nrrd", False)
    transform_format: tuple[Literal["nrrd", "nii.gz", "h5", "tfm", "composite.h5", "npy"], ...] = option(
        "nrrd is always written; also nii.gz, h5, tfm, composite.h5: the field, then the affine, which goes on beyond "
        "the field, and npy: coordinates for scipy.ndimage.map_coordinates, axes (z, y, x)", ("nrrd",),
        metavar="FORMAT")
    compress: bool = compress_option()
    memory: float | None = memory_option()
    share: bool = share_option()
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class ShootArguments(RegisterArguments):
    model: str = model_option(" (default none)", "none")
    transformation: Transformation = transformation_option("lddmm")


@dataclass(frozen=True, kw_only=True)
class BatchArguments(Moved):
    table: str = option(
        f"CSV file with the columns fixed and moving, and optionally name, {', '.join(PAIR_FILES[2:])}; paths relative "
        "to it", metavar="TABLE", position=True, file=True)
    model: str = model_option()
    output: str = option("folder for summary.csv and a folder per pair", metavar="DIR")
    affine: Affine = affine_option()
    refine: Refine | None = refine_option()
    similarity: Similarity = similarity_option()
    smoothness: float = smoothness_option()
    preserve_volume: float = preserve_volume_option()
    deliver: Deliver = deliver_option()
    inverse: bool = option("also write inverse_transform.nrrd of each pair", False)
    compress: bool = compress_option()
    memory: float | None = memory_option()
    share: bool = share_option()
    resume: bool = resume_option("keep what is finished in --output, go on with the rest")
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class ApplyArguments(Common):
    transform: str = option("transform from fixed to moving points", metavar="T", file=True)
    reference: str | None = option("image whose grid the result gets (points: optional)", None, metavar="F", file=True)
    input: str = option("what to carry", metavar="X", file=True)
    output: str = option("file to write", metavar="Y")
    kind: Literal["image", "labels", "points"] = option("image: linear, labels: nearest (default image)", "image")


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(Moved):
    model: str = model_option()
    scenario: str = scenario_option(position=False)
    output: str = option("folder for metrics.csv, summary.json, figures/", metavar="DIR")
    split: Split = option("which cases (default test)", "test")
    limit: int | None = limit_option()
    refine: Refine | None = refine_option()
    similarity: Similarity = similarity_option()
    share: bool = share_option()
    seed: int = seed_option()


@dataclass(frozen=True)
class Verb:
    """One verb.

    ``results``: what it leaves in its output folder, the sign that another run's results are there. ``checkpoint``:
    the file by which it knows its own interrupted run; empty where it cannot go on. ``finishable``: asked to stop, it
    keeps the best so far. ``fallback``: what it gives up, step by step, where memory is short; the first is the whole.
    """

    arguments: type[Common]
    summary: str
    example: str
    results: tuple[str, ...] = ()
    checkpoint: str = ""
    finishable: bool = False
    fallback: tuple[Level, ...] = ((None, 1.0),)


_LEARNING: tuple[Level, ...] = ((None, 1.0), (1, 1.0), (1, 0.5), (1, 0.25))
_REGISTERED = ("transform.nrrd", "transform.nii.gz", "transform.h5", "transform.tfm", "transform.composite.h5",
               "transform.npy", "inverse_transform.npy", "affine.tfm", "warped.nii.gz", "warped_labels.nii.gz",
               "jacobian.nii.gz", "inverse_transform.nrrd", "initial_velocity.nrrd", "report.json", "report.png")
VERBS: dict[str, Verb] = {
    "demo": Verb(
        DemoArguments, "the whole job on real brain images: search, train, register, evaluate, report",
        "autoreg demo --output demo-output",
        ("demo_report.json", "demo_report.png", "data", "search", "model", "evaluation", "pair", "templates"),
    ),
    "search": Verb(
        SearchArguments, "find the network's operators and the loss weights for a scenario",
        "autoreg search scenario.json --output search --preset quick --minutes 20",
        ("recipe.json", "genotype.json", "history.csv", "checkpoint.pt"), checkpoint="checkpoint.pt", finishable=True,
        fallback=_LEARNING,
    ),
    "train": Verb(
        TrainArguments, "train a recipe's network into a model bundle",
        "autoreg train search/recipe.json --scenario scenario.json --output model --minutes 30",
        ("recipe.json", "weights.safetensors", "card.md", "provenance.json", "metrics.json", "history.csv",
         "checkpoint.pt"), checkpoint="checkpoint.pt", finishable=True, fallback=_LEARNING,
    ),
    "register": Verb(
        RegisterArguments, "register a moving image onto a fixed one",
        "autoreg register fixed.nii.gz moving.nii.gz --moving-labels segmentation.nii.gz --output result", _REGISTERED,
        fallback=((None, 1.0), (None, 0.5), (None, 0.25)),
    ),
    "batch": Verb(
        BatchArguments, "register every pair of a table, a folder for each",
        "autoreg batch pairs.csv --model model --output results", ("batch.json", "summary.csv"),
        checkpoint="batch.json", finishable=True,
    ),
    "apply": Verb(
        ApplyArguments, "carry an image, a label map or points through a transform",
        "autoreg apply --transform result/transform.nrrd --reference f.nii.gz --input x.nii.gz --output y.nii.gz",
    ),
    "evaluate": Verb(
        EvaluateArguments, "register every pair of a split and measure",
        "autoreg evaluate --model model --scenario scenario.json --output results --split test",
        ("metrics.csv", "pairs.csv", "summary.json"), finishable=True,
    ),
    "study": Verb(
        StudyArguments, "compare searches, baselines and ablations on your own data: the papers' tables",
        "autoreg study scenario.json --output study --rows ablation manual --minutes 20 --seeds 3",
        ("study.json", "study.csv", "study.md", "study.html", *ROWS), checkpoint="study.json", finishable=True,
    ),
    "sweep": Verb(
        SweepArguments, "train with several values of a recipe's field, find the best by validation",
        "autoreg sweep search/recipe.json --scenario scenario.json --output sweep --over loss_weights.smoothness 0 0.5 "
        "1 1.5 --minutes 5", ("sweep.json", "sweep.csv", "sweep.md", "figures"), checkpoint="sweep.json",
        finishable=True,
    ),
    "synthesise": Verb(
        SynthesiseArguments, "deform images by made-up fields of stated strengths, as scenarios to train and test on",
        "autoreg synthesise scenario.json --output synthetic --sigma 10 16 --pairs 1000 20 80",
        ("synthesis.json", "images"),
    ),
    "augment": Verb(
        AugmentArguments, "deform a labelled image plausibly, for training a segmentation",
        "autoreg augment --model model --scenario scenario.json --output augmented --count 200",
        ("augment.json", "augment.csv", "pairs", "figures"),
    ),
    "fuse": Verb(
        FuseArguments, "two registered images as one, T1 and T2 for instance",
        "autoreg fuse t1.nii.gz t2.nii.gz --transform result/transform.nrrd --output fused",
        ("fused.nii.gz", "fused_before.nii.gz", "fused.png", "fusion.json"),
    ),
    # a name of two words is an action: autoreg lddmm sample
    "lddmm register": Verb(
        ShootArguments, "register a moving image onto a fixed one by geodesic shooting",
        "autoreg lddmm register fixed.nii.gz moving.nii.gz --alpha 16 --output result", _REGISTERED),
    "lddmm sample": Verb(
        SampleArguments, "sample pairs whose regularity is known from the prior of geodesic shooting",
        "autoreg lddmm sample --output pairs --alphas 0.1 1 10 --pairs 300", ("pairs.csv", "pairs.json"),
        checkpoint="pairs.json",
    ),
    "lddmm fit": Verb(
        FitArguments, "estimate the regularity of every pair of a table",
        "autoreg lddmm fit pairs.csv --output fitted --spacing 1", ("pairs.csv", "pairs.json"), checkpoint="pairs.json",
    ),
    "lddmm train-predictor": Verb(
        TrainPredictorArguments, "train the network that tells a pair's regularity from its images",
        "autoreg lddmm train-predictor pairs/pairs.csv --output predictor --minutes 30",
        ("predictor.json", "weights.safetensors", "history.csv", "checkpoint.pt"), checkpoint="checkpoint.pt",
        finishable=True,
    ),
    "lddmm predict": Verb(
        PredictArguments, "tell the regularity of a pair by such a network",
        "autoreg lddmm predict predictor fixed.nii.gz moving.nii.gz --output prediction", ("prediction.json",),
    ),
}
