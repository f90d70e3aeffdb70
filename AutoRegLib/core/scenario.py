"""What to register with what: cases, pairing and split, read from one small file."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import from_plain, read_json, write_json

SCHEMA = "autoreg-scenario/1"
Split = Literal["train", "val", "test"]
_MOST_PAIRS = 4_000_000  # of all with all of 2,000 cases


@dataclass(frozen=True)
class Case:
    """One image with whatever is known about it; paths are absolute after reading."""

    id: str
    image: str
    subject: str
    split: Split
    labels: str | None = None
    mask: str | None = None
    landmarks: str | None = None
    modality: str = ""


@dataclass(frozen=True)
class ListedPair:
    """A pair named in the file, by case ids."""

    fixed: str
    moving: str
    split: Split


@dataclass(frozen=True)
class Pair:
    """Register ``moving`` onto ``fixed``."""

    fixed: Case
    moving: Case


@dataclass(frozen=True)
class Scenario:
    """Cases, pairing and split. Subjects are disjoint between splits (checked), except a common atlas."""

    name: str
    spatial_dims: int
    pairing: Literal["all", "atlas", "within-subject", "listed"]
    cases: tuple[Case, ...]
    atlas: str | None = None
    structures: dict[int, str] = field(default_factory=dict)
    pairs: tuple[ListedPair, ...] = ()

    def case(self, name: str) -> Case:
        """The case with this id. Raises InputError."""
        for case in self.cases:
            if case.id == name:
                return case
        raise InputError(f"scenario '{self.name}' has no case '{name}'", remedy="check ids in 'pairs' and 'atlas'")

    def split(self, name: Split) -> tuple[Case, ...]:
        """The cases of one split."""
        return tuple(case for case in self.cases if case.split == name)

    def pairs_of(self, split: Split, *, limit: int | None = None, seed: int = 0) -> tuple[Pair, ...]:
        """The pairs of a split, by the scenario's pairing rule; at most ``limit``, drawn by ``seed``.

        Raises InputError when there are none.
        """
        by_id = {case.id: case for case in self.cases}
        members = self.split(split)
        if self.pairing == "listed":
            pairs = [Pair(by_id[p.fixed], by_id[p.moving]) for p in self.pairs if p.split == split]
        elif self.pairing == "atlas":
            atlas = self.case(self.atlas or "")
            pairs = [Pair(atlas, case) for case in members if case.id != atlas.id]
        else:
            pairs = [Pair(fixed, moving) for fixed, others in self._partners(members) for moving in others]
        if not pairs:
            raise InputError(
                f"split '{split}' of scenario '{self.name}' has no pairs", expected="at least one pair",
                got=f"{len(members)} cases, pairing '{self.pairing}'", remedy="add cases to this split",
            )
        if limit is not None and limit < len(pairs):
            pairs = random.Random(seed).sample(pairs, limit)
        return tuple(pairs)

    def _partners(self, members: Sequence[Case]) -> Iterator[tuple[Case, list[Case]]]:
        """Each case and those it is paired with: of its subject, or of all others. Raises InputError (too many)."""
        own: dict[str, list[Case]] = {}
        for case in members:
            own.setdefault(case.subject, []).append(case)
        within = self.pairing == "within-subject"
        count = sum(len(part) * (len(part) - 1 if within else len(members) - len(part)) for part in own.values())
        if count > _MOST_PAIRS:  # before memory is taken for them
            raise InputError(f"scenario '{self.name}' has too many pairs", expected=f"at most {_MOST_PAIRS}", got=count,
                             remedy="set pairing to 'atlas', or to 'listed' and list some of them")
        others: dict[str, list[Case]] = {}
        for fixed in members if count else ():
            subject = fixed.subject
            if not within and subject not in others:
                others[subject] = [case for case in members if case.subject != subject]
            yield fixed, [case for case in own[subject] if case is not fixed] if within else others[subject]


def read_scenario(path: str | Path) -> Scenario:
    """Read and check a scenario file; relative paths become absolute. Raises InputError."""
    path = Path(path)
    scenario = from_plain(Scenario, read_json(path, schema=SCHEMA), where=str(path))
    _check(scenario, where=str(path))
    base = path.resolve().parent

    def located(name: str | None) -> str | None:
        return None if name is None else str(base / name)

    cases = tuple(
        replace(c, image=str(base / c.image), labels=located(c.labels), mask=located(c.mask),
                landmarks=located(c.landmarks))
        for c in scenario.cases
    )
    for case in cases:
        for file in (case.image, case.labels, case.mask, case.landmarks):
            if file is not None and not os.path.isfile(file):  # also of a name that no file can have
                raise InputError(
                    f"case '{case.id}' names a file that is not there", got=file,
                    remedy=f"paths are relative to {base}",
                )
    return replace(scenario, cases=cases)


def write_scenario(path: str | Path, scenario: Scenario) -> None:
    """Write a scenario (paths as they stand) in one step. Raises DiskError."""
    write_json(path, scenario, schema=SCHEMA)


def _check(scenario: Scenario, *, where: str) -> None:
    """The rules that hold between the parts of a scenario. Raises InputError."""
    if scenario.spatial_dims not in (2, 3):
        raise InputError(f"spatial_dims in {where}", expected="2 or 3", got=scenario.spatial_dims)
    ids = Counter(case.id for case in scenario.cases)
    for name, count in ids.items():
        if count > 1:
            raise InputError(f"case id '{name}' occurs twice in {where}", expected="unique ids")
    if scenario.pairing == "atlas":
        if scenario.atlas is None:
            raise InputError(f"pairing is 'atlas' but {where} names no atlas", remedy="add \"atlas\": a case id")
        scenario.case(scenario.atlas)
    if scenario.pairing != "listed" and scenario.pairs:
        raise InputError(f"'pairs' in {where} but pairing is '{scenario.pairing}'", remedy="set pairing to 'listed'")
    known = set(ids)
    for pair in scenario.pairs:
        for name in (pair.fixed, pair.moving):
            if name not in known:
                raise InputError(f"a pair in {where} names an unknown case", got=name, remedy="check the ids")
    splits: dict[str, tuple[str, str]] = {}
    for case in scenario.cases:
        if case.id == scenario.atlas:
            continue  # one atlas serves every split
        split, first = splits.setdefault(case.subject, (case.split, case.id))
        if split != case.split:
            raise InputError(
                f"subject '{case.subject}' is in two splits of {where}", expected="each subject in one split",
                got=f"'{first}' in {split}, '{case.id}' in {case.split}",
                remedy="move all cases of the subject into one split",
            )
