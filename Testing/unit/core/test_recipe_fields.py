"""Any field of a recipe by its name, and nothing that is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_fields import parse_value, with_field


@pytest.mark.parametrize(("name", "text", "where"), [
    ("loss_weights.smoothness", "0.5", lambda r: r.loss_weights.smoothness == 0.5),
    ("objective.windows", "[5, 5, 3]", lambda r: r.objective.windows == (5, 5, 3)),
    ("objective.regularise", "velocity", lambda r: r.objective.regularise == "velocity"),
    ("network.propagation.scales", "4", lambda r: r.network.propagation.scales == 4),
    ("network.shared_features", "false", lambda r: r.network.shared_features is False),
    ("seed", "7", lambda r: r.seed == 7),
])
def test_a_field_and_nothing_else_changes(name: str, text: str, where: Any) -> None:
    changed = with_field(Recipe(), name, parse_value(text))
    assert where(changed) and not where(Recipe())
    group = name.split(".")[0]
    assert replace(changed, **{group: getattr(Recipe(), group)}) == Recipe()


@pytest.mark.parametrize(("name", "value", "said"), [
    ("loss_weights.smothness", 1, "did you mean 'smoothness'"), ("loss.smoothness", 1, "no field"),
    ("loss_weights.smoothness", -1, "negative"), ("loss_weights.smoothness", "much", "wrong type"),
    ("seed.more", 1, "no field"), ("", 1, "unknown key"), ("training.batch", 0, "out of range"),
])
def test_what_is_no_field_or_no_value_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_field(Recipe(), name, value)
