"""Stands in for the interpreter of a job: runs the real worker, with presets made small and without figures.

Called as the module calls an interpreter: ``boot.py ROOT run FOLDER``.
"""

import runpy
import sys
from dataclasses import fields, replace

_, boot, *arguments = sys.argv
sys.path.insert(0, arguments[0])

from AutoRegLib.core import presets  # noqa: E402
from AutoRegLib.core.recipe import Recipe  # noqa: E402

whole = presets.preset_recipe
SMALL = {"finalists": 2, "final_steps": 4, "check_every": 4, "stable_checks": 1000}


def small_recipe(*arguments: object, **options: object) -> Recipe:
    """The preset's recipe with narrow networks and sixteen steps a stage."""
    recipe = whole(*arguments, **options)  # type: ignore[arg-type]
    known = {field.name for field in fields(recipe.search)}
    return replace(
        recipe, network=replace(recipe.network, features=(4, 6), decoder=(8, 6, 4)),
        search=replace(
            recipe.search, stages=tuple(replace(stage, steps=16) for stage in recipe.search.stages),
            **{name: value for name, value in SMALL.items() if name in known},
        ),
    )


sys.modules["matplotlib"] = None  # type: ignore[assignment]  # no figures: they take longer than such a search
presets.preset_recipe = small_recipe  # type: ignore[assignment]
sys.argv = [boot, *arguments]
runpy.run_path(boot, run_name="__main__")
