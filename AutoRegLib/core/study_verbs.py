"""The records of the verbs that compare and prepare: studies, sweeps, made-up data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from AutoRegLib.core.options import (
    Common,
    Preset,
    label_weight_option,
    limit_option,
    minutes_option,
    option,
    preset_option,
    resume_option,
    scenario_option,
    seed_option,
    share_option,
    spacing_option,
)
from AutoRegLib.core.recipe import Timer
from AutoRegLib.core.study_rows import ROWS, TABLES


@dataclass(frozen=True, kw_only=True)
class StudyArguments(Common):
    scenario: str = scenario_option(position=True)
    output: str = option("folder for study.csv, study.md, study.html, figures/ and a folder per row", metavar="DIR")
    also: tuple[str, ...] = option("further scenarios, studied in the same way, in one report", (), metavar="SCENARIO",
                                   file=True)
    start: str | None = option("a model of another scenario, for the rows of table 'transfer'", None, metavar="MODEL",
                               model=True)
    peers: str | None = option("file of other programs to compare with ('python -m benchmarks.peers_file' writes it)",
                               None, metavar="FILE", file=True)
    least_voxels: int | None = option("only structures of so many voxels or more in every test case", None, metavar="N",
                                      least=1)
    rows: tuple[str, ...] = option(
        f"all (default: all that is possible), tables ({', '.join(TABLES)}) or rows ({', '.join(ROWS)})", ("all",),
        metavar="NAME")
    preset: Preset = preset_option()
    spacing: float | None = spacing_option()
    label_weight: float = label_weight_option()
    minutes: float | None = minutes_option("of each search and of each training, instead of the preset's steps")
    timer: Timer = option("what the minutes are counted in (default wall); processor: what this process computes, the "
                          "same for every row on a busy machine", "wall")
    seeds: int = option("runs of each row, from --seed upwards (default 1)", 1, metavar="N", least=1)
    limit: int | None = limit_option()
    peer_limit: int | None = option("other programs register only the first so many of these test pairs", None,
                                    metavar="N", least=1)
    share: bool = share_option()
    resume: bool = resume_option("keep what is finished in --output, go on with the rest; rows and seeds may be added")
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class SweepArguments(Common):
    recipe: str = option("recipe.json of a search (or its folder)", metavar="RECIPE", position=True, file=True)
    scenario: str = scenario_option(position=False)
    output: str = option("folder for sweep.csv, sweep.md, figures/ and a folder per value", metavar="DIR")
    over: tuple[str, ...] = option("a field of the recipe and its values: loss_weights.smoothness 0 0.5 1 1.5",
                                   metavar="NAME")
    jobs: int = option("trainings at once, a process and a thread each (default 1)", 1, metavar="N", least=1)
    minutes: float | None = minutes_option("of each training, instead of the recipe's steps")
    limit: int | None = limit_option()
    beside: tuple[str, ...] = option("folders of other sweeps of this field, drawn into the same picture", (),
                                     metavar="DIR")
    resume: bool = resume_option("keep what is finished in --output, go on with the rest; values may be added")
    seed: int | None = seed_option("default: the recipe's", None)


@dataclass(frozen=True, kw_only=True)
class SynthesiseArguments(Common):
    source: str = option("scenario.json, or one image", metavar="SOURCE", position=True, file=True)
    labels: str | None = option("label map of the one image, deformed with it", None, metavar="FILE", file=True)
    output: str = option("folder for images/ and a scenario for every cross of strengths", metavar="DIR")
    sigma: tuple[float, ...] = option("energies of the deformations in voxels (default 10 16)", (10.0, 16.0),
                                      metavar="S", above=0)
    pairs: tuple[int, ...] = option("of training, validation and test at each energy (default 1000 20 80)",
                                    (1000, 20, 80), metavar="N", least=0)
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class AugmentArguments(Common):
    model: str = option("a model of 'multiprop', whose features are drawn (random: any model)", metavar="BUNDLE",
                        model=True)
    scenario: str = scenario_option(position=False)
    output: str = option("folder for pairs/ (image and labels of each), augment.csv, figures/", metavar="DIR")
    atlas: str | None = option("the labelled training case that is deformed (default: the scenario's atlas, else the "
                               "first)", None, metavar="CASE")
    count: int = option("images to make (default 200)", 200, metavar="N", least=1)
    fields: Literal["features", "random"] = option("deformations from the model's random features, or smooth random "
                                                   "ones of the same size (default features)", "features")
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class FuseArguments(Common):
    fixed: str = option("one image, whose grid the result has", metavar="FIXED", position=True, file=True)
    moving: str = option("the other image", metavar="MOVING", position=True, file=True)
    transform: str | None = option("transform.nrrd of their registration (default: they lie on one another)", None,
                                   metavar="T", file=True)
    output: str = option("folder for fused.nii.gz, fused_before.nii.gz, fused.png", metavar="DIR")
