"""What the arguments of several verbs name, as what it is: a model, a recipe to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.core.sharing import by_number
from AutoRegLib.core.study_verbs import StudyArguments
from AutoRegLib.core.verbs import EvaluateArguments, SearchArguments

if TYPE_CHECKING:
    from AutoRegLib.bundle import ModelBundle


def start_recipe_of(scenario: Scenario, arguments: SearchArguments | StudyArguments, *, network: str) -> Recipe:
    """The preset's recipe for the scenario, with what the arguments say of it. Raises InputError."""
    from AutoRegLib.learning.start_recipe import start_recipe

    return start_recipe(
        scenario, arguments.preset, network=network, spacing=arguments.spacing, label_weight=arguments.label_weight,
        seed=arguments.seed,
    )


def scenario_of(arguments: EvaluateArguments | StudyArguments, path: str | None = None) -> Scenario:
    """The scenario of that file (None: the arguments' own), its cases by number where reports are to be passed on."""
    scenario = read_scenario(arguments.scenario if path is None else path)
    return by_number(scenario) if arguments.share else scenario


def named_model(name: str, device: str) -> ModelBundle | None:
    """The bundle of that name or folder; None for ``none``: registration without a network. Raises InputError."""
    from AutoRegLib.bundle import load_bundle
    from AutoRegLib.registration.no_network import NAME

    return None if name == NAME else load_bundle(name, device=device)
