"""Validation of a training: the figures of its answers on the validation pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from AutoRegLib.core.folds import folded
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.learning.data import Batch, Dataset
from AutoRegLib.losses.objective import as_weights, label_dice, landmark_error, registration_loss
from AutoRegLib.networks.registry import build_network


def validate(recipe: Recipe, dataset: Dataset, state: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over the fixed validation pairs of what :func:`validate_pairs` says; ``val_folds`` is their mean number."""
    rows = validate_pairs(recipe, dataset, state)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def validate_pairs(recipe: Recipe, dataset: Dataset, state: Mapping[str, Tensor]) -> list[dict[str, float]]:
    """Loss, folds and, with labels, Dice (else, with landmarks, TRE) of these weights on the fixed validation pairs.

    ``score`` is what the best is chosen by, higher is better: Dice or minus TRE, less the fold term; or minus the loss.
    """
    network = build_network(recipe).to(dataset.device).eval()
    network.load_state_dict(state)
    rows = []
    with torch.inference_mode():
        for pair in dataset.sample("val", recipe.training.validation_pairs, seed=recipe.seed):
            batch = dataset.batch([pair])
            rows.append(validate_prediction(recipe, dataset, batch, network(batch.moving, batch.fixed)))
    return rows


def validate_prediction(recipe: Recipe, dataset: Dataset, batch: Batch, prediction: Prediction) -> dict[str, float]:
    """The figures of one pair, as :func:`validate_pairs` has them."""
    terms = registration_loss(
        prediction, batch.moving, batch.fixed, as_weights(recipe.loss_weights), objective=recipe.objective
    )
    folds = folded(jacobian_determinant(prediction.displacement))
    row = {
        "val_loss": float(terms["total"]), "val_similarity": float(terms["similarity"]),
        "val_folds": float(folds.sum()), "val_fold_fraction": float(folds.float().mean()),
    }
    row["score"] = -row["val_loss"]
    if batch.labels is not None:
        row["val_dice"] = float(label_dice(prediction, *batch.labels, structures=dataset.structures))
        row["score"] = row["val_dice"] - recipe.objective.upper_fold_weight * row["val_fold_fraction"]
    elif batch.landmarks is not None:
        spacing = tuple(reversed(dataset.grid.spacing))
        row["val_tre_mm"] = float(landmark_error(prediction, batch.landmarks, spacing=spacing))
        row["score"] = -row["val_tre_mm"] - recipe.objective.upper_fold_weight * row["val_fold_fraction"]
    return row


def surely_better(scores: Sequence[float], than: Sequence[float], *, least: float = 0.0) -> bool:
    """Whether the mean gain, pair by pair, exceeds twice its standard error, and ``least``."""
    gains = [a - b for a, b in zip(scores, than, strict=True)]
    mean = fmean(gains)
    error = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / max(len(gains) - 1, 1) / len(gains))
    return mean > 2.0 * error and mean > least
