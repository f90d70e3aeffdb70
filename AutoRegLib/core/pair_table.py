"""A CSV table of pairs to register: one line a pair, paths relative to the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.names import is_folder_name, same_file
from AutoRegLib.core.tables import read_table

#: the columns of points that guide: both are ``register``'s argument ``guide_landmarks``
GUIDES = ("fixed_guides", "moving_guides")
#: the columns that name files; the others are arguments of ``register`` of the same names
PAIR_FILES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks", *GUIDES,
              "fixed_mask", "moving_mask", "initial_transform")
#: the table of results, and what it says of a pair's report (of tables by structure the mean)
SUMMARY = "summary.csv"
FIGURES = ("dice_before", "dice", "hd95_mm", "tre_before_mm", "tre_mm", "lncc_before", "lncc", "folds",
           "fold_fraction", "jacobian_min", "seconds")
#: the same of points that guide, where a line of the table has any: mean distance by the headers and after everything
GUIDE_FIGURES = ("guides_before_mm", "guides_after_mm")


@dataclass(frozen=True)
class PairLine:
    """One line: a name that is good for a folder, the files by column, absolute, and what other columns say."""

    name: str
    files: dict[str, str]
    more: dict[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """The files as arguments of ``register``."""
        guides = tuple(self.files[role] for role in GUIDES if role in self.files)
        return {key: file for key, file in self.files.items() if key not in GUIDES} | (
            {"guide_landmarks": guides} if guides else {})


def read_pair_table(table: str | Path) -> list[PairLine]:
    """The lines of a table with the columns fixed and moving, and optionally name and the others of ``PAIR_FILES``.

    A line without a name is ``pair001`` and so on. Files need not exist. Raises InputError.
    """
    table = Path(table)
    lines = read_table(table, "a table of pairs", needs=("fixed", "moving"))
    found: list[PairLine] = []
    taken: set[str] = set()
    base = table.resolve().parent
    for number, line in enumerate(lines, start=1):
        name = line.get("name", "").strip() or f"pair{number:03d}"
        if same_file(name) in taken or not is_folder_name(name):
            raise InputError(f"line {number} of {table}: the name '{name}' is used twice or is no folder name",
                             expected="one short name per line", remedy="change the name")
        taken.add(same_file(name))
        named = {key: line.get(key, "").strip() for key in PAIR_FILES}
        missing = [key for key in ("fixed", "moving") if not named[key]]
        if missing:
            raise InputError(f"line {number} of {table} names no {missing[0]} image", expected="fixed and moving",
                             remedy="fill in the cell, or remove the line")
        files = {key: str((base / text).resolve()) for key, text in named.items() if text}
        more = {key: text.strip() for key, text in line.items() if key and text and key not in ("name", *PAIR_FILES)}
        found.append(PairLine(name, files, more))
    return found
