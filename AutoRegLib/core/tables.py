"""The one door for tables of text: CSV and TSV as programs and spreadsheets write them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from AutoRegLib.core.errors import InputError

MOST_BYTES = 64_000_000


def read_table(path: str | Path, what: str, *, needs: Sequence[str] = ()) -> list[dict[str, str]]:
    """The lines below the header, by its names; a line's missing cells are empty. ``what``: "a table of pairs".

    ``needs``: columns that there must be, and a line at least.

    Cells are separated by commas, semicolons or tabs, whichever the header has most of. Raises InputError (no
    ordinary file, no text, too large, other columns, a line with more cells than the header, a cell with a NUL).
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may have no end
            raise ValueError("a folder, a pipe or a device")
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        first = lines[0] if lines else ""
        reader = csv.DictReader(lines, delimiter=max(",;\t", key=first.count), restval="")
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as problem:
        raise InputError(f"cannot read {what} {path}", expected=f"a CSV file of at most {MOST_BYTES} bytes",
                         got=problem, remedy="check the path, or save it as CSV again") from None
    if needs and not (rows and set(needs) <= set(reader.fieldnames or ())):
        raise InputError(f"{path} is not {what}", expected=f"columns {', '.join(needs)} and a line for each",
                         got=", ".join(reader.fieldnames or ()) or "no lines", remedy="add the header line")
    for number, row in enumerate(rows, start=1):
        more = row.pop(None, ())  # type: ignore[call-overload]
        if more:
            raise InputError(f"line {number} of {path} has more cells than the header", expected=len(row),
                             got=len(row) + len(more), remedy="quote what holds a comma")
        if any("\0" in text for text in row.values()):
            raise InputError(f"line {number} of {path} holds a character that no name has", expected="text", got="NUL",
                             remedy="save the table as CSV again")
    return rows
