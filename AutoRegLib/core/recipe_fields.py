"""Any field of a recipe by its dotted name: what a sweep goes over."""

from __future__ import annotations

from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import from_plain, to_plain
from AutoRegLib.core.strict_json import parse_json


def parse_value(text: str) -> Any:
    """A value as it is typed: JSON where it is JSON (``1.5``, ``true``, ``[9, 7, 5]``), else a word."""
    try:
        return parse_json(text, where="a value")
    except InputError:
        return text


def with_field(recipe: Recipe, name: str, value: Any) -> Recipe:
    """The recipe with another value of one field, ``loss_weights.smoothness`` for instance.

    ``value``: as JSON has it; checked as if it stood in a recipe's file. Raises InputError (no such field, value).
    """
    plain = to_plain(recipe)
    place, *parts = [plain, *name.split(".")]
    for part in parts[:-1]:
        if not isinstance(place, dict) or not isinstance(place.get(part), dict):
            raise InputError(f"a recipe has no field '{name}'", expected="a dotted name, loss_weights.smoothness for "
                             "instance", got=name, remedy="look into recipe.json for the names")
        place = place[part]
    place[parts[-1]] = value
    return from_plain(Recipe, plain, where=f"recipe with {name} {value}")
