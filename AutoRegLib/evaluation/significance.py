"""Whether the best row of a study is better than the others: paired and unpaired tests, effect sizes, correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

PairKey = tuple[str, str]
_LEAST = 3  # pairs that a test is made of


def compare(best: Mapping[PairKey, float], other: Mapping[PairKey, float]) -> dict[str, float] | None:
    """The best row against another one, larger is better in both; None with too few common pairs.

    Paired: mean difference, t-test and Wilcoxon's signed ranks over the pairs, effect size ``d_z`` (mean over standard
    deviation of the differences). Unpaired: Welch's t-test, effect size Hedges' g. Pairs share images and are not
    independent, so the true p values are larger. Raises ImportError without scipy.
    """
    from scipy import stats

    common = sorted(best.keys() & other.keys())
    if len(common) < _LEAST:
        return None
    first, second = [best[pair] for pair in common], [other[pair] for pair in common]
    gains = [a - b for a, b in zip(first, second, strict=True)]
    spread = stdev(gains)
    result = {"pairs": float(len(common)), "difference": fmean(gains)}
    if spread > 0:
        result |= {
            "paired_t_p": float(stats.ttest_rel(first, second).pvalue),
            "wilcoxon_p": float(stats.wilcoxon(gains).pvalue), "d_z": fmean(gains) / spread,
        }
    pooled = math.sqrt((stdev(first) ** 2 + stdev(second) ** 2) / 2)
    if pooled > 0:
        small = 1.0 - 3.0 / (4.0 * (2 * len(common)) - 9.0)  # Hedges' correction for small samples
        result |= {"welch_p": float(stats.ttest_ind(first, second, equal_var=False).pvalue),
                   "hedges_g": small * fmean(gains) / pooled}
    return result


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down rule, in the order given.

    Reference: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected, running = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = running
    return corrected


def significance(scores: Mapping[str, Mapping[PairKey, float]], *, better: int) -> list[dict[str, Any]]:
    """The row with the best mean, of those with the most pairs, against each other one; each kind of test corrected
    over them, ``..._holm``.

    ``scores``: row to pair to value, ``better`` 1 or -1. Raises ImportError without scipy.
    """
    signed = {row: {pair: better * value for pair, value in pairs.items()} for row, pairs in scores.items() if pairs}
    if len(signed) < 2:
        return []
    most = max(len(pairs) for pairs in signed.values())  # a mean over fewer pairs cannot be compared with the others
    best = max((row for row in signed if len(signed[row]) == most), key=lambda row: fmean(signed[row].values()))
    lines: list[dict[str, Any]] = []
    for row, pairs in signed.items():
        found = None if row == best else compare(signed[best], pairs)
        if found is not None:
            lines.append({"best": best, "row": row, **found})
    for name in ("paired_t_p", "wilcoxon_p", "welch_p"):
        known = [line for line in lines if name in line]
        for line, value in zip(known, holm([line[name] for line in known]), strict=True):
            line[name.replace("_p", "_holm")] = value
    return lines


def significance_lines(lines: Sequence[Mapping[str, Any]], *, measure: str) -> list[str]:
    """The comparisons as a table in Markdown; nothing without any."""
    if not lines:
        return []
    columns = {"difference": "difference", "d_z": "d_z", "wilcoxon_holm": "Wilcoxon p", "paired_t_holm": "paired t p",
               "hedges_g": "Hedges' g", "welch_holm": "Welch p"}
    body = [[str(line["row"]), f"{line['pairs']:.0f}", *(
        f"{line[name]:.3g}" if name in line else "" for name in columns)] for line in lines]
    titles = [f"{lines[0]['best']} against", "pairs", *columns.values()]
    return ["## Significance", "", f"{measure} of the best row against the others, over test pairs (mean over seeds). "
            f"p values are corrected for {len(lines)} comparisons (Holm). Pairs share images and are not independent: "
            "the true p values are larger. Unpaired tests are as the papers have them; the paired ones fit these data.",
            "",
            *("| " + " | ".join(cells) + " |" for cells in (titles, ["---"] * len(titles), *body)), ""]
