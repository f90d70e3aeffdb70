"""The records of the verbs ``autoreg lddmm ...``: the regularity of pairs sampled, estimated, learnt and told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from AutoRegLib.core.options import Common, minutes_option, option, resume_option, seed_option


@dataclass(frozen=True, kw_only=True)
class SampleArguments(Common):
    output: str = option("folder for the pairs and their table pairs.csv", metavar="DIR")
    alphas: tuple[float, ...] = option("regularities to sample, mm squared (default 0.1 1 10)", (0.1, 1.0, 10.0),
                                       metavar="ALPHA")
    pairs: int = option("of each regularity (default 300)", 300, metavar="N", least=1)
    image: str | None = option("moving image of every pair (default: random bull's-eyes)", None, metavar="FILE",
                               file=True)
    size: tuple[int, ...] = option("voxels of the bull's-eyes, 2 or 3 numbers (default 100 100)", (100, 100),
                                   metavar="N")
    spacing: float | None = option("of the grid the image is brought to (default: its finest)", None, metavar="MM",
                                   above=0)
    noise: float = option("standard deviation added to fixed images of values 0 to 1 (default 0)", 0.0, metavar="SD",
                          least=0)
    resume: bool = resume_option("keep the pairs that are in --output, go on with the rest")
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class FitArguments(Common):
    table: str = option("CSV file with the columns fixed and moving, and optionally name and split; paths relative to "
                        "it", metavar="TABLE", position=True, file=True)
    output: str = option("folder for the table with regularities, pairs.csv", metavar="DIR")
    by: Literal["evidence", "map"] = option(
        "evidence: the velocity is integrated out; map: the most probable velocity and regularity together, which "
        "tends to too large ones (default evidence)", "evidence")
    spacing: float = option("of the grid the pairs are compared on (default 1)", 1.0, metavar="MM", above=0)
    affine: bool = option("align each pair first (default yes)", True)
    resume: bool = resume_option("keep what is finished in --output, go on with the rest")
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class TrainPredictorArguments(Common):
    table: str = option("pairs.csv of 'lddmm sample' or 'lddmm fit': the columns fixed, moving, alpha, and optionally "
                        "split (train, val)", metavar="TABLE", position=True, file=True)
    output: str = option("folder of the predictor", metavar="DIR")
    spacing: float = option("of the grid the network sees (default 1)", 1.0, metavar="MM", above=0)
    affine: bool = option("align each pair first (default yes)", True)
    epochs: int = option("at most so many (default 1000)", 1000, metavar="N", least=1)
    minutes: float | None = minutes_option("time budget instead of the epochs")
    resume: bool = resume_option()
    seed: int = seed_option()


@dataclass(frozen=True, kw_only=True)
class PredictArguments(Common):
    predictor: str = option("folder of 'lddmm train-predictor'", metavar="PREDICTOR", position=True, file=True)
    fixed: str = option("image that stays", metavar="FIXED", position=True, file=True)
    moving: str = option("image that is moved onto it", metavar="MOVING", position=True, file=True)
    output: str = option("folder for prediction.json", metavar="DIR")
    affine: bool = option("align the pair first (default yes)", True)
    seed: int = seed_option()
