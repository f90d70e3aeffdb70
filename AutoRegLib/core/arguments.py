"""What each verb may be asked: one frozen record per verb, shared by the command line and the job folder.

The fields are the options of the command line (``--moving-labels`` is ``moving_labels``), with its defaults.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.study_rows import choose_rows

Device = Literal["auto", "cpu", "cuda", "mps"]
Preset = Literal["quick", "standard", "thorough"]
Split = Literal["train", "val", "test"]
Similarity = Literal["auto", "lncc", "mind"]  # without a model only; a model has its own loss
Refine = int | Literal["auto"]


@dataclass(frozen=True)
class Common:
    """Taken by every verb that computes."""

    output: str
    overwrite: bool = False  # replace the results of another run in ``output``
    device: Device = "auto"
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class SearchArguments(Common):
    scenario: str
    preset: Preset = "standard"
    spacing: float | None = None  # of the working grid (mm); None: the images', as fine as the preset allows
    minutes: float | None = None
    network: str = "autoreg"
    judge: Literal["auto", "labels", "landmarks", "images"] = "auto"  # what the loss weights are judged by
    label_weight: float = 0.0  # of the training labels' overlap in the loss; 0: they take no part in training
    speed_weight: float = 0.0
    max_seconds: float | None = None
    start: str | None = None  # a model whose operators and loss weights the search starts from
    resume: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainArguments(Common):
    recipe: str
    scenario: str
    minutes: float | None = None
    start: str | None = None  # a model of the same network whose weights the training starts from
    resume: bool = False
    seed: int | None = None  # None: the recipe's


@dataclass(frozen=True, kw_only=True)
class RegisterArguments(Common):
    model: str
    fixed: str
    moving: str
    moving_labels: str | None = None
    fixed_labels: str | None = None
    fixed_landmarks: str | None = None
    moving_landmarks: str | None = None
    fixed_mask: str | None = None
    moving_mask: str | None = None
    initial_transform: str | None = None
    affine: Literal["auto", "none"] = "auto"
    refine: Refine = 0
    similarity: Similarity = "auto"
    inverse: bool = False
    transform_format: tuple[Literal["nrrd", "nii.gz", "h5", "tfm"], ...] = ("nrrd",)
    compress: bool = True  # transform.nrrd; front ends that read it back at once do without
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ApplyArguments(Common):
    transform: str
    input: str
    reference: str | None = None  # points need none
    kind: Literal["image", "labels", "points"] = "image"


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(Common):
    model: str
    scenario: str
    split: Split = "test"
    limit: int | None = 100
    refine: Refine = 0
    similarity: Similarity = "auto"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StudyArguments(Common):
    scenario: str
    rows: tuple[str, ...] = ("all",)
    preset: Preset = "standard"
    spacing: float | None = None  # of the working grid (mm); None: the images', as fine as the preset allows
    minutes: float | None = None  # of each search and of each training
    label_weight: float = 0.0
    seeds: int = 1
    limit: int | None = 100  # test pairs that judge a row
    resume: bool = False
    seed: int = 0  # the first


@dataclass(frozen=True, kw_only=True)
class DemoArguments(Common):
    minutes: float = 10.0  # of search and training together
    seed: int = 0


ARGUMENTS: dict[str, type[Common]] = {
    "search": SearchArguments,
    "train": TrainArguments,
    "register": RegisterArguments,
    "evaluate": EvaluateArguments,
    "apply": ApplyArguments,
    "study": StudyArguments,
    "demo": DemoArguments,
}

#: the arguments that name files to read; ``model`` may also be a name, ``reference`` is a file for images only
INPUT_FILES = (
    "scenario", "recipe", "fixed", "moving", "moving_labels", "fixed_labels", "fixed_landmarks", "moving_landmarks",
    "fixed_mask", "moving_mask", "initial_transform", "transform", "input", "reference",
)


def check_arguments(arguments: Common) -> None:
    """The rules that need no image to be read. Raises InputError."""
    values = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(arguments)}
    for name in INPUT_FILES:
        path = values.get(name)
        if path is not None and not Path(path).exists():
            raise InputError(
                f"no such file: {path}", expected=f"an existing file for '{name}'", got=path,
                remedy="check the path",
            )
    for name, least in (
        ("threads", 1), ("refine", 0), ("limit", 1), ("seed", 0), ("seeds", 1), ("speed_weight", 0),
        ("label_weight", 0),
    ):
        if isinstance(values.get(name), (int, float)) and values[name] < least:
            raise InputError(f"'{name}' is too small", expected=f"{least} or more", got=values[name])
    for name in ("minutes", "max_seconds", "spacing"):
        if values.get(name) is not None and not 0 < values[name] < 1e6:
            raise InputError(f"'{name}' is out of range", expected="more than 0", got=values[name])
    if isinstance(arguments, StudyArguments):
        choose_rows(arguments.rows)
    if (values.get("fixed_landmarks") is None) != (values.get("moving_landmarks") is None):
        raise InputError(
            "landmarks are given for one image only", expected="fixed_landmarks and moving_landmarks",
            remedy="give both files or neither",
        )


def located(arguments: dict[str, Any], base: Path) -> dict[str, Any]:
    """The arguments with relative paths taken from ``base`` (a job's paths are relative to its folder)."""
    result = dict(arguments)
    for name in (*INPUT_FILES, "output"):
        if isinstance(result.get(name), str):
            result[name] = str(base / result[name])
    for name in ("model", "start"):  # a folder, or a name
        model = result.get(name)
        if isinstance(model, str) and (base / model).is_dir():
            result[name] = str(base / model)
    return result
