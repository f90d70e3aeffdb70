"""One run of a study: a row and a seed, searched, trained and evaluated, each part computed once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from AutoRegLib.bundle import ModelBundle, load_bundle, origin
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe, read_recipe
from AutoRegLib.core.records import make_folder, read_json, to_plain, write_json
from AutoRegLib.core.scenario import ListedPair, Scenario, Split
from AutoRegLib.core.strict_json import read_object
from AutoRegLib.core.study_rows import ROWS, Row, row_recipe
from AutoRegLib.evaluation.evaluate import Alignments, evaluate, pair_registrar
from AutoRegLib.evaluation.peers import Peer, peer_registrar
from AutoRegLib.evaluation.study_pictures import keep_pictures
from AutoRegLib.evaluation.study_report import plain_values
from AutoRegLib.learning.train import train
from AutoRegLib.registration import metrics
from AutoRegLib.search.random_search import random_search
from AutoRegLib.search.search import search

COST, RESULT = "autoreg-study-cost/1", "autoreg-study-result/1"
SEARCHES: dict[str, Callable[..., Recipe]] = {"gradient": search, "random": random_search}


@dataclass(frozen=True)
class Setup:
    """What all runs of a study have in common. ``start``: the model that some rows begin from."""

    recipe: Recipe
    scenario: Scenario
    output: Path
    minutes: float | None
    limit: int | None
    device: str
    start: ModelBundle | None = None
    peers: Mapping[str, Peer] = field(default_factory=dict)
    peer_limit: int | None = None  # the pairs that other programs register, the first of all
    alignments: Alignments = field(default_factory=dict)  # every row registers the same test pairs


def run_row(row: Row, setup: Setup, *, seed: int, monitor: Monitor) -> dict[str, Any]:
    """One run: search where the row has one, train, evaluate on the test split; writes and returns its result.

    Parts that an earlier attempt finished are taken as they are. Raises what the parts raise.
    """
    folder = make_folder(run_folder(setup.output, row, seed))
    costs: dict[str, dict[str, Any]] = {}
    model: ModelBundle | None = None
    given: dict[str, Any] = {}
    recipe, scenario, timer = setup.recipe, setup.scenario, setup.recipe.training.timer
    # the same pairs for every row and seed
    common: dict[str, Any] = {"split": "test", "limit": setup.limit, "seed": setup.recipe.seed}
    if row.method == "peer":
        given = {"name": row.name, "registrar": peer_registrar(
            row.name, setup.peers[row.name], affine=recipe.preprocessing.affine, threads=torch.get_num_threads(),
            device=setup.device, seed=setup.recipe.seed, timer=timer)}
        if setup.peer_limit is not None:
            scenario = first_pairs(scenario, setup.peer_limit, **common)
    elif row.start == "as is":
        model = setup.start
        recipe = model.recipe if model is not None else recipe
    else:
        recipe = row_recipe(recipe, row, seed, None if setup.start is None else setup.start.recipe)
        recipe = _searched(row, recipe, setup, folder, costs, seed=seed, monitor=monitor)
        model = _trained(row, recipe, setup, folder, costs, monitor=monitor)
    known = _fresh_memory(setup.device)
    # a row that aligns otherwise than the study has nothing in common with the others
    alignments = setup.alignments if recipe.preprocessing.affine == setup.recipe.preprocessing.affine else {}
    summary = evaluate(model, scenario, output=folder / "evaluation", alignments=alignments, timer=timer,
                       device=setup.device, monitor=monitor, **common, **given)
    if not known:
        summary.pop("peak_memory_bytes", None)
    registrar = given.get("registrar") or pair_registrar(model, device=setup.device, seed=setup.recipe.seed)
    keep_pictures(folder / "evaluation", scenario, registrar, alignments, **common)
    result = as_result(row, seed, summary, costs, recipe)
    (folder / "error.log").unlink(missing_ok=True)
    write_json(folder / "result.json", result, schema=RESULT)
    return result


def first_pairs(scenario: Scenario, count: int, *, split: Split, limit: int | None, seed: int) -> Scenario:
    """The scenario with the first of these pairs alone."""
    pairs = scenario.pairs_of(split, limit=limit, seed=seed)[:count]
    return replace(scenario, pairing="listed", pairs=tuple(ListedPair(p.fixed.id, p.moving.id, split) for p in pairs))


def _searched(
    row: Row, recipe: Recipe, setup: Setup, folder: Path, costs: dict[str, dict[str, Any]], *, seed: int,
    monitor: Monitor,
) -> Recipe:
    """The recipe as the row's search found it; itself where there is none."""
    if not row.searched:
        return recipe
    found, start = folder / "search", setup.start if row.start else None
    budget = setup.minutes if row.method == "gradient" else _time_to_equal(setup, seed, monitor)

    def seek() -> dict[str, Any]:
        told = {} if start is None else {"start": origin(start.path)}
        SEARCHES[row.method](recipe, setup.scenario, output=found, minutes=budget, resume=_begun(found),
                             device=setup.device, monitor=monitor, **told)
        facts = read_object(found / "provenance.json")
        return {name: facts[name] for name in ("seconds", "winner", "found_gain") if name in facts}

    costs["search"] = measured(folder / "search_cost.json", seek, device=setup.device)
    return read_recipe(found)


