"""What a verb's arguments must be before anything is read, and where their files lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.options import Common, Moved
from AutoRegLib.core.study_rows import PEERS, choose_rows
from AutoRegLib.core.study_verbs import StudyArguments, SweepArguments, SynthesiseArguments
from AutoRegLib.core.verbs import VERBS, RegisterArguments


def facts_of(record: type[Common]) -> dict[str, Mapping[str, Any]]:
    """What :func:`AutoRegLib.core.options.option` said of every field of a verb's record."""
    return {field.name: field.metadata for field in dataclasses.fields(record)}


def check_arguments(arguments: Common) -> None:
    """The rules that need no image to be read. Raises InputError."""
    for name, facts in facts_of(type(arguments)).items():
        value = getattr(arguments, name)
        if value is None:
            continue
        for file in (value if isinstance(value, tuple) else (value,)) if facts["file"] else ():
            if not Path(file).exists():
                raise InputError(f"no such file: {file}", expected=f"an existing file for '{name}'", got=file,
                                 remedy="check the path")
            if not (Path(file).is_file() or Path(file).is_dir()):
                raise InputError(f"{file} is no ordinary file", got="a pipe or a device",
                                 expected=f"a file for '{name}'", remedy="copy it into a file first")
        for each in value if isinstance(value, tuple) else (value,):
            number = isinstance(each, (int, float)) and not isinstance(each, bool)
            if number and facts["least"] is not None and each < facts["least"]:
                raise InputError(f"'{name}' is too small", expected=f"{facts['least']} or more", got=each)
            if number and facts["above"] is not None and not facts["above"] < each < 1e6:
                raise InputError(f"'{name}' is out of range", expected=f"more than {facts['above']}", got=each)
    if isinstance(arguments, StudyArguments):
        choose_rows(arguments.rows, start=arguments.start is not None,
                    peers=() if arguments.peers is None else PEERS)
    if isinstance(arguments, SweepArguments) and len(arguments.over) < 2:
        raise InputError("nothing to sweep over", expected="--over with a field and one value or more",
                         got=" ".join(arguments.over), remedy="--over loss_weights.smoothness 0 0.5 1")
    if isinstance(arguments, SynthesiseArguments) and len(arguments.pairs) != 3:
        raise InputError("numbers of pairs", expected="three: of training, validation and test", got=arguments.pairs)
    if isinstance(arguments, RegisterArguments):
        marks = [file for file in (arguments.fixed_landmarks, arguments.moving_landmarks) if file is not None]
        for what, files in (("landmarks", marks), ("guide landmarks", arguments.guide_landmarks or ())):
            if len(files) not in (0, 2):
                raise InputError(f"{what} not of both images", expected="a file of each", remedy="give both or neither")
    if isinstance(arguments, Moved):
        arguments.check_moved()


def located(verb: str, arguments: dict[str, Any], base: Path) -> dict[str, Any]:
    """The arguments with relative paths taken from ``base`` (a job's paths are relative to its folder)."""
    result = dict(arguments)
    for name, facts in facts_of(VERBS[verb].arguments).items():
        value = result.get(name)
        if facts["file"] and isinstance(value, (list, tuple)):
            result[name] = [str(base / each) for each in value]
        if not isinstance(value, str):
            continue
        # a model is a folder, or a name
        if facts["file"] or name == "output" or (facts["model"] and (base / value).is_dir()):
            result[name] = str(base / value)
    return result
