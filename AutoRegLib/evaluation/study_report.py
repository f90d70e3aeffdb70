"""What a study found: ``study.csv`` with a line per run, ``study.md`` with the paper's tables, ``figures/``."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from AutoRegLib.bundle import table_text
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.measures import MEASURES, Measure
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import make_folder, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.core.study_rows import ROWS, TABLES, Table
from AutoRegLib.evaluation.significance import significance, significance_lines
from AutoRegLib.evaluation.study_page import page_of
from AutoRegLib.evaluation.study_pictures import read_pictures

Result = Mapping[str, Any]
PairKey = tuple[str, str]  # (fixed, moving)
#: the first columns of ``study.csv``; the others follow as they turn up
FIRST = (
    "row", "seed", "status", "dice", "dice_sd", "dice_before", "dice_affine", "folds", "pairs_with_folds", "pairs",
    "seconds", "parameters", "search_seconds", "train_seconds", "peak_memory_bytes", "search_peak_memory_bytes",
    "train_peak_memory_bytes",
)
#: what stands behind a measure of the table, and at its end
_BEHIND = {
    "dice": (Measure("dice_sd", "sd over pairs", spread=False),),
    "folds": (Measure("pairs_with_folds", "pairs with folds", "{:.3g}", -1, spread=False),
              Measure("folds_mean", "folds a pair", "{:.3g}", -1, spread=False),
              Measure("folds_sd", "sd over pairs", "{:.3g}", spread=False)),
    "positive_jacobian": (
        Measure("positive_jacobian_sd", "sd over pairs", "{:.2g}", scale=100.0, spread=False),
        Measure("jacobian_min_mean", "smallest Jacobian, mean", "{:.3f}", 1, spread=False),
        Measure("jacobian_min_sd", "sd over pairs", "{:.3f}", spread=False)),
    "seconds": (Measure("parameters", "parameters", "{:,.0f}", spread=False),),
}
COLUMNS = tuple(
    column for measure in MEASURES.values() if measure.studied for column in (measure, *_BEHIND.get(measure.key, ()))
)
COSTS = (
    Measure("search_seconds", "search s", "{:.0f}", spread=False),
    Measure("train_seconds", "training s", "{:.0f}", spread=False),
    Measure("search_peak_memory_bytes", "search MiB", "{:.0f}", scale=2.0**-20, spread=False),
    Measure("train_peak_memory_bytes", "training MiB", "{:.0f}", scale=2.0**-20, spread=False),
    Measure("peak_memory_bytes", "registration MiB", "{:.0f}", scale=2.0**-20, spread=False),
)
#: what rows are compared by, pair by pair: the first of these that was measured
SCORES = tuple(measure for measure in MEASURES.values() if measure.compares)


def write_report(
    output: Path, results: Sequence[Result], *, recipe: Recipe, scenario: Scenario, minutes: float | None,
    figures: bool = False, monitor: Monitor | None = None,
) -> dict[str, Any]:
    """Write ``study.csv`` and ``study.md``, and with ``figures`` the pictures; return the study in a few values.

    Raises DiskError.
    """
    monitor = monitor or Monitor()
    columns = [name for name in FIRST if any(name in result for result in results)]
    ordered = [{**{name: result.get(name) for name in columns}, **result} for result in results]
    write_text(output / "study.csv", table_text(ordered))
    done = [result for result in results if result["status"] == "done"]
    failed = [result for result in results if result["status"] != "done"]
    scored = chosen_score(done)
    scores = pair_scores(output, done, scored)
    equal = ""
    if {"autoreg", "random-search"} <= {result["row"] for result in done}:
        equal = "; the random search has the time that the whole search took"
    budget = "the preset's steps"
    if minutes is not None:
        budget = f"{minutes:g} minutes"
    text = [
        f"# Study of {scenario.name}", "",
        f"{scenario.spatial_dims}-D, {len(scenario.split('train'))} training, {len(scenario.split('val'))} validation "
        f"and {len(scenario.split('test'))} test cases; working grid "
        f"{' x '.join(f'{s:g}' for s in recipe.preprocessing.spacing) or 'as the images'} mm. "
        f"Each search and each training: {budget}{equal}.", "",
        *_before(done),
        "Means over seeds (± standard deviation over seeds, where there are several); best in bold. *gain*: how much "
        f"better the {scored.title.removesuffix(' mm')} is than that of the first line, pair by pair, ± its standard "
        "error over pairs; pairs share images, so the true uncertainty is larger. Folded voxels are summed over the "
        "pairs. Rows of fewer pairs are never best, their gain is over common ones. Memory: process or GPU.", "",
    ]
    for table in TABLES.values():
        text += table_lines(table, done, scores, scored)
    text += _glossary(done)
    if failed:
        text += ["## Failed", "", *(f"- {r['row']}, seed {r['seed']}: {r['error']}" for r in failed), ""]
    if figures:
        text += _significance(output, scores, scored, monitor)
        text += _draw(output, done, scores, scored, monitor) if scores else []
    write_text(output / "study.md", "\n".join(text))
    if figures:
        write_text(output / "study.html", page_of(output, "\n".join(text), title=f"Study of {scenario.name}"))
        monitor.event("artifact", role="page", path=str(output / "study.html"))
    monitor.event("artifact", role="table", path=str(output / "study.csv"))
    monitor.event("artifact", role="summary", path=str(output / "study.md"))
    return {"report": str(output / "study.md"), "runs": len(done), "failed": len(failed), **_best(done, scored)}


def plain_values(summary: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's summary, one plain value a key: measures, means and spreads over pairs, what it cost."""
    result: dict[str, Any] = {}
    for name in ("pairs", *MEASURES, "pairs_with_folds", "parameters"):
        if isinstance(summary.get(name), Mapping):
            result[name] = summary[name]["mean"]
            if "sd" in summary[name] and name not in ("dice_before", "dice_affine"):
                result[f"{name}_sd"] = summary[name]["sd"]
        elif name in summary:
            result[name] = summary[name]
        if name in MEASURES and MEASURES[name].varies:
            result |= {key: summary[key] for key in (f"{name}_mean", f"{name}_sd") if key in summary}
    return result


