"""What a training is judged by: the figures of its answers on the validation pairs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from AutoRegLib.core.folds import folded
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.learning.data import Batch, Cohort
from AutoRegLib.losses.objective import as_weights, label_dice, landmark_error, registration_loss
from AutoRegLib.networks.registry import build_network


def validate(recipe: Recipe, cohort: Cohort, state: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over the fixed validation pairs of what :func:`judge_pairs` says; ``val_folds`` is their mean number."""
    rows = judge_pairs(recipe, cohort, state)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def judge_pairs(recipe: Recipe, cohort: Cohort, state: Mapping[str, Tensor]) -> list[dict[str, float]]:
    """Loss, folds and, with labels, Dice (else, with landmarks, TRE) of these weights on the fixed validation pairs.

    ``score`` is what the best is chosen by, higher is better: Dice or minus TRE, less the fold term; or minus the loss.
    """
    network = build_network(recipe).to(cohort.device).eval()
    network.load_state_dict(state)
    rows = []
    with torch.inference_mode():
        for pair in cohort.sample("val", recipe.training.validation_pairs, seed=recipe.seed):
            batch = cohort.batch([pair])
            rows.append(judge_prediction(recipe, cohort, batch, network(batch.moving, batch.fixed)))
    return rows


def judge_prediction(recipe: Recipe, cohort: Cohort, batch: Batch, prediction: Prediction) -> dict[str, float]:
    """The figures of one pair, as :func:`judge_pairs` has them."""
    terms = registration_loss(
        prediction, batch.moving, batch.fixed, as_weights(recipe.loss_weights), objective=recipe.objective
    )
    turned = folded(jacobian_determinant(prediction.displacement))
    row = {
        "val_loss": float(terms["total"]), "val_similarity": float(terms["similarity"]),
        "val_folds": float(turned.sum()), "val_fold_fraction": float(turned.float().mean()),
    }
    row["score"] = -row["val_loss"]
    if batch.labels is not None:
        row["val_dice"] = float(label_dice(prediction, *batch.labels, structures=cohort.structures))
        row["score"] = row["val_dice"] - recipe.objective.upper_fold_weight * row["val_fold_fraction"]
    elif batch.landmarks is not None:
        spacing = tuple(reversed(cohort.grid.spacing))
        row["val_tre_mm"] = float(landmark_error(prediction, batch.landmarks, spacing=spacing))
        row["score"] = -row["val_tre_mm"] - recipe.objective.upper_fold_weight * row["val_fold_fraction"]
    return row
