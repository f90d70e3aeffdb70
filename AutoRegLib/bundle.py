"""A trained model is a self-sufficient folder: recipe, weights, card, provenance, metrics, history."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from AutoRegLib.core.bundle_folder import (
    WEIGHTS,
    check_complete,
    count_weights,
    export_archive,
    import_archive,
    locate_bundle,
    read_facts,
)
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Recipe, read_recipe, write_recipe
from AutoRegLib.core.recipe_loss import loss_words, with_smoothness
from AutoRegLib.core.records import make_folder, write_json, write_text, write_whole
from AutoRegLib.core.result_set import together
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.networks.asking import ask
from AutoRegLib.networks.registry import build_network

#: of weights in a file; values of another type may become infinite, or something else, in the network's
_TYPES = {"F32": torch.float32, "I64": torch.int64}
MOST_ASKS = 16


@dataclass(frozen=True)
class ModelBundle:
    """A bundle in memory; ``network`` is in evaluation mode on the device it was loaded to."""

    path: Path
    recipe: Recipe
    network: nn.Module
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def finish(self) -> int | Literal["auto", "full"] | None:
        """The refinement of its answers that its validation pairs liked; None where none was tried.

        Raises InputError (damaged).
        """
        value: Any = self.metrics.get("finish")
        if value is None or value in ("auto", "full") or (type(value) is int and value >= 0):
            return value  # type: ignore[no-any-return]
        raise InputError(f"the finish in {self.path / 'metrics.json'} is damaged", expected="auto, full, or 0 or more",
                         got=repr(value), remedy="copy the whole folder again, or ask for --refine 0")

    @property
    def asks(self) -> int:
        """How often its validation pairs liked to have it asked. Raises InputError (damaged)."""
        value: Any = self.metrics.get("asks", 1)
        if type(value) is int and 1 <= value <= MOST_ASKS:
            return value
        raise InputError(f"the number of asks in {self.path / 'metrics.json'} is damaged",
                         expected=f"1 to {MOST_ASKS}", got=repr(value), remedy="copy the whole folder again")

    def answer(self, moving: Tensor, fixed: Tensor) -> Prediction:
        """Its answer to a pair, asked as often as suits it (:func:`AutoRegLib.networks.asking.ask`)."""
        return ask(self.network, moving, fixed, times=self.asks, squarings=self.recipe.network.squarings)

    @property
    def refining(self) -> Recipe:
        """The recipe that its answers are refined by: with the smoothness that its validation pairs liked.

        Raises InputError (damaged).
        """
        value: Any = self.metrics.get("finish_smoothness", self.recipe.loss_weights.smoothness)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise InputError(f"the smoothness in {self.path / 'metrics.json'} is damaged",
                             expected="a weight of 0 or more", got=repr(value), remedy="copy the whole folder again")
        return with_smoothness(self.recipe, float(value))


def save_bundle(
    path: str | Path,
    *,
    recipe: Recipe,
    state: Mapping[str, Tensor],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> Path:
    """Write the bundle folder; its files replace those of an earlier one together, so half a bundle never loads.

    Raises DiskError.
    """
    folder = make_folder(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with together(folder, last="recipe.json") as stage:
        write_whole(stage / WEIGHTS, lambda temporary: save_file(tensors, temporary))
        write_text(stage / "history.csv", table_text(history))
        write_json(stage / "metrics.json", metrics)
        write_json(stage / "provenance.json", provenance)
        write_text(stage / "card.md", _card(folder.name, recipe, metrics, provenance))
        write_recipe(stage / "recipe.json", recipe)
    return folder


def load_bundle(name: str | Path, *, device: str = "cpu") -> ModelBundle:
    """The bundle in a folder, or a shipped or imported one by name. Raises InputError (missing, damaged)."""
    path = locate_bundle(name)
    check_complete(path)
    recipe = read_recipe(path / "recipe.json")
    try:
        _check_weights(path / WEIGHTS, recipe)
        network = build_network(recipe)
        state = load_file(path / WEIGHTS, device="cpu")
        network.load_state_dict(state)
        if not all(torch.isfinite(value).all() for value in state.values()):
            raise ValueError("weights that are not finite")
    except Exception as problem:  # safetensors raises its own type, torch a RuntimeError
        raise InputError(
            f"the weights in {path} are damaged or belong to another network",
            expected=f"the weights of '{recipe.network.name}' as recipe.json describes it",
            got=str(problem).split("\n")[0][:120], remedy="copy the whole folder again or train the model again",
        ) from None
    metrics, facts = (read_facts(path / file) for file in ("metrics.json", "provenance.json"))
    return ModelBundle(path, recipe, network.to(device).eval(), metrics, facts)


def _check_weights(path: Path, recipe: Recipe) -> None:
    """The weights of the recipe's network, each of its shape and type, before memory is taken. Raises ValueError."""
    with torch.device("meta"):
        expected = build_network(recipe).state_dict()
    count, found = sum(value.numel() for value in expected.values()), count_weights(path)
    if found != count:
        raise ValueError(f"{found} weights where the recipe's network has {count}")
    with safe_open(path, framework="pt") as stored:  # a header alone, memory is mapped
        for name, value in expected.items():
            part = stored.get_slice(name)
            if _TYPES.get(part.get_dtype()) != value.dtype or part.get_shape() != list(value.shape):
                raise ValueError(f"{name} is {part.get_shape()} of {part.get_dtype()}, where the recipe's network has "
                                 f"{list(value.shape)} of {value.dtype}")