def table_lines(
    table: Table, results: Sequence[Result], scores: Mapping[str, Mapping[PairKey, float]],
    scored: Measure = SCORES[0],
) -> list[str]:
    """One table in Markdown; nothing when fewer than two of its rows are finished.

    ``scores``: of every pair of a row, by the measure ``scored``.
    """
    lines = [(label, [r for r in results if r["row"] == name]) for label, name in table.lines]
    lines = [(label, runs) for label, runs in lines if runs]
    if len(lines) < 2:
        return []
    most = with_most_pairs(run for _, runs in lines for run in runs)
    first = next(number for number, (_, runs) in enumerate(lines) if runs[0] in most)  # what the others are beside
    base = scores.get(lines[first][1][0]["row"], {})
    columns = (*COLUMNS, *COSTS) if table.costs else COLUMNS
    shown = [column for column in columns if any(column.key in run for _, runs in lines for run in runs)]
    if len(most) < sum(len(runs) for _, runs in lines):  # other programs may have registered the first pairs alone
        shown.insert(0, Measure("pairs", "pairs", "{:.0f}", spread=False))
    titles = ["", "seeds", *(column.title for column in shown)]
    body = [[label, str(len(runs))] for label, runs in lines]
    for column in shown:
        cells = _cells(column, [runs for _, runs in lines], most)
        for line, cell in zip(body, cells, strict=True):
            line.append(cell)
    if base:
        place = 3 + (shown[0].key == "pairs")
        titles.insert(place, "gain")
        for number, (line, (_, runs)) in enumerate(zip(body, lines, strict=True)):
            line.insert(place, "" if number == first else _gain_text(base, scores.get(runs[0]["row"], {}), scored))
    rows = [titles, ["---"] * len(titles), *body]
    return [f"## {table.title}", "", *("| " + " | ".join(cells) + " |" for cells in rows), ""]


def with_most_pairs(results: Iterable[Result]) -> list[Result]:
    """The results that were measured on the most pairs: means over fewer ones cannot be compared with theirs."""
    results = list(results)
    most = max((result.get("pairs", 0) for result in results), default=0)
    return [result for result in results if result.get("pairs", 0) == most]


def over_seeds(runs: Iterable[Result], key: str) -> tuple[float, float | None] | None:
    """Mean and standard deviation (n - 1) of a measure over runs; no spread of one, nothing of none."""
    values = [float(run[key]) for run in runs if run.get(key) is not None]
    if not values:
        return None
    return fmean(values), stdev(values) if len(values) > 1 else None


