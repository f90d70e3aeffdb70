"""Cases found in a folder by its file names: the layouts of nnU-Net and BIDS, or patterns for images and labels."""

from __future__ import annotations

import fnmatch
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.scenario import Case, Split
from AutoRegLib.core.strict_json import read_object
from AutoRegLib.core.tables import read_table

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_NUMBER = re.compile(r"[0-9]{1,9}")
_BIDS = re.compile(r"(?P<entities>sub-[a-zA-Z0-9]+(?:_[a-zA-Z0-9]+-[a-zA-Z0-9]+)*)_(?P<kind>[a-zA-Z0-9]+)$")


@dataclass(frozen=True)
class Found:
    """What a folder holds. ``notes``: what was left out or chosen, in words."""

    layout: str
    cases: tuple[Case, ...]
    structures: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_cases(
    folder: str | Path, *, images: str = "", labels: str = "", modality: str = "", subject: str = "",
) -> Found:
    """The cases of a folder; paths are absolute, and every case not given to the test split is in train.

    ``images``, ``labels``: patterns within the folder, whose ``*`` stands for the case; without them the layout is
    recognised. ``modality``: the BIDS suffix or nnU-Net channel to take. ``subject``: a regular expression that finds
    the subject within a case's name; without it a case is a subject, in BIDS the ``sub-`` part.
    Raises: InputError when nothing is recognised or names do not fit one another.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}", expected="a folder with images", remedy="check the path")
    if images:
        found = _patterns(folder, images, labels)
    elif (folder / "imagesTr").is_dir():
        found = _nnunet(folder, modality)
    elif any(path.is_dir() for path in folder.glob("sub-*")):
        found = _bids(folder, modality)
    else:
        raise InputError(f"{folder} has no layout that is known", expected="imagesTr (nnU-Net) or sub-* (BIDS)",
                         got=", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder",
                         remedy="name the files: --images 'images/*.nii.gz' --labels 'labels/*.nii.gz'")
    if not found.cases:
        raise InputError(f"no images in {folder}", expected=f"files that end in {', '.join(SUFFIXES[:4])} ...",
                         got=found.layout, remedy="check the folder or the pattern")
    if subject:
        found = replace(found, cases=tuple(replace(c, subject=_subject(subject, c)) for c in found.cases))
    return found


def divide(cases: Sequence[Case], *, shares: tuple[float, float, float], seed: int = 0) -> tuple[Case, ...]:
    """The cases with their splits, subject by subject, drawn by ``seed``; those of the test split stay there.

    ``shares``: of the subjects for train, val and test. Every split gets two subjects at least, so that it has a pair;
    with fewer than six there is no test split. Raises: InputError for fewer than four subjects, or shares below 0.
    """
    if min(shares) < 0 or shares[0] <= 0 or shares[1] <= 0:
        raise InputError("shares of the splits", expected="train and val above 0, test 0 or more", got=shares)
    given = {case.subject for case in cases if case.split == "test"}
    names = sorted({case.subject for case in cases} - given)
    if len(names) < 4:
        raise InputError("too few subjects", expected="at least 4: two to train, two to validate",
                         got=f"{len(names)} subjects", remedy="add cases, or say what a subject is with --subject")
    random.Random(seed).shuffle(names)
    total = sum(shares)
    test = 0 if given or len(names) < 6 or shares[2] == 0 else max(2, round(len(names) * shares[2] / total))
    val = max(2, round(len(names) * shares[1] / (total if test else shares[0] + shares[1])))
    val, test = min(val, len(names) - 2 - test), test
    splits: dict[str, Split] = dict.fromkeys(names, "train") | dict.fromkeys(given, "test")  # type: ignore[assignment]
    splits |= dict.fromkeys(names[:test], "test") | dict.fromkeys(names[test:test + val], "val")  # type: ignore[arg-type]
    return tuple(replace(case, split=splits[case.subject]) for case in cases)


def _stem(path: Path) -> str:
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name[:len(path.name) - len(suffix)]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
                  and path.name.lower().endswith(SUFFIXES)) if folder.is_dir() else []


def _nnunet(folder: Path, channel: str) -> Found:
    """imagesTr, labelsTr, imagesTs, labelsTs; channels end in _0000, _0001 ...; dataset.json names the labels."""
    facts = _json(folder / "dataset.json")
    notes: list[str] = []
    channels = _mapping(facts.get("channel_names") or facts.get("modality"))
    numbers = {int(key): str(name) for key, name in channels.items() if _NUMBER.fullmatch(key)}
    wanted = next((number for number, name in numbers.items() if channel and channel.lower() == name.lower()), None)
    if channel and wanted is None:
        raise InputError(f"no channel '{channel}' in {folder}", expected=", ".join(numbers.values()) or "none named",
                         remedy="leave --modality out, or name one of these")
    if len(numbers) > 1 and not channel:
        notes.append(f"of the channels {', '.join(numbers.values())} the first is taken; choose with --modality")
    number, cases = wanted or 0, []
    for part, split in (("Tr", "train"), ("Ts", "test")):
        labels = {_stem(path): path for path in _files(folder / f"labels{part}")}
        for path in _files(folder / f"images{part}"):
            name = _stem(path)
            mark = re.search(r"_(\d{4})$", name)
            if mark and int(mark[1]) != number:
                continue
            name = name[:-5] if mark else name
            cases.append(_case(name, path, labels.get(name), split=split, modality=numbers.get(number, "")))
    structures = {}
    for key, value in _mapping(facts.get("labels")).items():
        code, title = (value, key) if isinstance(value, int) else (key, value)
        if _NUMBER.fullmatch(str(code)) and int(code) > 0:
            structures[int(code)] = str(title)
    return Found("nnU-Net", tuple(cases), structures, tuple(notes))


def _bids(folder: Path, modality: str) -> Found:
    """sub-*/[ses-*/]anat/sub-*_T1w.nii.gz; segmentations end in _dseg, anywhere, masks in _mask."""
    named: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(folder.rglob("sub-*")):
        match = _BIDS.match(_stem(path)) if path.is_file() and path.name.lower().endswith(SUFFIXES) else None
        if match:
            named.setdefault(match["kind"], []).append((match["entities"], path))
    kinds = Counter({kind: len(found) for kind, found in named.items() if kind not in ("dseg", "mask", "probseg")})
    notes: list[str] = []
    if modality and modality not in kinds:
        raise InputError(f"no images of kind '{modality}' in {folder}", expected=", ".join(kinds) or "none at all",
                         remedy="leave --modality out, or name one of these")
    kind = modality or (kinds.most_common(1)[0][0] if kinds else "")
    if len(kinds) > 1 and not modality:
        notes.append(f"of {', '.join(kinds)} the images of kind {kind} are taken; choose with --modality")
    images = [(entities, path) for entities, path in named.get(kind, []) if "derivatives" not in path.parts]
    cases = []
    for entities, path in images:
        labels, mask = (_belonging(entities, named.get(other, []), notes) for other in ("dseg", "mask"))
        case = _case(entities, path, labels, modality=kind.removesuffix("w"), subject=entities.split("_")[0])
        cases.append(replace(case, mask=None if mask is None else str(mask)))
    tables = sorted(folder.rglob("*_dseg.tsv"))
    return Found("BIDS", tuple(cases), _structures(tables[0]) if tables else {}, tuple(dict.fromkeys(notes)))


def _belonging(entities: str, others: Sequence[tuple[str, Path]], notes: list[str]) -> Path | None:
    """The one file that has all entities of the image (and perhaps more, as space or desc)."""
    parts = set(entities.split("_"))
    fitting = [path for name, path in others if parts <= set(name.split("_"))]
    if len(fitting) > 1:
        notes.append(f"{entities}: of {', '.join(path.name for path in fitting)} the first is taken")
    return fitting[0] if fitting else None


def _patterns(folder: Path, images: str, labels: str) -> Found:
    """What ``*`` stands for in both patterns is the case."""
    found = _matches(folder, images)
    named = _matches(folder, labels) if labels else {}
    notes = [f"no image for {path.name}" for name, path in named.items() if name not in found]
    if labels and not set(found) & set(named):
        raise InputError("the patterns for images and labels have no case in common", expected="the same names for *",
                         got=f"{next(iter(found), 'no image')} and {next(iter(named), 'no labels')}",
                         remedy="choose patterns whose * stands for the case alone, as in 'images/*_t1.nii.gz'")
    cases = tuple(_case(name, path, named.get(name)) for name, path in found.items())
    return Found("patterns", cases, {}, tuple(notes))


def _matches(folder: Path, pattern: str) -> dict[str, Path]:
    if pattern.count("*") != 1:
        raise InputError(f"the pattern '{pattern}'", expected="one *, which stands for the case", got=pattern,
                         remedy="for example 'images/*.nii.gz'")
    before, after = pattern.split("*")
    start = len((folder / "x").as_posix()) - 1 + len(before)
    paths = sorted(path for path in folder.glob(pattern) if path.is_file() and fnmatch.fnmatch(path.name, "[!.]*"))
    return {path.as_posix()[start:len(path.as_posix()) - len(after)]: path for path in paths}


def _case(
    name: str, image: Path, labels: Path | None, *, split: str = "train", modality: str = "", subject: str = "",
) -> Case:
    return Case(id=name, image=str(image), labels=None if labels is None else str(labels), subject=subject or name,
                split=split, modality=modality)  # type: ignore[arg-type]


def _subject(pattern: str, case: Case) -> str:
    try:
        match = re.search(pattern, case.id)
    except re.error as problem:
        raise InputError(f"the regular expression '{pattern}'", got=problem, remedy=r"for example 'sub-\d+'") from None
    if match is None:
        raise InputError(f"no subject in the name of case '{case.id}'", expected=f"what fits '{pattern}'",
                         remedy="change --subject")
    return match[1] if match.groups() else match[0]


def _mapping(value: Any) -> Mapping[str, Any]:
    """What a stranger's file should say as an object; anything else says nothing."""
    return value if isinstance(value, dict) else {}


def _json(path: Path) -> Mapping[str, Any]:
    return read_object(path) if path.exists() else {}


def _structures(path: Path) -> dict[int, str]:
    """Index and name of the table that BIDS keeps beside segmentations."""
    rows = [row for row in read_table(path, "the table of structures") if _NUMBER.fullmatch(row.get("index", ""))]
    return {int(row["index"]): row.get("name") or row["index"] for row in rows if int(row["index"]) > 0}
