"""The records of the verbs that compare and prepare: studies, sweeps, made-up data."""

from __future__ import annotations

from dataclasses import dataclass

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
    spacing_option,
)
from AutoRegLib.core.study_rows import ROWS, TABLES


@dataclass(frozen=True, kw_only=True)
class StudyArguments(Common):
    scenario: str = scenario_option(position=True)
    output: str = option("folder for study.csv, study.md, figures/ and a folder per row", metavar="DIR")
    rows: tuple[str, ...] = option(f"all (default), tables ({', '.join(TABLES)}) or rows ({', '.join(ROWS)})", ("all",),
                                   metavar="NAME")
    preset: Preset = preset_option()
    spacing: float | None = spacing_option()
    label_weight: float = label_weight_option()
    minutes: float | None = minutes_option("of each search and of each training, instead of the preset's steps")
    seeds: int = option("runs of each row, from --seed upwards (default 1)", 1, metavar="N", least=1)
    limit: int | None = limit_option()
    resume: bool = resume_option("keep what is finished in --output, go on with the rest; rows and seeds may be added")
    seed: int = seed_option()