def paired_gain(base: Mapping[PairKey, float], other: Mapping[PairKey, float]) -> tuple[float, float | None] | None:
    """Mean over the common pairs of ``other - base``, and its standard error (none of a single pair)."""
    gains = [other[pair] - base[pair] for pair in base if pair in other]
    if not gains:
        return None
    return fmean(gains), stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None


def chosen_score(results: Sequence[Result]) -> Measure:
    """What the rows are compared by: overlap, else landmarks, else similarity."""
    known = (score for score in SCORES if results and all(score.key in result for result in results))
    return next(known, SCORES[0])


def pair_scores(
    output: Path, results: Sequence[Result], scored: Measure = SCORES[0]
) -> dict[str, dict[PairKey, float]]:
    """For each row a measure of every test pair (from ``pairs.csv``), mean over seeds; empty without it."""
    place = f"{scored.key}_mean" if scored.table == scored.key else scored.key
    found: dict[str, dict[PairKey, list[float]]] = {}
    for result in results:
        for line in _table(output, result, "pairs.csv"):
            if line.get(place):
                pairs = found.setdefault(result["row"], {})
                pairs.setdefault((line["fixed"], line["moving"]), []).append(float(line[place]))
    return {row: {pair: fmean(values) for pair, values in pairs.items()} for row, pairs in found.items()}


def structure_scores(output: Path, results: Sequence[Result]) -> dict[str, dict[str, list[float]]]:
    """For each structure and each row the Dice of every test pair and seed, left and right as one; the best first."""
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for line in _table(output, result, "metrics.csv"):
            if line.get("dice"):
                rows = found.setdefault(merged_name(line["name"] or line["structure"]), {})
                rows.setdefault(result["row"], []).append(float(line["dice"]))
    def mean(structure: str) -> float:
        return fmean(value for values in found[structure].values() for value in values)

    return {structure: found[structure] for structure in sorted(found, key=mean, reverse=True)}


def merged_name(structure: str) -> str:
    """A structure's name without its side: ``Left-Thalamus``, ``thalamus (left)``, ``ctx-lh-insula`` lose theirs."""
    bare = re.sub(r"(?i)(^|[\s_.(-])(left|right|lh|rh)(?=$|[\s_.)-])", r"\1", structure)
    return re.sub(r"\(\s*\)", "", bare).strip(" _.-").replace("--", "-") or structure


def _table(output: Path, result: Result, name: str) -> list[dict[str, str]]:
    """One of the tables of a run's evaluation."""
    path = output / result["row"] / str(result["seed"]) / "evaluation" / name
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _cells(column: Measure, lines: Sequence[Sequence[Result]], most: Sequence[Result]) -> list[str]:
    """The measure of every line as text, the best of the lines in ``most`` in bold (all that look like the best)."""
    values = [over_seeds(runs, column.key) for runs in lines]
    plain = ["" if value is None else column.text(value[0]) for value in values]
    best = None
    known = [(value[0] * column.better, text) for runs, value, text in zip(lines, values, plain, strict=True)
             if value and runs[0] in most]
    if column.better and len({text for _, text in known}) > 1:
        best = max(known)[1]
    cells = []
    for value, text in zip(values, plain, strict=True):
        cell = text
        if value is not None and column.spread and value[1] is not None:
            cell += " ± " + column.text(value[1])
        cells.append(f"**{cell}**" if value is not None and text == best else cell)
    return cells


def _gain_text(base: Mapping[PairKey, float], other: Mapping[PairKey, float], scored: Measure) -> str:
    """The gain as text, positive where the other row is better."""
    gain = paired_gain(base, other)
    if gain is None:
        return ""
    sign = "+" if gain[0] * scored.better >= 0 else "-"
    return sign + scored.text(abs(gain[0])) + ("" if gain[1] is None else f" ± {scored.text(gain[1])}")


def _before(results: Sequence[Result]) -> list[str]:
    """The line of the unregistered images: the same for all rows, which see the same pairs."""
    if not results or "dice_before" not in results[0]:
        return []
    first = with_most_pairs(results)[0]
    affine = f", after affine alignment {first['dice_affine']:.3f}" if "dice_affine" in first else ""
    return [f"{first['pairs']} test pairs; Dice before registration {first['dice_before']:.3f}{affine}.", ""]


