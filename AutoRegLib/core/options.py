"""What the verbs' records are made of: the facts of an option, and the options that several verbs share."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass
from typing import Any, Literal

from AutoRegLib.core.errors import InputError

Device = Literal["auto", "cpu", "cuda", "mps"]
Preset = Literal["quick", "standard", "thorough", "published"]
Split = Literal["train", "val", "test"]
Similarity = Literal["auto", "lncc", "mind", "mse", "nmi"]  # without a model only; a model has its own loss
Affine = Literal["auto", "rigid", "similarity", "affine", "none"]
Transformation = Literal["svf", "lddmm"]  # without a model: a stationary velocity, or geodesic shooting
Regularity = float | Literal["auto", "map"]
Refine = int | Literal["auto", "full"]
Deliver = Literal["auto", "whole"]


def option(
    help: str, default: Any = MISSING, *, metavar: str = "", position: bool | Literal["or named"] = False,
    file: bool = False,
    model: bool = False, least: float | None = None, above: float | None = None,
) -> Any:
    """A field of a verb's record. ``position``: given without its name, or either way; ``file``: it names a file to
    read; ``model``: a folder or the name of a model; ``least``, ``above``: limits of a number.
    """
    facts = {"help": help, "metavar": metavar, "position": position, "file": file, "model": model, "least": least,
             "above": above}
    return dataclasses.field(default=default, metadata=facts)


def minutes_option(help: str) -> Any:
    """A budget of time."""
    return option(help, None, metavar="M", above=0)


def scenario_option(*, position: bool) -> Any:
    """The scenario's file."""
    return option("scenario.json naming cases, pairing and split", metavar="SCENARIO" if position else "FILE",
                  position=position, file=True)


def model_option(said: str = "", default: Any = MISSING) -> Any:
    """A model, or none."""
    return option(f"a model folder, a name of 'autoreg models list', or none{said}", default, metavar="BUNDLE",
                  model=True)


def guide_option() -> Any:
    """Points that guide."""
    return option("points in the fixed image and the corresponding ones in the moving image (two files, formats as "
                  "of the landmarks) that guide alignment and refinement softly", None, metavar="POINTS", file=True)


def refine_option() -> Any:
    """How far each pair is optimised."""
    return option("optimise each pair further: most iterations of the finest level; auto (the default): what the "
                  "model's validation pairs liked, without a model until it converges; full: every level", None,
                  metavar="N", least=0)


def similarity_option() -> Any:
    """What is compared without a model."""
    return option("what --model none compares images by (default auto: lncc for images that look alike)", "auto")


def transformation_option(default: Transformation = "svf") -> Any:
    """What moves the image without a model."""
    return option("what --model none moves the image by: svf, a stationary velocity, or lddmm, geodesic shooting "
                  f"(default {default})", default)


def affine_option() -> Any:
    """How far images are aligned first."""
    return option("alignment before everything else, at most so far; auto keeps of rigid, affine what the images speak "
                  "for (default auto)", "auto")


def deliver_option() -> Any:
    """Whether what harms is delivered."""
    return option("auto: where measures say that the result harms, less of it is delivered; whole: what was found "
                  "(default auto)", "auto")


def smoothness_option() -> Any:
    """How fine a refinement's deformation may be."""
    return option("the finest detail of the refinement's deformation: the larger, the smoother (default 0: as the "
                  "images ask)", 0.0, metavar="MM", least=0)


def preserve_volume_option() -> Any:
    """The weight of the volume penalty."""
    return option("how much the refinement is kept from shrinking and swelling: weight of the mean squared logarithm "
                  "of the Jacobian determinant, 0.1 to 1 for instance (default 0)", 0.0, metavar="W", least=0)


def compress_option() -> Any:
    """Whether the field is compressed."""
    return option("compress transform.nrrd (default yes; without it is written and read faster)", True)


def preset_option() -> Any:
    """The preset."""
    return option("how fine and how long (default standard); published: the paper's procedure, in epochs", "standard")


def spacing_option() -> Any:
    """The working grid's spacing."""
    return option("of the working grid (default: the images', as the preset allows)", None, metavar="MM", above=0)


def label_weight_option() -> Any:
    """The weight of labels in training."""
    return option("how much the overlap of training labels counts in training, 3 for instance; pairs are then moved "
                  "elastically, and smoothed half as much (default 0: images alone)", 0.0, metavar="W", least=0)


def limit_option() -> Any:
    """The most pairs."""
    return option("at most so many pairs, drawn at random (default 100)", 100, metavar="N", least=1)


def memory_option() -> Any:
    """The most main memory."""
    return option("the most main memory to use, in GB of 10^9 bytes: the working grid is made coarser for it, and what "
                  "cannot stay below is refused before it begins (default: no limit)", None, metavar="GB", above=0)


def share_option() -> Any:
    """Whether reports can be passed on."""
    return option("reports that can be passed on: file names instead of paths, cases and landmarks by number", False)


def resume_option(help: str = "go on from the last checkpoint in --output") -> Any:
    """Whether to go on."""
    return option(help, False)


def seed_option(said: str = "default 0", default: int | None = 0) -> Any:
    """The seed."""
    return option(f"random seed ({said})", default, metavar="N", least=0)


@dataclass(frozen=True, kw_only=True)
class Common:
    """Taken by every verb that computes."""

    output: str = option("folder for the results", metavar="DIR")
    overwrite: bool = option("replace the results of another run in --output, saying which", False)
    device: Device = option("where to compute (default auto: a CUDA GPU if there is one; mps, an Apple GPU, is "
                            "experimental)", "auto")
    threads: int | None = option("CPU threads (default: all)", None, metavar="N", least=1)


@dataclass(frozen=True, kw_only=True)
class Moved(Common):
    """Taken by every verb that registers: what moves the image without a model."""

    transformation: Transformation = transformation_option()
    alpha: Regularity = option(
        "regularity of lddmm in mm squared; auto (the default): what --predictor tells, without one 16 voxels squared; "
        "map: estimated with the velocity", "auto", metavar="A", above=0)
    loss: str | None = option("recipe of a search: refine by the loss found for its images, without a model", None,
                              metavar="RECIPE", file=True)
    predictor: str | None = option("folder of 'lddmm train-predictor', which tells the regularity of lddmm", None,
                                   metavar="PREDICTOR", file=True)

    @property
    def shot(self) -> bool:
        """Whether a geodesic is shot."""
        return self.transformation == "lddmm"

    def check_moved(self) -> None:
        """Raises InputError for a predictor or a loss that has nothing to tell."""
        model, similarity = (getattr(self, name, "auto") for name in ("model", "similarity"))
        if self.loss is not None and (self.shot or model not in ("none", "auto") or similarity != "auto"):
            raise InputError("the loss of a recipe takes the place of a model and of --similarity",
                             expected="--model none, no --similarity, no lddmm",
                             got=f"model {model}, similarity {similarity}, {self.transformation}",
                             remedy="leave --loss out, or the others")
        if self.predictor is not None and not (self.shot and self.alpha == "auto"):
            raise InputError("a predictor tells the regularity of geodesic shooting", expected="lddmm with alpha auto",
                             got=f"{self.transformation}, alpha {self.alpha}",
                             remedy="leave --predictor out, or ask for --transformation lddmm --alpha auto")
