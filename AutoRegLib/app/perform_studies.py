"""The verbs of ``core.study_verbs`` to their computations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from AutoRegLib.app.given import scenario_of, start_recipe_of
from AutoRegLib.app.outputs import claim_output
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.presets import with_published_loss
from AutoRegLib.core.recipe import read_recipe
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.core.study_verbs import (
    AugmentArguments,
    FuseArguments,
    StudyArguments,
    SweepArguments,
    SynthesiseArguments,
)
from AutoRegLib.core.verbs import VERBS


def _study(arguments: StudyArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.bundle import load_bundle
    from AutoRegLib.evaluation.peers import read_peers
    from AutoRegLib.evaluation.study import study
    from AutoRegLib.evaluation.study_series import study_series, with_large_structures

    scenarios = [scenario_of(arguments, path) for path in (arguments.scenario, *arguments.also)]
    if arguments.least_voxels is not None:
        scenarios = [with_large_structures(one, least=arguments.least_voxels) for one in scenarios]
    recipes = [with_published_loss(start_recipe_of(one, arguments, network="autoreg")) for one in scenarios]
    recipes = [replace(one, training=replace(one.training, timer=arguments.timer)) for one in recipes]
    start = None if arguments.start is None else load_bundle(arguments.start, device=device)
    peers = {} if arguments.peers is None else read_peers(arguments.peers)
    output = claim_output(
        arguments.output, VERBS["study"].results, overwrite=arguments.overwrite, resume=arguments.resume,
        monitor=monitor,
    )
    options: dict[str, Any] = {
        "output": output, "rows": arguments.rows, "minutes": arguments.minutes, "seeds": arguments.seeds,
        "limit": arguments.limit, "start": start, "peers": peers, "peer_limit": arguments.peer_limit,
        "resume": arguments.resume, "share": arguments.share, "device": device, "monitor": monitor,
    }
    if len(scenarios) == 1:
        return study(recipes[0], scenarios[0], **options)
    return study_series(list(zip(recipes, scenarios, strict=True)), **options)


def _sweep(arguments: SweepArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.evaluation.sweep import sweep

    recipe = read_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    scenario = read_scenario(arguments.scenario)
    output = claim_output(
        arguments.output, VERBS["sweep"].results, overwrite=arguments.overwrite, resume=arguments.resume,
        monitor=monitor,
    )
    field, *values = arguments.over
    return sweep(
        recipe, scenario, field=field, values=values, output=output, minutes=arguments.minutes, limit=arguments.limit,
        jobs=arguments.jobs, beside=arguments.beside, resume=arguments.resume, device=device, monitor=monitor,
    )


def _synthesise(arguments: SynthesiseArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.evaluation.synthesise import read_source, synthesise

    source = read_source(arguments.source, arguments.labels)
    output = claim_output(arguments.output, VERBS["synthesise"].results, overwrite=arguments.overwrite, monitor=monitor)
    return synthesise(source, output=output, sigmas=arguments.sigma, pairs=arguments.pairs, seed=arguments.seed,
                      monitor=monitor)


def _augment(arguments: AugmentArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.bundle import load_bundle
    from AutoRegLib.evaluation.augment import augment

    scenario = read_scenario(arguments.scenario)
    model = load_bundle(arguments.model, device=device)
    output = claim_output(arguments.output, VERBS["augment"].results, overwrite=arguments.overwrite, monitor=monitor)
    return augment(model, scenario, output=output, atlas=arguments.atlas, count=arguments.count,
                   fields=arguments.fields, seed=arguments.seed, device=device, monitor=monitor)


def _fuse(arguments: FuseArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.registration.fuse import fuse

    output = claim_output(arguments.output, VERBS["fuse"].results, overwrite=arguments.overwrite, monitor=monitor)
    return fuse(arguments.fixed, arguments.moving, output=output, transform=arguments.transform)


STUDY_HANDLERS: dict[str, Callable[[Any, str, Monitor], dict[str, Any]]] = {
    "study": _study,
    "sweep": _sweep,
    "synthesise": _synthesise,
    "augment": _augment,
    "fuse": _fuse,
}
