"""Tests between rows against values worked out by hand and scipy's own; the page against a parser."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path
from statistics import NormalDist

import pytest

from AutoRegLib.evaluation.significance import compare, holm, significance, significance_lines
from AutoRegLib.evaluation.study_page import page_of
from AutoRegLib.evaluation.study_pictures import choose_pairs
from AutoRegLib.evaluation.study_report import merged_name

PAIRS = [(str(i), "m") for i in range(6)]
BEST = dict(zip(PAIRS, (0.8, 0.7, 0.9, 0.75, 0.85, 0.8), strict=True))
OTHER = dict(zip(PAIRS, (0.7, 0.65, 0.7, 0.7, 0.8, 0.7), strict=True))


def test_two_rows_by_hand() -> None:
    found = compare(BEST, {**OTHER, ("only", "here"): 0.1})
    assert found is not None
    gains = [BEST[p] - OTHER[p] for p in PAIRS]  # 0.1 0.05 0.2 0.05 0.05 0.1
    mean = sum(gains) / 6
    spread = math.sqrt(sum((g - mean) ** 2 for g in gains) / 5)
    assert found["pairs"] == 6 and found["difference"] == pytest.approx(mean)
    assert found["d_z"] == pytest.approx(mean / spread)
    # t = d_z sqrt(6) = 3.84 on 5 degrees of freedom: between the tabled points 3.365 (2 %) and 4.032 (1 %)
    assert 0.01 < found["paired_t_p"] < 0.02
    assert found["wilcoxon_p"] == pytest.approx(2 / 2**6)  # all six positive: the rarest of 64 sign patterns, two-sided
    assert 0.02 < found["welch_p"] < 0.1 and 1.2 < found["hedges_g"] < 1.8
    assert compare(BEST, {PAIRS[0]: 0.1, PAIRS[1]: 0.2}) is None
    same = compare(BEST, BEST)
    assert same is not None and same["difference"] == 0 and "paired_t_p" not in same


def test_unpaired_p_of_many_pairs_is_the_normal_one() -> None:
    first = {(str(i), "m"): (i % 10) / 10 + 0.05 for i in range(2000)}
    second = {pair: (value * 10 + 3) % 10 / 10 for pair, value in first.items()}
    found = compare({p: v + 0.02 for p, v in first.items()}, second)
    assert found is not None
    z = found["difference"] / (math.sqrt(2 * 0.0825) / math.sqrt(2000))  # variance of 0.0 .. 0.9 in tenths
    assert found["welch_p"] == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=0.02)


def test_holm_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1, never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_best_row_against_each_other_one() -> None:
    lines = significance({"a": OTHER, "b": BEST, "c": {p: v - 0.3 + 0.1 * (p[0] == "0") for p, v in BEST.items()}},
                         better=1)
    assert [(line["best"], line["row"]) for line in lines] == [("b", "a"), ("b", "c")]
    assert lines[0]["wilcoxon_holm"] == pytest.approx(2 * 2 / 64) == lines[1]["wilcoxon_holm"]
    few = significance({"a": OTHER, "b": {p: BEST[p] for p in PAIRS[:4]}}, better=1)  # of the pairs that both have
    assert few[0]["best"] == "a" and few[0]["pairs"] == 4 and few[0]["difference"] == pytest.approx(-0.1)
    errors = significance({"a": OTHER, "b": BEST}, better=-1)  # as an error, the smaller one is the best
    assert errors[0]["best"] == "a" and errors[0]["difference"] == pytest.approx(lines[0]["difference"])
    text = significance_lines(lines, measure="Dice")
    assert text[4].startswith("| b against | pairs |") and "2 comparisons" in text[2]
    assert significance({"a": BEST}, better=1) == [] == significance_lines([], measure="Dice")


@pytest.mark.parametrize(("name", "bare"), [
    ("Left-Thalamus-Proper", "Thalamus-Proper"), ("right hippocampus", "hippocampus"), ("ctx-lh-insula", "ctx-insula"),
    ("thalamus (left)", "thalamus"), ("Brain-Stem", "Brain-Stem"), ("cleft", "cleft"), ("left", "left"),
    ("anterior hippocampus", "anterior hippocampus"), ("putamen_R", "putamen_R"), ("rh_caudate", "caudate"),
])
def test_sides_are_merged(name: str, bare: str) -> None:
    assert merged_name(name) == bare


def test_the_typical_and_the_worst_pair() -> None:
    lines = [{"fixed": f, "moving": "m", "dice_mean": d, "lncc": "0.5"} for f, d in zip("abcde", (
        "0.9", "0.1", "0.6", "0.7", "0.5"), strict=True)]
    assert choose_pairs(lines) == {"typical": ("c", "m", 0.6), "worst": ("b", "m", 0.1)}
    errors = [{"fixed": f, "moving": "m", "tre_mm": e} for f, e in (("a", "1"), ("b", "9"), ("c", "2"))]
    assert choose_pairs(errors) == {"typical": ("c", "m", 2.0), "worst": ("b", "m", 9.0)}
    assert choose_pairs([]) == {} == choose_pairs([{"fixed": "a", "moving": "m"}])


class Seen(HTMLParser):
    """Tags and words of a page; a tag that is closed out of turn is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[tuple[str, str]] = []
        self.given: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.given.append(dict(attrs))
        if tag not in ("meta", "img"):
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.tags[-1] != "style":
            self.words.append((self.tags[-1], data.strip()))


def test_the_page_says_what_the_report_says(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(b"picture")
    text = "\n".join(["# A < B & *C*", "", "One **bold**", "line [table](x.csv).", "", "| | n |", "| --- | --- |",
                      "| **a** | 1 |", "", "- **x**: y", "- z", "", "![the picture](p.png)", "", "![gone](q.png)", ""])
    page = page_of(tmp_path, text, title="T & U")
    seen = Seen()
    seen.feed(page)
    assert seen.tags == []
    assert [w for w in seen.words if w[0] != "p"] == [
        ("title", "T & U"), ("h1", "A < B &"), ("i", "C"), ("b", "bold"), ("a", "table"), ("th", "n"), ("b", "a"),
        ("td", "1"), ("b", "x"), ("li", ": y"), ("li", "z")]
    assert {"href": "x.csv"} in seen.given and "q.png" not in page
    assert any(given.get("src") == "data:image/png;base64,cGljdHVyZQ==" for given in seen.given)