def _glossary(results: Sequence[Result]) -> list[str]:
    """What the rows are, what their finals chose, and what was found."""
    names = dict.fromkeys(result["row"] for result in results)
    if not names:
        return []
    lines = ["## Rows", ""]
    for name in names:
        searched = [r for r in results if r["row"] == name and "search_winner" in r]
        chosen = [f"seed {r['seed']}: {r['search_winner']}" + (
            f"; what the gradients found was {r['search_found_gain']:+.4f} beside the start on validation"
            if "search_found_gain" in r else "") for r in searched]
        lines.append(f"- **{name}**: {ROWS[name].words}" + (f" (taken: {'; '.join(chosen)})" if chosen else ""))
    return [*lines, ""]


def _best(results: Sequence[Result], scored: Measure) -> dict[str, Any]:
    """The row whose mean is the best."""
    means = {name: over_seeds([r for r in results if r["row"] == name], scored.key) for name in ROWS}
    full = {result["row"] for result in with_most_pairs(results)}
    known = {name: mean[0] for name, mean in means.items() if mean is not None and name in full}
    if not known:
        return {}
    best = max(known, key=lambda name: known[name] * scored.better)
    return {"best": best, f"best_{scored.key}": known[best]}


def _significance(
    output: Path, scores: Mapping[str, Mapping[PairKey, float]], scored: Measure, monitor: Monitor
) -> list[str]:
    """``significance.csv`` and its table; a warning where scipy is not installed."""
    try:
        lines = significance(scores, better=scored.better)
    except ImportError:
        text = "No tests of significance: the package scipy is not installed (pip install scipy)."
        monitor.event("warning", code="significance", text=text)
        return []
    write_text(output / "significance.csv", table_text(lines))
    return significance_lines(lines, measure=scored.title)


def _draw(
    output: Path, results: Sequence[Result], scores: Mapping[str, Mapping[PairKey, float]], scored: Measure,
    monitor: Monitor,
) -> list[str]:
    """The pictures, each with its table beside it, and the lines that show them; a warning where they fail."""
    folder = make_folder(output / "figures")
    whole = "mean of all structures" if scored.key == "dice" else scored.title
    boxes = {whole: {row: list(pairs.values()) for row, pairs in scores.items()}} | structure_scores(output, results)
    write_text(folder / "boxes.csv", table_text([
        {"structure": structure, "row": row, "value": value}
        for structure, rows in boxes.items() for row, values in rows.items() for value in values]))
    points = {name: _point([r for r in results if r["row"] == name], scored.key) for name in scores}
    write_text(folder / "seconds.csv", table_text([{"row": row, **point} for row, point in points.items()]))
    pictures = {}
    for result in results:
        place = output / result["row"] / str(result["seed"]) / "evaluation"
        if result["row"] not in pictures and (found := read_pictures(place)):
            pictures[result["row"]] = found
    if pictures:
        write_text(folder / "pictures.csv", table_text([
            {"row": row, "pair": role, **dict(zip(("fixed", "moving"), map(str, p["names"]), strict=False)),
             scored.key: float(p["score"])} for row, pairs in pictures.items() for role, p in pairs.items()]))

    def draw() -> None:
        from AutoRegLib.evaluation.study_figures import study_figures

        study_figures(folder, boxes, points, pictures, measure=scored.title)

    if problem := attempted(draw, "figures"):
        monitor.event("warning", code="figures", text=problem)
        return []
    monitor.event("artifact", role="figures", path=str(folder))
    shown = [(f"{scored.title} per structure and row; left and right as one, the best structures first", "boxes"),
             (f"{scored.title} against seconds", "seconds"),
             ("A typical (median) and the worst test pair of each row", "pictures")][:3 if pictures else 2]
    return ["## Figures", "", *(part for words, name in shown for part in (
        f"![{words}](figures/{name}.png)", "", f"{words}: [{name}.csv](figures/{name}.csv).", ""))]


def _point(runs: Sequence[Result], key: str) -> dict[str, float]:
    """Where a row lies in the picture of cost: means over seeds. Unit: seconds."""
    spent = [{"cost": run.get("search_seconds", 0.0) + run.get("train_seconds", 0.0)} for run in runs]
    score, cost, seconds = over_seeds(runs, key), over_seeds(spent, "cost"), over_seeds(runs, "seconds")
    assert score is not None and cost is not None and seconds is not None  # finished runs have them
    return {"score": score[0], "spread": score[1] or 0.0, "cost": cost[0], "seconds": seconds[0]}