def origin(path: Path) -> dict[str, str]:
    """Which model something began from, as provenance tells it: name, hash of its weights, what it was trained on."""
    with open(path / WEIGHTS, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"model": path.name, "weights_sha256": found,
            "scenario": str(read_facts(path / "provenance.json").get("scenario", "unknown"))}


def import_bundle(archive: str | Path) -> Path:
    """Unpack a zip archive into the user's models. Raises InputError (not a bundle, name taken)."""
    return import_archive(archive, check=load_bundle).folder


def export_bundle(name: str | Path, archive: str | Path) -> Path:
    """Pack a bundle into a zip archive. Raises InputError when the file exists, DiskError."""
    return export_archive(load_bundle(name).path, archive)


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV text, the columns in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _card(name: str, recipe: Recipe, metrics: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The model in words: what it was trained on, how it did, what it is not for."""
    validation = metrics.get("validation", {})
    genotype = recipe.genotype
    lines = [
        f"# {name}", "",
        f"A `{recipe.network.name}` network for {recipe.spatial_dims}-D registration, trained on the scenario "
        f"*{facts.get('scenario', 'unknown')}* ({facts.get('cases', {}).get('train', '?')} training cases, "
        f"{facts.get('steps', '?')} steps, {facts.get('seconds', '?')} s on {facts.get('device', '?')}).", "",
        f"- Working grid: {' x '.join(f'{s:g}' for s in recipe.preprocessing.spacing) or 'as the image'} mm; "
        f"affine alignment first: {recipe.preprocessing.affine}.",
        f"- Labels in training: {'yes' if recipe.objective.label_weight > 0 else 'no'}.",
        f"- Loss: {loss_words(recipe)}.",
    ]
    if "start" in facts:
        lines.append(f"- Its weights started from those of the model *{facts['start'].get('model', '?')}*.")
    if genotype is not None and recipe.network.name == "autoreg":
        lines += ["", "| cell | edge 1 | edge 2 | edge 3 |", "|---|---|---|---|"]
        lines += [
            f"| {cell.replace('_', ' ')} | {' | '.join(genotype.cell(cell))} |"
            for cell in ("feature_half", "feature_quarter", "deformation_quarter", "deformation_half")
        ]
    if validation:
        known = {key.removeprefix("val_"): value for key, value in validation.items() if key.startswith("val_")}
        figures = ", ".join(f"{name} {value:.4g}" for name, value in known.items())
        lines += ["", f"On the validation split: {figures}."]
    if "finish" in metrics:
        lines += ["", *_finishes(metrics)]
    lines += [
        "", "Not a medical device. Made for images like those it was trained on; on others check the report's "
        "folds, landmarks and overlaps before trusting the result.", "",
    ]
    return "\n".join(lines)


def _finishes(metrics: Mapping[str, Any]) -> list[str]:
    """What the refinements tried on validation pairs came to, and the one that is the default."""
    tried = dict(metrics["finishes"])
    pairs = tried.pop("pairs")
    smooth = f" at a smoothness of {metrics['finish_smoothness']:.3g}" if "finish_smoothness" in metrics else ""
    asked = f" is asked {metrics['asks']} times and" if "asks" in metrics else ""
    return [
        f"Unless asked otherwise it{asked} registers with `--refine {metrics['finish']}`{smooth}, chosen on {pairs} "
        "validation pairs:",
        "",
        "| refine | score | processor s a pair |", "|---|---|---|",
        *(f"| {name} | {facts['score']:.4g} | {facts['seconds']:.3g} |" for name, facts in tried.items()),
    ]
