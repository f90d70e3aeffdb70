"""The measures of a registration, each written once: key, title, form, which way is better, how pairs make one value.

Report, evaluation, study, console, figures, cards and the Slicer module read this table. What computes a measure puts
it under its key into the report of a pair (:data:`AutoRegLib.registration.report.MEASURED`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal

Aggregate = Literal["mean", "sum", "min", "median"]
AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {"mean": fmean, "sum": sum, "min": min, "median": median}


@dataclass(frozen=True)
class Measure:
    """One measure, as it is called and written.

    ``better``: 1 where more is better, -1 where less is, 0 neither. ``over_pairs``: how the values of several pairs
    become one; None where they do not. ``table``: key of its values by structure in a report (a table with a
    ``mean``), empty where a pair has one value. ``before``: key of the same measure before the registration.
    ``form`` writes ``value * scale``. ``spread``: its standard deviation over seeds is worth writing.
    ``compares``: models are compared by the first such measure that was made. ``listed``: it has a column in the table
    of pairs and structures; ``studied``: in that of a study. ``varies``: its mean and
    standard deviation over pairs are told as well, under ``<key>_mean`` and ``<key>_sd``.
    """

    key: str
    title: str
    form: str = "{:.3f}"
    better: int = 0
    over_pairs: Aggregate | None = None
    table: str = ""
    before: str = ""
    scale: float = 1.0
    spread: bool = True
    compares: bool = False
    listed: bool = True
    studied: bool = False
    varies: bool = False

    def text(self, value: float) -> str:
        """The value as it is written."""
        return self.form.format(value * self.scale)


#: in the order of the columns of ``metrics.csv``
MEASURES: dict[str, Measure] = {measure.key: measure for measure in (
    Measure("dice_before", "Dice before", over_pairs="mean", table="dice_before"),
    Measure("dice_affine", "Dice, affine", over_pairs="mean", table="dice_affine"),
    Measure("dice", "Dice", better=1, over_pairs="mean", table="dice", before="dice_before", compares=True,
            studied=True),
    Measure("hd95_mm", "HD95 mm", "{:.2f}", -1, "mean", table="hd95_by_structure_mm", studied=True),
    Measure("tre_before_mm", "TRE before mm", "{:.2f}", over_pairs="mean"),
    Measure("tre_mm", "TRE mm", "{:.2f}", -1, "mean", before="tre_before_mm", compares=True, studied=True),
    Measure("lncc_before", "LNCC before", over_pairs="mean"),
    Measure("lncc", "LNCC", better=1, over_pairs="mean", before="lncc_before", compares=True, studied=True),
    Measure("folds", "folded voxels", "{:.0f}", -1, "sum", studied=True, varies=True),
    Measure("fold_fraction", "folded voxels %", "{:.3g}", -1, "mean", scale=100.0),
    Measure("ndv_fraction", "NDV %", "{:.4f}", -1, "mean", scale=100.0),
    Measure("positive_jacobian", "positive Jacobian %", "{:.4g}", 1, "mean", scale=100.0, studied=True, varies=True),
    Measure("jacobian_min", "smallest Jacobian", over_pairs="min", varies=True),
    Measure("log_jacobian_std", "SD log Jacobian", over_pairs="mean"),
    Measure("seconds", "s a pair", "{:.2f}", over_pairs="median", spread=False, studied=True),
    Measure("peak_memory_bytes", "peak memory MiB", "{:.0f}", over_pairs="median", scale=2.0**-20, spread=False,
            listed=False),
)}
#: validation measures of a training, the first that was measured; keys as in a history
VALIDATION: dict[str, Measure] = {measure.key: measure for measure in (
    Measure("val_dice", "Dice", "{:.4f}", 1),
    Measure("val_tre_mm", "TRE (mm)", "{:.4f}", -1),
    Measure("val_loss", "loss", "{:.4f}", -1),
)}


def over_pairs(measure: Measure, reports: Iterable[Mapping[str, Any]]) -> Any:
    """One value of those of several pairs; None where no pair has the measure."""
    values = [report[measure.key] for report in reports if measure.key in report]
    if not values or measure.over_pairs is None:
        return None
    value = AGGREGATES[measure.over_pairs](values)
    return round(value) if isinstance(values[0], int) else value


def validation_measure(row: Mapping[str, Any]) -> Measure:
    """The validation measure of a row of a history: overlap, else landmarks, else the loss."""
    return next((measure for key, measure in VALIDATION.items() if key in row), VALIDATION["val_loss"])