def _trained(
    row: Row, recipe: Recipe, setup: Setup, folder: Path, costs: dict[str, dict[str, Any]], *, monitor: Monitor
) -> ModelBundle:
    """The row's network, trained."""
    def learn() -> dict[str, Any]:
        bundle = train(recipe, setup.scenario, output=folder / "model", minutes=setup.minutes,
                       start=setup.start if row.start == "weights" else None, resume=_begun(folder / "model"),
                       device=setup.device, monitor=monitor)
        return {"seconds": bundle.provenance["seconds"], "steps": bundle.provenance["steps"]}

    costs["train"] = measured(folder / "train_cost.json", learn, device=setup.device)
    return load_bundle(folder / "model", device=setup.device)


def as_result(
    row: Row, seed: int, summary: dict[str, Any], costs: dict[str, dict[str, Any]], recipe: Recipe
) -> dict[str, Any]:
    """What is known of a finished run, one plain value a key; what was not measured has no key.

    Unit: seconds, bytes, mm; ``seconds`` is that of one registration.
    """
    result: dict[str, Any] = {"row": row.name, "seed": seed, "status": "done", **plain_values(summary)}
    for part, cost in costs.items():
        result |= {f"{part}_{name}": value for name, value in cost.items()}
    result |= to_plain(recipe.loss_weights)
    if row.network == "autoreg" and recipe.genotype is not None:
        result["genotype"] = " | ".join(" ".join(edges) for edges in to_plain(recipe.genotype).values())
    return result


def measured(path: Path, compute: Callable[[], dict[str, Any]], *, device: str) -> dict[str, Any]:
    """The facts that a part of a run leaves, with the peak of memory during it; computed once, kept in ``path``.

    On the CPU the peak is that of the process, libraries included; it is left out where the system cannot
    restart its measure. Unit: bytes.
    """
    if path.is_file():
        return read_json(path, schema=COST)
    known = _fresh_memory(device)
    facts = compute()
    peak = metrics.peak_memory_bytes(device) if known else None
    facts |= {} if peak is None else {"peak_memory_bytes": peak}
    write_json(path, facts, schema=COST)
    return facts


def run_folder(output: Path, row: Row, seed: int) -> Path:
    """Where a run's search, model, evaluation and result are."""
    return output / row.name / str(seed)


def _begun(folder: Path) -> bool:
    """Whether an interrupted computation left its state there."""
    return (folder / "checkpoint.pt").is_file()


def _time_to_equal(setup: Setup, seed: int, monitor: Monitor) -> float | None:
    """The minutes of a random search: what the whole search of this seed took, else those of every search."""
    path = run_folder(setup.output, ROWS["autoreg"], seed) / "search_cost.json"
    if path.is_file():
        return float(read_json(path, schema=COST)["seconds"]) / 60.0
    if setup.minutes is None:
        text = "no row 'autoreg' to take the time from: the random search has its steps instead"
        monitor.event("warning", code="no-equal-time", text=text)
    return setup.minutes


def _fresh_memory(device: str) -> bool:
    """Let go of what earlier runs left and restart the measure of memory; False where it cannot be."""
    gc.collect()
    return metrics.reset_peak_memory(device)
