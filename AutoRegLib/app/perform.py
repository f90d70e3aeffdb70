"""The one place that turns a request into a computation; device and threads are decided here.

Used by the command line and by the worker of a job folder. Importing this module loads neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from AutoRegLib.app.environment import decide_device, use_threads
from AutoRegLib.app.given import named_model, scenario_of, start_recipe_of
from AutoRegLib.app.memory_fallback import describe, with_less_memory
from AutoRegLib.app.outputs import claim_output, release_outputs
from AutoRegLib.app.perform_geodesic import GEODESIC_HANDLERS
from AutoRegLib.app.perform_studies import STUDY_HANDLERS
from AutoRegLib.core.arguments import check_arguments
from AutoRegLib.core.bundle_folder import locate_bundle, read_bundle
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import JobRequest, Monitor
from AutoRegLib.core.leftovers import sweep_temporary
from AutoRegLib.core.memory import keep_freed_memory, return_freed_memory
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.options import Refine
from AutoRegLib.core.pair_table import PairLine, read_pair_table
from AutoRegLib.core.recipe import Recipe, ValidationObjective, read_recipe
from AutoRegLib.core.records import from_plain, to_plain, write_json
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.core.verbs import (
    VERBS,
    ApplyArguments,
    BatchArguments,
    DemoArguments,
    EvaluateArguments,
    RegisterArguments,
    SearchArguments,
    TrainArguments,
)

if TYPE_CHECKING:
    from AutoRegLib.bundle import ModelBundle

T = TypeVar("T")

#: the validation objectives of the loss weights by their words on the command line
VALIDATION_OBJECTIVES: dict[str, ValidationObjective] = {
    "auto": "auto", "labels": "segmentation", "landmarks": "landmarks", "images": "unsupervised",
}


def perform(request: JobRequest, *, monitor: Monitor | None = None) -> dict[str, Any]:
    """Do what is asked and return the result as plain JSON values.

    Raises InputError (the request or its files), and what the computation raises.
    """
    monitor = monitor or Monitor()
    arguments = from_plain(VERBS[request.verb].arguments, request.arguments, where=f"arguments of '{request.verb}'")
    check_arguments(arguments)
    sweep_temporary()
    (keep_freed_memory if getattr(arguments, "memory", None) is None else return_freed_memory)()
    use_threads(arguments.threads)
    device = decide_device(arguments.device)
    try:
        return HANDLERS[request.verb](arguments, device, monitor)
    finally:
        release_outputs()


def register(fixed: str | Path, moving: str | Path, output: str | Path, **options: Any) -> dict[str, Any]:
    """``autoreg register`` for scripts: register two files, write the result folder, return the report.

    ``options``: those of the command line (``model``, ``moving_labels``, ``inverse``, ``refine``, ``overwrite`` ...).
    Raises InputError, DiskError, OutOfMemoryProblem.
    """
    given = {"fixed": fixed, "moving": moving, "output": output, **options}
    return perform(JobRequest("register", to_plain(given)))


def _search(arguments: SearchArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.bundle import origin
    from AutoRegLib.search.search import search

    if arguments.network not in NETWORKS:
        raise InputError(
            f"no network '{arguments.network}'",
            expected=", ".join(sorted(NETWORKS)),
            got=arguments.network,
            remedy="see 'autoreg info'",
        )
    scenario = read_scenario(arguments.scenario)
    recipe = start_recipe_of(scenario, arguments, network=arguments.network)
    if arguments.start is not None:
        recipe = _as_found(recipe, arguments.start)
    validation: ValidationObjective = VALIDATION_OBJECTIVES[arguments.judge]
    stages = tuple(replace(s, judge=validation) if s.upper == "lambda" else s for s in recipe.search.stages)
    recipe = replace(recipe, search=replace(
        recipe.search, stages=stages, speed_weight=arguments.speed_weight, max_seconds=arguments.max_seconds,
    ))
    start = None if arguments.start is None else origin(locate_bundle(arguments.start))
    found = _learn("search", partial(search, start=start), recipe, scenario, arguments, device, monitor)
    output = Path(arguments.output)
    return {
        "output": str(output),
        "recipe": str(output / "recipe.json"),
        "network": found.network.name,
        "genotype": to_plain(found.genotype),
        "loss_weights": to_plain(found.loss_weights),
        "device": device,
    }


def _as_found(recipe: Recipe, name: str) -> Recipe:
    """The recipe with the network, operators and loss weights of a trained model, so that its weights fit what is found
    where only loss weights are. Raises InputError (another network).
    """

    found = read_recipe(locate_bundle(name))
    ours, theirs = ((r.network.name, r.spatial_dims) for r in (recipe, found))
    if ours != theirs:
        raise InputError(
            f"a search of '{ours[0]}' cannot start from the model '{Path(name).name}'",
            expected=f"a {ours[1]}-D model of '{ours[0]}'", got=f"a {theirs[1]}-D model of '{theirs[0]}'",
            remedy=f"search with --network {theirs[0]}, or choose another --start",
        )
    return replace(recipe, network=found.network, genotype=found.genotype, loss_weights=found.loss_weights)


def _train(arguments: TrainArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.bundle import load_bundle
    from AutoRegLib.learning.train import train

    recipe = read_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    scenario = read_scenario(arguments.scenario)
    if Path(arguments.recipe).resolve().parent == Path(arguments.output).resolve():
        raise InputError(
            "the model would overwrite the recipe it is made from",
            expected="another folder",
            got=arguments.output,
            remedy="choose another --output",
        )
    start = None if arguments.start is None else load_bundle(arguments.start, device=device)
    bundle = _learn("train", partial(train, start=start), recipe, scenario, arguments, device, monitor)
    return {"output": str(Path(arguments.output)), **read_bundle(bundle.path).facts(), "device": device}


def _learn(
    verb: str, work: Callable[..., T], recipe: Recipe, scenario: Scenario, arguments: SearchArguments | TrainArguments,
    device: str, monitor: Monitor,
) -> T:
    """Search or train (``work``) in the output folder, with fewer pairs or voxels at once where memory is short."""
    output = claim_output(
        arguments.output, VERBS[verb].results, overwrite=arguments.overwrite, resume=arguments.resume, monitor=monitor
    )

    def compute(at_level: Recipe) -> T:
        return work(
            at_level, scenario, output=output, minutes=arguments.minutes, resume=arguments.resume, device=device,
            monitor=monitor,
        )

    return with_less_memory(verb, recipe, compute, monitor=monitor, output=output, resume=arguments.resume)


def _register(arguments: RegisterArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    if (arguments.shot or arguments.loss is not None) and arguments.model == "auto":
        arguments = replace(arguments, model="none")
    if arguments.model != "auto":
        return _register_by(named_model(arguments.model, device), arguments, device, monitor)
    from AutoRegLib.registration.choose import choose_model

    name, reason = choose_model(arguments.fixed, arguments.moving)
    monitor.event("warning", code="model", text=f"Model: {reason}.")
    report = _register_by(named_model(name, device), arguments, device, monitor)
    report["model_choice"] = reason
    write_json(Path(arguments.output) / "report.json", report)
    return report


def _iterations(asked: Refine | None, model: ModelBundle | None, *, shot: bool = False) -> Refine:
    """The refinement to run. Where the user leaves it open: what the model's validation pairs liked, 0 with a model
    that does not say; without a network all depends on it, but a geodesic that was ``shot`` needs none.
    """
    if shot and asked is None:
        return 0
    if model is None:
        return "auto" if asked is None else asked
    liked = model.finish if asked in (None, "auto") else None
    return liked if liked is not None else 0 if asked is None else asked


def _refine_choice(asked: Refine | None, model: ModelBundle | None) -> str:
    """Who chose the refinement, in the words of the report; empty where the user did, or nobody."""
    if model is None or asked not in (None, "auto") or model.finish is None:
        return ""
    return f"--refine {model.finish}: what the model's validation pairs liked"


def _register_by(
    model: ModelBundle | None, arguments: RegisterArguments, device: str, monitor: Monitor
) -> dict[str, Any]:
    """Register one pair by a model that is loaded already."""
    from AutoRegLib.imaging.files import read_geometry
    from AutoRegLib.registration.pipeline import working_geometry
    from AutoRegLib.registration.run import RegisterOptions, register

    output = claim_output(arguments.output, VERBS["register"].results, overwrite=arguments.overwrite, monitor=monitor)
    given = {field.name: getattr(arguments, field.name) for field in fields(RegisterOptions)}
    options = RegisterOptions(**{**given, "refine": _iterations(arguments.refine, model, shot=arguments.shot)})
    if model is None:  # bounds its own memory
        return register(
            None, arguments.fixed, arguments.moving, output=output, options=options, device=device, monitor=monitor
        )
    recipe = model.recipe
    if not recipe.preprocessing.spacing:  # the network sees the fixed image's own grid
        spacing = working_geometry(recipe, read_geometry(arguments.fixed)).spacing
        recipe = replace(recipe, preprocessing=replace(recipe.preprocessing, spacing=spacing))

    def compute(at_level: Recipe) -> dict[str, Any]:
        # what the user asked for, unless it does not fit
        used = model if at_level == recipe else replace(model, recipe=at_level)
        report = register(
            used, arguments.fixed, arguments.moving, output=output, options=options, device=device, monitor=monitor
        )
        if used is not model:
            report["warnings"].append(f"Not enough memory: registered with {describe(recipe, at_level)}.")
            write_json(output / "report.json", report)
        return report

    report = with_less_memory("register", recipe, compute, monitor=monitor)
    if reason := _refine_choice(arguments.refine, model):
        report["refine_choice"] = reason
        write_json(output / "report.json", report)
    return report


def _batch(arguments: BatchArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.app.batch import run_batch

    pairs = read_pair_table(arguments.table)
    model = named_model(arguments.model, device)
    output = claim_output(
        arguments.output, VERBS["batch"].results, overwrite=arguments.overwrite, resume=arguments.resume,
        monitor=monitor,
    )
    names = ("affine", "refine", "similarity", "smoothness", "preserve_volume", "deliver", "inverse", "seed",
             "compress", "transformation", "alpha", "predictor", "loss", "memory")
    same = {name: getattr(arguments, name) for name in names}
    told = {name: value for name, value in same.items() if name not in ("loss", "memory") or value is not None}
    settings = {**told, "refine": _iterations(arguments.refine, model, shot=arguments.shot),
                "model": arguments.model}

    def register(pair: PairLine, folder: Path, inner: Monitor) -> dict[str, Any]:
        one = RegisterArguments(output=str(folder), model=arguments.model, overwrite=True,  # its own
                                share=arguments.share, **same, **pair.arguments)  # type: ignore[arg-type]
        check_arguments(one)
        return _register_by(model, one, device, inner)

    return run_batch(pairs, register, output=output, settings=settings, resume=arguments.resume,
                     overwrite=arguments.overwrite, share=arguments.share, monitor=monitor)


def _apply(arguments: ApplyArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.registration.run import apply_transform

    output = Path(arguments.output)
    if arguments.kind != "points" and arguments.reference is None:
        raise InputError(
            "no reference image", expected="--reference, whose grid the result gets", remedy="give the fixed image"
        )
    if output.is_dir():
        raise InputError(f"{output} is a folder", expected="the name of the file to write", remedy="name a file")
    if output.exists():
        if not arguments.overwrite:
            raise InputError(
                f"{output} exists", expected="a new file",
                remedy="choose a new --output, or replace it with --overwrite",
            )
        monitor.event("warning", code="overwrite", text=f"Replacing {output}.")
    for given in (arguments.input, arguments.reference, arguments.transform):
        if given is not None and Path(given).resolve() == output.resolve():
            raise InputError(f"the result would overwrite an input: {given}", remedy="choose another --output")
    result = apply_transform(
        arguments.transform, reference=arguments.reference, input=arguments.input, output=output, kind=arguments.kind
    )
    for text in result["warnings"]:
        monitor.event("warning", code="apply", text=text)
    return result


def _evaluate(arguments: EvaluateArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.evaluation.evaluate import evaluate
    from AutoRegLib.geodesic.predictor import load_predictor

    scenario = scenario_of(arguments)
    model = named_model(arguments.model, device)
    output = claim_output(arguments.output, VERBS["evaluate"].results, overwrite=arguments.overwrite, monitor=monitor)
    predictor = arguments.predictor
    return evaluate(
        model,
        scenario,
        output=output,
        split=arguments.split,
        limit=arguments.limit,
        refine=_iterations(arguments.refine, model, shot=arguments.shot),
        similarity=arguments.similarity,
        loss=None if arguments.loss is None else read_recipe(arguments.loss),
        transformation=arguments.transformation,
        regularity=arguments.alpha if predictor is None else load_predictor(predictor, device=device),
        device=device,
        seed=arguments.seed,
        monitor=monitor,
    )


def _demo(arguments: DemoArguments, device: str, monitor: Monitor) -> dict[str, Any]:
    from AutoRegLib.app.demo import demo

    output = claim_output(arguments.output, VERBS["demo"].results, overwrite=arguments.overwrite, monitor=monitor)
    return demo(output, minutes=arguments.minutes, device=device, seed=arguments.seed, monitor=monitor)


#: what computes each verb of ``core.verbs``
HANDLERS: dict[str, Callable[[Any, str, Monitor], dict[str, Any]]] = {
    "search": _search,
    "train": _train,
    "register": _register,
    "batch": _batch,
    "apply": _apply,
    "evaluate": _evaluate,
    "demo": _demo,
    **STUDY_HANDLERS,
    **GEODESIC_HANDLERS,
    "lddmm register": _register,
}
