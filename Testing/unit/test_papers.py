"""The table of what of the papers is where: every number is in it, and what it names exists.

Symbols and files of all documents are resolved by ``Testing/architecture/test_citations.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from AutoRegLib.core.study_rows import TABLES
from AutoRegLib.core.verbs import VERBS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9}
#: paper: how many tables, figures and numbered equations it has
PAPERS = {"AutoReg": (9, 8, 8), "MultiPropReg": (11, 13, 23), "VoxelMorph": (2, 6, 7),
          "Meta-regularization": (5, 6, 12),
          "Predicting the regularity": (1, 9, 9)}


def part(paper: str) -> str:
    return TEXT.split(f"\n## {paper}\n")[1].split("\n## ")[0]


def numbers(text: str, kind: str) -> set[int]:
    """The numbers behind ``Table``, ``Fig.`` or ``Eq.``, ranges written out."""
    found: set[int] = set()
    for run in re.findall(rf"{kind} ((?:[\dIVX]+[a-z]?(?:, | to )?)+)", text):
        known = [ROMAN.get(word) or int(re.sub(r"\D", "", word)) for word in re.findall(r"[\dIVX]+[a-z]?", run)]
        found |= set(known)
        for first, last in re.findall(r"(\d+) to (\d+)", run):
            found |= set(range(int(first), int(last) + 1))
    return found


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_figure_and_equation_has_a_row(paper: str) -> None:
    items = "\n".join(line.split("|")[1] for line in part(paper).splitlines() if line.startswith("| "))
    for kind, count in zip((r"Tables?", r"Fig\.", r"Eq\."), PAPERS[paper], strict=True):
        assert numbers(items, kind) == set(range(1, count + 1)), kind


def test_rows_and_verbs_exist() -> None:
    rows, verbs = (set(re.findall(rf"`{given} ([\w-]+)", TEXT)) for given in ("--rows", "autoreg"))
    assert rows <= {*TABLES, "NAME"} and len(rows) > 8
    assert verbs <= {*(name.split()[0] for name in VERBS), "VERB"}
    assert {"sweep", "synthesise", "augment", "fuse", "study"} <= verbs
    assert set(TABLES) - rows <= {"random"}, "a study's table that no paper's row names"


def test_sections_and_anchors_exist() -> None:
    method = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^#+ (\d+(?:\.\d+)?) ", method, flags=re.M))
    cited = set(re.findall(r"method section (\d+(?:\.\d+)?)", TEXT))
    assert cited and cited <= known
    for name, anchor in re.findall(r"\]\(([\w.]+)#([\w-]+)\)", TEXT):
        heads = re.findall(r"^#+ (.*)", (ROOT / "docs" / name).read_text(encoding="utf-8"), flags=re.M)
        anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
        assert anchor in anchors, f"{name}#{anchor}"


def test_every_row_says_where_or_why_not() -> None:
    for line in TEXT.splitlines():
        if line.startswith("| ") and "item | what" not in line:
            where = line.strip("| ").split("|")[-1]
            assert re.search(r"`|\*data\*|method section|decisions", where), line
