"""The rows of ``pairs`` put together: a line per method, and the two comparisons the project stands by."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from benchmarks.methods import METHODS
from benchmarks.tables import Row, markdown

_TIMES = {
    "registration, clock s": "registration_wall_s", "registration, CPU s": "registration_cpu_s",
    "process, clock s": "process_wall_s", "process, CPU s": "process_cpu_s",
}


def summary(rows: Sequence[Row]) -> str:
    """Per scenario and method: means of Dice, sum of folds, medians of the times, largest memory."""
    result = []
    for scenario, method in dict.fromkeys((row["scenario"], row["method"]) for row in rows):
        taken = [row for row in rows if (row["scenario"], row["method"]) == (scenario, method)]
        done = [row for row in taken if "error" not in row]
        line: Row = {"scenario": scenario, "method": method, "pairs": len(done)}
        if done:
            line |= {"Dice before": fmean(row["dice_before"] for row in done), "Dice": fmean(r["dice"] for r in done)}
            line |= {"folds": sum(row["folds"] for row in done) if all("folds" in row for row in done) else None}
            line |= {title: median(row[key] for row in done) for title, key in _TIMES.items()}
            line |= {"peak GB": max(row["peak_gb"] for row in done), "versions": done[0]["versions"]}
        if len(done) < len(taken):
            line["error"] = next(row["error"] for row in taken if "error" in row)
        result.append(line)
    columns = ["scenario", "method", "pairs", "Dice before", "Dice", "folds", *_TIMES, "peak GB", "versions"]
    return markdown(result, [*columns, *(["error"] if any("error" in line for line in result) else [])])


def lines(rows: Sequence[Row]) -> str:
    """The project's promises, each with its figures; a promise whose rows are missing says so."""
    return _refinement(rows) + _network(rows)


def _common(rows: Sequence[Row], first: str, second: str) -> list[tuple[Row, Row]]:
    """Rows of two methods for the same pairs."""
    def by_pair(name: str) -> dict[tuple[str, str, str], Row]:
        title = METHODS[name].title
        return {(row["scenario"], row["fixed"], row["moving"]): row
                for row in rows if row["method"] == title and "error" not in row}

    one, other = by_pair(first), by_pair(second)
    return [(one[key], other[key]) for key in one if key in other]


def _refinement(rows: Sequence[Row]) -> str:
    both = _common(rows, "autoreg-refine", "fireants")
    promise = "- refinement alone: mean Dice at least FireANTs' at half resolution, in at most its time, no folds: "
    if not both:
        return promise + "not measured\n"
    dice = [fmean(pair[side]["dice"] for pair in both) for side in (0, 1)]
    cpu = [median(pair[side]["registration_cpu_s"] for pair in both) for side in (0, 1)]
    folds = sum(pair[0]["folds"] for pair in both)
    wall = [median(pair[side]["registration_wall_s"] for pair in both) for side in (0, 1)]
    good = dice[0] >= dice[1] and folds == 0
    return promise + (
        f"{held(good and cpu[0] <= cpu[1], good and wall[0] <= wall[1])} on {len(both)} pair(s): "
        f"Dice {dice[0]:.4f} against {dice[1]:.4f}, {folds} folds, registration {cpu[0]:.1f} s against {cpu[1]:.1f} s "
        f"of processor, {wall[0]:.1f} s against {wall[1]:.1f} s by the clock\n")


def held(by_processor: bool, by_clock: bool) -> str:
    """Processor seconds say more on a busy machine, the clock on a quiet one."""
    words = {True: "holds", False: "does not hold"}
    return f"**{words[by_processor]}** by the processor, **{words[by_clock]}** by the clock,"


def _network(rows: Sequence[Row]) -> str:
    both = _common(rows, "autoreg-network", "ants-syn")
    promise = "- the trained network, from raw files to all outputs: at most a quarter of ANTs SyN's default preset: "
    if not both:
        return promise + "not measured\n"
    cpu = [median(pair[side]["process_cpu_s"] for pair in both) for side in (0, 1)]
    wall = [median(pair[side]["process_wall_s"] for pair in both) for side in (0, 1)]
    return promise + (
        f"{held(cpu[0] <= cpu[1] / 4, wall[0] <= wall[1] / 4)} on {len(both)} pair(s): whole process {cpu[0]:.1f} s "
        f"against {cpu[1]:.1f} s of processor ({cpu[0] / cpu[1]:.2f} of it), {wall[0]:.1f} s against {wall[1]:.1f} s "
        f"by the clock ({wall[0] / wall[1]:.2f})\n")
