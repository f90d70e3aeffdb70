"""The verbs of ``core.study_verbs`` to their computations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from AutoRegLib.app.given import start_recipe_of
from AutoRegLib.app.outputs import claim_output
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.presets import with_published_loss
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.core.study_verbs import StudyArguments
from AutoRegLib.core.verbs import VERBS


def _study(arguments: StudyArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.evaluation.study import study

    scenario = read_scenario(arguments.scenario)
    recipe = with_published_loss(start_recipe_of(scenario, arguments, network="autoreg"))
    output = claim_output(
        arguments.output, VERBS["study"].results, overwrite=arguments.overwrite, resume=arguments.resume,
        monitor=monitor,
    )
    return study(
        recipe, scenario, output=output, rows=arguments.rows, minutes=arguments.minutes, seeds=arguments.seeds,
        limit=arguments.limit, resume=arguments.resume, device=device, monitor=monitor,
    )


STUDY_HANDLERS: dict[str, Callable[[Any, str, Monitor], dict[str, Any]]] = {
    "study": _study,
}
